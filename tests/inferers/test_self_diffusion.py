"""Self-diffusion: a random walk that dies outside objects, and labels from where it has been."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.inferers import SelfDiffusion, diffusion_labels
from monai_semgan.transforms import ORIENTATIONS, orient
from monai_semgan.utils import InputError


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return (
        torch.rand(2, 1, 12, 12, generator=draw),
        torch.rand(2, 3, 12, 12, generator=draw),
        torch.rand(2, 1, 12, 12, generator=draw) * 2 - 1,
    )


@pytest.mark.parametrize("shape", [(2, 1, 9, 7), (1, 1, 5, 6, 4)])
def test_where_a_walker_goes_it_goes_for_certain(shape: tuple[int, ...]) -> None:
    objects, image = torch.rand(shape), torch.rand(shape) * 2 - 1
    offsets, chances = SelfDiffusion(radius=1 if len(shape) == 5 else 2).transitions(objects, image)
    assert len(offsets) == (26 if len(shape) == 5 else 24)
    torch.testing.assert_close(torch.stack(chances).sum(0), torch.ones(shape))
    # nobody comes from outside
    corner = [chance[(0, 0, *[0] * (len(shape) - 2))] for chance, o in zip(chances, offsets, strict=True) if min(o) < 0]
    assert max(corner) == 0


def test_no_step_is_the_gated_activation(parts: tuple[torch.Tensor, ...]) -> None:
    objects, activation = parts[:2]
    assert torch.equal(SelfDiffusion(steps=0)(*parts), objects.sqrt() * activation)


def test_it_is_the_series_written_down(parts: tuple[torch.Tensor, ...]) -> None:
    objects, activation, image = (part[:1, :1] for part in parts)
    diffusion = SelfDiffusion(steps=3, radius=1)
    offsets, chances = diffusion.transitions(objects, image)
    matrix = torch.zeros(144, 144)
    for u in range(144):
        for (dy, dx), chance in zip(offsets, chances, strict=True):
            y, x = u // 12 + dy, u % 12 + dx
            if 0 <= y < 12 and 0 <= x < 12:
                matrix[u, y * 12 + x] = chance.flatten()[u]
    root = objects.flatten().sqrt()
    step = torch.diag(root) @ matrix
    spread = [root * activation.flatten()]
    for _ in range(3):
        spread.append(step @ spread[-1])
    torch.testing.assert_close(diffusion(objects, activation, image).flatten(), torch.stack(spread).mean(0))


def test_nothing_spreads_outside_objects_or_over_an_edge() -> None:
    image = torch.full((1, 1, 16, 16), -0.5)
    image[..., 8:] = 0.5
    seed = torch.zeros(1, 1, 16, 16)
    seed[0, 0, 8, 3] = 1
    everywhere = torch.ones_like(image)
    spread = SelfDiffusion(steps=64)(everywhere, seed, image)
    assert (spread[..., :7] > 0).all()
    assert spread[..., 9:].sum() < 1e-6 * spread.sum()
    objects = everywhere.clone()
    objects[..., 5, :] = objects[..., 6, :] = 0  # a gap as wide as the neighbourhood
    spread = SelfDiffusion(steps=64)(objects, seed, image * 0)
    assert (spread[..., :7, :] == 0).all()


def test_it_does_not_know_which_way_is_up(parts: tuple[torch.Tensor, ...]) -> None:
    plain = SelfDiffusion(steps=5)(*parts)
    for number in range(ORIENTATIONS):
        turned = SelfDiffusion(steps=5)(*(orient(part, number) for part in parts))
        torch.testing.assert_close(turned, orient(plain, number))


def test_organs_do_not_touch_each_other(parts: tuple[torch.Tensor, ...]) -> None:
    objects, activation, image = parts
    absent = activation.clone()
    absent[:, 1] = 0
    together = SelfDiffusion(steps=4)(objects, absent, image)
    assert (together[:, 1] == 0).all()
    torch.testing.assert_close(together[:, :1], SelfDiffusion(steps=4)(objects, activation[:, :1], image))


def test_no_gradient_and_the_same_again(parts: tuple[torch.Tensor, ...]) -> None:
    first = SelfDiffusion(steps=4)(parts[0].requires_grad_(), *parts[1:])
    assert not first.requires_grad
    assert torch.equal(first, SelfDiffusion(steps=4)(*parts))


@pytest.mark.parametrize("options", [{"steps": -1}, {"radius": 0}, {"sigma_image": 0}, {"sigma_object": -1.0}])
def test_numbers_out_of_range(options: dict) -> None:
    with pytest.raises(InputError, match="self-diffusion"):
        SelfDiffusion(**options)


# ---- labels ---------------------------------------------------------------------------------------------------
def test_labels_by_most_evidence() -> None:
    evidence = torch.zeros(1, 2, 1, 6)
    evidence[0, 0, 0] = torch.tensor([1.0, 0.5, 0.05, 0.9, 0.9, 0.0])
    evidence[0, 1, 0] = torch.tensor([0.2, 0.8, 0.01, 0.0, 0.0, 0.0])
    objects = torch.tensor([0.9, 0.9, 0.9, 0.05, 0.08, 0.9]).reshape(1, 1, 1, 6)
    label = diffusion_labels(evidence, objects, [3, 5], 0.1, 0.1)
    assert label.dtype == torch.uint8
    # most evidence; most evidence; too faint on a clear object; no object; nearly one; an object of no organ
    assert label.flatten().tolist() == [3, 5, 255, 0, 255, 255]


def test_an_untagged_organ_is_never_named(parts: tuple[torch.Tensor, ...]) -> None:
    objects, activation, image = parts
    activation[:, 2] = 0
    label = diffusion_labels(SelfDiffusion(steps=4)(objects, activation, image), objects, [1, 2, 3])
    assert not (label == 3).any()
    nothing = diffusion_labels(torch.zeros(2, 3, 12, 12), objects, [1, 2, 3])
    assert set(torch.unique(nothing).tolist()) <= {0, 255}


def test_one_organ_everywhere_is_one_region() -> None:
    objects, image = torch.ones(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    seed = torch.zeros(1, 1, 10, 10)
    seed[..., 4:6, 4:6] = 1
    label = diffusion_labels(SelfDiffusion(steps=400)(objects, seed, image), objects, [1])
    assert (label == 1).all()
