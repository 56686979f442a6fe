"""The network block of conftest.py blocks what it should and nothing else."""

from __future__ import annotations

import socket

import pytest


def test_the_outside_cannot_be_reached() -> None:
    # 192.0.2.0/24 is reserved for documentation (RFC 5737): nothing answers there even without the block.
    with socket.socket() as connection, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"):
        connection.connect(("192.0.2.1", 80))


def test_this_machine_can_be_reached() -> None:
    with socket.socket() as server, socket.socket() as connection:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        connection.connect(server.getsockname())
