"""Random features: fixed, and able to tell sets of images apart."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.metrics import RandomConvFeatures, frechet_feature_distance


def test_the_same_everywhere_and_without_the_global_random_state():
    image = torch.linspace(-1, 1, 2 * 32 * 32).reshape(2, 1, 32, 32)
    before = torch.get_rng_state()
    first, second = RandomConvFeatures()(image), RandomConvFeatures()(image)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, second)
    assert first.shape == (2, RandomConvFeatures().dimension)
    assert not torch.equal(first, RandomConvFeatures(seed=1)(image))


def test_distance_of_known_distributions():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(20000, 3, generator=draw, dtype=torch.float64)
    assert frechet_feature_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    # between N(0, I) and N(m, s^2 I): |m|^2 + 3 (1 - s)^2
    y = 2 * torch.randn(20000, 3, generator=draw, dtype=torch.float64) + 1
    assert frechet_feature_distance(x, y) == pytest.approx(3 + 3, rel=0.03)
    assert frechet_feature_distance(x, y) == pytest.approx(frechet_feature_distance(y, x), rel=1e-6)


def test_fewer_samples_than_features_and_too_few():
    draw = torch.Generator().manual_seed(0)
    few = torch.randn(5, 64, generator=draw)
    assert frechet_feature_distance(few, few) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="two samples"):
        frechet_feature_distance(few[:1], few)


def test_blurred_and_noisy_slices_are_far_from_sharp_ones():
    draw = torch.Generator().manual_seed(0)
    sharp = (torch.rand(64, 1, 4, 4, generator=draw) * 2 - 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noisy = (sharp + 0.3 * torch.randn(sharp.shape, generator=draw)).clamp(-1, 1)
    network = RandomConvFeatures()
    half, other, worse = network(sharp[:32]), network(sharp[32:]), network(noisy[32:])
    assert frechet_feature_distance(half, other) < frechet_feature_distance(half, worse)
