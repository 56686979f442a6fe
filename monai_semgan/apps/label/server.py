"""Start MONAI Label's server on the app, behind the guard."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

from ...utils import InputError
from .app_folder import AppSettings

__all__ = ["check_address", "run_server", "server_environment"]

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def check_address(host: str, port: int, public: bool, authenticated: bool) -> None:
    """Refuse an address that others can reach, unless that is wanted and they have to say who they are.

    Raises:
        InputError: a public address without ``public`` or without authentication, or a port that is taken.
    """
    if not is_loopback(host):
        if not public:
            raise InputError(
                f"address {host}", got="one that other machines can reach", wanted="127.0.0.1",
                fix="add --public if the scans may be read from the network",
            )  # fmt: skip
        if not authenticated:
            raise InputError(
                f"address {host}", got="no authentication: everybody in the network could read and change the scans",
                wanted="MONAI_LABEL_AUTH_ENABLE=true and MONAI_LABEL_AUTH_REALM_URI of an OpenID Connect server",
                fix="set them (docs/how_to/monai_label.md), or leave --host at 127.0.0.1",
            )  # fmt: skip
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"port {port} on {host}", got=error.strerror, wanted="a free port", fix="give another --port"
            ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_environment(app_dir: Path, studies: str, port: int) -> dict[str, str]:
    """What MONAI Label reads when it is imported, in the server and in the processes that it starts."""
    package = str(Path(__file__).resolve().parents[3])
    known = os.environ.get("PYTHONPATH", "")
    return {
        "MONAI_LABEL_APP_DIR": str(app_dir),
        "MONAI_LABEL_STUDIES": studies,
        "MONAI_LABEL_APP_CONF": "{}",
        "MONAI_LABEL_SERVER_PORT": str(port),
        "MONAI_LABEL_SESSION_PATH": str(app_dir / "sessions"),
        "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "MONAI_ZOO_SOURCE": "local",
        "MONAI_SEMGAN_LABEL_SERVER": str(os.getpid()),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": os.pathsep.join([package, known] if known else [package]),
    }


def run_server(app_dir: Path, studies: str, host: str, port: int, settings: AppSettings) -> None:
    """Serve until stopped; returns then."""
    os.environ.update(server_environment(app_dir, studies, port))
    from .stand_ins import prepare_monailabel

    prepare_monailabel()
    import uvicorn
    from monailabel.config import settings as label_settings

    # Not by the environment: the processes that train and score print their settings, and cannot print addresses.
    label_settings.MONAI_LABEL_CORS_ORIGINS = [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")]
    os.environ.pop("MONAI_LABEL_CORS_ORIGINS", None)
    from monailabel.utils.others.generic import init_log_config

    log_config = init_log_config(None, str(app_dir), "app.log", "INFO")
    remote = studies.startswith(("http://", "https://"))
    app = build_application(settings, LOOPBACK_NAMES if is_loopback(host) else frozenset(), remote)
    uvicorn.run(app, host=host, port=port, log_level="info", log_config=log_config, access_log=False, workers=1)


def build_application(settings: AppSettings, hosts: frozenset[str], remote_studies: bool = False) -> Any:
    """MONAI Label's application with our routes in front of its own, behind the guard."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from monailabel.app import app
    from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
    from monailabel.interfaces.utils.app import app_instance

    from .guard import RequestGuard
    from .page import page_router
    from .routes import router

    def told(status: int) -> Any:
        def answer(request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"detail": str(getattr(error, "msg", "") or error)}, status)

        return answer

    def malformed(request: Request, error: Exception) -> JSONResponse:
        rows = getattr(error, "errors", list)()
        told = "; ".join(f"{'.'.join(str(part) for part in row['loc'])}: {row['msg']}" for row in rows[:5])
        return JSONResponse({"detail": f"the request is not understood: {told or error}"}, 422)

    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the server could not do that; its log says why"}, 500)

    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(InputError, told(400))
    app.add_exception_handler(json.JSONDecodeError, told(400))
    app.add_exception_handler(MONAILabelException, told(400))
    app.add_exception_handler(ImageNotFoundException, told(404))
    app.add_exception_handler(LabelNotFoundException, told(404))
    app.add_exception_handler(Exception, unforeseen)
    for own in (router, page_router):
        app.include_router(own)
        app.router.routes.insert(0, app.router.routes.pop())
    logging.getLogger(__name__).info("models: %s", ", ".join(app_instance().models))
    return RequestGuard(app, settings.largest_upload_mb * 2**20, hosts, remote_studies)
