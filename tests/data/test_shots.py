"""The annotated image as a file, and masks that one image can teach from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_semgan.data import ShotLoader, Shots, check_shot_label
from monai_semgan.utils import InputError

NAMES = {1: "liver", 2: "spleen"}


def make(count: int = 2, label: bool = True) -> Shots:
    mask = torch.arange(3, dtype=torch.uint8).repeat(22)[:64].view(1, 1, 8, 8).expand(count, -1, -1, -1)
    names, given = [f"image {i}" for i in range(count)], mask if label else None
    return Shots(torch.rand(count, 1, 8, 8), given, torch.rand(count, 4, 3), None, names, "abc", {"a": 1})


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    shots = make()
    shots.save(tmp_path / "shots.pt")
    again = Shots.load(tmp_path / "shots.pt")
    assert len(again) == 2
    assert torch.equal(again.image, shots.image)
    assert torch.equal(again.label, shots.label)
    assert (again.spatial, again.source, again.generator, again.settings) == (None, shots.source, "abc", {"a": 1})
    torch.save({"image": shots.image}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: got another file"):
        Shots.load(tmp_path / "other.pt")
    with pytest.raises(InputError, match="no such file"):
        Shots.load(tmp_path / "gone.pt")


def test_all_shots_are_one_batch_again_and_again(tmp_path: Path) -> None:
    loader = ShotLoader(tmp_path / "shots.pt", 3)  # the file need not be there yet
    make().save(tmp_path / "shots.pt")
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    assert set(batches[0]["labelled"]) == {"image", "label", "latents"}
    assert batches[2]["labelled"]["label"].shape == (2, 1, 8, 8)
    with pytest.raises(InputError, match="head_iterations"):
        ShotLoader(tmp_path / "shots.pt", 0)


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (lambda m: m[..., :7], NAMES, r"got 8x7 pixels; wanted 8x8"),
        (lambda m: m.clamp(max=1), NAMES, r"class without a pixel: got nothing of spleen \(2\).*annotate another"),
        (lambda m: m * 2, NAMES, r"got values 4; wanted 0 for background, 1 for liver, 2 for spleen"),
        (lambda m: m, 4, r"nothing of class 3"),
    ],
)
def test_masks_that_cannot_teach(change, names, message: str) -> None:
    mask = make(1).label.long()
    assert check_shot_label(mask, 8, NAMES).dtype == torch.uint8
    with pytest.raises(InputError, match=message):
        check_shot_label(change(mask), 8, names)
