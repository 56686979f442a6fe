"""`monai-semgan label-app`: prepare a MONAI Label app and start its server."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...utils import InputError
from .app_folder import AppSettings, BundleSource, find_bundles, is_model_address, prepare_app_folder
from .requirements import INSTALL_LABEL, examine_label, missing_for_label

__all__ = ["add_parser", "run"]

HIDDEN = ".monai_semgan"


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command ``label-app`` to the program's ``subparsers``."""
    parser = subparsers.add_parser(
        "label-app",
        help="serve the bundles in MONAI Label, for 3D Slicer and the browser",
        description="Prepare a MONAI Label app and start its server. What it needs: " + INSTALL_LABEL,
    )
    parser.add_argument("--studies", help="folder with the scans (NIfTI, DICOM series), or URL of a DICOMweb server")
    parser.add_argument(
        "--bundle",
        nargs="+",
        action="extend",  # given twice, both count
        default=[],
        metavar="NAME",
        help="bundles to serve (default: all); NAME=PATH/model.pt for other weights, NAME=models:/MODEL@champion or "
        "NAME=models:/MODEL/3 for a registered version",
    )
    parser.add_argument(
        "--registry", metavar="URI", help="MLflow's address for models:/... (default: MLFLOW_TRACKING_URI)"
    )
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--public", action="store_true", help="allow an address that other machines reach")
    parser.add_argument("--app", type=Path, help=f"the app's folder (default: {HIDDEN} in the studies)")
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: cuda if there is one)")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds for a careful answer (default: 60)")
    parser.add_argument("--largest-upload", type=int, default=1024, metavar="MB", help="of one request (default: 1024)")
    parser.add_argument("--no-scoring", action="store_true", help="do not score the unlabelled scans at the start")
    parser.add_argument("--check", action="store_true", help="only say what is missing, then end")
    return parser


def run(args: argparse.Namespace) -> int:
    """Start the server that ``args`` asks for; 0 when it was stopped, 1 when something is missing."""
    if args.check:
        return check()
    missing = missing_for_label()
    if missing:
        raise InputError("MONAI Label cannot be started", got=f"missing: {', '.join(missing)}", fix=INSTALL_LABEL)
    if not args.studies:
        raise InputError("option studies", got="nothing", wanted="a folder with scans", fix="add --studies DIR")
    if args.time_limit <= 0 or args.largest_upload < 1:
        raise InputError("options time-limit and largest-upload", wanted="numbers above 0")
    from .server import check_address, is_loopback, run_server

    check_address(args.host, args.port, args.public, authenticated())
    remote = args.studies.startswith(("http://", "https://"))
    if remote and args.app is None:
        raise InputError("option app", got="nothing", wanted="a folder for the app, beside a DICOMweb server's studies")
    studies = args.studies if remote else str(Path(args.studies).expanduser().resolve())
    if not remote:
        Path(studies).mkdir(parents=True, exist_ok=True)
    folder = (args.app or Path(studies) / HIDDEN).expanduser().resolve()
    settings = AppSettings(
        fetched(find_bundles(args.bundle), folder, args.registry), args.device or default_device(), args.time_limit,
        args.largest_upload, not args.no_scoring,
    )  # fmt: skip
    prepare_app_folder(folder, settings)
    address = f"http://{args.host}:{args.port}"
    print(f"studies {studies}\napp     {folder}\nbundles {', '.join(source.name for source in settings.bundles)}")
    print(f"browser  open {address}/")
    print(f"3D Slicer  module MONAI Label, server {address}, then Next Sample", flush=True)
    if not is_loopback(args.host):
        print(f"WARNING: other machines can reach {address}; who may log in is up to your login server", flush=True)
    run_server(folder, studies, args.host, args.port, settings)
    return 0


def check() -> int:
    """Print what the server needs and whether it is there; then try to import it."""
    findings = examine_label()
    width = max((len(finding.what) for finding in findings), default=0)
    for finding in findings:
        print(f"{finding.level:8}{finding.what:{width}}  {finding.found}")
    if missing := [finding.what for finding in findings if finding.level == "missing"]:
        print(f"\n{len(missing)} missing. What to do: {INSTALL_LABEL}")
        return 1
    from .stand_ins import prepare_monailabel

    prepare_monailabel()
    print("\nthe server can be started")
    return 0


def fetched(bundles: tuple[BundleSource, ...], folder: Path, registry: str | None) -> tuple[BundleSource, ...]:
    """The bundles, with files in the place of addresses in MLflow's registry."""
    if not any(is_model_address(source.weights) for source in bundles):
        return bundles
    from .registered import fetch_registered

    return tuple(
        fetch_registered(source, folder, registry) if is_model_address(source.weights) else source for source in bundles
    )


def authenticated() -> bool:
    """Whether MONAI Label will ask who is there."""
    return os.environ.get("MONAI_LABEL_AUTH_ENABLE", "").lower() in ("1", "true", "yes", "on")


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
