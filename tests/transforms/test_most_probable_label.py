"""The label map equals argmax, keeps its place in space, and ties go to background."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_semgan.transforms import MostProbableLabel, MostProbableLabeld


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_equals_argmax(classes):
    logits = torch.randn(classes, 7, 6, 5, generator=torch.Generator().manual_seed(classes))
    label = MostProbableLabel()(logits)
    assert label.dtype == torch.uint8
    assert torch.equal(label, logits.argmax(0, keepdim=True).to(torch.uint8))


def test_nothing_known_is_background():
    assert not MostProbableLabel()(torch.zeros(3, 4, 4, 4)).any()


def test_the_affine_and_the_probabilities_stay():
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    probabilities = MetaTensor(torch.rand(2, 4, 4, 4), affine=affine)
    before = probabilities.clone()
    label = MostProbableLabeld("pred")({"pred": probabilities})["pred"]
    assert isinstance(label, MetaTensor)
    assert torch.equal(label.affine, affine)
    assert torch.equal(probabilities, before)


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="257 channels"):
        MostProbableLabel()(torch.zeros(257, 1, 1, 1))
