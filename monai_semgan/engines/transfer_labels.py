"""From activation maps and objects to pixel labels of weak organs (Xiao et al. 2018, 1711.06828)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.utils import eval_mode
from torch import nn

from ..data import UNKNOWN, OrganRoles, PseudoLabels, TaggedSliceBank
from ..inferers import diffusion_labels
from ..transforms import ORIENTATIONS, orient, orient_back, resize_plane
from ..utils.checkpoint import load_network
from ..utils.errors import InputError
from ..utils.files import make_output_folder, write_json_atomic
from ..utils.processes import first_process_first
from .transfer_tags import object_gate, strong_share

__all__ = ["LabelTransfer", "fuse_labels"]

logger = logging.getLogger(__name__)


class LabelTransfer:
    """Makes pixel labels for slices of which tags are known, with three trained networks and without training.

    For each slice: objects M from L-Net, averaged over orientations; strong organs from their segmenter; class
    activation maps A of the tagged organs; self-diffusion of A within the objects; labels by the most evidence. Weak
    organs keep the label that they win; strong ones get the segmenter's, which knows them better; objects that nothing
    explains are unknown.

    It is a stage: ``run`` writes ``labels.pt`` and ``report.json``, and does nothing where they are there already for
    the same settings. Masks are not looked at, those of strong organs neither.

    Args:
        roles: strong and weak organs.
        banks: name -> slices with tags (``"labelled"``, ``"unlabelled"``); None is left out.
        objects: L-Net, image to logits ``(B, 1, H, W)``.
        segmenter: of strong organs, image to logits of all classes.
        classifier: ``TagClassifier``.
        diffusion: ``(M, A, image) -> S``, e.g. ``SelfDiffusion``.
        output_dir: folder for the results (None: none are written).
        checkpoints: ``objects``, ``segmenter``, ``classifier`` -> ``model.pt``, read when the stage starts.
        explain_away: weak organs do not compete for what the segmenter calls a strong one; False: all tagged organs
            diffuse over all objects, as in the paper.
        object_threshold: tau_M, the most sensitive number of all.
        reject_threshold: tau_rej.
        margin: that of the classifier's training (:class:`TagTrainer`): where the gate of M is shut, its maps do not
            count.
        floor: below this value the gate is shut, as in the classifier's pooling.
        orientations: over how many orientations M is averaged, 1 to 8.
        scales: sizes of the slice, 1 and less, over which M is the largest: an organ larger than all strong ones is
            found whole where it is shown smaller.
        gate: smallest and largest foreground share of M in slices with tags, relative to that of the strong masks in
            slices that show one; outside, the stage stops, since all that comes after would be wrong without a sign.
        batch_size: slices at once.
        device: where to compute.
        settings: plain values that identify this training.

    Raises:
        InputError: an option out of range; a result of other settings in the folder; M outside of ``gate``.
    """

    def __init__(
        self,
        roles: OrganRoles,
        banks: Mapping[str, TaggedSliceBank | None],
        objects: nn.Module,
        segmenter: nn.Module,
        classifier: nn.Module,
        diffusion: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
        output_dir: str | Path | None = None,
        checkpoints: Mapping[str, str | Path] | None = None,
        explain_away: bool = True,
        object_threshold: float = 0.1,
        reject_threshold: float = 0.1,
        margin: int = 2,
        floor: float = 0.25,
        orientations: int = 8,
        scales: Sequence[float] = (1.0, 0.7, 0.5),
        gate: Sequence[float] = (0.2, 10.0),
        batch_size: int = 32,
        device: torch.device | str = "cpu",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= orientations <= ORIENTATIONS:
            raise InputError("option orientations", got=orientations, wanted=f"1 to {ORIENTATIONS}")
        if not scales or not all(0.25 <= scale <= 1 for scale in scales):
            raise InputError("option scales", got=list(scales), wanted="numbers from 0.25 to 1")
        for name, value in (("object_threshold", object_threshold), ("reject_threshold", reject_threshold)):
            if not 0 <= value < 1:
                raise InputError(f"option {name}", got=value, wanted="0 or more and less than 1")
        self.roles, self.banks = roles, {name: bank for name, bank in banks.items() if bank is not None}
        self.networks = {"objects": objects, "segmenter": segmenter, "classifier": classifier}
        self.diffusion = diffusion
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.checkpoints = dict(checkpoints or {})
        self.explain_away = explain_away
        self.object_threshold, self.reject_threshold = object_threshold, reject_threshold
        self.orientations, self.gate = orientations, (float(gate[0]), float(gate[1]))
        self.margin, self.floor, self.scales = int(margin), float(floor), tuple(float(scale) for scale in scales)
        self.batch_size, self.device = batch_size, torch.device(device)
        self.settings = dict(settings or {})
        self.report: dict[str, Any] = {}

    @property
    def path(self) -> Path | None:
        """The file that the next stage reads."""
        return None if self.output_dir is None else self.output_dir / "labels.pt"

    def run(self) -> None:
        """Make the labels, unless they are there; the first of several processes makes them for all."""
        with first_process_first():
            self._run()

    def _run(self) -> None:
        if self.path is not None:
            make_output_folder(self.path.parent)
            if self.path.is_file():
                self._check_finished(PseudoLabels.load(self.path))
                return
        self.load_networks()
        labels, shares = {}, {}
        for name, bank in self.banks.items():
            parts, amount = [], []
            for rows, maps in self.maps(bank):
                parts.append(maps["label"].cpu())
                amount.append((maps["objects"] > self.object_threshold).float().mean((1, 2, 3)).cpu())
                logger.debug("%s: %d of %d slices labelled", name, rows.stop, len(bank))
            labels[name] = torch.cat(parts)
            shares[name] = torch.cat(amount)
        self.report = self._describe(labels, shares)
        self._check_objects()
        result = PseudoLabels(labels, {name: bank.cases for name, bank in self.banks.items()}, self.settings)
        if self.output_dir is not None:
            write_json_atomic(self.output_dir / "report.json", self.report)
            result.save(self.path)

    def load_networks(self) -> None:
        """Read the results of the stages before."""
        for name, network in self.networks.items():
            network.to(self.device)
            if name in self.checkpoints:
                load_network(network, self.checkpoints[name])

    def maps(self, bank: TaggedSliceBank, chosen: torch.Tensor | None = None) -> Any:
        """Yield ``(slice of rows, maps)`` for all slices, or those chosen: what :meth:`maps_of` gives."""
        order = torch.arange(len(bank)) if chosen is None else chosen
        for start in range(0, len(order), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(order)))
            index = order[rows]
            yield rows, self.maps_of(bank.images[index].float().to(self.device), bank.tags[index].to(self.device))

    @torch.no_grad()
    def maps_of(self, image: torch.Tensor, tags: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every step of the way from a slice to its labels.

        Args:
            image: ``(B, 1, H, W)``.
            tags: ``(B, organs)`` bool.

        Returns:
            ``objects`` M ``(B, 1, H, W)``; ``strong`` ``(B, strong, H, W)``; ``gate`` ``(B, organs, H, W)``;
            ``activation`` A and ``evidence`` S ``(B, organs, H, W)``; labels ``(B, 1, H, W)``: ``seeds`` without
            diffusion, ``diffused``, and the final ``label``.
        """
        networks = self.networks
        with eval_mode(*networks.values()):
            objects = self.object_map(image)
            strong = strong_share(networks["segmenter"], image, tags, self.roles)
            scores = networks["classifier"].class_maps(image).float()
        size = image.shape[2:]
        activation = F.interpolate(torch.sigmoid(scores), size=size, mode="bilinear", align_corners=False)
        seen = object_gate(objects, strong, self.roles, self.explain_away, self.margin) > self.floor
        activation = activation * tags[:, :, None, None] * seen  # elsewhere the classifier was hardly asked
        gate = object_gate(objects, strong, self.roles, self.explain_away)
        weak = [c - 1 for c in self.roles.weak_classes]
        compete = weak if self.explain_away else list(range(len(self.roles.names)))
        within = gate[:, weak[:1]] if self.explain_away else objects
        evidence = torch.zeros_like(activation)
        evidence[:, compete] = self.diffusion(within, activation[:, compete], image)
        classes, thresholds = [c + 1 for c in compete], (self.object_threshold, self.reject_threshold)
        diffused = diffusion_labels(evidence[:, compete], within, classes, *thresholds)
        seeds = diffusion_labels(within.sqrt() * activation[:, compete], within, classes, *thresholds)
        return {
            "objects": objects, "strong": strong, "gate": gate, "activation": activation, "evidence": evidence,
            "seeds": seeds, "diffused": diffused, "label": fuse_labels(diffused, strong, self.roles),
        }  # fmt: skip

    def object_map(self, image: torch.Tensor) -> torch.Tensor:
        """M: L-Net's answers to the slice in several orientations, averaged; the largest over sizes."""
        objects = self.networks["objects"]
        chosen = [0, 4, 2, 6, 1, 5, 3, 7][: self.orientations]
        found = []
        for scale in self.scales:
            shown, (rows, columns) = _smaller(image, scale)
            answers = [orient_back(torch.sigmoid(objects(orient(shown, n)).float()), n) for n in chosen]
            found.append(resize_plane(torch.stack(answers).mean(0)[:, :, rows, columns], tuple(image.shape[2:])))
        return torch.stack(found).amax(0)

    # ---- what comes out, and whether it can be right -----------------------------------------------
    def _describe(self, labels: Mapping[str, torch.Tensor], shares: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Counts, without a look at any mask of a weak organ."""
        tagged = torch.cat([shares[name][bank.tags.any(1)] for name, bank in self.banks.items()])
        masks = [bank.labels for bank in self.banks.values() if bank.labels is not None]
        strong = [(m > 0) & (m != UNKNOWN) for m in masks]
        shown = [s.float().mean((1, 2, 3))[s.flatten(1).any(1)] for s in strong if s.any()]
        report: dict[str, Any] = {
            "object_share": float(tagged.mean()) if len(tagged) else 0.0,
            "strong_mask_share": float(torch.cat(shown).mean()) if shown else None,
            "banks": {},
        }
        for name, bank in self.banks.items():
            entry: dict[str, Any] = {
                "slices": len(bank),
                "unknown_share": float((labels[name] == UNKNOWN).float().mean()),
            }
            for organ, index in self.roles.classes.items():
                entry[organ] = {
                    "tagged_slices": int(bank.tags[:, index - 1].sum()),
                    "labelled_slices": int((labels[name] == index).flatten(1).any(1).sum()),
                    "pixels": int((labels[name] == index).sum()),
                }
            report["banks"][name] = entry
        return report

    def _check_objects(self) -> None:
        found, wanted = self.report["object_share"], self.report["strong_mask_share"]
        if not wanted:
            return
        low, high = (bound * wanted for bound in self.gate)
        if not low <= found <= high:
            raise InputError(
                "objects found by L-Net", got=f"{100 * found:.2f} % of the pixels of slices with tags",
                wanted=f"{100 * low:.2f} to {100 * high:.2f} % (strong organs fill {100 * wanted:.2f} %)",
                fix="train L-Net longer or with more strong organs; it may have collapsed to nothing or to everything",
            )  # fmt: skip

    def _check_finished(self, found: PseudoLabels) -> None:
        other = [name for name in self.settings if found.settings.get(name) != self.settings[name]]
        if other:
            raise InputError(
                f"Labels in {self.output_dir}", got=f"labels of another configuration ({', '.join(other[:4])})",
                wanted="the configuration that they were made with",
                fix="give another --output_dir for the new training, or delete this folder",
            )  # fmt: skip


def _smaller(image: torch.Tensor, scale: float) -> tuple[torch.Tensor, tuple[slice, slice]]:
    """The slice ``(B, 1, H, W)`` smaller, air around it, and where it is now."""
    margins = [round(length * (1 - scale) / 2) for length in image.shape[2:]]
    rows, columns = (slice(m, length - m) for m, length in zip(margins, image.shape[2:], strict=True))
    shown = image.new_full(image.shape, -1.0)
    shown[:, :, rows, columns] = resize_plane(image, (rows.stop - rows.start, columns.stop - columns.start))
    return shown, (rows, columns)


def fuse_labels(diffused: torch.Tensor, strong: torch.Tensor, roles: OrganRoles) -> torch.Tensor:
    """Weak organs from diffusion, strong ones from their segmenter.

    Args:
        diffused: labels ``(B, 1, H, W)`` from self-diffusion.
        strong: probabilities ``(B, strong, H, W)``.
        roles: strong and weak organs.

    Returns:
        ``(B, 1, H, W)`` uint8: a weak organ where diffusion says so, else a strong one where the segmenter is more sure
        of it than of all else, else what diffusion leaves: background or unknown. A strong organ that wins the
        diffusion where the segmenter sees none is unknown.
    """
    best, index = strong.max(dim=1, keepdim=True)
    names = torch.tensor(roles.strong_classes, dtype=torch.uint8, device=diffused.device)
    weak = torch.isin(diffused, torch.tensor(roles.weak_classes, dtype=torch.uint8, device=diffused.device))
    segmented = torch.where(best > 0.5, names[index], torch.zeros_like(diffused))
    rest = torch.where((diffused > 0) & ~weak, torch.full_like(diffused, UNKNOWN), diffused)
    return torch.where(weak, diffused, torch.where(segmented > 0, segmented, rest))
