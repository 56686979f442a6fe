"""A bundle's deployable network as one call: a scan in, its label map out, on the scan's own grid."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.networks.utils import eval_mode

from ..utils import InputError
from .error_messages import find_input_error

__all__ = ["BundleSegmenter"]


class BundleSegmenter:
    """Runs ``configs/inference.json`` of a bundle on single scans, without its data loading and writing.

    Nothing is loaded before the first scan. One scan at a time: calls of several threads wait for each other.
    Weights are a plain state dict and read with ``weights_only=True``; the configuration, as every MONAI bundle's, is
    code: use bundles from sources that you trust.

    Args:
        bundle_dir: folder with ``configs/inference.json``, ``models/model.pt`` and ``models/model.json``.
        device: where to compute; the GPU when there is one.
        overrides: values of the configuration by id, e.g. ``{"views": ["identity"]}``.

    Example:
        >>> segment = BundleSegmenter("bundles/ct_liver")  # doctest: +SKIP
        >>> mask = segment("scan.nii.gz")  # doctest: +SKIP
    """

    def __init__(
        self, bundle_dir: str | os.PathLike, device: str | torch.device | None = None, **overrides: Any
    ) -> None:
        self.bundle_dir = Path(bundle_dir)
        self.device = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
        self.overrides = overrides
        self._parts: dict[str, Any] = {}
        self._lock = threading.RLock()  # inferers keep a report of their scan

    def __call__(self, scan: str | os.PathLike | np.ndarray, **grid: Any) -> np.ndarray:
        """Label map, uint8, of the scan's shape; for an array see :meth:`segment_array`."""
        if isinstance(scan, np.ndarray):
            return self.segment_array(scan, **grid)
        return self.segment_file(scan)[0]

    def segment_file(self, path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
        """Label map ``(H, W, D)`` of a NIfTI file or a DICOM folder, in file order, and its affine (RAS, mm).

        Raises:
            InputError: there is no such file, or it is no volume.
        """
        if not Path(path).exists():
            raise InputError(f"scan {path}", got="no such file", wanted="a NIfTI file or a folder of a DICOM series")
        with self._lock:
            try:
                return self._segment(path)
            except Exception as error:  # transforms wrap what they raise
                found = find_input_error(error)
                if found is None or found is error:
                    raise
                raise InputError(str(found)) from error

    def _segment(self, path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
        parts = self._load()
        data = parts["preprocessing"]({"image": os.fspath(path)})
        image, inferer, network = data["image"], parts["inferer"], parts["network"]
        with eval_mode(network):
            batch = image[None] if getattr(inferer, "needs_affine", False) else image.as_tensor()[None]
            logits = inferer(batch.to(self.device), network)
        prediction = MetaTensor(torch.as_tensor(logits)[0].detach().cpu().float())
        mask = parts["postprocessing"]({**data, "pred": prediction})["pred"]
        return mask[0].cpu().numpy().astype(np.uint8), np.asarray(mask.affine)

    def segment_array(
        self, volume: np.ndarray, spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0), axcodes: str = "RAS"
    ) -> np.ndarray:
        """Label map of a volume ``(H, W, D)`` in HU or scanner units.

        Args:
            volume: the scan.
            spacing_mm: of its voxels, axis by axis.
            axcodes: where each axis points to, as in nibabel, e.g. ``"LPS"``.

        Raises:
            InputError: the array is no volume, or spacing or directions are none.
        """
        array = np.asarray(volume, dtype=np.float32)
        spacing = np.asarray(spacing_mm, dtype=float)
        if array.ndim != 3:
            raise InputError("volume", got=f"an array {array.shape}", wanted="(H, W, D)")
        if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
            raise InputError("spacing_mm", got=spacing.tolist(), wanted="three lengths in mm, all above 0")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.nii"
            nib.save(nib.Nifti1Image(array, _affine(spacing, axcodes)), path)
            try:
                return self.segment_file(path)[0]
            except InputError as error:
                raise InputError(str(error).replace(str(path), "volume")) from error

    def _load(self) -> dict[str, Any]:
        if not self._parts:
            parser = ConfigParser()
            parser.read_config(str(self.bundle_dir / "configs" / "inference.json"))
            given = {"checkpoint": str(self.bundle_dir / "models" / "model.pt"), **self.overrides}
            for name, value in {"bundle_root": str(self.bundle_dir), **given}.items():
                parser[name] = value
            parser["device"] = f"$torch.device({str(self.device)!r})"
            names = ("preprocessing", "network", "inferer", "postprocessing")
            self._parts = {name: parser.get_parsed_content(name) for name in names}
        return self._parts


def _affine(spacing: np.ndarray, axcodes: str) -> np.ndarray:
    """Affine of a volume whose axes point to ``axcodes``, with its first voxel at the origin."""
    letters = str(axcodes).upper()
    pairs = ("LR", "PA", "IS")
    places = [next((n for n, pair in enumerate(pairs) if letter in pair), None) for letter in letters]
    if len(letters) != 3 or sorted(places, key=str) != [0, 1, 2]:
        raise InputError("axcodes", got=axcodes, wanted="three letters such as RAS or LPS")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (place, letter) in enumerate(zip(places, letters, strict=True)):
        affine[place, axis] = spacing[axis] if letter in "RAS" else -spacing[axis]
    return affine
