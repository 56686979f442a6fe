"""Blocks: shapes, and that group normalisation sees one image only."""

from __future__ import annotations

import torch

from monai_semgan.networks.blocks import ResidualCriticBlock, ResidualGroupNormBlock, StyledConv2d, StyleHeads


def test_critic_block_halves() -> None:
    assert ResidualCriticBlock(16, 32)(torch.randn(2, 16, 8, 8)).shape == (2, 32, 4, 4)


def test_group_norm_block_does_not_depend_on_the_batch_or_mode() -> None:
    torch.manual_seed(0)
    block = ResidualGroupNormBlock(4, 8, stride=2)
    x = torch.randn(3, 4, 8, 8)
    made = block(x)
    assert made.shape == (3, 8, 4, 4)
    torch.testing.assert_close(block(x[1:2]), made[1:2])
    torch.testing.assert_close(block.eval()(x), made)


def test_identity_skip_only_where_shapes_allow() -> None:
    assert isinstance(ResidualGroupNormBlock(4, 4).skip, torch.nn.Identity)
    assert not isinstance(ResidualGroupNormBlock(4, 4, stride=2).skip, torch.nn.Identity)


def test_noise_starts_without_effect() -> None:
    layer = StyledConv2d(4, 4, 6)
    x, w = torch.randn(2, 4, 8, 8), torch.randn(2, 6)
    torch.testing.assert_close(layer(x, w, torch.randn(2, 1, 8, 8)), layer(x, w, torch.zeros(1, 1, 8, 8)))


def test_heads_add_to_the_skips() -> None:
    heads = StyleHeads(4, 1, 3, 6)
    x, w = torch.randn(2, 4, 8, 8), torch.randn(2, 6)
    alone = heads(x, w, None, None)
    image, label = torch.randn(2, 1, 4, 4), torch.randn(2, 3, 4, 4)
    added = heads(x, w, image, label)
    torch.testing.assert_close(added[0], alone[0] + heads.up(image))
    torch.testing.assert_close(added[1], alone[1] + heads.up(label))


def test_skips_stay_in_float32_under_autocast() -> None:
    """The image is a sum over resolutions: in bfloat16 its grey values would have 8 bits."""
    torch.manual_seed(0)
    heads = StyleHeads(4, 1, 1, 6)
    image = torch.randn(2, 1, 4, 4)
    x, w = torch.zeros(2, 4, 8, 8), torch.randn(2, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made, _ = heads(x, w, image, image)
    torch.testing.assert_close(made, heads.up(image))
