"""The code of a logged model: MLflow copies this file beside the weights and runs it when the model is loaded.

Nothing is pickled. The package itself lies beside it as a ZIP file, for where it is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class SegmentationModel(PythonModel):
    """Scans in, label maps out.

    ``predict`` takes the path of a NIfTI file (or of a DICOM folder), a volume ``(H, W, D)``, a list of these, or a
    table with a column ``image``. It gives a uint8 label map of the scan's shape, a list of them for a list.
    Parameters: ``output_dir``: write ``<name>_seg.nii.gz`` there and give the paths instead; ``spacing_mm`` and
    ``axcodes``: the grid of arrays (files have their own). What cannot be segmented raises an ``MlflowException`` that
    says why; ``mlflow models serve`` answers it with status 400.
    """

    _skip_type_hint_validation = True  # inputs would have to be lists; without hints MLflow would warn at every load

    def load_context(self, context: Any) -> None:
        try:
            from monai_semgan.apps.bundle_segmenter import BundleSegmenter
        except ImportError:
            sys.path.append(context.artifacts["package"])
            from monai_semgan.apps.bundle_segmenter import BundleSegmenter
        from monai_semgan.utils import InputError

        self._wrong_input = InputError
        self._segment = BundleSegmenter(context.artifacts["bundle"])

    def predict(self, context, model_input, params=None):
        params = dict(params or {})
        scans, several = _scans(model_input)
        try:
            answers = [self._one(scan, number, params) for number, scan in enumerate(scans)]
        except self._wrong_input as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return answers if several else answers[0]

    def _one(self, scan: Any, number: int, params: dict[str, Any]) -> Any:
        output_dir = params.get("output_dir") or ""
        if isinstance(scan, (str, Path)):
            mask, affine = self._segment.segment_file(scan)
            name = Path(scan).name.removesuffix(".gz").removesuffix(".nii")
        else:
            grid = {key: params[key] for key in ("spacing_mm", "axcodes") if key in params}
            mask, affine, name = self._segment.segment_array(scan, **grid), None, f"volume{number}"
        if not output_dir:
            return mask
        path = Path(output_dir) / f"{name}_seg.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(mask, np.eye(4) if affine is None else affine), path)
        return str(path)


def _scans(value: Any) -> tuple[list[Any], bool]:
    """The single scans of an input, and whether it was a list."""
    if hasattr(value, "columns"):  # a table
        column = "image" if "image" in value.columns else value.columns[0]
        return list(value[column]), True
    if isinstance(value, dict):
        return _scans(value["image"])
    if isinstance(value, (str, Path)):
        return [value], False
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (str, Path, np.ndarray)) for item in value):
        return list(value), True
    try:
        array = np.asarray(value)
        if array.dtype.kind in "US":
            return [str(item) for item in array.ravel()], array.ndim > 0
        array = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise MlflowException.invalid_parameter_value(
            f"paths of scans or volumes (H, W, D) are wanted, got {type(value).__name__}"
        ) from error
    if array.ndim == 4:
        return list(array), True
    return [array], False


set_model(SegmentationModel())
