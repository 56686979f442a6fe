"""What every test gets: two torch threads, no window, no network; and where the real scans are."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before anything imports matplotlib or MLflow: both look at their environment once.
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp(prefix="monai-semgan-matplotlib-"))
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# It outranks a configuration's own tracking_uri, and a test must not write into somebody's store.
os.environ.pop("MLFLOW_TRACKING_URI", None)

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
ABDOMEN_VARIABLE = "MONAI_SEMGAN_ABDOMEN"
LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def two_threads() -> Iterator[None]:
    """Hold torch to two threads: the tests' sizes are small and the machines that run them too."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a socket reach this machine only, so that a hidden download fails the test."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(connection: socket.socket, address: Any) -> None:
        if connection.family == getattr(socket, "AF_UNIX", None):
            return
        host = str(address[0]) if isinstance(address, tuple) else str(address)
        if not host.startswith(LOOPBACK):
            pytest.fail(f"a test tried to reach {host}: tests run without a network", pytrace=True)

    def checked_connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def abdomen_dir() -> Path:
    """Real scans in the layout of docs: `<domain>/images`, `<domain>/labels`, `splits.json`."""
    folder = os.environ.get(ABDOMEN_VARIABLE)
    if not folder:
        pytest.skip(f"real scans: {ABDOMEN_VARIABLE} is not set")
    return Path(folder)
