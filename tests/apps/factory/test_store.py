"""Files, the log, and what a folder is refused for."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, Orientationd

from monai_semgan.apps.factory.runner import MadePair
from monai_semgan.apps.factory.store import LOG, PairStore, file_name, folder_lock
from monai_semgan.transforms import LoadScand, ScaleScanIntensityd
from monai_semgan.utils import InputError

SPACING = (11.0, 11.0, 6.0)


def pair(index: int, kept: bool = True, depth: int = 1) -> MadePair:
    generator = torch.Generator().manual_seed(index)
    image = torch.rand(depth, 1, 32, 32, generator=generator) * 2 - 1
    image[..., 0, :] = -1.0
    record = {"index": index, "kept": kept, "reasons": [] if kept else ["critic: low"]}
    return MadePair(image, (image > 0).to(torch.uint8), record)


@pytest.mark.parametrize("depth", [1, 3])
def test_files_come_back_as_the_network_sees_them(tmp_path, depth):
    store = PairStore(tmp_path, {}, SPACING)
    made = pair(0, depth=depth)
    store.add([made])
    read = Compose(
        [
            LoadScand(["image", "label"]),
            Orientationd(["image", "label"], axcodes="PLS", labels=None),
            ScaleScanIntensityd("image", "auto"),
        ]
    )
    item = read(
        {"image": str(tmp_path / "images/made000000.nii.gz"), "label": str(tmp_path / "labels/made000000.nii.gz")}
    )
    assert item["image"].meta["modality"] == "ct"
    assert torch.allclose(item["image"].as_tensor()[0].permute(2, 0, 1), made.image[:, 0], atol=0.003)
    assert torch.equal(item["label"].as_tensor()[0].permute(2, 0, 1), made.label[:, 0])
    picture = nib.load(tmp_path / "images/made000000.nii.gz")
    assert picture.header.get_zooms() == SPACING
    assert nib.aff2axcodes(picture.affine) == ("P", "L", "S")
    assert np.allclose(picture.affine @ [15.5, 15.5, (depth - 1) / 2, 1], [0, 0, 0, 1])


def test_masks_have_the_values_of_the_data_set(tmp_path):
    store = PairStore(tmp_path, {}, SPACING, {1: 6})
    store.add([pair(0)])
    assert set(np.unique(nib.load(tmp_path / "labels/made000000.nii.gz").dataobj)) == {0, 6}


def test_the_log_is_read_again_and_refused_samples_have_no_files(tmp_path):
    PairStore(tmp_path, {"seed": 1}, SPACING).add([pair(0), pair(1, kept=False)])
    store = PairStore(tmp_path, {"seed": 1}, SPACING)
    assert [record["index"] for record in store.kept] == [0]
    assert [record["reasons"] for record in store.rejected] == [["critic: low"]]
    assert not (tmp_path / file_name(store.rejected[0], "images")).exists()


def test_half_a_line_is_dropped(tmp_path):
    PairStore(tmp_path, {}, SPACING).add([pair(0), pair(1)])
    whole = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(whole[:-7])
    store = PairStore(tmp_path, {}, SPACING)
    assert [record["index"] for record in store.records] == [0]
    store.add([pair(1)])
    assert (tmp_path / LOG).read_bytes() == whole


def test_notes_stay(tmp_path):
    PairStore(tmp_path, {"a": 1}, SPACING).note("critic_least", -0.5)
    store = PairStore(tmp_path, {"a": 1}, SPACING)
    assert store.note("critic_least") == -0.5
    assert store.note("rules") is None


def test_other_settings_are_refused_by_name(tmp_path):
    PairStore(tmp_path, {"seed": 7, "views": 4}, SPACING)
    PairStore(tmp_path, {"seed": 1, "views": 4}, SPACING).add([pair(0)])  # nothing had been made before
    with pytest.raises(InputError, match="got seed 2; wanted seed 1"):
        PairStore(tmp_path, {"seed": 2, "views": 4}, SPACING)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="files of something else"):
        PairStore(tmp_path, {}, SPACING)


def test_a_missing_file_and_a_broken_log_are_told(tmp_path):
    PairStore(tmp_path, {}, SPACING).add([pair(0), pair(1)])
    (tmp_path / "labels/made000001.nii.gz").unlink()
    with pytest.raises(InputError, match="made000001"):
        PairStore(tmp_path, {}, SPACING)
    line = json.dumps({"index": 5, "kept": False})
    (tmp_path / LOG).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="not numbered"):
        PairStore(tmp_path, {}, SPACING)


def test_two_factories_in_one_folder(tmp_path):
    with folder_lock(tmp_path), pytest.raises(InputError, match="another factory"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass
