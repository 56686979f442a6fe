"""Networks of another size than the scan is shown at, and the mean of several."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from monai_semgan.inferers import AtSizeInferer, MeanInferer, VolumeStackInferer
from monai_semgan.utils import InputError


class Seen:
    """An inferer that notes what it was shown and answers with two channels of it."""

    needs_affine = True

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.affines: list[torch.Tensor | None] = []
        self.report = {"steps": 3}

    def __call__(self, image: torch.Tensor, network: object) -> torch.Tensor:
        self.shapes.append(tuple(image.shape))
        self.affines.append(getattr(image, "affine", None))
        return torch.cat([-image, image], dim=1)


def ramp(size: int, depth: int | None = 3) -> torch.Tensor:
    """Rises from left to right, the same in every slice."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    image = line.expand(1, 1, size, size)
    return image.clone() if depth is None else image[..., None].expand(1, 1, size, size, depth).clone()


@pytest.mark.parametrize("depth", [None, 3], ids=["slices", "volumes"])
@pytest.mark.parametrize(("shown", "wanted"), [(16, 8), (8, 16)], ids=["smaller", "larger"])
def test_the_network_sees_its_size_and_the_answer_has_the_scans(depth: int | None, shown: int, wanted: int) -> None:
    inner = Seen()
    image = ramp(shown, depth)
    answer = AtSizeInferer(inner, wanted)(image, None)
    assert inner.shapes == [(1, 1, wanted, wanted, *image.shape[4:])]
    assert answer.shape == (1, 2, *image.shape[2:])
    inside = answer[:, 1:, :, 2:-2]  # the ends of a ramp are flattened
    torch.testing.assert_close(inside, image[:, :, :, 2:-2], atol=0.02, rtol=0)


def test_at_its_own_size_nothing_is_done() -> None:
    image = torch.randn(1, 1, 8, 8, 3)
    answer = AtSizeInferer(Seen(), 8)(image, None)
    assert torch.equal(answer[:, 1:], image)


def test_slices_are_smoothed_before_they_are_made_smaller() -> None:
    lines = torch.ones(1, 1, 16, 16, 2)
    lines[:, :, :, ::2] = -1
    inner = SimpleInferer()
    seen = []
    AtSizeInferer(inner, 8)(lines, lambda image: seen.append(image) or torch.cat([-image, image], dim=1))
    assert seen[0].abs().max() < 0.3  # a stripe of -1 and 1 to a pixel, and neither of them


def test_meta_data_and_report_are_handed_on() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 6.0, 1.0]))
    inner = Seen()
    inferer = AtSizeInferer(inner, 8)
    assert inferer.needs_affine
    answer = inferer(MetaTensor(ramp(16), affine=affine), None)
    assert torch.equal(inner.affines[0], affine)
    assert isinstance(answer, MetaTensor)
    assert torch.equal(answer.affine, affine)
    assert inferer.report == {"steps": 3}


def test_a_stack_inferer_works_inside() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]))
    network = torch.nn.Conv3d(1, 2, 1)
    inferer = AtSizeInferer(VolumeStackInferer(spacing_mm=6.0, depth=4, network=network), 8)
    answer = inferer(MetaTensor(ramp(16, 9), affine=affine), None)
    assert answer.shape == (1, 2, 16, 16, 9)


def test_the_size_has_to_be_one() -> None:
    with pytest.raises(InputError, match="size"):
        AtSizeInferer(Seen(), 0)


# ---- the mean ------------------------------------------------------------------------------------------------
def constant(*logits: float) -> object:
    values = torch.tensor(logits).reshape(1, -1, 1, 1)
    return lambda image, network: values.expand(len(image), -1, *image.shape[2:4]).clone()


def test_probabilities_are_averaged() -> None:
    image = torch.zeros(2, 1, 4, 4)
    answer = MeanInferer([constant(0.0, 2.0), constant(3.0, 0.0)])(image, None)
    wanted = (torch.tensor([0.0, 2.0]).softmax(0) + torch.tensor([3.0, 0.0]).softmax(0)) / 2
    torch.testing.assert_close(answer.softmax(dim=1)[0, :, 0, 0], wanted)
    torch.testing.assert_close(answer.exp()[1, :, 2, 3], wanted)


def test_one_inferer_alone_is_handed_on() -> None:
    image = torch.zeros(1, 1, 4, 4)
    answer = MeanInferer([constant(5.0, -7.0)])(image, None)
    assert answer[0, :, 0, 0].tolist() == [5.0, -7.0]


def test_wishes_and_report() -> None:
    first, second = Seen(), Seen()
    second.report = {"steps": 9}
    mean = MeanInferer([first, second])
    assert mean.needs_affine
    assert mean.report == {"steps": 3}
    assert not MeanInferer([SimpleInferer()]).needs_affine
    affine = torch.diag(torch.tensor([2.0, 2.0, 6.0, 1.0]))
    assert torch.equal(mean(MetaTensor(ramp(8), affine=affine), None).affine, affine)


def test_answers_have_to_fit() -> None:
    with pytest.raises(InputError, match="one shape"):
        MeanInferer([constant(0.0, 1.0), constant(0.0, 1.0, 2.0)])(torch.zeros(1, 1, 4, 4), None)
    with pytest.raises(InputError, match="inferers"):
        MeanInferer([])
