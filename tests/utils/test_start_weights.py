"""A U-Net started from another one's weights: its own shape, or one level less."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet

from monai_semgan.utils import InputError, load_start


def _unet(dims: int, channels: list[int], strides: list, seed: int = 0, res_units: int = 2) -> UNet:
    torch.manual_seed(seed)
    return UNet(dims, 1, 2, channels, strides, num_res_units=res_units, norm="INSTANCE")


def test_weights_of_its_own_shape_are_taken_as_they_are() -> None:
    network, other = _unet(2, [4, 8], [2]), _unet(2, [4, 8], [2], seed=1)
    assert load_start(network, other.state_dict(), "weights") is False
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


@pytest.mark.parametrize(("dims", "first"), [(2, 2), (3, [2, 2, 1])], ids=["slices", "volumes"])
@pytest.mark.parametrize("res_units", [0, 2])
def test_the_smaller_network_becomes_the_inside(dims: int, first: int | list[int], res_units: int) -> None:
    small = _unet(dims, [4, 8, 8], [2, 2], seed=1, res_units=res_units)
    large = _unet(dims, [3, 4, 8, 8], [first, 2, 2], res_units=res_units)
    assert load_start(large, small.state_dict(), "weights") is True
    state, kept = large.state_dict(), 0
    for name, value in small.state_dict().items():
        if "submodule" in name:  # all but the level that touches the new one
            assert torch.equal(state[name.replace("model.", "model.1.submodule.", 1)], value)
            kept += 1
    assert kept >= 6
    first_kernel = "model.0.conv.unit0.conv.weight" if res_units else "model.0.conv.weight"
    inner = state[first_kernel.replace("model.0", "model.1.submodule.0")]
    assert torch.equal(inner[:, :1], small.state_dict()[first_kernel])
    image = torch.randn(1, 1, *[16] * dims)
    assert large(image).shape == (1, 2, *[16] * dims)


def test_the_new_level_hands_the_image_on() -> None:
    """Its first channel follows the blurred, thinned-out image: larger where that is larger."""
    large = _unet(3, [3, 4, 8], [[2, 2, 1], 2])
    load_start(large, _unet(3, [4, 8], [2], seed=1).state_dict(), "weights")
    image = torch.rand(1, 1, 16, 16, 4)
    image[..., 8:, :] += 3
    inside = large.model[0](image)[0, 0]
    assert inside.shape == (8, 8, 4)
    assert inside[:, 5:].min() > inside[:, :3].max()


def test_an_even_image_keeps_its_value() -> None:
    large = _unet(2, [3, 4, 8], [2, 2])
    load_start(large, _unet(2, [4, 8], [2], seed=1).state_dict(), "weights")
    unit = large.model[0]
    blurred = unit.residual(torch.full((1, 1, 16, 16), 0.7))[0, 0]
    torch.testing.assert_close(blurred[1:-1, 1:-1], torch.full((6, 6), 0.7))


@pytest.mark.parametrize(
    "channels", [[4, 8, 16, 16], [4, 16], [8, 8]], ids=["two levels more", "other widths", "other widths outside"]
)
def test_weights_that_fit_neither_way_are_refused(channels: list[int]) -> None:
    large = _unet(2, [2, 4, 8], [2, 2])
    small = _unet(2, channels, [2] * (len(channels) - 1), seed=1)
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with pytest.raises(InputError, match="the weights"):
        load_start(large, small.state_dict(), "the weights")
    for name, value in large.state_dict().items():
        assert torch.equal(value, before[name])
