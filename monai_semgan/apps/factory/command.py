"""``monai-semgan generate``: image and mask pairs from a bundle's generative model."""

from __future__ import annotations

import argparse
import ast
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.errors import InputError

if TYPE_CHECKING:
    from .bundle_source import BundleSource, RealScans
    from .memorisation import NearestSlices
    from .runner import PairFactory
    from .source import PairSource
    from .store import PairStore

__all__ = ["add_parser", "run"]

NOT_ENOUGH = 1
CONTROLS = ("training_slices_drawn_again", "slices_of_other_patients", "slices_of_other_patients_drawn_again")
_CONTROL_SLICES = 200


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command ``generate``."""
    parser = subparsers.add_parser(
        "generate",
        help="make image and mask pairs with a trained generative model",
        description="Make image and mask pairs, refuse bad ones, and write NIfTI files with a MONAI datalist. "
        "Give the same command again to go on after an interruption.",
    )
    parser.add_argument("--bundle", required=True, help="bundle with a generative model, e.g. ct_liver")
    parser.add_argument("--number", type=int, required=True, help="pairs wanted")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--dataset_dir", type=Path, help="scans the model was trained on: for codes, rules and checks")
    parser.add_argument("--labelled", type=int, default=8, help="training scans whose masks may be used (default: 8)")
    parser.add_argument("--checkpoint", type=Path, help="weights (default: those of the bundle)")
    parser.add_argument(
        "--critic", type=Path, help="gan/generator.pt with the image critic (default: beside --checkpoint)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pairs (default: 0)")
    parser.add_argument("--latents", choices=("codes", "prior"), help="default: codes with --dataset_dir, else prior")
    parser.add_argument("--truncation", type=float, default=1.0, help="below 1: safer and more alike (default: 1)")
    parser.add_argument("--depth", type=int, default=1, help="neighbouring slices of a pair (default: 1)")
    parser.add_argument("--slice_spacing", type=float, help="mm between slices (default: the bundle's)")
    parser.add_argument("--label_mapping", help='value in mask files to class, e.g. "{6: 1}" (default: the bundle\'s)')
    parser.add_argument("--batch_size", type=int, default=16, help="samples written at once; changes no result")
    parser.add_argument("--max_tries", type=int, help="samples made at most (default: 10 for each pair wanted)")
    parser.add_argument("--device", help="e.g. cuda:0 (default: a GPU if there is one)")
    limits = parser.add_argument_group("what is refused")
    limits.add_argument("--views", type=int, default=4, help="disturbed views for the uncertainty (default: 4)")
    limits.add_argument("--style_noise", type=float, default=0.5, help="how disturbed, in deviations (default: 0.5)")
    limits.add_argument("--max_entropy", type=float, default=0.75, help="uncertainty on the organs (default: 0.75)")
    limits.add_argument("--min_agreement", type=float, default=0.8, help="Dice of the views (default: 0.8)")
    limits.add_argument("--critic_worst", type=float, default=0.1, help="share the critic refuses (default: 0.1)")
    limits.add_argument("--empty_fraction", type=float, default=0.3, help="pairs without an organ (default: 0.3)")
    limits.add_argument("--no_anatomy", action="store_true", help="do not hold to rules of anatomy")
    limits.add_argument("--keep_memorised", action="store_true", help="report samples near training slices, keep them")
    limits.add_argument(
        "--memorised_quantile", type=float, default=0.01, help="of distances between patients (default: 0.01)"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the pairs; 0 when there are as many as wanted, 1 when too many samples were refused."""
    if args.number < 1:
        raise InputError("--number", got=args.number, wanted="1 or more")
    logging.getLogger("monai_semgan").setLevel(logging.WARNING)
    from .bundle_source import BundleSource, label_values
    from .store import folder_lock

    bundle = BundleSource(
        args.bundle, checkpoint=_text(args.checkpoint), critic_checkpoint=_text(args.critic), device=args.device,
        latents=args.latents, slice_spacing_mm=args.slice_spacing, label_mapping=_mapping(args.label_mapping),
    )  # fmt: skip
    with folder_lock(args.out):
        source = bundle.source()
        real = _learn(bundle, source, args)
        nearest, memorisation = _memorisation(source, real, args)
        factory = _factory(source, real, nearest, args)
        store = _store(bundle, factory, real, label_values(bundle.label_mapping()), args)
        enough = _make(factory, store, args)
        return _finish(factory, store, real, memorisation, enough, args)


def _learn(bundle: BundleSource, source: PairSource, args: argparse.Namespace) -> RealScans | None:
    if args.dataset_dir is None:
        print(
            "no --dataset_dir: latents from the prior (look at contact_sheet.png before you use the pairs), "
            "fixed rules of anatomy, no memorisation check",
            flush=True,
        )
        return None
    from .bundle_source import read_real_scans

    print("reading the training scans", flush=True)
    real = read_real_scans(bundle, args.dataset_dir, args.labelled, args.depth)
    source.learn(real.scans(), args.depth)
    return real


def _memorisation(
    source: PairSource, real: RealScans | None, args: argparse.Namespace
) -> tuple[NearestSlices | None, dict[str, Any]]:
    """The check, and how it does on slices of which the answer is known."""
    if real is None:
        return None, {"checked": False, "why": "no --dataset_dir"}
    if len(set(real.training.cases)) < 2:
        print("memorisation check left out: it needs two training scans to know how far patients lie apart", flush=True)
        return None, {"checked": False, "why": "fewer than two training scans"}
    from .memorisation import NearestSlices

    images = real.training.images.float()
    nearest = NearestSlices(images, real.training.cases, source.features, args.memorised_quantile)
    report: dict[str, Any] = {"checked": True, "quantile": args.memorised_quantile, "thresholds": nearest.thresholds,
                              "median_between_patients": nearest.typical}  # fmt: skip
    copies = source.reconstruct(images[:: max(1, len(images) // _CONTROL_SLICES)])
    if copies is not None:
        report["training_slices_drawn_again"] = round(nearest.suspicious_share(copies), 4)
    if real.validation is not None:
        others = real.validation.images[:: max(1, len(real.validation) // _CONTROL_SLICES)].float()
        report["slices_of_other_patients"] = round(nearest.suspicious_share(others), 4)
        again = source.reconstruct(others)
        if again is not None:
            report["slices_of_other_patients_drawn_again"] = round(nearest.suspicious_share(again), 4)
    shares = {key.replace("_", " "): value for key, value in report.items() if key in CONTROLS}
    print("memorisation check calls suspicious: " + ", ".join(f"{k} {v:.1%}" for k, v in shares.items()), flush=True)
    return nearest, report


def _factory(
    source: PairSource, real: RealScans | None, nearest: NearestSlices | None, args: argparse.Namespace
) -> PairFactory:
    from .anatomy import AnatomyRules, learn_rules
    from .filters import Filters
    from .runner import PairFactory

    rules = AnatomyRules.fixed(source.num_classes)
    if real is not None:
        rules = learn_rules(real.labelled.images.float(), real.labelled.labels, source.num_classes, source.fov_mm)
    filters = Filters(
        max_entropy=args.max_entropy, min_agreement=args.min_agreement, critic_worst=args.critic_worst,
        empty_fraction=args.empty_fraction, anatomy=not args.no_anatomy, memorised=not args.keep_memorised,
    )  # fmt: skip
    return PairFactory(
        source, rules, filters, nearest, args.seed, args.truncation, args.depth, args.views, args.style_noise
    )


def _store(
    bundle: BundleSource, factory: PairFactory, real: RealScans | None, values: dict[int, int], args: argparse.Namespace
) -> PairStore:
    from .store import PairStore

    source = factory.source
    settings = {
        **bundle.fingerprint(), "latents": source.name, "seed": args.seed, "truncation": args.truncation,
        "depth": args.depth, "views": args.views, "style_noise": args.style_noise, "label_values": values,
        "data_set": None if real is None else real.hash, "labelled": None if real is None else args.labelled,
        "memorised_quantile": args.memorised_quantile, "slice_spacing_mm": source.slice_spacing_mm,
        **factory.filters.as_dict(),
    }  # fmt: skip
    pixel = source.fov_mm / source.image_size
    return PairStore(args.out, settings, (pixel, pixel, source.slice_spacing_mm), values)


def _make(factory: PairFactory, store: PairStore, args: argparse.Namespace) -> bool:
    from .progress import FactoryProgress

    least = store.note("critic_least")
    if least is None:
        least = factory.critic_threshold()
        store.note("critic_least", least)
    if least is None and args.critic_worst:
        print("no critic at hand (--critic RUN/gan/generator.pt): its filter is left out", flush=True)
    store.note("rules", factory.rules.as_dict())
    if store.records:
        print(f"going on: {len(store.kept)} pairs of {len(store.records)} samples are there", flush=True)
    progress = FactoryProgress(args.number, len(store.kept), len(store.records))
    tries = args.max_tries or 10 * args.number
    try:
        return factory.run(store, args.number, tries, args.batch_size, least, progress)
    except KeyboardInterrupt:
        progress.close()
        print("stopped; give the same command again to go on", file=sys.stderr)
        raise
    finally:
        progress.close()


def _finish(
    factory: PairFactory,
    store: PairStore,
    real: RealScans | None,
    memorisation: dict[str, Any],
    enough: bool,
    args: argparse.Namespace,
) -> int:
    from .lists import reason_lines, write_lists
    from .pictures import write_pictures

    if factory.nearest is not None:
        near = [min(record["nearest"]["ratios"].values()) < 1 for record in store.records]
        memorisation["suspicious_samples"] = round(sum(near) / max(1, len(near)), 4)
    summary = write_lists(store, None if real is None else real.lists, memorisation=memorisation)
    write_pictures(factory, store)
    refused = "; refused by: " + ", ".join(reason_lines(summary)) if summary["rejected"] else ""
    print(f"{summary['kept']} pairs kept of {summary['made']} samples{refused}", flush=True)
    if factory.nearest is not None:
        print(f"suspiciously near to a training slice: {memorisation['suspicious_samples']:.1%} of the samples, "
              f"see {store.folder / 'nearest_sheet.png'} (it shows patients' scans)", flush=True)  # fmt: skip
    print(f"results in {store.folder / 'datalist.json'}", flush=True)
    if enough:
        return 0
    print(
        f"{args.number} pairs were wanted. What to do: look at {store.folder / 'rejected_sheet.png'}; loosen the limit "
        "that refuses most, lower --truncation, or give a larger --max_tries",
        file=sys.stderr,
    )
    return NOT_ENOUGH


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _mapping(text: str | None) -> dict[int, int] | None:
    if text is None:
        return None
    try:
        return {int(value): int(index) for value, index in ast.literal_eval(text).items()}
    except (ValueError, SyntaxError, AttributeError, TypeError) as error:
        raise InputError("--label_mapping", got=text, wanted='numbers, e.g. "{6: 1}"') from error
