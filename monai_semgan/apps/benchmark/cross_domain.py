"""``benchmark cross-domain``: trained on CT with few labels, judged on CT and on MRI never seen."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...utils.errors import InputError
from .plan import Cell, choose_methods, find_bundles, plan_cells, read_numbers, read_seeds
from .rows import BENCHMARK_METHODS, PRESETS, REFERENCE_ROW, find_preset

__all__ = ["NAME", "add_parser", "run"]

NAME = "cross-domain"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the benchmark ``cross-domain``."""
    parser = subparsers.add_parser(
        NAME,
        help="all methods on the same splits: CT with few labels, judged on CT and MRI",
        description="Train every method with the same budget, labels and seeds, and compare their scores on "
        "every test domain. Give the same command again to go on after an interruption.",
        epilog="presets: " + "; ".join(f"{preset.name}: {preset.about}" for preset in PRESETS.values()),
    )
    parser.add_argument("--dataset_dir", type=Path, help="scans with fixed splits (default: a phantom)")
    parser.add_argument("--labelled", default="1,4,8", help="numbers of labelled scans (default: 1,4,8)")
    parser.add_argument("--seeds", default="3", help="how many seeds, or a list such as 0,5 (default: 3)")
    parser.add_argument("--preset", default="cpu", help=f"budget: {', '.join(PRESETS)} (default: cpu)")
    parser.add_argument("--methods", help=f"some of {','.join(BENCHMARK_METHODS)} (default: all that have a bundle)")
    parser.add_argument("--output_dir", type=Path, help="results (default: runs/benchmark/<data set>-<preset>)")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once (default: 1)")
    parser.add_argument("--reference", default=REFERENCE_ROW, help=f"row to compare with (default: {REFERENCE_ROW})")
    parser.add_argument("--tracking_uri", help="MLflow's address (default: a file in the results folder)")
    parser.add_argument("--bundles_dir", type=Path, help="folder with the bundles (default: bundles)")
    parser.add_argument("--dry_run", action="store_true", help="print what would be run, and what it would cost")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that ``args`` asks for; 0 when every cell gave a result."""
    labelled, seeds = read_numbers("--labelled", args.labelled, least=1), read_seeds(args.seeds)
    if args.workers < 1:
        raise InputError("--workers", got=args.workers, wanted="1 or more")
    preset, bundles = find_preset(args.preset), find_bundles(args.bundles_dir)
    names = None if args.methods is None else [name.strip() for name in args.methods.split(",") if name.strip()]
    methods, missing = choose_methods(names, bundles)
    from .dataset import choose_dataset, read_splits

    dataset = args.dataset_dir or Path("phantom")
    output_dir = (args.output_dir or Path("runs", "benchmark", f"{dataset.resolve().name}-{preset.name}")).resolve()
    dataset = choose_dataset(args.dataset_dir, preset, output_dir, bundles, make=not args.dry_run)
    not_made = args.dry_run and args.dataset_dir is None and not dataset.is_dir()
    splits = dict.fromkeys(labelled, "") if not_made else read_splits(dataset, labelled)
    cells = plan_cells(methods, preset, splits, seeds, dataset, output_dir, bundles)
    about = {
        "benchmark": NAME, "preset": f"{preset.name} ({preset.about})", "data set": dataset.resolve().name,
        "labelled": ", ".join(map(str, labelled)), "seeds": ", ".join(map(str, seeds)),
        "methods": ", ".join(method.name for method in methods),
    }  # fmt: skip
    if missing:
        print(f"left out, no bundle: {', '.join(missing)}", file=sys.stderr)
    if args.dry_run:
        _show(cells, bundles)
        return 0
    with _ends_like_ctrl_c():
        return _run(cells, about, output_dir, bundles, missing, args)


def _run(
    cells: Sequence[Cell],
    about: Mapping[str, Any],
    output_dir: Path,
    bundles: Path,
    missing: Sequence[str],
    args: argparse.Namespace,
) -> int:
    from ...utils.files import make_output_folder
    from . import marker
    from .collect import collect_results
    from .process import BundleProcess, folder_lock
    from .progress import Progress
    from .report import write_report
    from .runner import run_cells
    from .tracking import BenchmarkTracking

    make_output_folder(output_dir)
    with folder_lock(output_dir) as locks:
        marker.check_markers(cells, output_dir)
        title = f"{NAME} {cells[0].preset} {cells[0].dataset}"
        tracking = BenchmarkTracking(output_dir, NAME, title, about, args.tracking_uri)
        progress = Progress(cells, args.workers)
        print(progress.start(output_dir), flush=True)
        tracking.start()

        def launch(cell: Cell, environment: Mapping[str, str]) -> BundleProcess:
            # The same code as here, whatever is installed; a script's own folder is not on the path of -m.
            here = {"PYTHONPATH": _with_package_first()}
            command = [*cell.command, *tracking.options(cell)]
            return BundleProcess(
                command, bundles.parent, cell.log, {**environment, **tracking.environment(), **here}, locks
            )

        def finished(cell: Cell) -> None:
            collect_results(output_dir)
            print(progress.line(cell), flush=True)

        try:
            failures = run_cells(cells, launch, args.workers, finished, lambda text: print(text, flush=True))
        except BaseException:
            tracking.stop()
            print(f"stopped; logs in {output_dir / 'cells'}. Give the same command again to go on", file=sys.stderr)
            raise
        results = collect_results(output_dir)
        summary, files = write_report(output_dir, results, about, args.reference, failures, missing)
        tracking.finish(summary, files, "FAILED" if failures else "FINISHED")
    print(f"results in {output_dir / 'results.md'}", flush=True)
    if failures:
        lines = "".join(f"\n  {key}: {why}" for key, why in failures.items())
        print(f"{len(failures)} of {len(cells)} trainings gave no result:{lines}", file=sys.stderr, flush=True)
    return 1 if failures else 0


def _show(cells: Sequence[Cell], bundles: Path) -> None:
    """Print every cell with its command, and what all would cost."""
    from ...handlers import format_duration
    from . import marker

    left = 0.0
    for cell in cells:
        done = marker.is_finished(cell)
        left += 0.0 if done else cell.seconds or 0.0
        cost = "not timed" if cell.seconds is None else f"about {format_duration(cell.seconds)} of one core"
        print(f"{cell.title}: {'finished' if done else cost}\n  {shlex.join(cell.command)}")
    untimed = sum(cell.seconds is None for cell in cells)
    print(
        f"\n{len(cells)} trainings; in {bundles.parent}. Still to train: about {format_duration(left)} of one core"
        + (f", and {untimed} trainings that were not timed" if untimed else "")
        + ". Loading, evaluation and tracking come on top."
    )


def _with_package_first() -> str:
    package = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def _ends_like_ctrl_c() -> Iterator[None]:
    """A polite end (SIGTERM, as from a job scheduler) stops the trainings as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
