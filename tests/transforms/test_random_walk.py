"""The random walker with a prior: its equation, its invariances, and what it is there for."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_semgan.transforms import RandomWalkRefine, RandomWalkRefined, random_walk
from monai_semgan.utils import InputError


def noisy(shape: tuple[int, ...], classes: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities with a sure organ in the first half of the first axis, and an image of noise."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, *shape, generator=draw)
    logits[1, : shape[0] // 2] += 5.0
    return logits.softmax(dim=0), 0.3 * torch.randn(1, *shape, generator=draw)


def dense(prior: torch.Tensor, image: torch.Tensor, spacing: tuple[float, ...], reach: float, s: float) -> torch.Tensor:
    """The minimum by a dense solve in double precision, voxel pair by voxel pair."""
    prior, image = prior.double(), image.double()
    shape, sure = image.shape[1:], prior[1:].amax(dim=0) > 0.8
    index = torch.arange(sure.numel()).reshape(shape)
    pairs = [(index.narrow(a, 0, n - 1).flatten(), index.narrow(a, 1, n - 1).flatten()) for a, n in enumerate(shape)]
    flat = image.flatten(1)
    inside = list(pairs[:2])
    steps = torch.cat([(flat[:, i] - flat[:, j]).abs()[:, sure.flatten()[i] & sure.flatten()[j]] for i, j in inside], 1)
    noise = 1.4826 * steps.flatten().sort().values[(steps.numel() - 1) // 2]
    top = prior.sort(dim=0, descending=True).values
    matrix = torch.diag((top[0] - top[1]).flatten())
    weight = matrix.diagonal().clone()
    for (i, j), h in zip(pairs, spacing, strict=True):
        link = (reach / h) ** 2 * torch.exp(-s / 2 * (((flat[:, i] - flat[:, j]) / noise) ** 2).sum(0))
        matrix.index_put_((i, i), link, accumulate=True)
        matrix.index_put_((j, j), link, accumulate=True)
        matrix.index_put_((i, j), -link, accumulate=True)
        matrix.index_put_((j, i), -link, accumulate=True)
    return torch.linalg.solve(matrix, (weight * prior.flatten(1)).T).T.reshape(prior.shape)


@pytest.mark.parametrize(("shape", "spacing"), [((9, 8), (2.0, 3.0)), ((8, 7, 5), (2.0, 2.5, 7.0))])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_minimum(shape, spacing, classes):
    prior, image = noisy(shape, classes)
    made = random_walk(prior, image, spacing, reach_mm=4.0, edge_sensitivity=1.0, iterations=500)
    want = dense(prior, image, spacing, 4.0, 1.0)
    assert (made - want).abs().max() < 2e-3
    assert (want - prior).abs().max() > 0.1  # it has something to do


def test_probabilities_stay_probabilities():
    prior, image = noisy((16, 16, 6), classes=3)
    made = random_walk(prior, image, (2.0, 2.0, 6.0))
    assert torch.allclose(made.sum(dim=0), torch.ones(16, 16, 6), atol=1e-5)
    for before, after in zip(prior, made, strict=True):
        assert before.min() - 1e-4 <= after.min()
        assert after.max() <= before.max() + 1e-4


@pytest.mark.parametrize("change", [lambda x: 0.2 * x + 0.5, lambda x: -x])
def test_brightness_and_contrast_do_not_matter(change):
    prior, image = noisy((12, 12, 5))
    made, other = (random_walk(prior, x, (2.0, 2.0, 6.0)) for x in (image, change(image)))
    assert torch.allclose(made, other, atol=1e-4)


def test_organs_are_treated_alike():
    prior, image = noisy((12, 12, 5), classes=3)
    swapped = random_walk(prior[[0, 2, 1]], image, (2.0, 2.0, 6.0), iterations=300)
    assert torch.allclose(swapped[[0, 2, 1]], random_walk(prior, image, (2.0, 2.0, 6.0), iterations=300), atol=1e-3)


def test_millimetres_count_not_voxels():
    prior, image = noisy((12, 12, 5))
    made = random_walk(prior, image, (2.0, 2.0, 6.0), reach_mm=10.0)
    assert torch.allclose(made, random_walk(prior, image, (4.0, 4.0, 12.0), reach_mm=20.0), atol=1e-5)
    assert not torch.allclose(made, random_walk(prior, image, (2.0, 2.0, 2.0), reach_mm=10.0), atol=1e-2)


def test_an_unsure_part_of_an_organ_is_filled_up_to_its_edge():
    """A disc that the network knows in its middle, half knows at its rim, and overruns at one side."""
    y, x = torch.meshgrid(torch.arange(48) - 24.0, torch.arange(48) - 24.0, indexing="ij")
    disc = (y.square() + x.square()).sqrt() < 14
    draw = torch.Generator().manual_seed(0)
    image = torch.where(disc, 0.1, -0.3) + 0.04 * torch.randn(48, 48, generator=draw)
    organ = torch.where((y.square() + x.square()).sqrt() < 8, 0.97, 0.02)
    organ[disc & (organ < 0.5)] = 0.4  # the rim is missed
    organ[(x > 10) & (x < 20) & (y.abs() < 6)] = 0.6  # beyond the edge
    prior = torch.stack([1 - organ, organ])

    def dice(mask: torch.Tensor) -> float:
        return float(2 * (mask & disc).sum() / (mask.sum() + disc.sum()))

    before = dice(organ > 0.5)
    after = dice(random_walk(prior, image[None], (2.75, 2.75))[1] > 0.5)
    assert before < 0.75
    assert after > 0.97


def test_without_a_sure_voxel_nothing_is_changed():
    prior = torch.full((2, 12, 12, 4), 0.5)
    assert torch.equal(random_walk(prior, torch.rand(1, 12, 12, 4), (2.0, 2.0, 6.0)), prior)


def test_an_image_without_noise_is_no_division_by_zero():
    prior, _ = noisy((12, 12, 4))
    made = random_walk(prior, torch.zeros(1, 12, 12, 4), (2.0, 2.0, 6.0))
    assert made.isfinite().all()


def test_the_transform_reads_the_spacing_and_keeps_meta_data():
    prior, image = noisy((12, 12, 5))
    scan = MetaTensor(image, affine=torch.diag(torch.tensor([2.0, -3.0, 7.0, 1.0])))
    data = {"image": scan, "pred": MetaTensor(prior, meta={"name": "kept"})}
    made = RandomWalkRefined("pred", reach_mm=15.0)(data)
    assert torch.equal(made["pred"].as_tensor(), random_walk(prior, image, (2.0, 3.0, 7.0), 15.0))
    assert made["pred"].meta["name"] == "kept"
    assert data["pred"].allclose(prior)


def test_reach_0_hands_on_what_comes():
    prior, image = noisy((6, 6, 4))
    assert RandomWalkRefine(reach_mm=0.0)(prior, image) is prior


@pytest.mark.parametrize("option", [{"reach_mm": -1.0}, {"edge_sensitivity": 0.0}, {"iterations": 0}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InputError, match=next(iter(option))):
        RandomWalkRefine(**option)


def test_what_does_not_fit_is_refused():
    prior, image = noisy((6, 6, 4))
    with pytest.raises(InputError, match="spacing is not known"):
        RandomWalkRefine()(prior, image)
    with pytest.raises(InputError, match="one grid"):
        random_walk(prior, image[..., :2], (2.0, 2.0, 6.0))
    with pytest.raises(InputError, match="two or more classes"):
        random_walk(prior[:1], image, (2.0, 2.0, 6.0))
