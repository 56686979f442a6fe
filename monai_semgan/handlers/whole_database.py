"""MLflow's tables appear in one go: a process killed while they are made would leave a data base of no use for ever."""

from __future__ import annotations

from pathlib import Path

from ..utils.files import atomic_path

__all__ = ["make_whole_database"]

_SQLITE = "sqlite:///"


def make_whole_database(tracking_uri: str) -> None:
    """Make MLflow's data base where ``tracking_uri`` names an SQLite file that is not there; else do nothing."""
    if not tracking_uri.startswith(_SQLITE):
        return
    path = Path(tracking_uri[len(_SQLITE) :].partition("?")[0])
    if path.name == "" or path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with atomic_path(path) as temporary:
        # not through a client, whose stores are kept for the process: this one goes with its file's temporary name
        store = SqlAlchemyStore(f"{_SQLITE}{temporary.as_posix()}", (path.parent / "mlruns").absolute().as_uri())
        store.engine.dispose()
