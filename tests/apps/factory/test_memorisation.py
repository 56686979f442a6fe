"""Copies are found, new slices are not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_semgan.apps.factory import NearestSlices
from monai_semgan.utils import InputError


def patients(number: int, slices: int = 6, seed: int = 0) -> torch.Tensor:
    """``(number * slices, 1, 32, 32)``: a smooth pattern a patient, that changes a little along the slices."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(number, 1, 1, 8, 8, generator=generator)
    along = 0.2 * torch.randn(number, slices, 1, 8, 8, generator=generator)
    small = (own + along).flatten(0, 1)
    return F.interpolate(small, size=32, mode="bilinear").tanh()


@pytest.fixture(scope="module")
def training():
    images = patients(24)
    return images, [f"ct{i:02d}" for i in range(24) for _ in range(6)]


@pytest.fixture(scope="module")
def check(training):
    images, cases = training
    return NearestSlices(images, cases, lambda x: F.avg_pool2d(x, 8).flatten(1))


def test_copies_are_suspicious_and_their_source_is_named(check, training):
    images, cases = training
    for index in (0, 13, 140):
        found = check.nearest(images[index : index + 1])
        assert (found.scan, found.slice, found.row) == (cases[index], index % 6, index)
        assert found.ratio < 0.01
        assert set(found.ratios) == {"pixels", "features"}


@pytest.mark.parametrize("change", [lambda x: x + 0.05, lambda x: F.avg_pool2d(x, 3, 1, 1), lambda x: 0.9 * x])
def test_blurred_brighter_and_flatter_copies_are_found(check, training, change):
    assert check.suspicious_share(change(training[0])) > 0.95


def test_other_patients_are_not_suspicious(check):
    assert check.suspicious_share(patients(20, seed=5)) < 0.15


def test_share_and_single_answers_are_the_same_rule(check, training):
    images = torch.cat([patients(4, seed=6), training[0][:10] + 0.02])
    single = [check.nearest(image[None]).ratio < 1 for image in images]
    assert check.suspicious_share(images) == pytest.approx(sum(single) / len(images))


def test_a_stack_counts_as_its_nearest_slice(check, training):
    stack = torch.cat([patients(1, seed=9)[:2], training[0][20:21]])
    found = check.nearest(stack)
    assert (found.sample_slice, found.row) == (2, 20)


def test_the_quantile_is_the_share_of_real_slices_below(training):
    images, cases = training
    check = NearestSlices(images, cases, quantile=0.5)
    assert check.thresholds["pixels"] == pytest.approx(check.typical["pixels"], rel=0.02)
    assert list(check.thresholds) == ["pixels"]


def test_errors(training):
    with pytest.raises(InputError, match="at least two"):
        NearestSlices(training[0][:6], ["ct00"] * 6)
    with pytest.raises(InputError, match=r"0\.\.1"):
        NearestSlices(*training, quantile=2)
