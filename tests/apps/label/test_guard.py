"""What stands before the server's routes lets through what it should, and nothing else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from monai_semgan.apps.label.guard import RequestGuard

HOSTS = frozenset({"127.0.0.1", "localhost"})


class Application:
    """Reads the whole body, then answers 200; or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls = error, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def ask(
    app: Application, path: str = "/info/", method: str = "GET", query: bytes = b"", parts: int = 1, **headers: str
) -> tuple[int, str]:
    guard = RequestGuard(app, largest_body=2**20, hosts=HOSTS)
    headers = {"host": "127.0.0.1:8000", **headers}
    scope = {
        "type": "http", "path": path, "method": method, "query_string": query,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    body = [{"type": "http.request", "body": b"x" * 2**18, "more_body": i + 1 < parts} for i in range(parts)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return body.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]).get("detail", "")


def test_ordinary_requests_go_through() -> None:
    assert ask(Application())[0] == 200
    assert ask(Application(), origin="http://localhost:8000")[0] == 200
    assert ask(Application(), "/model/ct_liver")[0] == 200
    assert ask(Application(), parts=4)[0] == 200


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, {"path": "/static/../../app.py"}),
        (400, {"path": "/static/..%2f..%2fapp.py"}),
        (400, {"path": "/session/", "method": "PUT", "query": b"uncompress=True"}),
        (400, {"content_length": "many"}),
        (403, {"path": "/proxy/dicom/x"}),
        (403, {"path": "/reload", "method": "POST"}),
        (403, {"path": "/model/ct_liver", "method": "PUT"}),
        (403, {"path": "/model/ct_liver", "method": "DELETE"}),
        (403, {"host": "elsewhere.example"}),
        (403, {"origin": "http://elsewhere.example"}),
        (403, {"origin": "null"}),
        (413, {"content_length": str(2**21)}),
    ],
)
def test_refused_before_the_application_sees_them(status: int, request_: dict[str, Any]) -> None:
    app = Application()
    told = ask(app, **request_)
    assert told[0] == status
    assert told[1]
    assert app.calls == 0


def test_a_body_that_grows_beyond_the_limit_is_cut_off() -> None:
    status, told = ask(Application(), parts=8)
    assert status == 413
    assert "1 MB" in told


def test_an_unforeseen_exception_is_told_without_its_text() -> None:
    status, told = ask(Application(RuntimeError("/secret/path")))
    assert status == 500
    assert "secret" not in told
