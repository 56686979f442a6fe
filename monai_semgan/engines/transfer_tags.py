"""The classifier of tags behind the class activation maps (Xiao et al. 2018, 1711.06828; Zhou et al. 2016)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.utils import eval_mode
from torch import nn

from ..data import OrganRoles, tag_correlation
from ..utils.checkpoint import load_network, save_checkpoint
from .ema import EmaByImages
from .phase_trainer import Phase, PhaseTrainer, Terms
from .schedule import poly_decay

__all__ = ["TagTrainer", "object_gate", "strong_share"]

logger = logging.getLogger(__name__)
_TOO_ALIKE = 0.9


def strong_share(segmenter: nn.Module, image: torch.Tensor, tags: torch.Tensor, roles: OrganRoles) -> torch.Tensor:
    """Probability of each strong organ, ``(B, strong, H, W)``, 0 in those that the slice is not tagged with.

    Args:
        segmenter: image to logits of all classes, taught with masks of the strong ones.
        image: ``(B, 1, H, W)``.
        tags: ``(B, organs)`` bool.
        roles: strong and weak organs.
    """
    classes = roles.strong_classes
    share = segmenter(image).float().softmax(dim=1)[:, classes]
    return share * tags[:, [c - 1 for c in classes], None, None]


def object_gate(
    objects: torch.Tensor,
    strong: torch.Tensor | None,
    roles: OrganRoles,
    explain_away: bool = True,
    margin: int = 0,
) -> torch.Tensor:
    """Where each organ may be, ``(B, organs, H, W)``: on objects, and a weak one not on what is a strong one.

    Args:
        objects: M, ``(B, 1, H, W)``.
        strong: probabilities of the strong organs ``(B, strong, H, W)``; None: not known.
        roles: strong and weak organs.
        explain_away: False: the objects alone, for every organ, as in the paper.
        margin: pixels around strong organs that a weak one is kept out of as well.
    """
    gate = objects.expand(-1, len(roles.names), -1, -1)
    if strong is None or not explain_away:
        return gate
    explained = strong.sum(dim=1, keepdim=True)
    if margin:
        explained = F.max_pool2d(explained, 2 * margin + 1, stride=1, padding=margin)
    free = objects * (1 - explained).clamp(0, 1)
    weak = torch.tensor([name in roles.weak for name in roles.names], device=objects.device)
    return torch.where(weak[None, :, None, None], free, gate)


class TagTrainer(PhaseTrainer):
    """Trains a classifier on the tags of all slices, those of strong organs too.

    Its score of an organ is pooled over what L-Net takes for objects, and that of a weak organ over what the segmenter
    of strong organs leaves of them. L-Net and that segmenter are the results of earlier stages; they are read when the
    training starts, and are not trained here.

    Args:
        network: ``TagClassifier``: ``(image, gate) -> logits (B, organs)``.
        roles: strong and weak organs.
        objects: L-Net, image to logits ``(B, 1, H, W)`` (None: no gate; plain class activation maps).
        segmenter: image to logits of all classes (None: objects are not explained away).
        objects_checkpoint, segmenter_checkpoint: their ``model.pt`` (None: take them as they are).
        explain_away, margin: see :func:`object_gate`. Without a margin a classifier of a wide view likes to look at the
            rims of large strong organs, where objects and their segmenter differ by a pixel.
        warp: random deformation ``(image, None) -> same`` (None: none). No flips: place helps to tell organs apart.
        learning_rate, weight_decay: of AdamW, with poly decay.
        ema: moving average of the network.
        options: see :class:`PhaseTrainer`.

    Batches: ``{"labelled": {"image", "tags"}, "unlabelled": {"image", "tags"}}``; one of them is enough.
    On finishing, ``model.pt`` (averaged weights) is written to ``output_dir``.
    """

    stage = "tag_net"

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        roles: OrganRoles,
        objects: nn.Module | None = None,
        segmenter: nn.Module | None = None,
        objects_checkpoint: str | Path | None = None,
        segmenter_checkpoint: str | Path | None = None,
        explain_away: bool = True,
        margin: int = 2,
        warp: Callable | None = None,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        ema: EmaByImages | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.network, self.roles = network, roles
        self.frozen = {
            name: (module.to(device).requires_grad_(False), path)
            for name, module, path in (
                ("objects", objects, objects_checkpoint), ("segmenter", segmenter, segmenter_checkpoint),
            )
            if module is not None
        }  # fmt: skip
        self.explain_away, self.margin = explain_away, int(margin)
        self.warp = warp or (lambda image, label=None: (image, label))
        self.learning_rate = learning_rate
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            networks={"network": network},
            optimizers={
                "network": torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
            },
            output_dir=output_dir,
            **options,
        )
        self.ema = ema or EmaByImages(network, half_life_images=1000)
        self.ema.average.to(device)

    def phases(self) -> Sequence[Phase]:
        return (Phase(self.stage, ("network",), "network", self.classify, clip=5.0),)

    def run(self) -> None:
        for module, path in self.frozen.values():
            if path is not None:
                load_network(module, path)
        super().run()

    def classify(self, batch: Any) -> Terms:
        """Binary cross-entropy of the tags."""
        parts = [batch[name] for name in ("labelled", "unlabelled") if name in batch]
        image = self.warp(torch.cat([part["image"] for part in parts]), None)[0]
        tags = torch.cat([part["tags"] for part in parts])
        logits = self.network(image, self.gate(image, tags)).float()
        return {"tags": F.binary_cross_entropy_with_logits(logits, tags.float())}

    @torch.no_grad()
    def gate(self, image: torch.Tensor, tags: torch.Tensor) -> torch.Tensor | None:
        """Where each organ may be; constants."""
        if "objects" not in self.frozen:
            return None
        objects = self.frozen["objects"][0]
        segmenter = self.frozen["segmenter"][0] if "segmenter" in self.frozen else None
        with eval_mode(*(module for module in (objects, segmenter) if module is not None)):
            seen = torch.sigmoid(objects(image).float())
            strong = None if segmenter is None else strong_share(segmenter, image, tags, self.roles)
        return object_gate(seen, strong, self.roles, self.explain_away, self.margin)

    # ---- bookkeeping ---------------------------------------------------------------------------
    def batch_size(self, batch: Any) -> int:
        """Images of all parts."""
        return sum(len(batch[name]["image"]) for name in ("labelled", "unlabelled") if name in batch)

    def before_iteration(self, iteration: int, batch: Any) -> None:
        if iteration == 0:
            self.warn_of_tags_alike()
        self.network.train()
        for group in self.optimizers["network"].param_groups:
            group["lr"] = self.learning_rate * poly_decay(iteration, self.total_iterations)

    def warn_of_tags_alike(self) -> None:
        """Say which organs come together so often that tags cannot tell them apart."""
        loader = self.data_loader
        banks = [bank for bank in (getattr(loader, "labelled", None), getattr(loader, "unlabelled", None)) if bank]
        if not banks:
            return
        matrix = tag_correlation(torch.cat([bank.tags for bank in banks]))
        for i, first in enumerate(self.roles.names):
            for j, second in enumerate(self.roles.names[:i]):
                if float(matrix[i, j]) > _TOO_ALIKE and {first, second} & set(self.roles.weak):
                    logger.warning(
                        "%s and %s are nearly always tagged together (correlation %.2f): tags can hardly tell them "
                        "apart. Make one organ of them, or add slices that show one alone.",
                        second, first, matrix[i, j],
                    )  # fmt: skip

    def after_iteration(self, iteration: int, batch: Any) -> None:
        self.ema.update(self.images_in(batch), self.state.images_seen)

    def extra_state(self) -> dict[str, Any]:
        return {"ema": self.ema.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.ema.load_state_dict(state["ema"])

    def on_finished(self) -> None:
        """Write the averaged classifier."""
        if self.output_dir is not None:
            save_checkpoint(self.ema.state_dict(), self.output_dir / "model.pt")
