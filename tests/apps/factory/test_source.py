"""Seeds of samples."""

from __future__ import annotations

import torch

from monai_semgan.apps.factory import PairSource, sample_generator, sample_seed
from tests.apps.factory.ellipse_source import EllipseSource


def test_every_sample_of_every_factory_has_a_seed_of_its_own():
    seeds = {sample_seed(seed, index, stream) for seed in range(5) for index in range(500) for stream in (0, 7)}
    assert len(seeds) == 5000
    assert all(0 <= seed < 2**53 for seed in seeds)  # JSON readers that know doubles only keep them


def test_parts_of_a_sample_draw_different_numbers_and_the_same_ones_again():
    first, second = (torch.randn(8, generator=sample_generator(11, part)) for part in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.randn(8, generator=sample_generator(11, 0)))


def test_the_protocol_can_be_told_from_anything_else():
    assert isinstance(EllipseSource(), PairSource)
    assert not isinstance(torch.nn.Identity(), PairSource)
