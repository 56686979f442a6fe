"""Where runs are tracked: data bases in results folders, or a server."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import InputError

__all__ = ["Store", "find_stores", "open_stores", "quietly"]

_SQLITE = "sqlite:///"
_FILES = ("mlruns.db", "mlflow.db")  # this package's name, and MLflow's own
_NOT_SEARCHED = ("mlruns", "node_modules", "site-packages", "__pycache__")
_DEEPEST = 8
_FIX = "name a folder, a .db file or a server with --tracking_uri, or set MLFLOW_TRACKING_URI"
# MLflow's own patience with a server that is away is minutes; somebody is waiting at the terminal.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@dataclass(frozen=True)
class Store:
    """One MLflow store that answered.

    Args:
        uri: its address, as MLflow takes it.
        client: MLflow's client for it.
    """

    uri: str
    client: Any

    @property
    def title(self) -> str:
        """The address for people: without user name and password, and of a data base the last two names only."""
        if self.uri.startswith(_SQLITE):
            return "/".join(Path(self.uri[len(_SQLITE) :]).parts[-2:])
        return re.sub(r"//[^/@]*@", "//", self.uri)

    @property
    def folder(self) -> Path | None:
        """The folder that a data base lies in; None for a server."""
        return Path(self.uri[len(_SQLITE) :]).absolute().parent if self.uri.startswith(_SQLITE) else None


def find_stores(places: Sequence[str] | None = None) -> list[str]:
    """Addresses of the stores at ``places``.

    Args:
        places: MLflow addresses, ``.db`` files, or folders that are searched for ``mlruns.db`` and
            ``mlflow.db``. By default the environment's ``MLFLOW_TRACKING_URI``, else the current folder.

    Raises:
        InputError: a file or folder is not there, or there is no store at all.
    """
    if not places:
        from_environment = os.environ.get("MLFLOW_TRACKING_URI")
        places = [from_environment] if from_environment else ["."]
    found = [uri for place in places for uri in _stores_at(place)]
    if not found:
        raise InputError(f"no MLflow store in {', '.join(places)}", wanted=" or ".join(_FILES), fix=_FIX)
    return list(dict.fromkeys(found))


def open_stores(places: Sequence[str] | None = None) -> list[Store]:
    """Open the stores at ``places``, see ``find_stores``.

    A data base that was found by searching and cannot be read is a line on standard error; one that was named
    is an error.

    Raises:
        InputError: a store that was named does not answer, or none does.
    """
    uris = find_stores(places)
    named = {uri for place in places or () if not Path(place).is_dir() for uri in _stores_at(place)}
    stores, troubles = [], []
    for uri in uris:
        try:
            stores.append(_open(uri))
        except InputError as error:
            if uri in named or len(uris) == 1:
                raise
            troubles.append(str(error))
    for trouble in troubles:
        print(f"left out: {trouble}", file=sys.stderr)
    if not stores:
        raise InputError("no MLflow store could be read", fix=_FIX)
    return stores


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block MLflow neither chats nor waits for minutes; the user's own settings win."""
    added = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _stores_at(place: str) -> list[str]:
    if "://" in place:
        if place.startswith(_SQLITE) and not Path(place[len(_SQLITE) :]).is_file():
            # MLflow would make it.
            raise InputError(f"MLflow store {place}", got="no such file", fix=_FIX)
        return [place]
    path = Path(place)
    if path.is_file():
        return [f"{_SQLITE}{path.absolute().as_posix()}"]
    if not path.is_dir():
        raise InputError(f"MLflow store {place}", got="no such file or folder", fix=_FIX)
    return [f"{_SQLITE}{file.as_posix()}" for file in sorted(_search(path.absolute()))]


def _search(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = [
            name for name in folders if depth < _DEEPEST and name not in _NOT_SEARCHED and not name.startswith(".")
        ]
        yield from (Path(folder, name) for name in _FILES if name in files)


def _open(uri: str) -> Store:
    # Not handlers.open_client: that room loads torch and MONAI, which a table in the terminal need not wait for.
    with quietly():
        from mlflow import MlflowClient

        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        store = Store(uri, None)
        try:
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"MLflow store {store.title} cannot be read", got=reason, fix=_FIX) from error
    return Store(uri, client)
