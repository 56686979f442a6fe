"""Appearance randomisation of batches: mild for most samples, full for the rest, seeded by torch alone."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.appearance import APPEARANCE_PROBABILITIES, RandBatchAppearance

CURVE = {name: float(name == "curve") for name in APPEARANCE_PROBABILITIES}


def images(batch: int = 8, *depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    ramp = torch.linspace(-1, 1, 16).reshape(1, 1, 1, 16, *[1] * len(depth))
    image = ramp.expand(batch, 1, 16, 16, *depth).contiguous()
    return image, (image > 0).to(torch.uint8)


def run(randomise: RandBatchAppearance, *inputs: torch.Tensor | None, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return randomise(*inputs)


@pytest.mark.parametrize("depth", [(), (5,)], ids=["slices", "volumes"])
def test_shape_range_inputs_and_seed(depth):
    image, label = images(6, *depth)
    before = image.clone(), label.clone()
    first, second, other = (run(RandBatchAppearance(), image, label, seed=s) for s in (0, 0, 1))
    assert first.shape == image.shape
    assert first.dtype == image.dtype
    assert first.abs().max() <= 1
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])
    assert run(RandBatchAppearance(), image, None).shape == image.shape


def test_nothing_to_do():
    image, label = images()
    assert torch.equal(run(RandBatchAppearance(0.0), image, label), image)
    assert run(RandBatchAppearance(), image[:0], label[:0]).shape == (0, 1, 16, 16)


@pytest.mark.parametrize("fraction", [0.0, 0.7, 1.0])
def test_a_fraction_has_milder_changes(fraction):
    """With nothing left of the milder changes, the samples that have them stay as they are."""
    image, label = images(300)
    changed = run(RandBatchAppearance(1.0, CURVE, mild_fraction=fraction, mild=0.0), image, label)
    same = (changed - image).abs().flatten(1).amax(dim=1) < 1e-5
    assert same.float().mean().item() == pytest.approx(fraction, abs=0.08)


def test_milder_is_milder():
    image, label = images(200)
    sizes = [
        float((run(RandBatchAppearance(1.0, CURVE, mild_fraction=1.0, mild=mild), image, label) - image).abs().mean())
        for mild in (1.0, 0.5, 0.2)
    ]
    assert sizes[0] > 1.3 * sizes[1]
    assert sizes[1] > 1.3 * sizes[2] > 0


def test_texture_and_shifts_are_never_mild():
    image, label = images(100)
    probabilities = {name: float(name in ("texture", "shift")) for name in APPEARANCE_PROBABILITIES}
    mild, full = (
        run(RandBatchAppearance(1.0, probabilities, mild_fraction=1.0, mild=m), image, label) for m in (0.0, 1.0)
    )
    assert torch.equal(mild, full)
    assert not torch.equal(mild, image)


def test_labels_stay_with_their_samples():
    """Samples are parted into mild and not; an organ is only changed in the samples that have one."""
    image, label = images(100)
    label[::2] = 0
    with_label, without = (
        run(RandBatchAppearance(1.0, {**dict.fromkeys(CURVE, 0.0), "shift": 1.0}, mild_fraction=0.5), image, x)
        for x in (label, torch.zeros_like(label))
    )
    different = (with_label - without).abs().flatten(1).amax(dim=1) > 1e-5
    assert not different[::2].any()
    assert different[1::2].any()


@pytest.mark.parametrize("name", ["mild", "mild_fraction"])
def test_wrong_options(name):
    with pytest.raises(ValueError, match=rf"{name}: got 1\.5; wanted a number in 0\.\.1"):
        RandBatchAppearance(**{name: 1.5})
    with pytest.raises(ValueError, match="got 'colour'; wanted one of region"):
        RandBatchAppearance(1.0, {"colour": 1.0})(images()[0])
