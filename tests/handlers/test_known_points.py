"""MLflow after a kill: no point twice, no run left open for ever, no half-made data base."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from monai_semgan.handlers.known_points import FOLDER_TAG, KnownPoints, close_lost_runs, folder_mark
from monai_semgan.handlers.whole_database import make_whole_database


class Store:
    """As much of MLflow's client as is asked for."""

    def __init__(self, points: dict[str, list[tuple[int, float]]]) -> None:
        self.points, self.asked, self.closed = points, [], []

    def get_metric_history(self, run_id: str, name: str) -> list[SimpleNamespace]:
        self.asked.append((run_id, name))
        return [point(name, step, value) for step, value in self.points.get(name, [])]

    def search_runs(self, experiments: list[str], filter_string: str) -> list[SimpleNamespace]:
        self.searched = filter_string
        return [SimpleNamespace(info=SimpleNamespace(run_id="lost"))]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.closed.append((run_id, status))


def point(key: str, step: int, value: float) -> SimpleNamespace:
    return SimpleNamespace(key=key, step=step, value=value)


def test_what_is_known_is_not_sent_again() -> None:
    store, known = Store({"loss": [(1, 0.5), (2, 0.4)]}), KnownPoints()
    again = [point("loss", 2, 0.4), point("loss", 3, 0.3), point("loss", 1, 0.6), point("dice", 2, 0.4)]
    assert known.new(store, "r", again) == again[1:]
    known.new(store, "r", again)
    assert sorted(store.asked) == [("r", "dice"), ("r", "loss")]  # asked once each


def test_lost_runs_of_the_same_folder_are_closed(tmp_path: Path) -> None:
    store = Store({})
    close_lost_runs(store, "1", tmp_path)
    assert store.closed == [("lost", "FAILED")]
    assert FOLDER_TAG in store.searched
    assert folder_mark(tmp_path) in store.searched
    assert folder_mark(tmp_path) != folder_mark(tmp_path / "other")
    assert tmp_path.name not in folder_mark(tmp_path)


def test_the_data_base_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking import sqlalchemy_store

    class Killed(BaseException):
        pass

    def half(uri: str, artifacts: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half a data base")
        raise Killed

    path = tmp_path / "run" / "mlruns.db"
    with monkeypatch.context() as patch:
        patch.setattr(sqlalchemy_store, "SqlAlchemyStore", half)
        with pytest.raises(Killed):
            make_whole_database(f"sqlite:///{path}")
    assert not path.exists()
    path.write_bytes(b"somebody's")
    make_whole_database(f"sqlite:///{path}")
    assert path.read_bytes() == b"somebody's"
    make_whole_database("http://127.0.0.1:5000")
