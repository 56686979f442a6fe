"""Slice-level tags from a mask: which organs a slice shows, and nothing about where."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..utils import InputError

__all__ = ["SliceTags", "SliceTagsD", "SliceTagsDict", "SliceTagsd", "slice_axis"]


def slice_axis(affine: torch.Tensor | np.ndarray) -> tuple[int, bool]:
    """Axis of the array closest to feet-head, and whether it runs from head to feet."""
    orientation = nib.orientations.io_orientation(np.asarray(affine, dtype=np.float64))
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    return axis, bool(orientation[axis, 1] < 0)


class SliceTags(Transform):
    """Reduce a mask ``(1, H, W, D)`` to a table of tags, ``(slices, organs)`` bool.

    A row is one slice along the array's feet-head axis, in the order of the file; a column is one organ, in the order
    of ``organs``. An organ counts as present from ``min_area_mm2`` on: a sliver of it is nothing that a reader of the
    slice would name, and teaches a classifier noise.

    Args:
        organs: name of the organ -> its value in the mask.
        min_area_mm2: smallest area in a slice, in mm² by the mask's affine (in pixels where it has none).

    Raises:
        InputError: no organ, a negative area, or a mask that is no single volume.
    """

    def __init__(self, organs: Mapping[str, int], min_area_mm2: float = 200.0) -> None:
        if not organs:
            raise InputError("tags of slices", got="no organ", wanted="names of organs and their values in the mask")
        if min_area_mm2 < 0:
            raise InputError("option min_area_mm2", got=min_area_mm2, wanted="0 or more")
        self.organs = {str(name): int(value) for name, value in organs.items()}
        self.min_area_mm2 = float(min_area_mm2)

    def __call__(self, mask: torch.Tensor) -> torch.Tensor:
        if mask.ndim != 4 or mask.shape[0] != 1:
            raise InputError("tags of slices", got=f"a mask of shape {tuple(mask.shape)}", wanted="(1, H, W, D)")
        axis, area = 2, 1.0
        if isinstance(mask, MetaTensor):
            axis = slice_axis(mask.affine)[0]
            first, second = (mask.affine[:3, k].double() for k in range(3) if k != axis)
            area = float(torch.linalg.vector_norm(torch.linalg.cross(first, second)))
        slices = torch.as_tensor(mask.as_tensor() if isinstance(mask, MetaTensor) else mask)[0].movedim(axis, 0)
        counts = torch.stack([(slices == value).flatten(1).sum(1) for value in self.organs.values()], dim=1)
        return (counts > 0) & (counts * area >= self.min_area_mm2)


class SliceTagsd(MapTransform):
    """Dictionary form of :class:`SliceTags`; the mask is taken out of the dictionary.

    Args:
        keys: the mask.
        organs, min_area_mm2: see :class:`SliceTags`.
        tags_key: where the tags go.
        keep_mask: leave the mask in; by default nothing after this transform can look at it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        organs: Mapping[str, int],
        min_area_mm2: float = 200.0,
        tags_key: Hashable = "tags",
        keep_mask: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slice_tags = SliceTags(organs, min_area_mm2)
        self.tags_key, self.keep_mask = tags_key, keep_mask

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.tags_key] = self.slice_tags(d[key])
            if not self.keep_mask:
                del d[key]
        return d


SliceTagsD = SliceTagsDict = SliceTagsd
