"""The main command and what follows it, on three phantom subjects with a tiny network: everything but quality."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_semgan.apps.phantom import SEQUENCES, draw_subject, scan_ct
from monai_semgan.apps.phantom.write import write_dicom_series
from tests.bundle_command import BUNDLES, TINY, BundleCommand, Finished, run_bundle
from tests.scans import AFFINES, make_scan, write_scan

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")

DOMAINS = ("ct", *SEQUENCES)
KEPT = ("gan/last.pt", "gan/generator.pt", "encoder/model.pt", "student/model.pt")
JOB: dict[str, Any] = {**TINY, "phantom_subjects": 3, "labelled": 1, "picture_every": 2, "validate_every": 2}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The README's command on a phantom that it makes itself, with the results in `out`."""
    folder = tmp_path_factory.mktemp("job")
    done = run_bundle("ct_liver/train.json", phantom_dir=folder / "phantom", output_dir=folder / "out", **JOB)
    return folder, done


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> BundleCommand:
    return BundleCommand(monkeypatch, capsys)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_it_ends_well(job: tuple[Path, Finished]) -> None:
    _, done = job
    assert done.code == 0, done.errors
    assert "ERROR" not in done.errors


def test_the_scores_are_there(job: tuple[Path, Finished]) -> None:
    out = job[0] / "out" / "eval"
    summary = read_json(out / "summary.json")
    for stage in ("domains", "optimised", "encoder"):
        assert list(summary[stage]) == list(DOMAINS)
        assert all(scores["dice"]["n"] == 1 for scores in summary[stage].values())
    rows = read_csv(out / "per_case.csv")
    assert {(row["domain"], row["stage"]) for row in rows} == {
        (domain, stage) for domain in DOMAINS for stage in ("student", "optimised", "encoder")
    }
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)


def test_the_pictures_are_there(job: tuple[Path, Finished]) -> None:
    out = job[0] / "out"
    wanted = ["box_plot.png", *(f"overlays_{domain}.png" for domain in DOMAINS)]
    assert [name for name in wanted if not (out / "eval" / name).is_file()] == []
    samples = [path for path in out.rglob("*.png") if path.parent.name != "eval" and "mlruns" not in path.parts]
    assert len(samples) >= 2  # of the generator, and of the encoder's reconstructions


def test_the_network_is_there(job: tuple[Path, Finished]) -> None:
    out = job[0] / "out"
    settings = read_json(out / "encoder" / "model.json")
    assert (settings["image_size"], settings["latent_dim"]) == (TINY["image_size"], TINY["latent_dim"])
    assert read_json(out / "student" / "model.json")["stack_depth"] == TINY["stack_depth"]
    for stage in ("encoder", "student"):
        state = torch.load(out / stage / "model.pt", weights_only=True)
        assert all(torch.isfinite(value).all() for value in state.values())
    assert not [path.name for path in out.rglob(".tmp-*")]


def test_the_run_is_tracked(job: tuple[Path, Finished]) -> None:
    from mlflow import MlflowClient

    out = job[0] / "out"
    client = MlflowClient(f"sqlite:///{out / 'mlruns.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'ct_liver'")
    runs = client.search_runs([experiment.experiment_id])
    (tracked,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    below = {run.data.tags["stage"]: run for run in runs if run is not tracked}
    assert set(below) == {"gan", "encoder", "student", "evaluation"}
    assert {run.data.tags["mlflow.parentRunId"] for run in below.values()} == {tracked.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for stage, run in below.items():
        prefix = "test/" if stage == "evaluation" else f"{stage}/"
        own = {name: value for name, value in tracked.data.metrics.items() if name.startswith(prefix)}
        assert own == run.data.metrics
    assert tracked.data.params["settings.gan_iterations"] == "2"
    assert {f"test/{stage}/{domain}/dice" for stage in ("student", "optimised") for domain in DOMAINS} <= set(
        tracked.data.metrics
    )
    assert {
        "gan/loss", "gan/grad_norm/generator", "gan/path_length", "gan/frechet_held_out", "gan/critic_image_held_out",
        "gan/critic_joint_labelled", "gan/critic_joint_held_out", "student/validation_dice_ct",
    } <= set(tracked.data.metrics)  # fmt: skip
    assert (tracked.data.tags["method"], tracked.data.tags["bundle"]) == ("semantic_gan", "ct_liver")
    assert "| mr_t2spir | 1 |" in tracked.data.tags["mlflow.note.content"]
    names = {path.name for path in (out / "mlruns").rglob("*")}
    assert {
        "summary.json", "box_plot.png", "train.json", "resolved.json", "datalist.json", "samples.gif",
        "latent_walk.gif", "per_case.json", "worst_first.json", "console.log", "MLmodel", "model.pt",
    } <= names  # fmt: skip
    assert [name for name in names if name.endswith((".pkl", ".pickle"))] == []


def test_both_places_hold_the_same_configuration() -> None:
    """`train.json` of the bundle's folder and of `configs/`, after MONAI has read them."""
    contents = []
    for name in ("train.json", "configs/train.json"):
        parser = ConfigParser()
        parser.read_config(str(BUNDLES / "ct_liver" / name))
        parser.read_meta(str(BUNDLES / "ct_liver" / Path(name).parent / "metadata.json"))
        contents.append(parser.get())
    assert contents[0] == contents[1]


def test_a_finished_training_is_not_run_again(job: tuple[Path, Finished], run: BundleCommand) -> None:
    folder, _ = job
    kept = [folder / "out" / name for name in KEPT]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in kept]
    options = {**JOB, "phantom_dir": folder / "phantom", "output_dir": folder / "out"}
    done = run("ct_liver/configs/train.json", **options)  # the other of the two places
    assert done.code == 0, done.errors
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in kept] == before


def test_other_settings_in_the_same_folder_are_refused(job: tuple[Path, Finished], run: BundleCommand) -> None:
    folder, _ = job
    before = (folder / "out" / "encoder" / "model.pt").read_bytes()
    options = {**JOB, "phantom_dir": folder / "phantom", "output_dir": folder / "out", "seed": 5}
    done = run("ct_liver/train.json", **options)
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert "seed was 0 and is now 5" in done.message
    assert "give another --output_dir" in done.message
    assert (folder / "out" / "encoder" / "model.pt").read_bytes() == before


def test_evaluation_gives_the_same_scores(job: tuple[Path, Finished], run: BundleCommand) -> None:
    folder, _ = job
    done = run(
        "ct_liver/configs/evaluate.json", phantom_dir=folder / "phantom", output_dir=folder / "again", steps=1,
        checkpoint=folder / "out" / "encoder" / "model.pt", labelled=1, device=TINY["device"], domains="[ct,mr_t1in]",
        student_checkpoint=folder / "out" / "student" / "model.pt",
    )  # fmt: skip
    assert done.code == 0, done.errors
    summary, first = read_json(folder / "again" / "summary.json"), read_json(folder / "out" / "eval" / "summary.json")
    assert list(summary["domains"]) == ["ct", "mr_t1in"]
    for domain in summary["domains"]:
        # by another number of threads; an untrained mask is nearly empty or nearly full
        for stage in ("domains", "encoder"):
            assert summary[stage][domain]["dice"]["mean"] == pytest.approx(
                first[stage][domain]["dice"]["mean"], abs=0.02
            )


def test_masks_of_new_scans(job: tuple[Path, Finished], tmp_path: Path) -> None:
    """In a process of its own: NIfTI files, a DICOM series, and one damaged file among them."""
    folder, _ = job
    scans, out = tmp_path / "scans", tmp_path / "masks"
    source = folder / "phantom" / "ct" / "images" / "ph002.nii.gz"
    scans.mkdir()
    shutil.copy(source, scans / "ct.nii.gz")
    shutil.copy(folder / "phantom" / "mr_t1in" / "images" / "ph002.nii.gz", scans / "mr.nii.gz")
    (scans / "damaged.nii.gz").write_bytes(source.read_bytes()[:5000])
    write_scan(scans / "tilted.nii.gz", make_scan(AFFINES["oblique"])[0], AFFINES["oblique"])
    series = scan_ct(draw_subject(0, 2), np.random.default_rng(0))
    write_dicom_series(series, scans / "series", "ph002", "ct")
    done = run_bundle(
        "ct_liver/configs/inference.json", dataset_dir=scans, output_dir=out, modality="auto",
        checkpoint=folder / "out" / "student" / "model.pt", device=TINY["device"],
    )  # fmt: skip
    assert done.code == 1
    assert "Traceback" not in done.errors
    lines = done.message.splitlines()
    assert lines[0] == "1 of 5 scans gave no result (4 did):"
    assert lines[1].startswith("  damaged: scan ")
    assert lines[2].startswith("What to do: ")
    for name in ("ct", "mr", "tilted"):
        mask, scan = nib.load(out / f"{name}_seg.nii.gz"), nib.load(scans / f"{name}.nii.gz")
        assert mask.shape == scan.shape
        assert np.array_equal(mask.affine, scan.affine)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}
    mask = nib.load(out / "series_seg.nii.gz")
    assert sorted(mask.shape) == sorted(series.image.shape)
    # DICOM has its rows and slices in another order
    assert np.allclose(bounds(mask.shape, mask.affine), bounds(series.image.shape, series.affine), atol=0.1)
    assert {row["case"] for row in read_csv(out / "report.csv")} == {"ct", "mr", "tilted", "series"}
    cases = {row["case"]: row["status"] for row in read_csv(out / "report_cases.csv")}
    assert cases == {"ct": "done", "mr": "done", "tilted": "done", "series": "done", "damaged": "failed"}


def bounds(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Lowest and highest corner of the voxels' centres in mm."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    places = nib.affines.apply_affine(affine, corners)
    return np.stack([places.min(axis=0), places.max(axis=0)])


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """`kill -9` in each stage, then the same command: the network is that of a run left alone."""
    names = ["c0", "c1", "c2"]
    for name, affine in zip(names, (AFFINES["LAS"], AFFINES["RAS"], AFFINES["LPI"]), strict=True):
        for kind, array in zip(("images", "labels"), make_scan(affine), strict=True):
            write_scan(tmp_path / "data" / "ct" / kind / f"{name}.nii.gz", array, affine)
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"1": names[:1]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    plain = {
        **TINY, "gan_iterations": 6, "encoder_iterations": 6, "student_iterations": 6, "checkpoint_every": 2,
        "labelled": 1, "modality": "ct", "dataset_dir": tmp_path / "data",
        "run": "['$@gan#trainer.run()', '$@train#trainer.run()', '$@distil#trainer.run()']",
        "gan#handlers": "[]", "train#handlers": "[]", "distil#handlers": "[]",
    }  # fmt: skip
    killer = "[{'_target_': 'tests.bundle_command.KillAt', 'iteration': %d}]"

    def train(out: str, **options: Any) -> int:
        return run_bundle("ct_liver/train.json", output_dir=tmp_path / out, **{**plain, **options}).code

    assert train("alone") == 0
    stopped = tmp_path / "stopped"
    assert train("stopped", **{"gan#handlers": killer % 5}) == -9
    assert torch.load(stopped / "gan" / "last.pt", weights_only=True)["iteration"] == 4
    assert not (stopped / "gan" / "generator.pt").exists()
    assert train("stopped", **{"train#handlers": killer % 3}) == -9
    assert torch.load(stopped / "encoder" / "last.pt", weights_only=True)["iteration"] == 2
    assert not (stopped / "encoder" / "model.pt").exists()
    assert train("stopped", **{"distil#handlers": killer % 5}) == -9
    assert torch.load(stopped / "student" / "last.pt", weights_only=True)["iteration"] == 4
    assert train("stopped") == 0
    for name in ("gan/generator.pt", "encoder/model.pt", "student/model.pt"):
        alone, again = (torch.load(tmp_path / o / name, weights_only=True) for o in ("alone", "stopped"))
        assert_same_bits(alone, again, name)


def assert_same_bits(one: Any, other: Any, where: str) -> None:
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same_bits(one[key], other[key], f"{where}/{key}")
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, where
