"""The annotated image or images of one-shot segmentation, as a file between two stages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..utils import InputError
from ..utils.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["ShotLoader", "Shots", "check_shot_label"]


@dataclass(frozen=True)
class Shots:
    """Images, their masks, and the latents from which the generator makes them.

    Args:
        image: ``(n, 1, S, S)`` in [-1, 1].
        label: ``(n, 1, S, S)`` uint8 class indices, or None before somebody has drawn them.
        latents: ``(n, L, D)``.
        spatial: ``(n, C_f, f, f)`` of images that an encoder has read, or None.
        source: where each comes from, for people.
        generator: fingerprint of the generator's weights, since latents mean nothing to another one.
        settings: plain values.
    """

    image: torch.Tensor
    label: torch.Tensor | None
    latents: torch.Tensor
    spatial: torch.Tensor | None
    source: list[str]
    generator: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.latents)

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, atomically."""
        save_checkpoint(dict(vars(self)), Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Shots:
        """Read the file.

        Raises:
            InputError: it is missing, damaged, or something else.
        """
        state = load_checkpoint(Path(path))
        names = set(cls.__dataclass_fields__)
        if not isinstance(state, dict) or set(state) != names:
            raise InputError(
                f"annotated image {path}", got="another file", wanted="shots.pt of an annotation",
                fix="make it with monai-semgan one-shot export and read",
            )  # fmt: skip
        return cls(**state)


def check_shot_label(
    label: torch.Tensor, size: int, names: Mapping[int, str] | int, where: str = "mask of the annotated image"
) -> torch.Tensor:
    """A mask that one image can teach from: ``(n, 1, S, S)`` uint8, every class somewhere.

    Args:
        label: ``(n, 1, S, S)`` whole numbers.
        size: S of the generator.
        names: class -> name, background not among them; or the number of classes with background.

    Raises:
        InputError: another size, unknown classes, or a class without a pixel in any of the images.
    """
    if isinstance(names, int):
        names = {number: f"class {number}" for number in range(1, names)}
    if label.ndim != 4 or tuple(label.shape[1:]) != (1, size, size):
        raise InputError(
            where, got=f"{label.shape[-2]}x{label.shape[-1]} pixels", wanted=f"{size}x{size}, as the image",
            fix="draw on the exported image and save the mask without changing its size",
        )  # fmt: skip
    found = {int(v) for v in torch.unique(label).tolist()}
    unknown = sorted(found - {0, *names})
    if unknown:
        raise InputError(
            where, got=f"values {', '.join(map(str, unknown))}",
            wanted="0 for background, " + ", ".join(f"{number} for {name}" for number, name in names.items()),
            fix="renumber the mask, or name these classes in organs",
        )  # fmt: skip
    missing = [f"{name} ({number})" for number, name in names.items() if number not in found]
    if missing:
        raise InputError(
            f"{where}: a class without a pixel", got=f"nothing of {', '.join(missing)}",
            wanted="every class in the annotated image, or in one of several (shots)",
            fix="annotate another image, which shows it, or take it out of organs",
        )  # fmt: skip
    return label.to(torch.uint8)


class ShotLoader:
    """Yields all shots as one batch, again and again: ``{"labelled": {"image", "label", "latents"[, "spatial"]}}``.

    Args:
        path: ``shots.pt``, read when the first batch is asked for.
        num_batches: batches of one iteration over the loader.
    """

    def __init__(self, path: str | os.PathLike, num_batches: int) -> None:
        if num_batches < 1:
            raise InputError("option head_iterations", got=num_batches, wanted="1 or more")
        self.path, self.num_batches = Path(path), int(num_batches)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[dict[str, dict[str, torch.Tensor]]]:
        shots = Shots.load(self.path)
        part = {"image": shots.image, "label": shots.label, "latents": shots.latents, "spatial": shots.spatial}
        batch = {"labelled": {name: value for name, value in part.items() if value is not None}}
        for _ in range(self.num_batches):
            yield batch
