"""The discriminator of AdvSemiSeg: the paper's layers, a logit for every pixel, and clear refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_semgan.networks.nets import ConfidenceDiscriminator
from monai_semgan.utils import InputError


def test_it_is_the_papers_with_its_defaults() -> None:
    with torch.device("meta"):
        critic = ConfidenceDiscriminator(in_channels=21)
        logits = critic.layers(torch.zeros(1, 21, 321, 321))
        assert critic(torch.zeros(1, 21, 321, 321)).shape == (1, 1, 321, 321)
    assert logits.shape == (1, 1, 10, 10)
    assert sum(p.numel() for p in critic.parameters()) == pytest.approx(2.78e6, rel=0.002)
    kinds = [type(m) for m in critic.modules()]
    assert kinds.count(nn.Conv2d) == 5
    assert kinds.count(nn.LeakyReLU) == 4
    assert not any("Norm" in kind.__name__ or "Dropout" in kind.__name__ for kind in kinds)
    convolutions = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert {(m.kernel_size, m.stride, m.padding, m.bias is None) for m in convolutions} == {
        ((4, 4), (2, 2), (1, 1), False)
    }
    assert {m.negative_slope for m in critic.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("channels", "field"), [((4, 4, 4, 4), 94), ((4, 4, 4), 46)])
def test_how_far_a_logit_sees(channels: tuple[int, ...], field: int) -> None:
    torch.manual_seed(0)
    critic = ConfidenceDiscriminator(in_channels=2, channels=channels)
    maps = torch.rand(1, 2, 192, 192, requires_grad=True)
    logits = critic.layers(maps)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    rows = maps.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == field


@pytest.mark.parametrize("size", [(32, 32), (33, 40), (16, 32, 16)])
def test_logits_have_the_size_of_the_input(size: tuple[int, ...]) -> None:
    critic = ConfidenceDiscriminator(len(size), 3, (4, 4, 4))
    assert critic(torch.rand(2, 3, *size)).shape == (2, 1, *size)


def test_each_item_is_judged_alone() -> None:
    critic = ConfidenceDiscriminator(2, 2, (4, 4))
    maps = torch.rand(3, 2, 16, 16)
    torch.testing.assert_close(critic(maps)[1:2], critic(maps[1:2]))


def test_an_image_is_looked_at_when_agreed() -> None:
    torch.manual_seed(0)
    critic = ConfidenceDiscriminator(2, 2, (4, 4), image_channels=1)
    maps, image = torch.rand(1, 2, 16, 16), torch.rand(1, 1, 16, 16)
    assert not torch.allclose(critic(maps, image), critic(maps, -image))
    with pytest.raises(InputError, match="got no image; wanted what it was built for: image_channels is 1"):
        critic(maps)
    with pytest.raises(InputError, match="got an image"):
        ConfidenceDiscriminator(2, 2, (4, 4))(maps, image)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"spatial_dims": 1}, "spatial_dims: got 1; wanted 2 or 3"), ({"channels": ()}, "widths of one layer")],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ConfidenceDiscriminator(**options)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 2, 64, 16)])
def test_other_classes_and_small_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="wanted 2 channels and 32 pixels or more"):
        ConfidenceDiscriminator(2, 2, (4, 4, 4, 4))(torch.rand(shape))
