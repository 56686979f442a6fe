"""When bfloat16 pays."""

from __future__ import annotations

import torch


def bfloat16_is_fast(device: torch.device | str) -> bool:
    """Whether the device has bfloat16 units: without them a CPU is many times slower in bfloat16."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported()) if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
