"""A real server, asked as 3D Slicer and the browser ask it."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from monai.bundle import ConfigParser

from tests.bundle_command import BUNDLES

pytestmark = [pytest.mark.label, pytest.mark.slow, pytest.mark.timeout(3000)]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    from tests.apps.label import server_process

    return server_process.dice(first, second)


def load(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def by_bundle_command(image: Path, output_dir: Path) -> np.ndarray:
    """What `configs/inference.json` writes for one file."""
    config = ConfigParser.load_config_file(str(BUNDLES / "ct_liver" / "configs" / "inference.json"))
    changes = {"bundle_root": str(BUNDLES / "ct_liver"), "dataset_dir": str(image), "output_dir": str(output_dir)}
    parser = ConfigParser({**config, **changes, "device": "$torch.device('cpu')"})
    parser.get_parsed_content("evaluator").run()
    (path,) = output_dir.glob("*_seg.nii.gz")
    return load(path)


def test_info_tells_what_is_served_and_what_is_not(server: Any) -> None:
    info = server.get("info/")
    assert {"ct_liver", "ct_liver_careful", "tiny_liver", "tiny_liver_careful"} == set(info["models"])
    assert info["models"]["ct_liver"]["labels"] == {"liver": 1}
    assert info["models"]["ct_liver"]["dimension"] == 3
    assert len(info["models"]["ct_liver"]["label_colors"]["liver"]) == 3
    assert set(info["trainers"]) == {"ct_liver", "tiny_liver"}
    assert {"uncertainty", "reconstruction_error", "random", "first"} == set(info["strategies"])
    assert not info["bundles"]["broken_liver"]["served"]
    assert info["bundles"]["broken_liver"]["reason"]
    assert info["datastore"]["total"] == 10


def test_ct_answer_equals_the_bundles_own(server: Any, phantom: Path, tmp_path: Path) -> None:
    mask, params = server.segment("ct_liver", "ct1")
    image = phantom / "ct" / "images" / "ph001.nii.gz"
    assert np.array_equal(mask, by_bundle_command(image, tmp_path))
    assert mask.shape == nib.load(image).shape
    assert dice(mask, load(phantom / "livers" / "ph001.nii.gz")) > 0.7
    assert params["label_names"] == {"liver": 1}
    assert 0 < params["quality"]["predicted_dice"]["liver"] <= 1


def test_mri_and_uploaded_file_of_another_orientation(server: Any, phantom: Path, tmp_path: Path) -> None:
    mask, _ = server.segment("ct_liver", "mr9")
    original = nib.load(phantom / "mr_t2spir" / "images" / "ph009.nii.gz")
    turned = original.as_reoriented(nib.orientations.axcodes2ornt(("S", "R", "P")))
    turned = turned.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    path = tmp_path / "turned.nii.gz"
    nib.save(turned, path)
    with path.open("rb") as file:
        other, params = server.segment("ct_liver", "", files={"file": ("turned.nii.gz", file)})
    assert other.shape == turned.shape
    back = nib.as_closest_canonical(nib.Nifti1Image(other, turned.affine))
    straight = nib.as_closest_canonical(nib.Nifti1Image(mask, original.affine))
    assert dice(np.asanyarray(back.dataobj), np.asanyarray(straight.dataobj)) > 0.98
    assert params["quality"]


def test_dicom_series_gives_nifti_and_dicom_seg(server: Any, phantom: Path, tmp_path: Path) -> None:
    import pydicom

    mask, _ = server.segment("ct_liver", "ct9d")  # taken in from a folder of the studies
    answer = server.ask("POST", "infer/ct_liver?image=ct9d&output=dicom_seg")
    assert answer.ok, answer.text
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    series = sorted((server.studies / "from_scanner" / "ct9d").glob("*.dcm"))
    assert found.Modality == "SEG"
    assert found.SegmentSequence[0].SegmentLabel == "liver"
    assert found.FrameOfReferenceUID == pydicom.dcmread(series[0]).FrameOfReferenceUID
    assert int(found.pixel_array.sum()) == int(mask.sum())
    # the same series, sent instead of found
    files = [("files", (path.name, path.read_bytes())) for path in series]
    session = server.ask("PUT", "session/", files=files).json()["session_id"]
    answer = server.ask("POST", f"infer/ct_liver?session_id={session}&output=image")
    (tmp_path / "session.nii.gz").write_bytes(answer.content)
    sent = nib.as_closest_canonical(nib.load(tmp_path / "session.nii.gz"))
    taken = nib.load(server.studies / "ct9d.nii.gz")
    straight = nib.as_closest_canonical(nib.Nifti1Image(mask, taken.affine))
    assert dice(np.asanyarray(sent.dataobj), np.asanyarray(straight.dataobj)) > 0.98


def test_other_requests_go_on_during_a_careful_answer(server: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        begin = time.monotonic()
        careful = pool.submit(server.segment, "ct_liver_careful", "ct2", steps=100000, time_limit=8.0)
        time.sleep(1.0)
        waits = []
        while not careful.done():
            asked = time.monotonic()
            server.get("info/")
            waits.append(time.monotonic() - asked)
            time.sleep(0.5)
        _, params = careful.result()
    assert params["time_limit_reached"]
    assert "reconstruction_error" in params["quality"]
    assert len(waits) >= 3
    assert sorted(waits)[len(waits) // 2] < 0.5 * (time.monotonic() - begin)


def test_twenty_requests_at_once_are_neither_lost_nor_mixed_up(server: Any) -> None:
    images = [f"ct{number % 8}" for number in range(20)]
    alone = {image: server.segment("tiny_liver", image)[0] for image in sorted(set(images))}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda image: server.segment("tiny_liver", image)[0], images))
    assert len(answers) == 20
    for image, answer in zip(images, answers, strict=True):
        assert np.array_equal(answer, alone[image]), image


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "infer/ct_liver?image=nobody", {}),
    ("POST", "infer/nothing?image=ct1", {}),
    ("POST", "infer/ct_liver", {}),
    ("POST", "infer/ct_liver?image=/etc/hostname", {}),
    ("POST", "infer/ct_liver?image=../outside", {}),
    ("POST", "infer/ct_liver?session_id=../../x", {}),
    ("POST", "infer/ct_liver?image=ct1", {"data": {"params": "{no"}}),
    ("POST", "infer/ct_liver?image=ct1", {"data": {"params": "[1]"}}),
    ("POST", "infer/ct_liver?image=ct1", {"data": {"params": '{"window_overlap": 7}'}}),
    ("POST", "infer/ct_liver?image=ct1", {"data": {"params": '{"result_extension": ".exe"}'}}),
    ("POST", "infer/ct_liver?image=ct1&output=dicom_seg", {}),
    ("POST", "infer/ct_liver", {"files": {"file": ("x.txt", b"words")}}),
    ("POST", "infer/ct_liver", {"files": {"file": ("x.nii.gz", b"words")}}),
    ("PUT", "datastore/image?image=../evil", {"files": {"file": ("x.nii.gz", b"words")}}),
    ("PUT", "datastore/label?image=ct1&tag=../../x", {"files": {"label": ("x.nii.gz", b"words")}}),
    ("PUT", "datastore/label?image=ct1", {"files": {"label": ("x.nii.gz", b"words")}}),
    ("PUT", "datastore/label?image=nobody", {"files": {"label": ("x.nii.gz", b"words")}}),
    ("GET", "datastore/image?image=../../etc/hostname", {}),
    ("GET", "static/..%2f..%2f..%2fapp.py", {}),
    ("POST", "train/nothing", {"json": {}}),
    ("POST", "train/tiny_liver", {"json": {"iterations": "many"}}),
    ("POST", "train/tiny_liver", {"data": "{no", "headers": {"Content-Type": "application/json"}}),
    ("POST", "activelearning/nothing", {"json": {}}),
    ("PUT", "model/ct_liver", {"files": {"file": ("model.pt", b"x")}}),
    ("GET", "info/", {"headers": {"Origin": "http://elsewhere.example"}}),
    ("GET", "info/", {"headers": {"Host": "elsewhere.example"}}),
]


@pytest.mark.parametrize(("method", "path", "options"), BAD, ids=[f"{i}-{row[1]}" for i, row in enumerate(BAD)])
def test_a_bad_request_gets_a_sentence(server: Any, method: str, path: str, options: dict[str, Any]) -> None:
    answer = server.ask(method, path, **options)
    assert 400 <= answer.status_code < 500, answer.text
    told = answer.json()["detail"]
    assert isinstance(told, str)
    assert told
    assert "Traceback" not in told
    assert str(server.studies) not in told


def test_a_body_of_two_gigabytes_is_refused_while_it_comes_in(server: Any) -> None:
    def endless() -> Any:
        for _ in range(2048):
            yield b"\0" * 2**20

    try:
        answer = requests.post(f"{server.url}/infer/ct_liver", data=endless(), timeout=120)
        assert 400 <= answer.status_code < 500
    except requests.ConnectionError:
        pass  # the server has hung up on the sender
    announced = requests.Request("POST", f"{server.url}/infer/ct_liver").prepare()
    announced.headers["Content-Length"] = str(2**31)
    assert requests.Session().send(announced, timeout=60).status_code == 413
    server.get("info/")


def test_scores_choose_the_next_image(server: Any) -> None:
    answer = server.ask("POST", "scoring/quality_tiny_liver?run_sync=true")
    assert answer.ok, answer.text
    objects = server.get("datastore/?output=all")["objects"]
    for number in ("uncertainty", "reconstruction_error"):
        scores = {name: item["image"]["info"]["quality"]["tiny_liver"][number] for name, item in objects.items()}
        assert len(set(scores.values())) > 1
        chosen = server.ask("POST", f"activelearning/{number}", json={"model": "tiny_liver"}).json()
        assert chosen["id"] == max(scores, key=scores.__getitem__)
        assert chosen["weight"] == pytest.approx(max(scores.values()))
    for strategy in ("random", "first"):
        assert server.ask("POST", f"activelearning/{strategy}", json={}).json()["id"] in objects


def test_the_page_and_its_pictures(server: Any) -> None:
    assert "research only" in requests.get(f"{server.url}/", timeout=60).text
    picture = requests.get(f"{server.url}/picture/ct1?position=0.6", timeout=60)
    assert picture.headers["Content-Type"] == "image/png"
    assert requests.get(f"{server.url}/picture/nobody", timeout=60).status_code == 404


def test_corrections_train_a_better_model_and_a_failed_training_changes_nothing(server: Any, phantom: Path) -> None:
    held_out = load(phantom / "livers" / "ph007.nii.gz")
    for number in (0, 1):
        saved = server.save_label(f"ct{number}", phantom / "livers" / f"ph00{number}.nii.gz")
        assert saved.ok, saved.text
    assert server.get("datastore/")["completed"] == 2
    before, _ = server.segment("tiny_liver", "ct7")

    # a mask with a value that the model does not know
    odd = server.studies.parent / "odd.nii.gz"
    mask = nib.load(phantom / "livers" / "ph002.nii.gz")
    nib.save(nib.Nifti1Image((np.asanyarray(mask.dataobj) * 7).astype(np.uint8), mask.affine), odd)
    assert server.save_label("ct2", odd).ok
    failed = server.train("tiny_liver", iterations=2)
    assert failed["status"] == "ERROR"
    assert any("unknown label values" in line for line in failed["details"])
    assert server.version("tiny_liver") == 0
    assert server.ask("DELETE", "datastore/label?id=ct2&tag=final").ok

    done = server.train("tiny_liver", iterations=60, learning_rate=0.01, batch_size=2)
    assert done["status"] == "DONE", done["details"]
    assert any("images" in line for line in done["details"])
    info = server.get("info/")
    assert info["models"]["tiny_liver"]["version"] == 1
    (noted,) = info["train_stats"]["tiny_liver"]["versions"]
    assert (noted["labelled"], noted["unlabelled"]) == (2, 8)
    after, params = server.segment("tiny_liver", "ct7")
    assert params["version"] == 1
    assert dice(after, held_out) > dice(before, held_out) + 0.1
    # the tracked run is whole, and the earlier version is one number away
    tracking = server.studies / ".monai_semgan" / "model" / "tiny_liver"
    with sqlite3.connect(tracking / "tracking" / "mlruns.db") as database:
        assert set(database.execute("select status from runs").fetchall()) == {("FINISHED",)}
        assert database.execute("select count(*) from metrics where key = 'label/loss'").fetchone()[0] > 3
    (tracking / "served.json").write_text(json.dumps({"version": 0}))
    assert np.array_equal(server.segment("tiny_liver", "ct7")[0], before)
    (tracking / "served.json").write_text(json.dumps({"version": 1}))
    assert np.array_equal(server.segment("tiny_liver", "ct7")[0], after)


def test_proposals_are_scored_against_corrections(server: Any, phantom: Path) -> None:
    mask, _ = server.segment("ct_liver", "ct3", save_label=True)
    assert server.save_label("ct3", phantom / "livers" / "ph003.nii.gz").ok
    scores = server.ask("POST", "scoring/dice?run_sync=true").json()
    assert scores["ct3"] == pytest.approx(dice(mask, load(phantom / "livers" / "ph003.nii.gz")))
