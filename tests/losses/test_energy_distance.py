"""The energy distance: zero in expectation for equal laws, positive otherwise, safe gradients."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.losses import energy_distance


def draw(count: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 4, generator=generator) + shift


def test_unbiased_for_equal_laws_and_positive_for_others() -> None:
    same = torch.stack([energy_distance(draw(12, i), draw(16, 1000 + i)) for i in range(300)])
    error = (same.std() / 300**0.5).item()
    assert abs(same.mean().item()) < 4 * error
    shifted = torch.stack([energy_distance(draw(12, i), draw(16, 1000 + i, shift=1)) for i in range(50)])
    wider = torch.stack([energy_distance(draw(12, i), draw(16, 1000 + i, scale=3)) for i in range(50)])
    assert shifted.mean() > 10 * error
    assert wider.mean() > 10 * error


def test_grows_with_the_shift_and_the_gradient_closes_it() -> None:
    a = draw(16, 0, shift=2.0).requires_grad_()
    b = draw(32, 1)
    assert energy_distance(a, b + 4) > 0
    value = energy_distance(a, b)
    (gradient,) = torch.autograd.grad(value, a)
    assert energy_distance(a - 0.5 * 16 * gradient, b) < value
    assert (gradient.sum(dim=0) > 0).all()


@pytest.mark.parametrize("count", [4, 40])  # above 25 rows torch takes another way to distances
def test_gradient_is_finite_with_equal_rows(count: int) -> None:
    a = draw(count, 0)
    a[1] = a[0]
    a.requires_grad_()
    b = a.detach().clone()
    energy_distance(a, b).backward()
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().max() < 1


@pytest.mark.parametrize("count", [4, 40])
def test_exact_against_the_definition(count: int) -> None:
    """Also far from the origin, where distances by matrix products lose their digits."""
    a, b = draw(count, 0) + 100, draw(count + 1, 1) + 100
    x, y = a.double(), b.double()

    def distances(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return (p[:, None] - q[None]).norm(dim=2)

    within = [distances(s, s).sum() / (len(s) * (len(s) - 1)) for s in (x, y)]
    wanted = 2 * distances(x, y).mean() - sum(within)
    torch.testing.assert_close(energy_distance(a, b).double(), wanted, atol=1e-4, rtol=1e-3)


def test_single_samples() -> None:
    a, b = torch.zeros(1, 3), torch.ones(1, 3)
    assert energy_distance(a, b).item() == pytest.approx(2 * 3**0.5)
