"""Blocks: shapes, and that group normalisation sees one image only."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

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


def plain_styled(layer: StyledConv2d, x: torch.Tensor, latent: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """As the paper says it, every step a map of its own."""
    shift = layer.noise_strength * noise + layer.bias[None, :, None, None]
    return F.leaky_relu(layer.conv(x, latent) + shift, 0.2) * math.sqrt(2.0)


def plain_critic(block: ResidualCriticBlock, x: torch.Tensor) -> torch.Tensor:
    y = F.leaky_relu(block.conv1(x), 0.2) * math.sqrt(2.0)
    y = F.leaky_relu(block.conv2(block.blur(y)), 0.2) * math.sqrt(2.0)
    return (y + block.skip(block.skip_down(x))) / math.sqrt(2.0)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """In double precision, with biases and noise that are not 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("kind", ["styled", "styled, larger", "critic"])
def test_gains_in_the_weights_change_nothing(kind: str) -> None:
    """Values, gradients, and gradients of a gradient's norm (R1, path length) are those of the plain form."""
    if kind == "critic":
        block, plain = shaken(ResidualCriticBlock(3, 4)), plain_critic
        inputs = [torch.randn(2, 3, 8, 8).double().requires_grad_()]
    else:
        block, plain = shaken(StyledConv2d(3, 4, 5, upsample="larger" in kind)), plain_styled
        noise = torch.randn(2, 1, *[16 if "larger" in kind else 8] * 2).double()
        inputs = [torch.randn(2, 3, 8, 8).double().requires_grad_(), torch.randn(2, 5).double().requires_grad_(), noise]
    wanted, made = plain(block, *inputs), block(*inputs)
    torch.testing.assert_close(made, wanted)
    probe, leaves = torch.randn_like(made), [t for t in inputs if t.requires_grad]
    for a, b in zip(orders(made, probe, leaves, block), orders(wanted, probe, leaves, block), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)  # demodulation is in single precision


def orders(
    made: torch.Tensor, probe: torch.Tensor, leaves: list[torch.Tensor], block: torch.nn.Module
) -> list[torch.Tensor]:
    """Gradients of first and second order, of inputs and weights."""
    parameters = list(block.parameters())
    first = torch.autograd.grad((made * probe).sum(), leaves, create_graph=True)
    size = sum(g.square().sum() for g in first)
    second = torch.autograd.grad(size + (made * probe).sum(), [*leaves, *parameters], allow_unused=True)
    return [*first, *(g for g in second if g is not None)]


def test_maps_that_are_kept_for_the_backward_pass() -> None:
    """A training's memory: two maps a styled convolution beside its scaled input, two for the wide part of a block."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    x = torch.randn(1, 8, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    styled, critic = StyledConv2d(8, 8, 4), ResidualCriticBlock(8, 8)
    w, noise = torch.randn(1, 4), torch.randn(1, 1, 16, 16)
    counts = []
    for work in (lambda: styled(x, w, noise), lambda: critic(x)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            made = work()
        counts.append(sum(size >= x.numel() for size in kept.values()))
        del made
    assert counts == [4, 3]  # with the input itself
