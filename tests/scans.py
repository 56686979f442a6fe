"""Tiny made-up scans, and a network and an inferer that find their liver by its brightness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms import (
    Activationsd,
    Compose,
    Invertd,
    KeepLargestConnectedComponentd,
    Orientationd,
)

from monai_semgan.transforms import LoadScand, MostProbableLabeld, NormalizeFieldOfViewd, ScaleScanIntensityd

AFFINES = {
    "RAS": np.diag([6.0, 6.0, 8.0, 1.0]) + np.outer([-90, -80, 10, 0], [0, 0, 0, 1]),
    "LAS": np.diag([-6.0, 6.0, 8.0, 1.0]) + np.outer([90, -80, 10, 0], [0, 0, 0, 1]),
    "LPI": np.diag([-6.0, -6.0, -8.0, 1.0]) + np.outer([90, 80, 90, 0], [0, 0, 0, 1]),
}
_c, _s = np.cos(0.2), np.sin(0.2)
AFFINES["oblique"] = np.array(
    [[6 * _c, 0, 8 * _s, -90], [0, 6, 0, -80], [-6 * _s, 0, 8 * _c, 10], [0, 0, 0, 1]], dtype=np.float64
)
SHAPE = (32, 28, 8)


def make_scan(affine: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """CT-like int16 volume and mask: a body of 50 HU with a liver of 150 HU on the patient's right."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    x, y, z = np.einsum("ij,jabc->iabc", affine[:3, :3], index) - middle[:, None, None, None]
    body = (x / 80) ** 2 + (y / 65) ** 2 < 1
    liver = ((x - 35) / 30) ** 2 + (y / 30) ** 2 + (z / 22) ** 2 < 1
    volume = np.full(shape, -1000, dtype=np.int16)
    volume[body] = 50
    volume[liver & body] = 150
    return volume, (liver & body).astype(np.uint8)


def write_scan(path: Path, array: np.ndarray, affine: np.ndarray, sform: int = 1, qform: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"patient name"
    nib.save(image, path)
    return path


class BrightnessNetwork(torch.nn.Module):
    """Logits ``(B, 2, ...)`` that call everything above 100 HU (window -125..275 in [-1, 1]) liver."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor((100.0 + 125) / 200 - 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        score = (image - self.level) * 20
        return torch.cat([-score, score], dim=1)


class ReportingInferer:
    """Runs the whole volume and reports k as the reconstruction error of slice k from the feet."""

    report: dict[str, Any]

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        self.report = {"reconstruction_error": [float(k) for k in range(inputs.shape[-1])], "steps": 3}
        return network(inputs + self.offset)


def make_transforms(size: int = 64) -> tuple[Compose, Compose]:
    """Preprocessing and postprocessing as in the bundles, at a small size."""
    preprocessing = Compose([
        LoadScand("image"),
        Orientationd("image", axcodes="PLS", labels=None),
        ScaleScanIntensityd("image", modality="ct"),
        NormalizeFieldOfViewd("image", size=size, fov_mm=352.0),
    ])  # fmt: skip
    postprocessing = Compose([
        Activationsd("pred", softmax=True),
        Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True),
        MostProbableLabeld("pred"),
        KeepLargestConnectedComponentd("pred", applied_labels=[1]),
    ])  # fmt: skip
    return preprocessing, postprocessing
