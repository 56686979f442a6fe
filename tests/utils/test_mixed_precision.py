"""bfloat16 is asked for only where the device has units for it."""

from __future__ import annotations

import torch

from monai_semgan.utils import bfloat16_is_fast


def test_a_cpu_answers_by_its_instructions(monkeypatch) -> None:
    for answer in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer, raising=False)
        assert bfloat16_is_fast("cpu") is answer
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert bfloat16_is_fast(torch.device("cpu")) is False
