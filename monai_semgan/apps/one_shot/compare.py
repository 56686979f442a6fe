"""A paired comparison: the same annotated image for every way of learning from it, for many choices of the image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...data import SliceBank
from ...networks.nets import HiddenFeatureProjector, OneShotSegmenter
from ...utils import InputError, make_output_folder, write_csv_atomic, write_json_atomic
from ...visualize import sample_grid, write_png
from .labellers import LABELLERS, Labeller, make_labeller, pca_projector, random_projector

__all__ = ["compare_labellers", "dice_of_organs", "paired_table"]

logger = logging.getLogger(__name__)


@torch.no_grad()
def compare_labellers(
    network: OneShotSegmenter,
    oracle: Callable[[torch.Tensor], torch.Tensor] | None,
    output_dir: str | Path,
    choices: int = 10,
    images: int = 100,
    num_classes: int = 2,
    truncation: float = 0.7,
    steps: int = 300,
    seed: int = 0,
    labellers: Sequence[str] = tuple(LABELLERS),
    real: SliceBank | None = None,
    shots: SliceBank | None = None,
    projectors: Mapping[str, HiddenFeatureProjector] | None = None,
    least_pixels: int = 40,
    shot_seed: int = 1,
    test_seed: int = 2,
    warp: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
    copies: int = 24,
) -> dict[str, Any]:
    """Fit every labeller on each of several images, one at a time, and score all on the same others.

    Ground truth of generated images is what the oracle says, a segmenter trained on real masks: quote its Dice on real
    scans as the noise of these labels. The images to learn from and those to be judged on are drawn apart; the
    statistics and principal components are of a third set.

    Args:
        network: of the training, head aside.
        oracle: images ``(B, 1, S, S)`` to logits; None: nothing is scored on generated images.
        output_dir: for ``choices.csv``, ``summary.json``, ``pictures.png``.
        choices: how many images to learn from, one at a time; at random among those that show every class.
        images: generated images to be judged on.
        steps: of every fit.
        labellers: of ``LABELLERS``; and names of ``projectors``.
        real: real slices with masks, read by the encoder, to be judged on as well: Dice by patient.
        shots: real slices with masks to learn from, read by the encoder; None: generated ones with the oracle's masks.
        projectors: further projectors to compare, by name.
        least_pixels: of each class in an image to learn from.
        warp: every way learns from ``copies`` moved copies of the image beside it, read by the encoder, as the
            bundle's head does; None: from the image as it stands (released).

    Returns:
        What ``summary.json`` holds: for each set mean and deviation over choices, and the difference to ``one_shot``
        with its 95 % interval.

    Raises:
        InputError: not enough images show every class, or there is nothing to be judged on.
    """
    if oracle is None and (real is None or shots is None):
        raise InputError("comparison", got="no oracle", wanted="one, or real slices to learn from and to judge on")
    folder = make_output_folder(output_dir)
    generator = network.generator.generator
    base = network.generator.projector
    draw = torch.Generator().manual_seed(seed)
    mean = generator.mean_latent()
    known = generator.sample_latents(32, truncation=truncation, mean_latent=mean, generator=draw)
    batches = [generator.hidden_features(part, "fixed")[1] for part in known.split(16)]
    ready = {"one_shot": base, "random": random_projector(base, seed), **(projectors or {})}
    if "pca" in labellers:
        ready["pca"] = pca_projector(base, batches)
    if shots is None:
        examples = _generated_shots(generator, oracle, choices, num_classes, truncation, least_pixels, shot_seed)
    else:
        examples = _real_shots(network, shots, choices, num_classes, least_pixels, shot_seed)
    if warp is not None:
        examples = [_with_copies(network, *example, warp, copies, shot_seed) for example in examples]
    fitted: list[dict[str, Labeller]] = []
    names = [*labellers, *(projectors or {})]
    for number, (_, maps, label) in enumerate(examples):
        row: dict[str, Labeller] = {}
        with torch.enable_grad():
            for name in names:
                if name == "mlp_1":
                    continue
                row[name] = make_labeller(name, ready, num_classes, seed=seed)
                row[name].fit(maps, label, steps, seed)
        if "mlp_1" in names and "mlps_10" in row:
            row["mlp_1"] = row["mlps_10"].first_member("mlp_1")
        fitted.append(row)
        logger.info("choice %d of %d: fitted", number + 1, len(examples))
    scores = {}
    if oracle is not None:
        scores["generated"] = _score_generated(generator, oracle, fitted, images, num_classes, truncation, test_seed)
    if real is not None:
        scores["real"] = _score_real(network, fitted, real, num_classes)
    rows = [
        {"set": where, "choice": number, "labeller": name, "dice": value}
        for where, table in scores.items() for number, row in enumerate(table) for name, value in row.items()
    ]  # fmt: skip
    summary = {where: paired_table(table) for where, table in scores.items()}
    summary["settings"] = {
        "choices": choices, "images": images, "steps": steps, "truncation": truncation, "seed": seed,
        "num_classes": num_classes, "moved_copies": copies if warp is not None else 0,
        "learned_from": "generated images" if shots is None else "real slices",
    }  # fmt: skip
    write_csv_atomic(folder / "choices.csv", rows)
    write_json_atomic(folder / "summary.json", summary)
    if oracle is not None:
        _draw_pictures(folder / "pictures.png", generator, oracle, fitted[0], truncation, test_seed)
    return summary


def paired_table(table: Sequence[Mapping[str, float]], reference: str = "one_shot") -> dict[str, dict[str, float]]:
    """Mean and deviation over choices; difference ``other - reference`` on the same choices with its 95 % interval."""
    names = list(table[0])
    values = {name: np.array([row[name] for row in table]) for name in names}
    resample = np.random.default_rng(0).integers(len(table), size=(10000, len(table)))
    result = {}
    for name in names:
        difference = values[name] - values[reference]
        low, high = np.percentile(difference[resample].mean(1), [2.5, 97.5])
        result[name] = {
            "mean": float(values[name].mean()), "std": float(values[name].std(ddof=1)) if len(table) > 1 else 0.0,
            "lowest": float(values[name].min()), "difference": float(difference.mean()),
            "low": float(low), "high": float(high), "better": int((difference > 0).sum()),
        }  # fmt: skip
    return result


def dice_of_organs(overlap: torch.Tensor, total: torch.Tensor) -> float:
    """Mean Dice of the classes after the first, from sums over a whole set ``(K,)``; absent classes do not count."""
    there = total[1:] > 0
    return float((2 * overlap[1:][there] / total[1:][there]).mean()) if bool(there.any()) else float("nan")


def _real_shots(
    network: OneShotSegmenter, bank: SliceBank, choices: int, num_classes: int, least: int, seed: int
) -> list[tuple[torch.Tensor, Any, torch.Tensor]]:
    shows = [
        row for row in range(len(bank))
        if int(torch.bincount(bank.labels[row].flatten().long(), minlength=num_classes)[1:].min()) >= least
    ]  # fmt: skip
    if len(shows) < choices:
        raise InputError("slices to learn from", got=f"{len(shows)} that show every class", wanted=f"{choices}")
    order = torch.randperm(len(shows), generator=torch.Generator().manual_seed(seed))[:choices]
    examples = []
    for row in (shows[i] for i in order.tolist()):
        image = bank.images[row : row + 1].float()
        latents, spatial = network.encoder(image)
        maps = network.generator.generator.hidden_features(latents, "zero", spatial)[1]
        examples.append((image, maps, bank.labels[row : row + 1].long()))
    return examples


def _with_copies(
    network: OneShotSegmenter,
    image: torch.Tensor,
    maps: Any,
    label: torch.Tensor,
    warp: Callable,
    copies: int,
    seed: int,
) -> tuple[torch.Tensor, Any, torch.Tensor]:
    """Maps and masks of an image and of moved copies of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        many = image.expand(copies, -1, -1, -1), label.expand(copies, -1, -1, -1)
        moved, moved_label = warp(*many)
    latents, spatial = network.encoder(moved)
    more = network.generator.generator.hidden_features(latents, "zero", spatial)[1]
    return image, [torch.cat(pair) for pair in zip(maps, more, strict=True)], torch.cat([label, moved_label])


def _generated_shots(
    generator: nn.Module, oracle: Any, choices: int, num_classes: int, truncation: float, least: int, seed: int
) -> list[tuple[torch.Tensor, Any, torch.Tensor]]:
    draw, mean = torch.Generator().manual_seed(seed), generator.mean_latent()
    found: list[tuple[torch.Tensor, Any, torch.Tensor]] = []
    for _ in range(20):
        latents = generator.sample_latents(32, truncation=truncation, mean_latent=mean, generator=draw)
        label = oracle(generator(latents, "fixed")[0].clamp(-1, 1)).argmax(1, keepdim=True)
        for i in range(len(latents)):
            counts = torch.bincount(label[i].flatten(), minlength=num_classes)[1:num_classes]
            if int(counts.min()) >= least and len(found) < choices:
                image, maps = generator.hidden_features(latents[i : i + 1], "fixed")
                found.append((image.clamp(-1, 1), maps, label[i : i + 1]))
        if len(found) == choices:
            return found
    raise InputError(
        "images to annotate", got=f"{len(found)} of 640 that show every class", wanted=f"{choices}",
        fix="train the generator for longer, compare fewer choices, or lower the number of pixels",
    )  # fmt: skip


def _score_generated(
    generator: nn.Module, oracle: Callable, fitted: list[dict[str, Labeller]], images: int, num_classes: int,
    truncation: float, seed: int,
) -> list[dict[str, float]]:  # fmt: skip
    draw, mean = torch.Generator().manual_seed(seed), generator.mean_latent()
    sums = [{name: torch.zeros(2, num_classes) for name in row} for row in fitted]
    latents = generator.sample_latents(images, truncation=truncation, mean_latent=mean, generator=draw)
    for part in latents.split(16):
        image, maps = generator.hidden_features(part, "fixed")
        _add(sums, fitted, maps, oracle(image.clamp(-1, 1)).argmax(1, keepdim=True), num_classes)
    return [{name: dice_of_organs(*pair) for name, pair in row.items()} for row in sums]


def _score_real(
    network: OneShotSegmenter, fitted: list[dict[str, Labeller]], bank: SliceBank, num_classes: int
) -> list[dict[str, float]]:
    by_case: list[list[dict[str, float]]] = []
    for case in dict.fromkeys(bank.cases):
        rows = torch.tensor([i for i, c in enumerate(bank.cases) if c == case])
        sums = [{name: torch.zeros(2, num_classes) for name in row} for row in fitted]
        for part in rows.split(16):
            latents, spatial = network.encoder(bank.images[part].float())
            _, maps = network.generator.generator.hidden_features(latents, "zero", spatial)
            _add(sums, fitted, maps, bank.labels[part].long(), num_classes)
        by_case.append([{name: dice_of_organs(*pair) for name, pair in row.items()} for row in sums])
    return [
        {name: float(np.mean([case[number][name] for case in by_case])) for name in row}
        for number, row in enumerate(fitted)
    ]


def _add(
    sums: list[dict[str, torch.Tensor]], fitted: list[dict[str, Labeller]], maps: Any, label: torch.Tensor, classes: int
) -> None:
    shared: dict[int, torch.Tensor] = {}
    for total, row in zip(sums, fitted, strict=True):
        for name, labeller in row.items():
            # projections are the same for every choice: once is enough
            key = id(labeller.prepare) if isinstance(labeller.prepare, nn.Module) else -1
            if key not in shared:
                shared[key] = labeller.prepare(maps)
            network = labeller.network
            scores = network.vote(shared[key]) if hasattr(network, "vote") else network(shared[key])
            found = scores.argmax(1, keepdim=True)
            for c in range(classes):
                total[name][0, c] += float(((found == c) & (label == c)).sum())
                total[name][1, c] += float((found == c).sum() + (label == c).sum())


def _draw_pictures(
    path: Path, generator: nn.Module, oracle: Callable, row: dict[str, Labeller], truncation: float, seed: int
) -> None:
    """Eight images; a row of outlines for the oracle and for each labeller, in their order."""
    draw = torch.Generator().manual_seed(seed)
    latents = generator.sample_latents(8, truncation=truncation, generator=draw)
    image, maps = generator.hidden_features(latents, "fixed")
    image = image.clamp(-1, 1)
    labels = [oracle(image).argmax(1, keepdim=True), *(labeller.predict(maps) for labeller in row.values())]
    write_png(path, np.concatenate([sample_grid(image, label, scale=2) for label in labels]))
