"""What stands before MONAI Label's routes: limits, closed doors, and sentences instead of stack traces."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["RequestGuard"]

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Path prefix, methods ("" for all) and why not.
CLOSED = (
    ("/proxy/", "", "this server keeps its studies in a folder, not behind DICOMweb"),
    ("/infer/wsi", "", "there are no models for microscopy here"),
    ("/model/", "PUT", "weights change by training only"),
    ("/model/", "DELETE", "weights change by training only"),
    ("/reload", "", "restart the server instead"),
)


class RequestGuard:
    """ASGI middleware.

    - a body larger than the limit is refused with 413, by its announced length or while it comes in;
    - paths with ``..``, a few routes that could write or read outside of the studies, and archives to be unpacked are
      refused;
    - on loopback, requests that another web page in the person's browser sends (``Origin``, ``Host`` of elsewhere) are
      refused with 403;
    - an exception that nobody foresaw becomes a 500 with a sentence; its trace goes to the log.

    Args:
        app: what is guarded.
        largest_body: bytes.
        hosts: names under which the server is reached; empty to check neither ``Host`` nor ``Origin``.
        remote_studies: the studies are behind DICOMweb, whose proxy is then open.
    """

    def __init__(self, app: Any, largest_body: int, hosts: frozenset[str] = frozenset(), remote_studies: bool = False):
        self.app, self.largest_body, self.hosts, self.remote_studies = app, largest_body, hosts, remote_studies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refuse(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        started = False
        seen = 0

        async def limited() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.largest_body:
                raise _TooLarge
            return message

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, limited, noted)
        except _TooLarge:
            if not started:
                await _answer(send, 413, self._too_large())
        except Exception:
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await _answer(send, 500, "the server could not do that; its log says why")

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        path, method = unquote(scope["path"]), scope["method"]
        if ".." in path.replace("\\", "/").split("/") or "\0" in path:
            return 400, "the path leads out of the server's folders"
        for prefix, methods, why in CLOSED:
            if prefix == "/proxy/" and self.remote_studies:
                continue
            if (path + "/").startswith(prefix) and methods in ("", method):
                return 403, why
        if path.startswith("/session") and b"uncompress=true" in scope.get("query_string", b"").lower():
            return 400, "archives are not unpacked here; send the files of the series one by one in one request"
        if self.hosts:
            origin = headers.get("origin", "")
            sender = urlsplit(origin).hostname if origin and origin != "null" else ("" if not origin else "null")
            host = urlsplit("//" + headers.get("host", "")).hostname or ""
            if host not in self.hosts or (sender and sender not in self.hosts):
                return 403, "this server answers programs and pages of its own machine only"
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return 400, "Content-Length is not a number"
        if int(length) > self.largest_body:
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"the request is larger than {self.largest_body // 2**20} MB, the most that this server takes"


class _TooLarge(Exception):  # noqa: N818
    """The body has become larger than its limit."""


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
