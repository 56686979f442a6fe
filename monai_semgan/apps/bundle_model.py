"""Logging what a training has made as an MLflow model that takes scans and gives masks."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ..handlers import ExperimentRun
from ..utils import InputError

__all__ = ["log_bundle_model"]

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
_NEEDED = (
    "fire", "itk", "matplotlib", "mlflow", "monai", "nibabel", "numpy", "packaging", "pillow", "pytorch-ignite",
    "scikit-image", "scipy", "SimpleITK", "torch",
)  # fmt: skip
_PARAMS = {"output_dir": "", "spacing_mm": [1.0, 1.0, 1.0], "axcodes": "RAS"}


def log_bundle_model(
    run: ExperimentRun,
    bundle_root: str | os.PathLike,
    weights: str | os.PathLike,
    register: str | None = None,
    key_metric: str | None = None,
    name: str = "model",
) -> dict[str, Any] | None:
    """Log a training's deployable network with everything that inference needs, as an MLflow ``pyfunc`` model.

    ``mlflow.pyfunc.load_model(uri).predict("scan.nii.gz")`` then gives the mask; arrays and lists are taken as well,
    see ``mlflow_model``. It holds the bundle's ``inference.json`` and ``metadata.json``, the plain state dict with its
    settings, and this package as a ZIP file; nothing is pickled.

    Args:
        run: the training's run.
        bundle_root: folder of the bundle.
        weights: ``model.pt`` of the training, with ``model.json`` beside it.
        register: make it the next version of this registered model; None: log only.
        key_metric: metric of ``run``, high is good, by whose newest value a registered version becomes the
            ``champion``: one of the validation patients, for test scores must not choose a model. Values that were
            measured on another split are not compared.
        name: of the model in the run.

    Returns:
        ``{"uri", "model_id"}`` and, when registered, ``"version"`` and ``"champion"``; None when it was left out,
        which is told by a warning, when it is kept for later, or in all but the first of several processes.

    Raises:
        InputError: there are no such weights.
    """
    if not run.enabled:
        return None
    weights = Path(weights)
    settings = {
        "name": name,
        "code": str(Path(__file__).with_name("mlflow_model.py")),
        "package": str(_PACKAGE),
        "requirements": _requirements(),
        "params": _PARAMS,
        "example": ["scan.nii.gz"],
        "register": register,
        "key_metric": _key_metric(run, key_metric) if register else {},
        "tags": {name: run.tags[name] for name in ("bundle", "method", "labelled", "split.sha256") if name in run.tags},
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        _copy_bundle(Path(bundle_root), weights, bundle)
        logged = run.log_pyfunc_model(bundle, settings)
    if logged is not None and register:
        role = ", now the champion" if logged["champion"] else ""
        logger.info("registered as version %s of %s%s", logged["version"], register, role)
    return logged


def _copy_bundle(root: Path, weights: Path, target: Path) -> None:
    """What inference needs, in the bundle's own layout."""
    sources = {
        "models/model.pt": weights,
        "models/model.json": weights.with_suffix(".json"),
        "configs/inference.json": root / "configs" / "inference.json",
        "configs/metadata.json": root / "configs" / "metadata.json",
    }
    for place, source in sources.items():
        if not source.is_file():
            raise InputError(f"model to be logged: {source}", got="no such file", fix="finish the training first")
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / place)
    for extra in ("LICENSE", "docs/data_license.txt"):
        if (root / extra).is_file():
            (target / extra).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / extra, target / extra)


def _key_metric(run: ExperimentRun, name: str | None) -> dict[str, Any]:
    if not name:
        return {}
    value = run.last_value(name)
    if value is None:
        logger.warning("key metric %s was never logged: the registered version has none", name)
        return {}
    return {"name": name, "value": value, "split": run.tags.get("split.sha256", "")}


def _requirements() -> list[str]:
    found = []
    for package in _NEEDED:
        try:
            found.append(f"{package}=={metadata.version(package).split('+')[0]}")
        except metadata.PackageNotFoundError:
            found.append(package)
    return found
