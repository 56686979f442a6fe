"""Command line of the phantom: ``python -m monai_semgan phantom --out DIR --subjects N --seed S``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from .dataset import make_phantom

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command ``phantom`` to the program's ``subparsers``."""
    parser = subparsers.add_parser(
        "phantom",
        help="make synthetic abdominal CT and MRI with masks",
        description="Make made-up three-dimensional abdominal subjects as CT and MRI, with masks.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--subjects", type=int, default=36, help="how many subjects, at least 3 (default: 36)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the population (default: 0)")
    for part in ("train", "val", "test"):
        parser.add_argument(f"--{part}", type=int, default=None, help=f"how many of them are {part} subjects")
    parser.add_argument("--all-modalities", action="store_true", help="MRI of training and validation subjects too")
    parser.add_argument("--dicom", action="store_true", help="also write every scan as a DICOM series")
    parser.add_argument("--workers", type=int, default=2, help="threads (default: 2)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the phantom that ``args`` asks for; 0 when done."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = make_phantom(
        args.out,
        subjects=args.subjects,
        seed=args.seed,
        train=args.train,
        val=args.val,
        test=args.test,
        modalities="all" if args.all_modalities else "default",
        dicom=args.dicom,
        workers=args.workers,
    )
    print(f"phantom written to {folder}")
    return 0
