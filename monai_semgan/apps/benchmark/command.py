"""``monai-semgan benchmark NAME ...``: one row and one module for each benchmark."""

from __future__ import annotations

import argparse
import importlib

__all__ = ["BENCHMARKS", "add_parser", "run"]

BENCHMARKS = {
    "cross-domain": "monai_semgan.apps.benchmark.cross_domain",
    "inversion": "monai_semgan.apps.benchmark.inversion",
    "speed": "monai_semgan.apps.benchmark.speed",
}
"""Name to the module with its ``add_parser(subparsers)`` and ``run(args) -> int``."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command ``benchmark`` with its benchmarks."""
    parser = subparsers.add_parser(
        "benchmark",
        help="compare the methods on the same splits with the same budget, or time them",
        description="Compare the methods of this project, or time their parts.",
    )
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="NAME", required=True)
    for module in BENCHMARKS.values():
        importlib.import_module(module).add_parser(benchmarks)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that was asked for."""
    return int(importlib.import_module(BENCHMARKS[args.benchmark]).run(args))
