"""Pictures for the run's page: made without touching the training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_semgan.data import SliceBank
from monai_semgan.handlers.previews import GeneratorPreview, LatentWalk, ReconstructionPreview
from tests.tiny import make_bank, make_generator, make_segmenter


def is_picture(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3


@pytest.mark.parametrize("label_channels", [1, 3])
def test_samples_are_the_same_each_time_and_follow_the_weights(label_channels: int) -> None:
    generator = make_generator(label_channels=label_channels)
    preview = GeneratorPreview(generator, count=3)
    state = torch.get_rng_state()
    first, second = preview()["samples"], preview()["samples"]
    assert torch.equal(torch.get_rng_state(), state)
    assert is_picture(first)
    assert np.array_equal(first, second)
    with torch.no_grad():
        generator.constant.add_(3.0)
        generator.heads.image_bias.add_(0.5)
    assert not np.array_equal(first, preview()["samples"])


def test_other_seeds_other_samples() -> None:
    generator = make_generator()
    a, b = (GeneratorPreview(generator, 2, seed)()["samples"] for seed in (0, 1))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("count", [2, 9])
def test_reconstructions_of_every_bank(count: int) -> None:
    plain = make_bank()
    banks = {"ct": plain, "mr": SliceBank(plain.images.half(), None, plain.cases, plain.positions)}
    network = make_segmenter()
    pictures = ReconstructionPreview(network, banks, count=count)()
    assert set(pictures) == {"reconstruction_ct", "reconstruction_mr"}
    assert all(is_picture(p) for p in pictures.values())
    assert all(p.grad is None for p in network.parameters())


def test_a_walk_is_smooth_closed_and_the_same_each_time() -> None:
    walk = LatentWalk(make_generator(), rows=2, stops=2, steps=4)
    state = torch.get_rng_state()
    first, second = walk(), walk()
    assert torch.equal(torch.get_rng_state(), state)
    assert len(first) == 8
    assert all(is_picture(frame) and np.array_equal(frame, again) for frame, again in zip(first, second, strict=True))
    frames = [frame.astype(float) for frame in first]
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert max(steps) < np.abs(frames[0] - frames[4]).mean()
