"""``monai-semgan runs``: list and compare tracked runs in the terminal."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import InputError

__all__ = ["add_parser", "run"]

FORMATS = ("table", "csv", "json")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command ``runs``."""
    parser = subparsers.add_parser(
        "runs",
        help="list and compare tracked runs in the terminal",
        description="List the trainings, evaluations and benchmarks that MLflow holds, or compare some of them.",
    )
    add_store_option(parser)
    parser.add_argument("--experiment", metavar="NAME", help="only runs of this experiment")
    parser.add_argument("--bundle", metavar="NAME", help="only runs of this bundle")
    parser.add_argument("--method", metavar="NAME", help="only runs of this method")
    parser.add_argument("--status", metavar="STATUS", help="only running, finished, failed or killed runs")
    parser.add_argument(
        "--sort", default="started", metavar="NAME",
        help="started, took, name, labelled, seed, or a metric, best first: dice, ct/dice, gan/loss (default: started)",
    )  # fmt: skip
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--metrics", metavar="NAMES", help="metrics to show, with commas (default: Dice by domain)")
    parser.add_argument("--limit", type=int, default=30, help="most runs to list; 0 for all (default: 30)")
    parser.add_argument("--compare", nargs="+", metavar="ID", help="show what differs between these runs")
    parser.add_argument("--all", action="store_true", help="with --compare: also what is the same, and more metrics")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to this file")
    return parser


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--tracking_uri``, which may be given several times."""
    parser.add_argument(
        "--tracking_uri", action="append", metavar="PLACE",
        help="MLflow server, .db file, or folder to search for mlruns.db; may be given several times "
        "(default: MLFLOW_TRACKING_URI, else this folder)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """List or compare the runs that ``args`` asks for."""
    from .columns import metric_value, score_names, sorted_runs
    from .compare import compare_runs, comparison_table
    from .listing import filter_runs, list_table, run_record
    from .reading import find_run, read_runs
    from .stores import open_stores

    if args.limit < 0:
        raise InputError("--limit", got=args.limit, wanted="0 or more")
    every = read_runs(open_stores(args.tracking_uri))
    width = _width() if args.out is None else None
    if args.compare:
        chosen = [find_run(every, wanted) for wanted in args.compare]
        if len({run.id for run in chosen}) < 2:
            raise InputError("--compare", got=", ".join(args.compare), wanted="two or more different runs")
        rows = compare_runs(chosen, args.all)
        if args.format == "table":
            text = comparison_table(chosen, rows, width)
        elif args.format == "json":
            text = _json({"runs": [run_record(run) for run in chosen], "rows": rows})
        else:
            text = _csv([_flat_comparison(row, [run.id for run in chosen]) for row in rows])
        _deliver(text, args.out)
        return 0
    found = filter_runs(every, experiment=args.experiment, bundle=args.bundle, method=args.method, status=args.status)
    if not found:
        raise InputError(_nothing_found(every, args), fix="leave a filter out, or name another --tracking_uri")
    found = sorted_runs(found, args.sort, args.reverse)
    shown = found[: args.limit or None]
    names = [name.strip() for name in (args.metrics or "").split(",") if name.strip()]
    if args.format == "table":
        text = list_table(shown, names, width)
        if len(shown) < len(found):
            text += f"\n{len(found) - len(shown)} more runs: --limit 0 shows all."
    else:
        records = [run_record(run) for run in shown]
        if args.format == "csv":
            for record, run in zip(records, shown, strict=True):
                del record["metrics"], record["params"]
                record |= {name: metric_value(run, name) for name in names or score_names(shown)}
        text = _json(records) if args.format == "json" else _csv(records)
    _deliver(text, args.out)
    return 0


def _nothing_found(every: Sequence[Any], args: argparse.Namespace) -> str:
    if not every:
        return "there is no run yet"
    asked = [f"--{name} {value}" for name in ("experiment", "bundle", "method", "status")
             if (value := getattr(args, name))]  # fmt: skip
    known = {name: sorted({str(getattr(run, name)) for run in every if getattr(run, name)})
             for name in ("experiment", "bundle", "method", "status") if getattr(args, name)}  # fmt: skip
    lines = "".join(f"\n  {name}: {', '.join(values[:8]) or 'none'}" for name, values in known.items())
    return f"none of {len(every)} runs fits {' '.join(asked)}; there are:{lines}"


def _width() -> int | None:
    """Columns of the terminal; None when the output goes elsewhere."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns


def _flat_comparison(row: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    values = dict(zip(ids, row["values"], strict=True))
    return {"kind": row["kind"], "name": row["name"], **values, "difference": row["difference"]}


def _json(value: Any) -> str:
    return json.dumps(_finite(value), indent=2, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """NaN and infinity as text: JSON has no numbers for them."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().rstrip("\n")


def _deliver(text: str, out: Path | None) -> None:
    if out is None:
        print(text)
        return
    from ...utils.files import write_text_atomic

    write_text_atomic(out, text + "\n")
    print(f"written: {out}")
