"""Views change grey values alone: same place, same range, air stays, one curve for all slices of a volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_semgan.transforms import GREY_VIEWS
from monai_semgan.transforms.grey_views import _CT_QUANTILES, _LEVELS

every_view = pytest.mark.parametrize("name", list(GREY_VIEWS))
CURVES = ("identity", "gamma_down", "gamma_up", "stretch", "histogram")


def volume(seed: int = 0, batch: int = 1, depth: int = 4) -> torch.Tensor:
    """Bodies of smooth tissue in air ``(B, 1, 24, 20, depth)``, each of a contrast of its own."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.full((batch, 1, 24, 20, depth), -1.0)
    for item in image:
        low, span = 0.2 * torch.rand(2, generator=draw) - 0.5 + torch.tensor([0.0, 1.0])
        item[:, 3:21, 3:17] = low + span * torch.rand(1, 18, 14, depth, generator=draw)
    return image.clamp(-1, 1)


@every_view
class TestEveryView:
    def test_shape_type_range_and_the_image_itself(self, name: str) -> None:
        for image in (volume(batch=2), volume()[..., 0], volume().double()):
            before = image.clone()
            seen = GREY_VIEWS[name](image)
            assert (seen.shape, seen.dtype) == (image.shape, image.dtype)
            assert seen.min() >= -1
            assert seen.max() <= 1
            assert torch.equal(image, before)
            assert torch.equal(seen, GREY_VIEWS[name](image))  # nothing is drawn at random

    def test_air_stays_air_and_the_body_changes(self, name: str) -> None:
        image = volume()
        seen = GREY_VIEWS[name](image)
        air = ndimage.binary_erosion((image == -1).numpy()[0, 0], np.ones((3, 3, 1)), border_value=1)
        assert bool((seen[0, 0][torch.from_numpy(air)] == -1).all())
        assert torch.equal(seen, image) is (name == "identity")

    def test_items_of_a_batch_do_not_know_each_other(self, name: str) -> None:
        image = torch.cat([volume(1), volume(2)])
        alone = torch.cat([GREY_VIEWS[name](item[None]) for item in image])
        torch.testing.assert_close(GREY_VIEWS[name](image), alone)

    def test_mirrored_in_the_plane(self, name: str) -> None:
        image, view = volume(), GREY_VIEWS[name]
        torch.testing.assert_close(view(image.flip(2, 3)), view(image).flip(2, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(view(image.transpose(2, 3)), view(image).transpose(2, 3), atol=1e-5, rtol=0)

    def test_odd_images(self, name: str) -> None:
        for image in (torch.full((1, 1, 6, 6, 2), -1.0), torch.full((1, 1, 6, 6), 0.3), volume()[:, :, :, :1]):
            assert torch.isfinite(GREY_VIEWS[name](image)).all()


@pytest.mark.parametrize("name", CURVES)
def test_curves_keep_the_order_of_grey_values(name: str) -> None:
    image = volume(depth=3)
    seen = GREY_VIEWS[name](image).flatten()[image.flatten().argsort()]
    assert (seen.diff() >= -1e-6).all()


@pytest.mark.parametrize("name", ["median", "smooth"])
def test_filters_work_slice_by_slice(name: str) -> None:
    image = volume()
    alone = torch.stack([GREY_VIEWS[name](image[..., k]) for k in range(image.shape[-1])], dim=-1)
    assert torch.equal(GREY_VIEWS[name](image), alone)


def test_the_median_is_the_median() -> None:
    image = volume(batch=2)
    want = ndimage.median_filter(image.numpy(), size=(1, 1, 3, 3, 1), mode="nearest")
    assert np.array_equal(GREY_VIEWS["median"](image).numpy(), want)


def test_smoothing_takes_specks_and_leaves_edges() -> None:
    image = torch.full((1, 1, 16, 16), -0.5)
    image[..., 8:] = 0.5
    want = image.clone()
    image[..., 4, 4], image[..., 12, 12] = 1.0, -1.0
    assert torch.equal(GREY_VIEWS["smooth"](image), want)


def test_smoothing_copes_with_values_that_differ_in_the_last_bit() -> None:
    """Interpolated air is full of them."""
    image = -1.0 + torch.randint(0, 4, (1, 1, 40, 40, 6), generator=torch.Generator().manual_seed(0)) * 2.0**-24
    assert torch.equal(GREY_VIEWS["smooth"](image), torch.full_like(image, -1.0))


def test_gamma_goes_both_ways_and_holds_the_ends() -> None:
    image = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    down, up = GREY_VIEWS["gamma_down"](image).flatten(), GREY_VIEWS["gamma_up"](image).flatten()
    assert up[1] < 0 < down[1]
    assert down[[0, 2]].tolist() == up[[0, 2]].tolist() == [-1.0, 1.0]


def test_stretching_uses_the_whole_range() -> None:
    image = volume()
    image[image > -1] *= 0.2
    body = GREY_VIEWS["stretch"](image)[image > -1]
    assert torch.quantile(body, torch.tensor([0.03, 0.97])).tolist() == pytest.approx([-1, 1], abs=0.1)


def test_the_histogram_becomes_that_of_ct_whatever_it_was() -> None:
    for seed, power in ((0, 1.0), (1, 0.4), (2, 3.0)):
        unit = ((volume(seed, depth=12) + 1) / 2) ** power
        image = torch.where(unit > 0, 0.1 + 0.8 * unit, unit) * 2 - 1
        body = (GREY_VIEWS["histogram"](image)[image > -1] + 1) / 2
        got = torch.quantile(body, torch.tensor(_LEVELS))
        torch.testing.assert_close(got, torch.tensor(_CT_QUANTILES), atol=0.02, rtol=0)


def test_stored_quantiles_rise() -> None:
    assert len(_LEVELS) == len(_CT_QUANTILES)
    assert list(_CT_QUANTILES) == sorted(_CT_QUANTILES)
    assert list(_LEVELS) == sorted(_LEVELS)
