"""bfloat16 is asked for only where the device has units for it."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.utils import bfloat16_is_fast


@pytest.mark.parametrize("answer", [True, False])
def test_a_cpu_answers_by_its_instructions(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer, raising=False)
    assert bfloat16_is_fast("cpu") is answer


def test_a_torch_that_cannot_tell_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert bfloat16_is_fast(torch.device("cpu")) is False
