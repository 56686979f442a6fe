"""Distance in a critic's feature space."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.losses import feature_distance


def maps(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, c, s, s, generator=generator) for c, s in ((4, 8), (6, 4))]


def test_zero_for_equal_features_and_for_their_scale() -> None:
    a = maps(0)
    assert feature_distance(a, a).item() == 0.0
    assert feature_distance(a, [5 * x for x in a]).item() == pytest.approx(0.0, abs=1e-6)


def test_bounded_by_four_a_layer_and_symmetric() -> None:
    a, b = maps(0), maps(1)
    assert 0 < feature_distance(a, b).item() < 8
    assert feature_distance(a, [-x for x in a]).item() == pytest.approx(8.0, abs=1e-4)
    torch.testing.assert_close(feature_distance(a, b), feature_distance(b, a))


def test_one_value_a_sample() -> None:
    a, b = maps(0), maps(1)
    values = feature_distance(a, b, "none")
    assert values.shape == (3,)
    torch.testing.assert_close(values.mean(), feature_distance(a, b))
    alone = feature_distance([x[1:2] for x in a], [x[1:2] for x in b])
    torch.testing.assert_close(values[1], alone)


def test_gradient_is_finite_where_features_vanish() -> None:
    a = [torch.zeros(1, 2, 2, 2, requires_grad=True)]
    feature_distance(a, [torch.ones(1, 2, 2, 2)]).backward()
    assert torch.isfinite(a[0].grad).all()
