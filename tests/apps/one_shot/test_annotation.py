"""The exported image, and masks drawn on it: right ones are read, others are refused with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_semgan.__main__ import main
from monai_semgan.apps.one_shot import export_annotation, load_one_shot, load_untaught, read_annotation
from monai_semgan.apps.one_shot.networks import build_one_shot
from monai_semgan.data import Shots
from monai_semgan.engines.one_shot_files import save_projector
from monai_semgan.networks.nets import PrototypeHead
from monai_semgan.utils import InputError, write_model_settings
from monai_semgan.visualize import LABEL_COLOURS

SIZE, SCALE = 16, 4
SETTINGS = {
    "image_size": SIZE, "fov_mm": 160.0, "latent_dim": 8, "num_mapping_layers": 2, "mapping_lr_multiplier": 0.3,
    "latent_input": True, "channel_base": 64, "channel_max": 8, "spatial_resolution": 8, "encoder_channels": [8, 8],
}  # fmt: skip


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """What a training leaves before anything is annotated."""
    torch.manual_seed(0)
    network = build_one_shot(SETTINGS, 6)
    folder = tmp_path / "run"
    (folder / "encoder").mkdir(parents=True)
    reader = {f"encoder.{k}": v for k, v in network.encoder.state_dict().items()}
    reader |= {f"generator.{k}": v for k, v in network.generator.generator.state_dict().items()}
    torch.save(reader, folder / "encoder" / "model.pt")
    write_model_settings(SETTINGS, folder / "encoder" / "model.pt")
    save_projector(network, PrototypeHead(6, 4), folder / "projector" / "projector.pt")
    return folder


@pytest.fixture
def exported(run_dir: Path, tmp_path: Path) -> Path:
    export_annotation(run_dir, tmp_path / "drawn", candidates=20, scale=SCALE)
    return tmp_path / "drawn"


def organ() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[3:9, 5:14] = 1
    return mask


def write(mask: np.ndarray, path: Path, affine: np.ndarray | None = None) -> Path:
    if path.suffix == ".png":
        Image.fromarray(mask).save(path)
    else:
        nib.save(nib.Nifti1Image(mask, np.eye(4) if affine is None else affine), path)
    return path


def test_the_image_is_written_as_scan_and_picture(run_dir: Path, exported: Path) -> None:
    shots = Shots.load(exported / "shots.pt")
    assert shots.label is None
    assert shots.image.shape == (1, 1, SIZE, SIZE)
    scan = nib.load(exported / "image_1.nii.gz")
    assert scan.shape == (SIZE, SIZE, 1)
    assert nib.aff2axcodes(scan.affine) == ("P", "L", "S")
    np.testing.assert_allclose(scan.header.get_zooms()[:2], 10.0)
    hounsfield = np.asarray(scan.dataobj)[:, :, 0]
    np.testing.assert_allclose(hounsfield, (shots.image[0, 0].numpy() + 1) * 200 - 125, atol=0.6)
    with Image.open(exported / "image_1.png") as picture:
        assert picture.size == (SIZE * SCALE, SIZE * SCALE)
    assert json.loads((exported / "annotation.json").read_text())["png_size"] == SIZE * SCALE
    network, _ = load_untaught(run_dir)
    with torch.no_grad():
        made = network.generator.project(shots.latents)[0].clamp(-1, 1)
    torch.testing.assert_close(made, shots.image)


def test_an_export_does_not_write_over_an_annotation(run_dir: Path, exported: Path) -> None:
    with pytest.raises(InputError, match="got an annotation; wanted a folder without one"):
        export_annotation(run_dir, exported)
    with pytest.raises(InputError, match="option shots: got 30; wanted 1 to 20"):
        export_annotation(run_dir, exported.parent / "other", number=30, candidates=20)


KINDS = ["nii", "flat nii", "turned nii", "png", "large png", "coloured png", "black and white"]


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_read(kind: str, exported: Path, tmp_path: Path) -> None:
    mask, affine = organ(), nib.load(exported / "image_1.nii.gz").affine
    large = mask.repeat(SCALE, 0).repeat(SCALE, 1)
    if kind == "nii":
        path = write(mask[:, :, None], tmp_path / "m.nii.gz", affine)
    elif kind == "flat nii":
        path = write(mask, tmp_path / "m.nii.gz", affine)
    elif kind == "turned nii":  # a program that saves in its own order of axes
        turned = nib.as_closest_canonical(nib.Nifti1Image(mask[:, :, None], affine))
        path = tmp_path / "m.nii.gz"
        nib.save(turned, path)
        assert not np.array_equal(np.asarray(turned.dataobj)[:, :, 0], mask)
    elif kind == "png":
        path = write(mask, tmp_path / "m.png")
    elif kind == "large png":
        large[0, 0] = 1  # a slip of the pen
        path = write(large, tmp_path / "m.png")
    elif kind == "coloured png":
        path = write(LABEL_COLOURS[large], tmp_path / "m.png")
    else:
        path = write(mask * 255, tmp_path / "m.png")
    shots = read_annotation(exported, [path])
    np.testing.assert_array_equal(shots.label[0, 0].numpy(), mask)
    assert torch.equal(Shots.load(exported / "shots.pt").label, shots.label)
    assert (exported / "annotated.png").is_file()


BAD = {
    "wrong size": (lambda: write(organ()[:, :-1], Path("m.png")), "16x15 pixels; wanted 16x16 or 16 times a whole"),
    "wrong size nii": (lambda: write(organ()[:8], Path("m.nii.gz")), "8x16 pixels; wanted 16x16"),
    "several slices": (lambda: write(np.stack([organ()] * 2, 2), Path("m.nii.gz")), "got 2 slices; wanted 1"),
    "nothing drawn": (lambda: write(organ() * 0, Path("m.png")), r"class without a pixel: got nothing of liver \(1\)"),
    "unknown value": (lambda: write(organ() * 7, Path("m.nii.gz")), "got values 7; wanted 0 for background, 1 for li"),
    "unknown colour": (
        lambda: write(np.stack([organ() * 200, organ() * 0, organ() * 0], 2), Path("m.png")),
        r"colour of no class: got \[200, 0, 0\]",
    ),
    "fractions": (lambda: write(organ() * 0.5, Path("m.nii.gz")), "got fractions; wanted whole numbers"),
    "no picture": (lambda: Path("m.png").write_text("x") and Path("m.png"), "cannot be read"),
    "gone": (lambda: Path("gone.png"), "gone.png: got no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_masks_that_are_refused(
    case: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = BAD[case]
    path = make()
    before = (exported / "shots.pt").read_bytes()
    with pytest.raises(InputError, match=message):
        read_annotation(exported, [path])
    assert main(["one-shot", "read", "--annotation", str(exported), "--mask", str(path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert (exported / "shots.pt").read_bytes() == before
    with pytest.raises(InputError, match="got 2 masks; wanted 1"):
        read_annotation(exported, [path, path])


def test_the_command_exports_and_reads(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "two"
    words = ["one-shot", "export", "--run", str(run_dir), "--out", str(out), "--number", "2", "--candidates", "9"]
    assert main(words) == 0
    assert "--mask FILE --mask FILE" in capsys.readouterr().out
    masks = [write(organ() * k, tmp_path / f"{k}.png") for k in (1, 2)]
    words = ["one-shot", "read", "--annotation", str(out), "--organs", "liver,spleen"]
    # each image shows one organ: together they show both
    assert main([*words, "--mask", str(masks[0]), "--mask", str(masks[1])]) == 0
    assert "liver 54, spleen 54" in capsys.readouterr().out


def test_networks_of_a_training(run_dir: Path, tmp_path: Path) -> None:
    network, settings = load_untaught(run_dir)
    assert settings == SETTINGS
    path = tmp_path / "head" / "model.pt"
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    write_model_settings({**SETTINGS, "feature_dim": 6, "num_classes": 2, "head_size": "XS", "organs": {}}, path)
    again = load_one_shot(path)
    image = torch.rand(1, 1, SIZE, SIZE)
    torch.testing.assert_close(again(image), network(image))
    with pytest.raises(InputError, match="no such file"):
        load_untaught(tmp_path / "gone")
