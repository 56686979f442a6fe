"""Attention in windows, and inverses that start at the nearest colour."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.blocks import MaskigeCNN, MaskigeWindowTransformer, WindowAttentionBlock
from monai_semgan.utils import InputError


@pytest.mark.parametrize("shape", [(2, 8, 8, 8), (1, 8, 10, 7), (1, 8, 4, 6, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_any_size_keeps_its_shape(shape: tuple[int, ...], shifted: bool) -> None:
    block = WindowAttentionBlock(len(shape) - 2, 8, heads=2, window=4, shifted=shifted)
    assert block(torch.randn(shape)).shape == shape


def reach(shifted: bool) -> torch.Tensor:
    """Which places of an 8 x 8 map have a say at place (3, 3)."""
    torch.manual_seed(0)
    block = WindowAttentionBlock(2, 8, heads=2, window=4, shifted=shifted)
    x = torch.randn(1, 8, 8, 8, requires_grad=True)
    block(x)[0, :, 3, 3].sum().backward()
    return x.grad[0].abs().sum(0) > 0


def test_a_place_sees_its_window_and_a_shifted_one_the_next() -> None:
    plain, shifted = reach(False), reach(True)
    wanted = torch.zeros(8, 8, dtype=torch.bool)
    wanted[:4, :4] = True
    assert torch.equal(plain, wanted)
    wanted = torch.zeros(8, 8, dtype=torch.bool)
    wanted[2:6, 2:6] = True
    assert torch.equal(shifted, wanted)


def test_heads_share_the_channels() -> None:
    with pytest.raises(InputError, match="10 channels for 4 heads"):
        WindowAttentionBlock(2, 10)


@pytest.mark.parametrize("kind", [MaskigeCNN, MaskigeWindowTransformer])
@pytest.mark.parametrize("dims", [2, 3])
def test_inverses_start_with_nothing_to_add_and_can_learn(kind: type, dims: int) -> None:
    inverse = kind(dims, 3, 5, channels=8)
    maskige = torch.rand(1, 3, *[8] * dims)
    added = inverse(maskige)
    assert added.shape == (1, 5, *[8] * dims)
    assert not added.any()
    added.square().sum().add(added.sum()).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in inverse.parameters())
