"""One-shot segmentation, which image is annotated, and where its mask comes from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Shots, SliceBank, check_shot_label
from ..utils.errors import InputError
from ..utils.files import make_output_folder, write_json_atomic
from ..utils.processes import first_process_first
from ..visualize import sample_grid, write_png
from .one_shot_files import check_generator, load_projector, load_reader, weights_fingerprint

__all__ = ["OneShotAnnotation", "choose_medoids", "draw_candidates"]

logger = logging.getLogger(__name__)


def choose_medoids(points: torch.Tensor, count: int = 1) -> list[int]:
    """Indices of the points that stand for all others best: each next one lowers the sum of distances most.

    The first is the medoid: the image to annotate if it is to be one.

    Args:
        points: ``(N, D)``, e.g. mean projected features of images.
        count: how many are wanted.

    Raises:
        InputError: there are fewer points than wanted.
    """
    if not 1 <= count <= len(points):
        raise InputError("option shots", got=count, wanted=f"1 to {len(points)}, the images there are to choose from")
    distance = torch.cdist(points.double(), points.double())
    chosen: list[int] = []
    nearest = torch.full((len(points),), float("inf"), dtype=torch.float64)
    for _ in range(count):
        total = torch.minimum(nearest[:, None], distance).sum(dim=0)
        total[chosen] = float("inf")
        chosen.append(int(total.argmin()))
        nearest = torch.minimum(nearest, distance[:, chosen[-1]])
    return chosen


@torch.no_grad()
def draw_candidates(
    network: nn.Module, number: int = 500, truncation: float = 0.7, seed: int = 0, batch_size: int = 32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents ``(N, L, D)`` of generated images, and the mean projected features ``(N, d)`` of each.

    Args:
        network: a ``OneShotGenerator``.
    """
    draw = torch.Generator().manual_seed(int(seed))
    mean = network.mean_latent()
    latents, points = [], []
    for start in range(0, number, batch_size):
        count = min(batch_size, number - start)
        w = network.sample_latents(count, truncation=truncation, mean_latent=mean, generator=draw)
        latents.append(w)
        points.append(network.project(w, "fixed")[1].mean(dim=(2, 3)))
    return torch.cat(latents), torch.cat(points)


class OneShotAnnotation:
    """Finds the annotated image: one that somebody has drawn on, or, without one, a real slice and its mask.

    With ``annotation_dir`` (made by ``monai-semgan one-shot export`` and ``read``) that is used. Otherwise nobody is
    asked: of the slices of ``bank`` that show every class the medoid of projected features is taken, read by the
    encoder, and its mask is the one annotation; no other mask is learned from.

    It is a stage: ``run`` writes ``shots.pt``, ``shots.json`` and ``shots.png``, and does nothing where they are there
    already for the same settings.

    Args:
        network: a ``OneShotSegmenter``.
        bank: slices with masks to choose from.
        num_classes: classes with background.
        shots: how many images are annotated.
        annotation_dir: folder of an annotation, or None.
        reader_checkpoint, projector_checkpoint: files of the stages before (None: the networks as they are).
        output_dir: folder for the result.
        settings: plain values that identify this training.

    Raises:
        InputError: no slice shows every class; the annotation is of another generator or lacks its mask; a result of
            other settings is in the folder.
    """

    def __init__(
        self,
        network: nn.Module,
        bank: SliceBank,
        num_classes: int = 2,
        shots: int = 1,
        annotation_dir: str | Path | None = None,
        reader_checkpoint: str | Path | None = None,
        projector_checkpoint: str | Path | None = None,
        output_dir: str | Path | None = None,
        device: torch.device | str = "cpu",
        settings: Mapping[str, Any] | None = None,
        batch_size: int = 32,
    ) -> None:
        if int(shots) < 1:
            raise InputError("option shots", got=shots, wanted="1 or more")
        self.network, self.bank, self.num_classes, self.shots = network, bank, int(num_classes), int(shots)
        self.annotation_dir = Path(annotation_dir) if annotation_dir else None
        self.reader_checkpoint, self.projector_checkpoint = reader_checkpoint, projector_checkpoint
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.device, self.batch_size = torch.device(device), batch_size
        self.settings = dict(settings or {})
        if self.annotation_dir is None:
            self.candidates()
        else:
            self.annotated()

    @property
    def path(self) -> Path | None:
        """The file that the next stage reads."""
        return None if self.output_dir is None else self.output_dir / "shots.pt"

    def run(self) -> Shots:
        """Make the file, unless it is there; the first of several processes makes it for all."""
        with first_process_first():
            return self._run()

    def _run(self) -> Shots:
        if self.path is not None:
            make_output_folder(self.path.parent)
            if self.path.is_file():
                return self._finished()
        self.load_networks()
        shots = self.annotated() if self.annotation_dir is not None else self.real()
        check_generator(self.network.generator.generator, shots.generator, f"annotation {self.annotation_dir}")
        size = self.network.generator.image_size
        shots = Shots(**{**vars(shots), "label": check_shot_label(shots.label, size, self.num_classes),
                         "settings": self.settings})  # fmt: skip
        logger.info("annotated: %s", ", ".join(shots.source))
        if self.path is not None:
            write_png(self.path.with_suffix(".png"), sample_grid(shots.image, shots.label, scale=4))
            write_json_atomic(self.path.with_suffix(".json"), {"source": shots.source})
            shots.save(self.path)
        return shots

    def load_networks(self) -> None:
        """Read the results of the stages before."""
        self.network.to(self.device).eval()
        if self.reader_checkpoint is not None:
            load_reader(self.network, self.reader_checkpoint)
        if self.projector_checkpoint is not None:
            load_projector(self.network, self.projector_checkpoint)

    def annotated(self) -> Shots:
        """What somebody has drawn.

        Raises:
            InputError: there is no annotation, or its mask has not been read.
        """
        assert self.annotation_dir is not None
        shots = Shots.load(self.annotation_dir / "shots.pt")
        if shots.label is None:
            raise InputError(
                f"annotation {self.annotation_dir}", got="an image without a mask", wanted="an annotated image",
                fix=f"draw the mask, then: monai-semgan one-shot read --annotation {self.annotation_dir} --mask FILE",
            )  # fmt: skip
        return shots

    def candidates(self) -> torch.Tensor:
        """Numbers of the slices that show every class.

        Raises:
            InputError: there are too few.
        """
        if self.bank.labels is None:
            raise InputError("the annotated slice: no masks in the labelled scans", fix="list scans with masks")
        flat = self.bank.labels.flatten(1)
        shows = torch.stack([(flat == c).any(dim=1) for c in range(1, self.num_classes)], dim=1).all(dim=1)
        found = torch.nonzero(shows).flatten().cpu()
        if len(found) < self.shots:
            raise InputError(
                "the annotated slice: a class without a pixel",
                got=f"{len(found)} slices that show all of {self.num_classes - 1} classes",
                wanted=f"{self.shots} or more to choose from",
                fix="name other labelled scans or fewer organs, or annotate an image (annotation_dir)",
            )
        return found

    @torch.no_grad()
    def real(self) -> Shots:
        """The medoids of the candidates, as the encoder reads them."""
        found = self.candidates()
        points, latents, spatial = [], [], []
        for rows in found.split(self.batch_size):
            w, s = self.network.encoder(self.bank.images[rows].float().to(self.device))
            points.append(self.network.generator.project(w, "zero", s)[1].mean(dim=(2, 3)).cpu())
            latents.append(w.cpu())
            spatial += [] if s is None else [s.cpu()]
        chosen = choose_medoids(torch.cat(points), self.shots)
        rows = found[chosen]
        place = {case: self.bank.cases.index(case) for case in dict.fromkeys(self.bank.cases)}
        return Shots(
            image=self.bank.images[rows].float().cpu(),
            label=self.bank.labels[rows].cpu(),
            latents=torch.cat(latents)[chosen],
            spatial=torch.cat(spatial)[chosen] if spatial else None,
            source=[f"slice {int(r) - place[self.bank.cases[r]]} of {self.bank.cases[r]}" for r in rows.tolist()],
            generator=weights_fingerprint(self.network.generator.generator),
        )

    def _finished(self) -> Shots:
        shots = Shots.load(self.path)
        if shots.settings != self.settings:
            raise InputError(
                f"annotation {self.path}", got="one of another configuration", wanted="the configuration of this run",
                fix="give another --output_dir, or delete this folder and that of the head",
            )  # fmt: skip
        if self.annotation_dir is not None and not torch.equal(shots.label, self.annotated().label):
            raise InputError(
                f"annotation {self.annotation_dir}", got="another mask than that of the training in this folder",
                wanted="the same", fix=f"delete {self.path.parent} and the head's folder, or name the annotation anew",
            )  # fmt: skip
        return shots
