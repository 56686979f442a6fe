"""kill -9 of the server: what it had is whole afterwards, and what it served is what it serves."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

pytestmark = [pytest.mark.label, pytest.mark.slow, pytest.mark.timeout(3000)]


def weights_of(bundle: Path) -> str:
    return hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest()


def test_killed_in_training_and_in_inference(make_studies: Any, tiny_bundle: Path, phantom: Path) -> None:
    from tests.apps.label.server_process import LabelServer

    server = LabelServer(make_studies("killed"), "--bundle", str(tiny_bundle)).start()
    try:
        for number in (0, 1):
            assert server.save_label(f"ct{number}", phantom / "livers" / f"ph00{number}.nii.gz").ok
        shipped = weights_of(tiny_bundle)
        before, _ = server.segment("tiny_liver", "ct5")

        assert server.ask("POST", "train/tiny_liver", json={"iterations": 5000}).ok
        server.wait(lambda: server.training_details("/5000 images"), "the training did not begin")
        server.kill()
        server.start()
        store = server.get("datastore/?output=all")["objects"]
        assert len(store) == 9
        assert sorted(name for name, item in store.items() if "final" in item["labels"]) == ["ct0", "ct1"]
        after, params = server.segment("tiny_liver", "ct5")
        assert params["version"] == 0
        assert np.array_equal(before, after)
        assert weights_of(tiny_bundle) == shipped
        label = server.ask("GET", "datastore/label?label=ct0&tag=final").content
        assert label == (phantom / "livers" / "ph000.nii.gz").read_bytes()

        # stopped on purpose: the same
        assert server.ask("POST", "train/tiny_liver", json={"iterations": 5000}).ok
        server.wait(lambda: server.training_details("/5000 images"), "the training did not begin")
        assert server.ask("DELETE", "train/").ok
        assert server.get("train/")["status"] == "STOPPED"
        assert server.version("tiny_liver") == 0

        asked = threading.Thread(target=_ask_and_lose, args=(server.url,))
        asked.start()
        asked.join(2.0)
        server.kill()
        asked.join(60)
        (server.studies / "datastore_v2.json").write_text('{"objects": {"ct0"')  # what a write that was cut off leaves
        server.start()
        store = server.get("datastore/?output=all")["objects"]
        assert len(store) == 9
        assert sorted(name for name, item in store.items() if "final" in item["labels"]) == ["ct0", "ct1"]
        assert np.array_equal(server.segment("tiny_liver", "ct5")[0], before)
    finally:
        server.stop()


def _ask_and_lose(url: str) -> None:
    try:
        requests.post(
            f"{url}/infer/tiny_liver_careful?image=ct5",
            data={"params": '{"steps": 100000, "time_limit": 60, "save_label": true}'}, timeout=120,
        )  # fmt: skip
    except requests.RequestException:
        return
