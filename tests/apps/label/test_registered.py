"""Registered versions of MLflow as the weights of a bundle: fetched once, checked, kept for when the server is away."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_semgan.apps import log_bundle_model
from monai_semgan.apps.label.app_folder import AppSettings, BundleSource, find_bundles, prepare_app_folder
from monai_semgan.apps.label.command import fetched
from monai_semgan.apps.label.model import ServedModel
from monai_semgan.apps.label.registered import _check, _shown, fetch_registered
from monai_semgan.apps.label.versions import ModelVersions
from monai_semgan.handlers import ExperimentRun, RegisteredVersion, find_version, parse_model_address
from monai_semgan.utils import InputError, load_checkpoint, save_checkpoint
from tests.bundle_command import BUNDLES
from tests.scans import AFFINES, make_scan, write_scan

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning")
METRIC = "student/validation_dice_ct"


class Registry:
    """Versions of ``liver`` in an SQLite store: trainings of ``tiny_liver`` with other weights each."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.bundle, self.number = folder, bundle, 0
        self.uri = f"sqlite:///{(folder / 'mlruns.db').as_posix()}"

    def add(self, dice: float, name: str = "liver", change: Callable[[Path], None] | None = None) -> Path:
        """Register the next version; returns the weights that it has."""
        self.number += 1
        work = self.folder / f"training{self.number}"
        shutil.copytree(self.bundle, work / "bundle")
        weights = work / "bundle" / "models" / "model.pt"
        state = load_checkpoint(weights)
        save_checkpoint({key: value + 0.01 * self.number for key, value in state.items()}, weights)
        if change is not None:
            change(work / "bundle")
        run = ExperimentRun(work / "out", "tiny_liver", tracking_uri=self.uri, datalist={"labelled": ["a"]})
        run.log_metrics({METRIC: dice}, 1)
        assert log_bundle_model(run, work / "bundle", weights, name, METRIC) is not None
        run.finish()
        return weights


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def registry(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two versions of ``liver``: the first is the champion, the second is worse."""
    made = Registry(tmp_path_factory.mktemp("registry"), tiny_bundle)
    made.weights = [made.add(0.8), made.add(0.7)]  # type: ignore[attr-defined]
    return made


@pytest.fixture
def own(registry: Registry, tmp_path: Path) -> Registry:
    """A copy of the registry for a test that changes it; files of models stay where they are."""
    made = Registry(tmp_path / "registry", registry.bundle)
    made.folder.mkdir()
    shutil.copyfile(registry.folder / "mlruns.db", made.folder / "mlruns.db")
    made.number = registry.number
    return made


def source(bundle: Path, address: str = "models:/liver@champion") -> BundleSource:
    return BundleSource("tiny_liver", str(bundle), address)


def test_addresses() -> None:
    assert parse_model_address("models:/ct_liver@champion") == ("ct_liver", "", "champion")
    assert parse_model_address("models:/a b.c/12") == ("a b.c", "12", "")
    for wrong in (
        "models:/x",
        "models:/x/latest",
        "models:/x/../y",
        "runs:/1/model",
        "models:/../x@y/z",
        "x",
        "models:/a/1\n",
    ):
        with pytest.raises(InputError, match="models:/NAME@ALIAS"):
            parse_model_address(wrong)
    assert _shown("https://somebody:word@mlflow.example.org:5000/x") == "https://mlflow.example.org:5000/x"


def test_a_bundle_is_named_with_an_address() -> None:
    (found,) = find_bundles(["ct_liver=models:/ct_liver@champion"])
    assert found == BundleSource("ct_liver", str(BUNDLES / "ct_liver"), "models:/ct_liver@champion")
    plain = (BundleSource("a", "/x/a"), BundleSource("b", "/x/b", "/x/model.pt"))
    assert fetched(plain, Path("nowhere"), None) == plain


def test_the_version_that_is_asked_for_answers(registry: Registry, tmp_path: Path) -> None:
    said: list[str] = []
    champion = fetch_registered(source(registry.bundle), tmp_path, registry.uri, said.append)
    second = fetch_registered(source(registry.bundle, "models:/liver/2"), tmp_path, registry.uri, said.append)
    assert (champion.registered, second.registered) == ("models:/liver/1", "models:/liver/2")
    assert said == [
        f"tiny_liver: models:/liver/1 (champion), {METRIC} 0.800",
        f"tiny_liver: models:/liver/2, {METRIC} 0.700",
    ]
    volume, _ = make_scan(AFFINES["LPI"])
    scan = write_scan(tmp_path / "scan.nii.gz", volume, AFFINES["LPI"])
    for found, weights in zip((champion, second), registry.weights, strict=True):  # type: ignore[attr-defined]
        assert Path(found.weights).read_bytes() == weights.read_bytes()
        logits = [
            ServedModel(root, "inference.json", ModelVersions(tmp_path / "none", path)).build("network")
            for root, path in ((registry.bundle, Path(found.weights)), (weights.parents[1], weights))
        ]
        states = [network.state_dict() for network in logits]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    served = ServedModel(registry.bundle, "inference.json", ModelVersions(tmp_path / "none", Path(champion.weights)))
    assert np.asarray(served.segment(scan, tmp_path / "out").version) == 0
    assert os.environ.get("MLFLOW_TRACKING_URI") is None


def test_what_is_kept_is_not_fetched_again_and_an_alias_may_move(own: Registry, tmp_path: Path) -> None:
    app = tmp_path / "app"
    first = fetch_registered(source(own.bundle), app, own.uri)
    made = Path(first.weights).stat().st_mtime_ns
    assert fetch_registered(source(own.bundle), app, own.uri) == first
    assert Path(first.weights).stat().st_mtime_ns == made
    weights = own.add(0.9)
    moved = fetch_registered(source(own.bundle), app, own.uri)
    assert moved.registered == "models:/liver/3"
    assert Path(moved.weights).read_bytes() == weights.read_bytes()
    assert Path(first.weights).is_file()
    # what is served is pinned: the processes that train and score read it from the app's folder
    settings = AppSettings((moved,))
    assert json.loads((prepare_app_folder(app, settings) / "label_app.json").read_text())["bundles"][0] == {
        "name": "tiny_liver", "root": str(own.bundle), "weights": moved.weights, "registered": "models:/liver/3",
    }  # fmt: skip


def test_with_mlflow_away_what_was_fetched_answers_with_a_warning(own: Registry, tmp_path: Path) -> None:
    app = tmp_path / "app"
    first = fetch_registered(source(own.bundle), app, own.uri)
    (own.folder / "mlruns.db").rename(own.folder / "away.db")
    for address in ("models:/liver@champion", "models:/liver/1"):
        said: list[str] = []
        assert fetch_registered(source(own.bundle, address), app, own.uri, said.append) == first
        assert said[0].startswith("WARNING: MLflow at sqlite:///")
        assert "models:/liver/1, fetched earlier, is served" in said[0]
    assert not (own.folder / "mlruns.db").exists()  # MLflow makes an empty one when it is asked
    for address in ("models:/liver/2", "models:/liver@other", "models:/other/1"):
        with pytest.raises(InputError, match="was never fetched"):
            fetch_registered(source(own.bundle, address), app, own.uri)
    with pytest.raises(InputError, match="was never fetched"):  # the same name elsewhere is another model
        fetch_registered(source(own.bundle), app, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="was never fetched") as told:
        fetch_registered(source(own.bundle), app, "http://somebody:secret@127.0.0.1:9")
    assert "secret" not in str(told.value)
    with Path(first.weights).open("ab") as file:
        file.write(b"damaged")
    with pytest.raises(InputError, match="was never fetched"):
        fetch_registered(source(own.bundle), app, own.uri)
    (own.folder / "away.db").rename(own.folder / "mlruns.db")
    assert fetch_registered(source(own.bundle), app, own.uri) == first
    assert load_checkpoint(first.weights)


def test_what_the_registry_does_not_have_is_told(registry: Registry, tmp_path: Path, monkeypatch: Any) -> None:
    for address in ("models:/liver/9", "models:/liver@nobody", "models:/nothing@champion"):
        with pytest.raises(InputError, match="look at the Models page"):
            fetch_registered(source(registry.bundle, address), tmp_path, registry.uri)
    with pytest.raises(ConnectionError):
        find_version("models:/liver/1", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="--registry"):
        fetch_registered(source(registry.bundle), tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    assert fetch_registered(source(registry.bundle), tmp_path).registered == "models:/liver/1"


def edit_metadata(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


class Hostile:
    """Unpickling it makes a folder."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def test_a_model_of_something_else_is_refused(own: Registry, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def spleen(bundle: Path) -> None:
        outputs = {"pred": {"channel_def": {"0": "background", "1": "spleen"}}}
        edit_metadata(bundle, lambda content: content["network_data_format"].update(outputs=outputs))

    def other_bundle(bundle: Path) -> None:
        edit_metadata(bundle, lambda content: content.update(name="Another bundle"))

    def other_network(bundle: Path) -> None:
        save_checkpoint({"weight": torch.zeros(3)}, bundle / "models" / "model.pt")

    def hostile(bundle: Path) -> None:
        (bundle / "models" / "model.pt").write_bytes(pickle.dumps(Hostile(str(mark))))

    def other_settings(bundle: Path) -> None:
        path = bundle / "configs" / "inference.json"
        evil = f"$__import__('os').mkdir({str(mark)!r})"
        path.write_text(json.dumps({**json.loads(path.read_text()), "views": evil, "imports": [evil]}))

    app, version = tmp_path / "app", RegisteredVersion("liver", "1")
    for change, told in {spleen: "spleen", other_bundle: "Another bundle", other_network: "tensors of UNet"}.items():
        shutil.copytree(own.bundle, tmp_path / change.__name__)
        change(tmp_path / change.__name__)
        with pytest.raises(InputError, match=told):
            _check(source(own.bundle), version, tmp_path / change.__name__, print)
    own.add(0.1, "strange", hostile)
    with pytest.raises(InputError, match="refused on purpose"):
        fetch_registered(source(own.bundle, "models:/strange/1"), app, own.uri)
    assert list(app.rglob("*.pt")) == []
    # other settings are told and not used: no line of what was fetched is run
    own.add(0.1, "plain", other_settings)
    said: list[str] = []
    found = fetch_registered(source(own.bundle, "models:/plain/1"), app, own.uri, said.append)
    assert "other values of imports, views in configs/inference.json" in said[0]
    ServedModel(own.bundle, "inference.json", ModelVersions(tmp_path / "none", Path(found.weights)))
    assert not mark.exists()


def test_a_version_trained_here_answers_and_is_told(registry: Registry, tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path / "model" / "tiny_liver", registry.bundle / "models" / "model.pt")
    number, folder = versions.start()
    (folder / "model.pt").write_bytes(b"trained here")
    versions.publish(number, {})
    said: list[str] = []
    fetch_registered(source(registry.bundle), tmp_path, registry.uri, said.append)
    assert "version 1, trained here, answers; for models:/liver/1 write 0 into" in said[-1]
