"""The mean over views, and what the views say about the answer."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.inferers import SimpleInferer

from monai_semgan.inferers import AppearanceEnsembleInferer, LatentInversionInferer, VolumeStackInferer
from monai_semgan.transforms import GREY_VIEWS
from monai_semgan.utils import InputError
from tests.tiny import SIZE, make_segmenter


class Bright(torch.nn.Module):
    """Logits of ``classes``: the brighter, the higher the class."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([3.0 * k * (image - 0.2 * k) for k in range(self.classes)], dim=1)


class Reporting(SimpleInferer):
    """Reports the slices' mean grey values as reconstruction errors."""

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        slices = inputs[:, 0] if inputs.ndim == 4 else inputs[:, 0].movedim(-1, 1).flatten(0, 1)
        self.report = {"reconstruction_error": slices.mean(dim=(1, 2)).tolist(), "steps": 7}
        return super().__call__(inputs, network, *args, **kwargs)


VIEWS = {"same": lambda x: x, "dark": lambda x: x - 0.3, "bright": lambda x: (x + 0.4).clamp(-1, 1)}


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 1, 9, 8, 5) * 2 - 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("depth", [None, 5])
def test_the_softmax_is_the_mean_probability(image, classes: int, depth: int | None) -> None:
    image, network = image if depth else image[..., 0], Bright(classes)
    made = AppearanceEnsembleInferer(SimpleInferer(), VIEWS)(image, network)
    want = torch.stack([network(view(image)).softmax(dim=1) for view in VIEWS.values()]).mean(dim=0)
    assert made.shape == (2, classes, *image.shape[2:])
    torch.testing.assert_close(made.softmax(dim=1), want)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("depth", [None, 5])
def test_the_report_is_what_it_says(image, classes: int, depth: int | None) -> None:
    image, network = image if depth else image[..., 0], Bright(classes)
    inferer = AppearanceEnsembleInferer(SimpleInferer(), VIEWS)
    mean = inferer(image, network).softmax(dim=1).double()
    labels = [network(view(image)).argmax(dim=1) for view in VIEWS.values()]
    assert inferer.report["views"] == list(VIEWS)
    for b in range(2):
        for k in range(1, classes):
            p, h = mean[b, k], mean[b].argmax(dim=0) == k
            assert inferer.report["predicted_dice"][b][k - 1] == pytest.approx(
                float(2 * p[h].sum() / (p.sum() + h.sum())), rel=1e-5
            )
            dice = [float(2 * ((x[b] == k) & (y[b] == k)).sum() / ((x[b] == k).sum() + (y[b] == k).sum()))
                    for x, y in combinations(labels, 2)]  # fmt: skip
            assert inferer.report["agreement"][b][k - 1] == pytest.approx(sum(dice) / 3, rel=1e-6)
    assert [len(organs) for organs in inferer.report["predicted_dice"]] == [classes - 1] * 2


def test_predicted_dice_is_the_dice_of_a_calibrated_network() -> None:
    """Masks drawn from the probabilities have that Dice on average."""
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 40, 40, 8) * 2
    inferer = AppearanceEnsembleInferer(lambda image, network: logits, ["identity"])
    inferer(torch.zeros(1, 1, 40, 40, 8), torch.nn.Identity())
    p = logits.softmax(dim=1)[0, 1]
    h, true = p > 0.5, torch.rand(20, *p.shape) < p
    dice = 2 * (true & h).sum(dim=(1, 2, 3)) / (true.sum(dim=(1, 2, 3)) + h.sum())
    assert inferer.report["predicted_dice"][0][0] == pytest.approx(dice.mean().item(), abs=0.005)


@pytest.mark.parametrize(
    ("level", "predicted"),
    [(9.0, 1.0), (-1e9, 1.0), (-2.0, 0.0)],
    ids=["certain and full", "certainly empty", "empty, but not certain"],
)
def test_full_and_empty_masks(level: float, predicted: float) -> None:
    logits = torch.tensor([0.0, level]).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 4, 3)
    inferer = AppearanceEnsembleInferer(lambda image, network: logits, ["identity", "median"])
    made = inferer(torch.zeros(1, 1, 4, 4, 3), torch.nn.Identity())
    assert torch.isfinite(made).all()
    assert inferer.report["predicted_dice"][0][0] == pytest.approx(predicted, abs=1e-4)
    assert inferer.report["agreement"] == [[1.0]]


def test_views_that_find_nothing_in_common() -> None:
    step = torch.arange(8).expand(1, 1, 8, 8) / 8.0
    views = {"left": lambda x: x, "right": lambda x: x.flip(-1)}
    inferer = AppearanceEnsembleInferer(lambda x, n: torch.cat([x * 0, 40 * (x - 0.55)], dim=1), views)
    inferer(step, torch.nn.Identity())
    assert inferer.report["agreement"] == [[0.0]]
    assert inferer.report["predicted_dice"][0][0] < 0.7


def test_the_inner_report_is_that_of_the_first_view(image) -> None:
    inferer = AppearanceEnsembleInferer(Reporting(), VIEWS)
    inferer(image, Bright())
    want = image[:, 0].mean(dim=(1, 2)).flatten()
    assert inferer.report["reconstruction_error"] == pytest.approx(want.tolist(), abs=1e-5)
    assert inferer.report["steps"] == 7


@pytest.mark.parametrize("depth", [None, 5])
def test_out_of_distribution_looks_at_the_organs_slices(image, depth: int | None) -> None:
    image = image if depth else image[..., 0]
    inferer = AppearanceEnsembleInferer(Reporting(), VIEWS)
    mask = inferer(image, Bright()).argmax(dim=1)
    area = mask.sum(dim=(1, 2)).reshape(2, -1).double()
    error = image[:, 0].double().mean(dim=(1, 2)).reshape(2, -1)
    want = (area * error).sum(dim=1) / area.sum(dim=1)
    assert inferer.report["out_of_distribution"] == pytest.approx(want.tolist(), rel=1e-5)
    empty = AppearanceEnsembleInferer(Reporting(), VIEWS)
    empty(image, lambda x: torch.cat([x * 0 + 5, x * 0], dim=1))
    assert empty.report["out_of_distribution"] == pytest.approx(error.mean(dim=1).tolist(), rel=1e-5)


def test_without_reconstruction_errors_or_a_second_view_nothing_is_made_up(image) -> None:
    inferer = AppearanceEnsembleInferer(SimpleInferer(), ["identity"])
    inferer(image, Bright())
    assert set(inferer.report) == {"views", "predicted_dice"}


def test_around_latent_inversion(image) -> None:
    torch.manual_seed(0)
    volume = torch.rand(1, 1, SIZE, SIZE, 3) * 2 - 1
    inner = LatentInversionInferer(steps=1)
    inferer = AppearanceEnsembleInferer(inner, ["identity", "gamma_up"])
    network = make_segmenter()
    made = inferer(volume, network)
    assert made.shape == (1, 2, SIZE, SIZE, 3)
    assert not made.requires_grad
    assert len(inferer.report["reconstruction_error"]) == 3
    inner(volume, network)
    assert inferer.report["reconstruction_error"] == inner.report["reconstruction_error"]
    assert 0 <= inferer.report["out_of_distribution"][0] <= 1


def test_meta_data_reach_the_inner_inferer_and_come_back(image) -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(image, affine=affine, meta={"name": "a"})
    seen: list[torch.Tensor] = []
    inferer = AppearanceEnsembleInferer(lambda x, n: (seen.append(x), n(x))[1], ["identity", "smooth"])
    made = inferer(volume, Bright())
    assert [x.meta["name"] for x in seen] == ["a", "a"]
    assert torch.equal(seen[0].as_tensor(), image)
    assert isinstance(made, MetaTensor)
    assert made.meta["name"] == "a"
    torch.testing.assert_close(made.affine, affine)
    assert torch.equal(volume.as_tensor(), image)
    assert type(inferer(image, Bright())) is torch.Tensor


def test_an_inner_inferer_that_needs_the_affine_gets_it() -> None:
    """As an evaluator hands the scan over: collated, with a batch of affines."""
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    item = {"image": MetaTensor(torch.rand(1, 8, 8, 6), affine=affine)}
    batch = next(iter(DataLoader([item], batch_size=1)))["image"]
    inner = VolumeStackInferer(spacing_mm=10.0, depth=3)
    inferer = AppearanceEnsembleInferer(inner, ["gamma_up"])
    assert inferer.needs_affine
    assert not AppearanceEnsembleInferer(SimpleInferer(), ["gamma_up"]).needs_affine
    want = inner(GREY_VIEWS["gamma_up"](batch), Bright()).as_tensor()
    torch.testing.assert_close(inferer(batch, Bright()).as_tensor().softmax(1), want.softmax(1))
    assert torch.equal(torch.as_tensor(inferer(batch, Bright()).affine), torch.as_tensor(batch.affine))


def test_it_is_deterministic_and_reports_anew(image) -> None:
    inferer = AppearanceEnsembleInferer(SimpleInferer())
    state = torch.get_rng_state()
    first, report = inferer(image, Bright()), inferer.report
    assert inferer.report["views"] == list(GREY_VIEWS)
    assert torch.equal(inferer(image, Bright()), first)
    assert inferer.report == report
    assert inferer.report is not report  # an earlier scan's report stays as it was
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_inside_is_averaged_in_single(image) -> None:
    made = AppearanceEnsembleInferer(lambda x, n: n(x).bfloat16(), VIEWS)(image, Bright())
    assert made.dtype == torch.float32
    want = AppearanceEnsembleInferer(SimpleInferer(), VIEWS)(image, Bright())
    torch.testing.assert_close(made.softmax(1), want.softmax(1), atol=0.01, rtol=0)


def test_wrong_views_and_networks_are_named(image) -> None:
    with pytest.raises(InputError, match=r"unknown view 'medain'.*did you mean 'median'"):
        AppearanceEnsembleInferer(SimpleInferer(), ["identity", "medain"])
    with pytest.raises(InputError, match="every view once"):
        AppearanceEnsembleInferer(SimpleInferer(), ["median", "median"])
    with pytest.raises(InputError, match="no view"):
        AppearanceEnsembleInferer(SimpleInferer(), [])
    with pytest.raises(ValueError, match="a channel for each class"):
        AppearanceEnsembleInferer(SimpleInferer(), ["identity"])(image, torch.nn.Identity())
    assert list(AppearanceEnsembleInferer(SimpleInferer(), "median").views) == ["median"]
    assert not math.isnan(AppearanceEnsembleInferer(SimpleInferer(), "median")(image, Bright()).sum().item())


def test_a_zoomed_view_speaks_where_it_looks_and_the_first_one_elsewhere():
    """An inferer that tells zoomed views (brighter on the whole) from the scan: they say organ, the scan does not."""
    image = torch.full((1, 1, 20, 20, 3), -1.0)
    image[:, :, 5:15, 5:15] = 1.0

    def inner(view, network):
        organ = 10.0 if view.mean() > image.mean() else -10.0
        return torch.cat([torch.zeros_like(view), torch.full_like(view, organ)], dim=1)

    made = AppearanceEnsembleInferer(inner, ["identity", "zoom_1.25"])(image, torch.nn.Identity()).exp()[0, 1]
    assert torch.allclose(made[2:18, 2:18], torch.tensor(0.5), atol=1e-3)
    made[2:18, 2:18] = 0.0
    assert made.max() < 1e-3


def test_the_first_view_shows_the_whole_scan():
    with pytest.raises(InputError, match="first view"):
        AppearanceEnsembleInferer(SimpleInferer(), ["zoom_1.2", "identity"])
    with pytest.raises(InputError, match="1 or more"):
        AppearanceEnsembleInferer(SimpleInferer(), ["identity", "zoom_0.5"])
    with pytest.raises(InputError, match=r"zoom_1\.2"):
        AppearanceEnsembleInferer(SimpleInferer(), ["identity", "zom_1.2"])


@pytest.mark.parametrize("batched", [False, True])
def test_a_view_tells_another_distance_of_slices(batched):
    affine = torch.diag(torch.tensor([2.0, 2.0, 9.0, 1.0], dtype=torch.float64))
    scan = MetaTensor(torch.rand(1, 1, 8, 8, 5), affine=affine[None] if batched else affine)
    told = []

    def inner(view, network):
        told.append(float(view.affine.reshape(4, 4)[:3, 2].norm()))
        return torch.cat([torch.zeros_like(view), view], dim=1)

    views = ["identity", "zoom_1.2_depth_0.8", "zoom_1.2"]
    made = AppearanceEnsembleInferer(inner, views)(scan, torch.nn.Identity())
    assert told == pytest.approx([9.0, 7.2, 9.0])
    assert torch.equal(made.affine, scan.affine)
    assert torch.equal(scan.affine.reshape(4, 4), affine)


def test_tensors_without_a_place_take_views_of_depth_as_they_are():
    image = torch.rand(1, 1, 8, 8)
    inferer = AppearanceEnsembleInferer(
        lambda view, network: torch.cat([0 * view, view], 1), ["identity", "zoom_1_depth_0.5"]
    )
    assert torch.allclose(inferer(image, torch.nn.Identity()).softmax(1), torch.cat([0 * image, image], 1).softmax(1))
