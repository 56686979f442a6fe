"""``monai-semgan benchmark inversion``: what latent inversion costs a slice, and what mask it gives, on real scans.

The published method takes hundreds of steps, one slice after the other. How many of them a mask needs is a question
for scans with masks, and what they cost one for a clock: both are answered here on the same slices.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.errors import InputError
from ...utils.files import write_json_atomic

if TYPE_CHECKING:  # torch and MONAI take seconds to import: not for a help text
    import torch
    from monai.bundle import ConfigParser

    from ...data import SliceBank

__all__ = ["SETTINGS", "add_parser", "compare_inversions", "inversion_table", "run"]

SETTINGS: dict[str, dict[str, Any]] = {
    "encoder alone": {"steps": 0, "slice_batch": 32},
    "10 steps, 32 slices at once": {"steps": 10, "slice_batch": 32},
    "10 steps, one slice at a time": {"steps": 10, "slice_batch": 1},
    "200 steps, 32 slices at once": {"steps": 200, "slice_batch": 32},
    "200 steps, one slice at a time": {"steps": 200, "slice_batch": 1},
}
"""Ways to invert; the last one has the number of steps and the batch of the published method."""


def compare_inversions(
    network: torch.nn.Module, bank: SliceBank, inversion: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Invert the same slices in several ways.

    Args:
        network: a ``SemanticGANSegmenter``.
        bank: slices with masks.
        inversion: options of ``LatentInversionInferer`` that all ways share.
        settings: way -> the options it has of its own.

    Returns:
        a row a way: ``name``, ``dice`` (mean over patients of the Dice of all a patient's slices together, organs
        joined), ``by_case``, and ``seconds`` a slice, processor time of one thread.
    """
    import torch

    from ...inferers import LatentInversionInferer
    from ..speed.timing import Clock

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    clock, rows = Clock("cpu", 1), []
    network.eval().requires_grad_(False)
    try:
        for name, options in settings.items():
            inferer = LatentInversionInferer(**{**inversion, **options})
            seconds, masks = 0.0, []
            # the slices of a volume share batches, as in inference; one at a time, each is an input of its own
            size = max(1, int(options["slice_batch"]))
            for part in torch.arange(len(bank)).split(size):
                made: list[torch.Tensor] = []
                images = bank.images[part].float()
                seconds += clock.time(lambda x=images, run=inferer, out=made: out.append(run(x, network)))[0]
                masks.append(made[0].argmax(dim=1, keepdim=True) > 0)
            by_case = _dice_by_case(torch.cat(masks), bank)
            rows.append({
                "name": name, "dice": sum(by_case.values()) / len(by_case), "by_case": by_case,
                "seconds": seconds / len(bank),
            })  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    return rows


def _dice_by_case(masks: torch.Tensor, bank: SliceBank) -> dict[str, float]:
    import torch

    scores = {}
    for case in dict.fromkeys(bank.cases):
        rows = torch.tensor([i for i, name in enumerate(bank.cases) if name == case])
        found, wanted = masks[rows], bank.labels[rows] > 0
        total = int(found.sum() + wanted.sum())
        scores[case] = 2.0 * int((found & wanted).sum()) / total if total else 1.0
    return scores


def inversion_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, with each way's time as a share of the last row's."""
    lines = ["| inversion | Dice | each patient | processor time a slice | times faster |", "|---|---|---|---|---|"]
    for row in rows:
        cases = ", ".join(f"{name} {value:.3f}" for name, value in row["by_case"].items())
        faster = rows[-1]["seconds"] / row["seconds"]
        lines.append(f"| {row['name']} | {row['dice']:.4f} | {cases} | {1e3 * row['seconds']:.3g} ms | {faster:.1f} |")
    return "\n".join(lines) + "\n"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``inversion`` to the benchmarks."""
    parser = subparsers.add_parser(
        "inversion",
        help="Dice and time of latent inversion with few and many steps, on the test scans of a data set",
        description="Invert the same slices of a data set's test scans in several ways; one thread of the processor.",
    )
    parser.add_argument("--dataset_dir", type=Path, required=True, help="data set with test scans and masks")
    parser.add_argument("--domain", default="ct", help="whose test scans (default: ct)")
    parser.add_argument("--checkpoint", type=Path, help="SemanticGAN's model.pt (default: the one that ships)")
    parser.add_argument("--every", type=int, default=6, help="every n-th slice that shows the organ (default: 6)")
    parser.add_argument("--output", type=Path, help="keep the figures in this JSON file")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the file."""
    if args.every < 1:
        raise InputError("option --every", got=args.every, wanted="1 or more")
    from monai.bundle import ConfigParser

    from ...data import load_datalist
    from .plan import find_bundles

    parser = ConfigParser()
    folder = find_bundles() / "ct_liver"
    parser.read_config(str(folder / "configs" / "inference_optimised.json"))
    parser.config.update({"bundle_root": str(folder), "device": "$torch.device('cpu')"})
    if args.checkpoint is not None:
        parser.config["checkpoint"] = str(args.checkpoint)
    parser.parse(reset=True)
    items = load_datalist(args.dataset_dir, labelled=1)["test"].get(args.domain, [])
    if not items:
        raise InputError("option --domain", got=args.domain, wanted="a domain with test scans in the data set")
    bank = _slices(args.dataset_dir, items, parser, args.every)
    inferer = parser.get_parsed_content("inferer")
    shared = {name: getattr(inferer, name) for name in ("learning_rate", "spatial_learning_rate", "trust_weight")}
    print(f"{len(bank)} slices of {len(set(bank.cases))} scans ...", flush=True)
    rows = compare_inversions(parser.get_parsed_content("network"), bank, shared, SETTINGS)
    print(f"\n{inversion_table(rows)}")
    if args.output is not None:
        write_json_atomic(args.output, {"slices": len(bank), "shared": shared, "rows": rows})
    return 0


def _slices(dataset_dir: Path, items: Sequence[Mapping[str, Any]], parser: ConfigParser, every: int) -> SliceBank:
    """Every n-th slice that shows the organ, prepared as the bundle does, with masks at the network's resolution."""
    from monai.bundle import ConfigParser

    from ...data import SliceBank, build_slice_bank
    from .plan import find_bundles

    train = ConfigParser()
    train.read_config(str(find_bundles() / "ct_liver" / "configs" / "train.json"))
    settings = parser.get_parsed_content("network_settings")
    train.config.update({name: settings[name] for name in ("image_size", "fov_mm")})
    train.config["dataset_dir"] = str(dataset_dir)
    train.parse(reset=True)
    whole = build_slice_bank(items, train.get_parsed_content("preprocessing"))
    shown = whole.labels.flatten(1).any(dim=1).nonzero().flatten()[::every]
    return SliceBank(
        whole.images[shown], whole.labels[shown], [whole.cases[i] for i in shown.tolist()], whole.positions[shown]
    )
