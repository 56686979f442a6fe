"""``monai-semgan report``: one page about a tracked run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...utils.errors import InputError
from ..tracked_runs.command import add_store_option

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command ``report``."""
    parser = subparsers.add_parser(
        "report",
        help="write one page about a tracked run, to read and to share",
        description="Write one HTML file about a training or an evaluation: results by patient with intervals, worst "
        "cases, curves, pictures, other runs of the same data, model card. It needs nothing but a browser.",
    )
    parser.add_argument(
        "--run", required=True, metavar="ID", help="the run's id or its beginning, its name, or: latest"
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    add_store_option(parser)
    parser.add_argument("--bundles_dir", type=Path, help="where the bundles with their model cards are")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the page that ``args`` asks for."""
    if args.out.is_dir():
        raise InputError(
            "--out", got=f"the folder {args.out}", wanted="a file", fix=f"--out {args.out / 'report.html'}"
        )
    from ..tracked_runs.reading import find_run, read_runs
    from ..tracked_runs.stores import open_stores

    runs = read_runs(open_stores(args.tracking_uri))
    chosen = find_run(runs, args.run)
    from ...utils.files import make_output_folder, write_text_atomic
    from .page import build_report

    make_output_folder(args.out.absolute().parent)
    page = build_report(chosen, runs, args.bundles_dir)
    write_text_atomic(args.out, page)
    print(f"{chosen.experiment}: {chosen.name}\nwritten: {args.out} ({len(page.encode()) / 1e6:.1f} MB)")
    return 0
