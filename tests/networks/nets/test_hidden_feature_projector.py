"""The fused projection is the naive one, and belongs to one generator's sizes."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.nets import HiddenFeatureProjector, style_channels
from monai_semgan.utils import InputError
from tests.tiny import SIZE, make_generator


def make(dim: int = 5, **options) -> tuple[HiddenFeatureProjector, list[torch.Tensor]]:
    """A projector with statistics that matter, and the hidden maps of three images."""
    torch.manual_seed(0)
    generator = make_generator(label_channels=0, **options)
    maps = generator.hidden_features(generator.sample_latents(3), "fixed")[1]
    projector = HiddenFeatureProjector(generator.feature_channels, generator.feature_resolutions, dim)
    projector.mean.normal_()
    projector.std.uniform_(0.1, 3.0)
    return projector, [m.detach() for m in maps]


@pytest.mark.parametrize("size", [8, 32, 64])
def test_fused_is_naive(size: int) -> None:
    projector, maps = make(image_size=size, channel_base=4 * size)
    fused, naive = projector(maps), projector.naive(maps)
    assert fused.shape == (3, 5, size, size)
    torch.testing.assert_close(fused, naive, rtol=1e-5, atol=1e-5)


def test_pixels_are_those_of_the_whole_map() -> None:
    projector, maps = make()
    pixels = torch.tensor([[0, 17, 255], [5, 5, 100], [200, 31, 64]])
    whole = projector(maps).flatten(2)
    wanted = torch.stack([whole[b][:, pixels[b]].t() for b in range(3)])
    torch.testing.assert_close(projector.gather(maps, pixels), wanted, rtol=1e-5, atol=1e-5)
    beyond = projector.gather(maps, torch.full((3, 2), -1))
    torch.testing.assert_close(beyond, projector.folded()[1].expand(3, 2, -1))


def test_statistics_standardise_every_channel() -> None:
    projector, maps = make()
    maps[0][:, 0] = 7.0  # a channel that never changes is not blown up
    projector.fit_statistics([[m[:2] for m in maps], [m[2:] for m in maps]])
    stack = (projector.stack(maps) - projector.mean[:, None, None]) / projector.std[:, None, None]
    # statistics are of the maps as they are; a stack repeats pixels, all equally often
    torch.testing.assert_close(stack.mean(dim=(0, 2, 3)), torch.zeros(stack.shape[1]), atol=1e-4, rtol=0)
    spread = stack.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(spread[1:], torch.ones(len(spread) - 1), atol=1e-3, rtol=0)
    assert float(spread[0]) < 1e-3
    with pytest.raises(ValueError, match="no image"):
        projector.fit_statistics([])


@pytest.mark.parametrize(("size", "count"), [(32, 7), (64, 9), (256, 13)])
def test_hidden_maps_of_every_convolution(size: int, count: int) -> None:
    generator = make_generator(image_size=size, channel_base=2 * size, channel_max=4)
    assert len(generator.feature_channels) == len(generator.feature_resolutions) == count
    assert generator.feature_resolutions[:3] == [4, 8, 8]
    if size == 256:  # the paper's widths
        channels = style_channels(size, 32768, 512)
        assert sum(channels[r] for r in generator.feature_resolutions) == 5376


def test_maps_are_those_after_each_convolution() -> None:
    generator = make_generator()
    latents = generator.sample_latents(2)
    image, maps = generator.hidden_features(latents, "fixed")
    again, _, per_resolution = generator.synthesise(latents, "fixed")
    assert torch.equal(image, again)
    shapes = zip(generator.feature_channels, generator.feature_resolutions, strict=True)
    assert [tuple(m.shape[1:]) for m in maps] == [(c, r, r) for c, r in shapes]
    assert all(torch.equal(a, b) for a, b in zip(maps[::2], per_resolution, strict=True))


def test_maps_of_another_generator_are_refused() -> None:
    projector, _ = make()
    other = make_generator(image_size=32)
    maps = other.hidden_features(other.sample_latents(1), "fixed")[1]
    with pytest.raises(InputError, match=r"different sizes.*train a projector for this one"):
        projector(maps)
    with pytest.raises(InputError, match="as many channels as resolutions"):
        HiddenFeatureProjector([8, 8], [4], 2)
    assert projector.size == SIZE
