"""``monai-semgan benchmark speed``: how fast training and inference are here, beside the machine's own peak."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...utils.errors import InputError
from ...utils.files import write_json_atomic, write_text_atomic

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``speed`` to the benchmarks."""
    parser = subparsers.add_parser(
        "speed",
        help="time training and inference, and hold them against what this machine can do",
        description="Time the parts of a training iteration and of inference with random data. Prints a table.",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64], metavar="PX", help="slice sizes (default: 64)")
    parser.add_argument("--width", default="w128", help="w128, bundle (as ct_liver) or tiny (default: w128)")
    parser.add_argument("--batch_size", type=int, default=8, help="slices of a training batch (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each figure (default: 3)")
    parser.add_argument("--parts", nargs="+", help="training networks inference data start-up memory (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; 0: all (default: 1)")
    parser.add_argument(
        "--slices_at_once",
        type=int,
        default=0,
        help="that pass the networks at once in a training; 0: all (default: 0)",
    )
    parser.add_argument("--compile", metavar="MODE", help="compiled passes: default, reduce-overhead or max-autotune")
    parser.add_argument("--output", type=Path, help="keep the figures in this JSON file, the table beside it in .md")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="figures of an earlier run, to be held against")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the files."""
    import torch

    from ..speed.cases import WIDTHS
    from ..speed.measure import measure_speed
    from ..speed.report import table

    if args.width not in WIDTHS:
        raise InputError("option --width", got=args.width, wanted=f"one of {', '.join(WIDTHS)}")
    if args.rounds < 1 or args.batch_size < 1 or args.threads < 0 or args.slices_at_once < 0:
        raise InputError(
            "options --rounds, --batch_size, --threads, --slices_at_once",
            wanted="1 or more (threads and slices_at_once: 0 for all)",
        )
    earlier = None
    if args.compare is not None:
        try:
            earlier = json.loads(args.compare.read_text(encoding="utf-8"))
            earlier["machine"], earlier["rows"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"option --compare {args.compare}", got=str(error), wanted="a file that --output has written"
            ) from error
    threads = args.threads or torch.get_num_threads()
    result = measure_speed(
        args.sizes, args.width, args.batch_size, args.rounds, args.parts, args.device, threads,
        say=lambda text: print(f"{text} ...", flush=True), slices_at_once=args.slices_at_once or None,
        compile_mode=args.compile,
    )  # fmt: skip
    text = table(result, earlier)
    print(f"\n{text}")
    if args.output is not None:
        write_json_atomic(args.output, result)
        write_text_atomic(args.output.with_suffix(".md"), text)
    return 0
