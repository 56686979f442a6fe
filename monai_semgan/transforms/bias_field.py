"""Even out the slow brightness drift of MRI coils with N4 (Tustison et al., TMI 2010)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..utils import InputError
from .modality import detect_modality, foreground_threshold

__all__ = ["BiasFieldCorrection", "BiasFieldCorrectionD", "BiasFieldCorrectionDict", "BiasFieldCorrectiond"]


class BiasFieldCorrection(Transform):
    """Divide an MRI volume ``(1, H, W, D)`` in scanner units by its N4 bias field; CT is returned as it is.

    The field is smooth, so it is fitted on a copy shrunk in plane and evaluated on the whole grid. The
    foreground's median is kept. Put it before ``ScaleScanIntensity``.

    Args:
        shrink: in-plane factor of the copy.
        iterations: most iterations of each fitting level.
        modality: ``"auto"``, ``"ct"`` or ``"mr"``.

    Raises:
        InputError: an argument is out of range, or the fit fails.
    """

    def __init__(self, shrink: int = 4, iterations: tuple[int, ...] = (30, 30, 20), modality: str = "auto") -> None:
        if int(shrink) < 1:
            raise InputError("option shrink", got=shrink, wanted="at least 1, e.g. 4")
        if modality not in ("auto", "ct", "mr"):
            raise InputError("option modality", got=repr(modality), wanted='"auto", "ct" or "mr"')
        self.shrink, self.iterations, self.modality = int(shrink), tuple(int(i) for i in iterations), modality

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        meta = img.meta if isinstance(img, MetaTensor) else {}
        modality = detect_modality(img, meta) if self.modality == "auto" else self.modality
        if modality == "ct":
            return img
        values = np.asarray(torch.as_tensor(img).detach().cpu().numpy()[0], dtype=np.float32)
        foreground = values > foreground_threshold(values)
        try:
            field = self._field(values, foreground)
        except RuntimeError as error:
            raise InputError(
                f"scan {meta.get('filename_or_obj', '')}: bias field correction failed",
                got=str(error).strip().splitlines()[-1],
                fix="look at the scan, or switch the bias field correction off",
            ) from error
        corrected = values / field
        if foreground.any():
            corrected *= np.median(values[foreground]) / np.median(corrected[foreground])
        out = torch.from_numpy(corrected)[None]
        return MetaTensor(out).copy_meta_from(img) if isinstance(img, MetaTensor) else out

    def _field(self, values: np.ndarray, foreground: np.ndarray) -> np.ndarray:
        import SimpleITK

        image = SimpleITK.GetImageFromArray(np.maximum(values, 0.0))
        mask = SimpleITK.GetImageFromArray(foreground.astype(np.uint8))
        # The array's last axis (slices) is ITK's first; thick slices are not shrunk.
        factors = [1, *(self.shrink if n >= 4 * self.shrink else 1 for n in image.GetSize()[1:])]
        corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
        corrector.SetMaximumNumberOfIterations(list(self.iterations))
        corrector.Execute(SimpleITK.Shrink(image, factors), SimpleITK.Shrink(mask, factors))
        return np.exp(SimpleITK.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))).astype(np.float32)


class BiasFieldCorrectiond(MapTransform):
    """Dictionary form of :class:`BiasFieldCorrection`."""

    def __init__(
        self,
        keys: KeysCollection,
        shrink: int = 4,
        iterations: tuple[int, ...] = (30, 30, 20),
        modality: str = "auto",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.correct = BiasFieldCorrection(shrink, iterations, modality)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.correct(d[key])
        return d


BiasFieldCorrectionD = BiasFieldCorrectionDict = BiasFieldCorrectiond
