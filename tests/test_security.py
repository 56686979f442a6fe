"""Files from others run no code, nothing is written outside the output folder, and nobody is named in the results."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader

from monai_semgan.data import TolerantDataset
from monai_semgan.engines import ScanEvaluator
from monai_semgan.handlers import SegmentationWriter
from monai_semgan.utils import InputError, load_checkpoint, load_network, write_model_settings
from tests.bundle_command import BundleCommand
from tests.fuzz.dicom import slice_tags, write_dicom
from tests.scans import AFFINES, BrightnessNetwork, ReportingInferer, make_scan, make_transforms, write_scan
from tests.tiny import make_gan_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

SECRETS = {
    0x00100010: "ZORRILLA^Xaveria", 0x00100020: "PID-7731-QX", 0x00100030: "19510713", 0x00080050: "ACC-99172",
    0x00080080: "Quuxburg General", 0x00080090: "FROBISHER^Q", 0x0008103E: "Liver of Zorrilla",
    0x00101040: "Plugh Lane 9",
}  # fmt: skip
WORDS = [
    b"ZORRILLA",
    b"Xaveria",
    b"PID-7731",
    b"19510713",
    b"ACC-99172",
    b"Quuxburg",
    b"FROBISHER",
    b"Zorrilla",
    b"Plugh",
]


class Hostile:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def write_hostile(path: Path, mark: Path, kind: str) -> None:
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Hostile(mark)))
    else:
        state = {
            "state dict": {"level": Hostile(mark)},
            "beside weights": {"level": torch.zeros(()), "x": Hostile(mark)},
        }
        torch.save(state[kind], path, _use_new_zipfile_serialization=True)


@pytest.mark.parametrize("kind", ["pickle", "state dict", "beside weights"])
def test_a_hostile_checkpoint_is_refused_and_does_nothing(kind: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "model.pt"
    write_hostile(path, mark, kind)
    for read in (lambda: load_checkpoint(path), lambda: load_network(BrightnessNetwork(), path)):
        with pytest.raises(InputError, match="files that hold code are refused on purpose"):
            read()
    last = tmp_path / "run" / "last.pt"
    last.parent.mkdir()
    write_hostile(last, mark, kind)
    with pytest.raises(InputError, match="refused on purpose"):
        make_gan_trainer(last.parent).run()
    assert not mark.exists()
    # to those who ask for it the file does what it is made for
    pickle.loads(path.read_bytes()) if kind == "pickle" else torch.load(path, weights_only=False)
    assert mark.exists()


def test_no_name_leads_out_of_the_output_folder(tmp_path: Path) -> None:
    volume, affine = make_scan(AFFINES["LAS"], (24, 20, 6))[0], AFFINES["LAS"]
    path = write_scan(tmp_path / "in" / "scan.nii.gz", volume, affine)
    names = ["../out", "../../../etc/x", "/etc/absolute", "a/b/c", "..", ".", "", "~", "nul\0byte", "C:\\x", "x" * 400,
             "line\nbreak", ".hidden", "%2e%2e%2fx", "肝臓"]  # fmt: skip
    out = tmp_path / "results" / "masks"
    preprocessing, postprocessing = make_transforms(32)
    items = [{"image": str(path), "name": name} for name in names]
    evaluator = ScanEvaluator(
        torch.device("cpu"), DataLoader(TolerantDataset(items, preprocessing), batch_size=1), BrightnessNetwork(),
        inferer=ReportingInferer(), postprocessing=postprocessing, val_handlers=[SegmentationWriter(out)],
    )  # fmt: skip
    evaluator.run()
    assert evaluator.failures == []
    written = {p for p in tmp_path.rglob("*") if p.is_file() and p != path}
    assert all(p.parent == out for p in written)
    assert len([p for p in written if p.name.endswith("_seg.nii.gz")]) >= len(set(names)) - 1


def write_tagged(folder: Path) -> np.ndarray:
    """A DICOM series of a made-up body in which everything that can name somebody does; returns the volume."""
    volume = make_scan(AFFINES["LPI"], (28, 28, 8))[0]
    for k in range(volume.shape[2]):
        tags = slice_tags(k, (-80.0, -80.0, 8.0 * k), (6.0, 6.0, 8.0)) | SECRETS
        write_dicom(folder / f"{k}.dcm", tags, np.ascontiguousarray(volume[:, :, k].T))
    return volume


def leaks(folder: Path, *texts: str) -> list[str]:
    """Where one of the secret words stands: in the content or the name of a file, or in a text."""
    found = [f"printed: {word.decode()}" for text in texts for word in WORDS if word in text.encode()]
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        data = gzip.decompress(data) if path.name.endswith(".gz") else data
        found += [f"{path}: {word.decode()}" for word in WORDS if word in data + str(path).encode()]
    return found


def test_inference_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    series, weights, out = tmp_path / "scans" / "study1", tmp_path / "weights" / "model.pt", tmp_path / "out"
    write_tagged(series)
    write_tagged(tmp_path / "scans" / "lost_slice")
    (tmp_path / "scans" / "lost_slice" / "3.dcm").unlink()
    weights.parent.mkdir()
    torch.save(BrightnessNetwork().state_dict(), weights)
    write_model_settings({"image_size": 32, "fov_mm": 352.0}, weights)
    assert leaks(tmp_path / "scans")  # they are there to be found
    done = BundleCommand(monkeypatch, capsys)(
        "ct_liver/configs/inference.json", dataset_dir=tmp_path / "scans", output_dir=out, checkpoint=weights,
        network_def={"_target_": "tests.scans.BrightnessNetwork"}, inferer={"_target_": "tests.scans.ReportingInferer"},
        device="$torch.device('cpu')", modality="ct",
    )  # fmt: skip
    assert "1 of 2 scans gave no result" in done.message
    assert (out / "study1_seg.nii.gz").is_file()
    assert leaks(out, done.errors, caplog.text) == []


@pytest.mark.slow
def test_training_and_mlflow_name_nobody(tmp_path: Path) -> None:
    """A training from DICOM with everything that it tracks."""
    import json

    from monai_semgan.transforms import LoadScan
    from tests.bundle_command import run_bundle
    from tests.faults.jobs import JOBS

    data, out = tmp_path / "data", tmp_path / "out"
    for name in ("s1", "s2"):
        write_tagged(data / name)
        loaded = LoadScan()(data / name)
        mask = nib.Nifti1Image((loaded[0].numpy() > 100).astype(np.uint8), loaded.affine.numpy())
        mask.header["descrip"] = b"mask of ZORRILLA"
        nib.save(mask, data / f"{name}_mask.nii.gz")
    entries = {name: {"image": name, "label": f"{name}_mask.nii.gz"} for name in ("s1", "s2")}
    (data / "datalist.json").write_text(json.dumps({"training": [entries["s1"]], "validation": [entries["s2"]]}))
    options = {**JOBS["supervised"].options, "dataset_dir": data, "output_dir": out}
    done = run_bundle("ct_liver_supervised/train.json", **options)
    assert done.code == 0, done.errors
    assert (out / "mlruns.db").is_file()
    assert leaks(out, done.errors) == []
