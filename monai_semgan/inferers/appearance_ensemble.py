"""One answer from several looks of a scan, and how much they agree."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import nn

from ..transforms import GREY_VIEWS, MostProbableLabel, ZoomView
from ..utils import InputError

__all__ = ["AppearanceEnsembleInferer"]

View = Callable[[torch.Tensor], torch.Tensor]
_KNOWN = ", ".join([*GREY_VIEWS, "zoom_1.2 (any number from 1)", "zoom_1.2_depth_0.86"])


class AppearanceEnsembleInferer(Inferer):
    """Run an inferer on several views of a scan, of other grey values or sizes, and average the class probabilities.

    Nothing is drawn at random: the same scan gives the same answer. The views run one after the other; the
    probabilities are summed up as they come, and of each view only its label map is kept.

    Args:
        inferer: called as ``inferer(view, network)``; gives logits ``(B, K, ...)``, K classes with background.
        views: names from ``monai_semgan.transforms.GREY_VIEWS``, ``zoom_1.2``, ``zoom_1.2_depth_0.86`` and the like
            (``ZoomView``), or a mapping from names to functions of one's own, each from ``(B, C, H, W[, D])`` in
            [-1, 1] to the same; one that moves pixels has a method ``back``, as ``ZoomView`` has. What a view does not
            show, it says as the first one does, which has to show all.

    ``__call__``: ``inputs (B, C, H, W[, D])`` in [-1, 1] to ``(B, K, H, W[, D])``, the logarithm of the mean
    probability, whose softmax is the mean probability. Afterwards ``report`` holds what the inner inferer
    reported on the first view, ``views`` (their names), and

    - ``predicted_dice``: for each item of the batch a list with one number an organ (class 1, 2, ...), the Dice
      that the mask would have if the mean probabilities ``p`` were right: ``2 sum(p h) / (sum p + sum h)`` with
      the mask ``h``, over all voxels. Without a voxel of the organ it is 0, unless ``p`` is 0 throughout: 1.
    - ``agreement``: likewise, the mean Dice of the masks of any two views; not given for one single view.
    - ``out_of_distribution``: one number an item, when the inner inferer reported a ``reconstruction_error``
      for each slice: its mean, every slice weighted with the area of the mask (evenly if the mask is empty).

    Raises:
        InputError: no view, an unknown one, one named twice, or the first one shows a part of the scan only.
        ValueError: the inner inferer gives fewer than two channels.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> inferer = AppearanceEnsembleInferer(SimpleInferer(), views=["identity", "median"])
        >>> made = inferer(torch.zeros(1, 1, 8, 8), torch.nn.Conv2d(1, 2, 1))
        >>> made.shape, inferer.report["agreement"]
        (torch.Size([1, 2, 8, 8]), [[1.0]])
    """

    def __init__(self, inferer: Callable, views: Sequence[str] | Mapping[str, View] = tuple(GREY_VIEWS)) -> None:
        super().__init__()
        self.inferer = inferer
        self.views = dict(views) if isinstance(views, Mapping) else _by_name(views)
        if not self.views:
            raise InputError("option views", got="no view", wanted=f"some of {_KNOWN}")
        first = next(iter(self.views))
        if hasattr(self.views[first], "back"):
            raise InputError(
                "option views", got=f"{first} as the first", wanted="a first view that shows the whole scan"
            )
        self.needs_affine = bool(getattr(inferer, "needs_affine", False))  # the inner one's wish is passed on
        self._to_label = MostProbableLabel()
        self.report: dict[str, Any] = {}

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        plain = _plain(inputs)
        report: dict[str, Any] = {}
        labels: list[torch.Tensor] = []
        mean: torch.Tensor | None = None
        whole: torch.Tensor | None = None
        with torch.no_grad():
            for view in self.views.values():
                # the inner inferer may look at the meta data
                seen = _with_depth(convert_to_dst_type(view(plain), inputs, dtype=inputs.dtype)[0], view)
                probability = self._probability(self.inferer(seen, network, *args, **kwargs))
                if hasattr(view, "back") and whole is not None:
                    placed, shown = view.back(probability)
                    probability = torch.where(shown if placed.ndim == 4 else shown[..., None], placed, whole)
                if mean is None:
                    report = dict(getattr(self.inferer, "report", None) or {})
                    whole, mean = probability, probability.clone()
                else:
                    mean += probability
                labels.append(self._label(probability))
            assert mean is not None
            mean /= len(self.views)
            mask = self._label(mean)
            self.report = {**report, "views": list(self.views), **_judge(mean, mask, labels, report)}
            result = mean.clamp_(min=torch.finfo(mean.dtype).tiny).log_()
        # keeps the meta data of a MetaTensor: without them Invertd would skip the prediction
        return convert_to_dst_type(result, inputs, dtype=result.dtype)[0]

    @staticmethod
    def _probability(logits: torch.Tensor) -> torch.Tensor:
        if logits.ndim < 3 or logits.shape[1] < 2:
            raise ValueError(
                f"appearance ensemble: the inner inferer gave shape {tuple(logits.shape)}; wanted logits "
                "(B, K, ...) with a channel for each class, background included"
            )
        return _plain(logits).float().softmax(dim=1)

    def _label(self, probability: torch.Tensor) -> torch.Tensor:
        """Label maps ``(B, ...)``, uint8."""
        return torch.cat([self._to_label(item) for item in probability])


def _by_name(names: Sequence[str]) -> dict[str, View]:
    names = [names] if isinstance(names, str) else list(names)
    found: dict[str, View] = {}
    for name in names:
        view = GREY_VIEWS.get(name) or ZoomView.from_name(name)
        if view is None:
            near = difflib.get_close_matches(str(name), [*GREY_VIEWS, "zoom_1.2"], n=1)
            raise InputError(
                f"option views: unknown view {name!r}", wanted=f"some of {_KNOWN}",
                fix=f"did you mean {near[0]!r}?" if near else None,
            )  # fmt: skip
        found[name] = view
    if len(set(names)) < len(names):
        raise InputError("option views", got=names, wanted="every view once")
    return found


def _with_depth(seen: torch.Tensor, view: View) -> torch.Tensor:
    """Scale the distance of slices in the affine of what is seen, by the view's ``depth``."""
    if isinstance(view, ZoomView) and view.depth != 1.0 and hasattr(seen, "affine"):
        affine = torch.as_tensor(seen.affine).clone()
        affine[..., :3, 2] *= view.depth
        seen.affine = affine
    return seen


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor


def _judge(
    mean: torch.Tensor, mask: torch.Tensor, labels: Sequence[torch.Tensor], report: Mapping[str, Any]
) -> dict[str, Any]:
    """The numbers that the report adds: lists over the items of the batch."""
    items, organs = range(len(mean)), range(1, mean.shape[1])
    found: dict[str, Any] = {
        "predicted_dice": [[_expected_dice(mean[b, k], mask[b] == k) for k in organs] for b in items]
    }
    if len(labels) > 1:
        found["agreement"] = [[_mean_dice([label[b] == k for label in labels]) for k in organs] for b in items]
    errors = report.get("reconstruction_error")
    depth = mask.shape[3] if mask.ndim == 4 else 1
    if errors is not None and len(errors) == len(mask) * depth:
        error = torch.as_tensor(errors, dtype=torch.float64).reshape(len(mask), depth)
        area = (mask.reshape(*mask.shape[:3], depth) > 0).sum(dim=(1, 2)).to("cpu", torch.float64)
        area[area.sum(dim=1) == 0] = 1.0
        found["out_of_distribution"] = ((error * area).sum(dim=1) / area.sum(dim=1)).tolist()
    return found


def _expected_dice(probability: torch.Tensor, mask: torch.Tensor) -> float:
    total = float(probability.sum(dtype=torch.float64)) + float(mask.sum())
    return 2.0 * float(probability[mask].sum(dtype=torch.float64)) / total if total else 1.0


def _mean_dice(masks: Sequence[torch.Tensor]) -> float:
    """Mean Dice over all pairs; two empty masks agree."""
    sizes = [int(mask.sum()) for mask in masks]
    pairs = list(combinations(range(len(masks)), 2))
    scores = [
        2.0 * int((masks[i] & masks[j]).sum()) / (sizes[i] + sizes[j]) if sizes[i] + sizes[j] else 1.0 for i, j in pairs
    ]
    return sum(scores) / len(pairs)
