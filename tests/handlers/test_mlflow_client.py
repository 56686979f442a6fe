"""What is changed in MLflow for one call is as before after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_semgan.handlers.mlflow_client import global_address


@pytest.mark.parametrize("users", [None, "http://127.0.0.1:9"])
def test_an_address_for_one_call_does_not_stay_in_the_environment(
    users: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if users:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", users)
    before = mlflow.get_tracking_uri()
    with global_address(f"sqlite:///{tmp_path / 'runs.db'}"):
        assert mlflow.get_tracking_uri().endswith("runs.db")
    assert os.environ.get("MLFLOW_TRACKING_URI") == users
    assert mlflow.get_tracking_uri() == before
