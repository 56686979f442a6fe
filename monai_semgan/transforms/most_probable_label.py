"""Class probabilities or logits to one label map."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

__all__ = ["MostProbableLabel", "MostProbableLabelD", "MostProbableLabelDict", "MostProbableLabeld"]


class MostProbableLabel(Transform):
    """Label of the largest channel: ``(K, ...)`` to uint8 ``(1, ...)``; at a tie, the lower label.

    The same as ``AsDiscrete(argmax=True)`` and a cast, but several times faster for whole volumes on the CPU,
    where ``torch.argmax`` over the first axis walks through memory across its grain. Voxels that are 0 in
    every channel, which is what lies outside the field of view after inverting, become background.

    Raises:
        ValueError: for more channels than uint8 can number.
    """

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        if not 1 <= img.shape[0] <= 256:
            raise ValueError(f"got {img.shape[0]} channels; wanted 1 to 256")
        label = torch.zeros_like(img[:1], dtype=torch.uint8)
        highest = img[:1].clone()
        for index in range(1, img.shape[0]):
            channel = img[index : index + 1]
            label = torch.where(channel > highest, torch.full_like(label, index), label)
            highest = torch.maximum(highest, channel)
        return label


class MostProbableLabeld(MapTransform):
    """Dictionary form of :class:`MostProbableLabel`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.convert = MostProbableLabel()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.convert(d[key])
        return d


MostProbableLabelD = MostProbableLabelDict = MostProbableLabeld
