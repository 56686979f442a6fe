"""`monai-semgan mlflow-sync`: send results that were kept while the MLflow server was away."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "mlflow-sync",
        help="send results to MLflow that could not be sent while it was away",
        description="Send what trainings and evaluations have kept in mlflow_unsent/ because MLflow did not answer. "
        "Runs that MLflow never knew of are made, with the names and times that they had.",
    )
    parser.add_argument("output_dir", nargs="+", help="results folder of a training, an evaluation or a benchmark")
    parser.add_argument(
        "--tracking_uri", help="address of the server or data base; by default the one that was meant at the time"
    )


def run(args: argparse.Namespace) -> int:
    """Send everything; 0 when nothing is left."""
    from ..handlers import send_unsent  # slow to import

    for folder in args.output_dir:
        send_unsent(folder, args.tracking_uri)
    return 0
