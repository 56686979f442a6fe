"""Command line of one-shot annotation: ``python -m monai_semgan one-shot export|read|time ...``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .annotation import export_annotation, read_annotation
from .timing import time_labelling

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command ``one-shot`` to the program's ``subparsers``."""
    parser = subparsers.add_parser(
        "one-shot",
        help="export the image to annotate and read its mask",
        description="The one annotated image of the bundle ct_liver_one_shot.",
    )
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    export = steps.add_parser("export", help="choose generated images and write them as NIfTI and PNG")
    export.add_argument("--run", dest="run_dir", type=Path, required=True, help="results folder of the training")
    export.add_argument("--out", type=Path, required=True, help="folder to write to")
    export.add_argument("--number", type=int, default=1, help="images to annotate (default: 1)")
    export.add_argument("--candidates", type=int, default=500, help="images to choose from (default: 500)")
    export.add_argument("--seed", type=int, default=0, help="of the candidates (default: 0)")
    export.add_argument("--truncation", type=float, default=0.7, help="psi, below 1 likelier images (default: 0.7)")
    export.add_argument("--scale", type=int, default=8, help="how often larger the PNG is (default: 8)")
    read = steps.add_parser("read", help="read the mask that was drawn, and check it")
    read.add_argument("--annotation", type=Path, required=True, help="folder of the export")
    read.add_argument("--mask", type=Path, action="append", required=True, help="NIfTI or PNG; once for each image")
    read.add_argument("--organs", default="liver", help="names of values 1, 2, ... with commas (default: liver)")
    timing = steps.add_parser("time", help="measure what labelling costs beside synthesis")
    timing.add_argument("--image-size", type=int, default=128, help="pixels (default: 128)")
    timing.add_argument("--channel-base", type=int, default=8192, help="of the generator (default: 8192)")
    timing.add_argument("--channel-max", type=int, default=256, help="of the generator (default: 256)")
    timing.add_argument("--feature-dim", type=int, default=64, help="of the projector (default: 64)")
    timing.add_argument("--batch-size", type=int, default=1, help="images at once (default: 1)")
    timing.add_argument("--repeats", type=int, default=30, help="the median of so many (default: 30)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do the step that ``args`` asks for; 0 when done."""
    if args.step == "export":
        written = export_annotation(
            args.run_dir, args.out, args.number, args.candidates, args.seed, args.truncation, args.scale
        )
        print(f"{len(written)} image(s) in {args.out}, each as NIfTI and as PNG. Draw the mask on either, then:")
        masks = " ".join("--mask FILE" for _ in written)
        print(f"  python -m monai_semgan one-shot read --annotation {args.out} {masks}")
    elif args.step == "read":
        organs = [name.strip() for name in args.organs.split(",") if name.strip()]
        shots = read_annotation(args.annotation, args.mask, organs)
        counts = ", ".join(f"{name} {int((shots.label == i).sum())}" for i, name in enumerate(organs, 1))
        print(f"read: pixels of {counts}. Look at {args.annotation / 'annotated.png'}, then train with")
        print(f"  --annotation_dir {args.annotation}")
    else:
        result = time_labelling(
            args.image_size, channel_base=args.channel_base, channel_max=args.channel_max,
            feature_dim=args.feature_dim, batch_size=args.batch_size, repeats=args.repeats,
        )  # fmt: skip
        print(json.dumps(result, indent=2))
    return 0
