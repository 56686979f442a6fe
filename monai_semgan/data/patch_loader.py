"""Endless pairs of labelled and unlabelled volumes, a stack of neighbouring slices each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..utils import InputError
from .numbered_batches import NumberedBatches
from .slice_bank import SliceBank

__all__ = ["PairedPatchLoader"]

_LABELLED, _UNLABELLED = range(2)


class PairedPatchLoader(NumberedBatches):
    """Yields ``{"labelled": {"image", "label"}, "unlabelled": {"image"}}``, volumes ``(B, 1, H, W, depth)``.

    The three-dimensional sister of :class:`PairedSliceLoader`: the same banks, images float32 in [-1, 1], labels uint8
    index maps, and batches that depend on nothing but seed and number, so that a resumed run goes on exactly where it
    stopped. Scans are drawn in turn (a permutation a pass), the place of the stack at random. Scans with fewer slices
    than ``depth`` are completed with air at both ends. The unlabelled stream holds all scans.

    Once :meth:`set_answers` has given labels of the unlabelled bank's scans, that stream holds these scans alone, and
    its batches have a ``"label"``: somebody's answer, such as a teacher's, and no mask from disk.

    Args:
        labelled: bank with masks, slices of a scan in a row.
        unlabelled: bank without masks (masks in it are not used), or None.
        batch_size: stacks of each of the two kinds; with several processes those of all together.
        num_batches: batches of one iteration over the loader. The next iteration goes on with the following batches.
        depth: slices of a stack.
        seed: start of the streams.
        position: number of the first batch.
        labelled_foreground_fraction: share of labelled stacks whose middle is put on a slice that shows an organ.

    Raises:
        InputError: no masks in the labelled bank, different slice sizes, or numbers out of range.
    """

    def __init__(
        self,
        labelled: SliceBank,
        unlabelled: SliceBank | None,
        batch_size: int,
        num_batches: int,
        depth: int = 32,
        seed: int = 0,
        position: int = 0,
        labelled_foreground_fraction: float = 0.7,
    ) -> None:
        if not labelled.labelled:
            raise InputError("the labelled bank has no masks", fix="list scans with masks as labelled")
        if unlabelled is not None and unlabelled.images.shape[1:] != labelled.images.shape[1:]:
            raise InputError(
                "labelled and unlabelled slices differ in size", got=tuple(unlabelled.images.shape[1:]),
                wanted=tuple(labelled.images.shape[1:]), fix="use the same preprocessing for both",
            )  # fmt: skip
        super().__init__("volume loader", batch_size, num_batches, seed, position)
        if depth < 1:
            raise InputError("volume loader", got=f"depth {depth}", wanted="depth of at least 1")
        if not 0 <= labelled_foreground_fraction <= 1:
            raise InputError("option labelled_foreground_fraction", got=labelled_foreground_fraction, wanted="0..1")
        self.depth = int(depth)
        self.labelled_foreground_fraction = labelled_foreground_fraction
        self.labelled = [(labelled.images[rows], labelled.labels[rows]) for rows in _scans(labelled)]
        self.organ_slices = [(label > 0).flatten(1).any(dim=1).nonzero()[:, 0].cpu() for _, label in self.labelled]
        self.unlabelled = [] if unlabelled is None else [unlabelled.images[rows] for rows in _scans(unlabelled)]
        self.images = self.unlabelled + [image for image, _ in self.labelled]
        self.answers: list[torch.Tensor] = []
        self.answered_slices: list[torch.Tensor] = []

    @property
    def masks(self) -> torch.Tensor:
        """All masks there are to learn from, slice by slice: uint8 index maps ``(N, 1, H, W)``."""
        return torch.cat([label for _, label in self.labelled])

    def set_answers(self, answers: Sequence[torch.Tensor]) -> None:
        """Labels of the unlabelled scans, in their order, from the next batch on; none: as at first.

        Args:
            answers: uint8 index maps ``(D, 1, H, W)``; 255 (nothing known) is no organ.

        Raises:
            InputError: another number of scans, or another shape.
        """
        wanted = [tuple(image.shape) for image in self.unlabelled]
        if answers and [tuple(answer.shape) for answer in answers] != wanted:
            raise InputError(
                "answers for the unlabelled scans",
                got=[tuple(answer.shape) for answer in answers][:4], wanted=wanted[:4],
                fix="label the volumes that this loader holds",
            )  # fmt: skip
        self.answers = [answer.to(self.images[0].device) for answer in answers]
        self.answered_slices = [((a > 0) & (a < 255)).flatten(1).any(dim=1).nonzero()[:, 0].cpu() for a in answers]

    def batch(self, index: int) -> dict[str, dict[str, torch.Tensor]]:
        """Batch number ``index`` (0, 1, ...), whatever was asked for before; with the answers there are now."""
        images, labels, others, answered = [], [], [], []
        for place in range(index * self.batch_size, (index + 1) * self.batch_size)[self.part]:
            draw = self._generator(_LABELLED, place)
            scan = self._scan(_LABELLED, len(self.labelled), place)
            image, label = self.labelled[scan]
            organ = self.organ_slices[scan]
            start = self._start(len(image), organ, draw)
            images.append(self._stack(image, start, -1.0))
            labels.append(self._stack(label, start, 0.0))
            scan = self._scan(_UNLABELLED, len(self.answers or self.images), place)
            image = self.images[scan]  # the unlabelled ones come first
            organ = self.answered_slices[scan] if self.answers else organ[:0]
            start = self._start(len(image), organ, self._generator(_UNLABELLED, place))
            others.append(self._stack(image, start, -1.0))
            if self.answers:
                answered.append(self._stack(self.answers[scan], start, 0.0))
        unlabelled = {"image": torch.stack(others).float()}
        if answered:
            unlabelled["label"] = torch.stack(answered)
        return {
            "labelled": {"image": torch.stack(images).float(), "label": torch.stack(labels)},
            "unlabelled": unlabelled,
        }

    def _scan(self, stream: int, count: int, place: int) -> int:
        order = torch.randperm(count, generator=self._generator(2 + stream, place // count))
        return int(order[place % count])

    def _start(self, slices: int, organ: torch.Tensor, draw: torch.Generator) -> int:
        """First slice of a stack, below 0 when the scan is shorter than the stack."""
        coin, where = torch.rand(2, generator=draw).tolist()
        free = slices - self.depth
        if free <= 0:
            return free // 2
        if len(organ) and coin < self.labelled_foreground_fraction:
            middle = int(organ[min(int(where * len(organ)), len(organ) - 1)])
            return min(max(middle - self.depth // 2, 0), free)
        return min(int(where * (free + 1)), free)

    def _stack(self, slices: torch.Tensor, start: int, fill: float) -> torch.Tensor:
        """``(1, H, W, depth)`` from slices ``(D, 1, H, W)``."""
        stack = slices[max(start, 0) : max(start, 0) + self.depth].permute(1, 2, 3, 0)
        before = max(-start, 0)
        return F.pad(stack, (before, self.depth - before - stack.shape[-1]), value=fill)

    def _generator(self, stream: int, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(((self.seed * 1_000_003 + stream) * 1_000_003 + number) % 2**63)


def _scans(bank: SliceBank) -> list[slice]:
    """Rows of each scan: runs of slices with one name."""
    starts = [i for i, case in enumerate(bank.cases) if i == 0 or case != bank.cases[i - 1]]
    return [slice(a, b) for a, b in zip([0, *starts[1:]], [*starts[1:], len(bank)], strict=True) if a < b]
