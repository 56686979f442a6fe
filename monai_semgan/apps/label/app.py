"""The MONAI Label app: every bundle's models, their training, what to label next, and scores."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .stand_ins import prepare_monailabel

prepare_monailabel()

from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag  # noqa: E402
from monailabel.interfaces.exception import ImageNotFoundException  # noqa: E402
from monailabel.interfaces.tasks.batch_infer import BatchInferTask  # noqa: E402
from monailabel.interfaces.tasks.infer_v2 import InferTask  # noqa: E402
from monailabel.interfaces.tasks.scoring import ScoringMethod  # noqa: E402
from monailabel.interfaces.tasks.strategy import Strategy  # noqa: E402
from monailabel.interfaces.tasks.train import TrainTask  # noqa: E402
from monailabel.tasks.activelearning.first import First  # noqa: E402
from monailabel.tasks.activelearning.random import Random  # noqa: E402

from ...utils import InputError  # noqa: E402
from ...utils.failures import describe_failure  # noqa: E402
from .app_folder import BundleSource, read_app_settings  # noqa: E402
from .datastore import StudiesDatastore  # noqa: E402
from .dicom import import_dicom_series  # noqa: E402
from .fine_tuning import can_fine_tune  # noqa: E402
from .model import ServedModel  # noqa: E402
from .strategies import HighestScore  # noqa: E402
from .tasks import DiceScore, QualityScore, SegmentationTask  # noqa: E402
from .train_task import FineTuningTask  # noqa: E402
from .versions import ModelVersions  # noqa: E402

__all__ = ["CAREFUL", "SERVER_VARIABLE", "SemganLabelApp"]

logger = logging.getLogger(__name__)
CAREFUL = "_careful"
SERVER_VARIABLE = "MONAI_SEMGAN_LABEL_SERVER"  # the server's process; its training and scoring are others


class SemganLabelApp(MONAILabelApp):
    """Serves the bundles that ``label_app.json`` in the app's folder names.

    A bundle ``x`` gives the models ``x`` (``configs/inference.json``) and, where it has ``inference_optimised.json``,
    ``x_careful``. A bundle that cannot be loaded is told in ``info()`` under ``bundles``, and the others are served.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, Any]) -> None:
        self.options = read_app_settings(app_dir)
        self.models: dict[str, ServedModel] = {}
        self.bundles: dict[str, dict[str, Any]] = {}
        self.is_server = os.environ.get(SERVER_VARIABLE, "") == str(os.getpid())
        for source in self.options.bundles:
            self.bundles[source.name] = self._load(source, Path(app_dir))
        if self.is_server:
            import_dicom_series(Path(studies), Path(app_dir))
        super().__init__(
            app_dir, studies, dict(conf or {}), name="monai-semgan", version="0.1",
            description="Segmentation that learns from corrections and from unlabelled scans. Research only.",
        )  # fmt: skip
        self._auto_update_scoring = False  # it would start a process after each question for the next scan

    def _load(self, source: BundleSource, app_dir: Path) -> dict[str, Any]:
        """Load a bundle's models; returns what ``info()`` says of it."""
        root = Path(source.root)
        careful = "inference_optimised.json"
        told: dict[str, Any] = {"served": False, "models": []}
        if source.registered:
            told["registered"] = source.registered
        shipped = Path(source.weights) if source.weights else root / "models" / "model.pt"
        if not shipped.is_file():
            where = "models/model.pt" if not source.weights else shipped.name
            return {**told, "reason": f"no weights ({where}): train the bundle, then --bundle {source.name}=MODEL.pt"}
        try:
            versions = ModelVersions(app_dir / "model" / source.name, shipped, source.registered)
            made = {source.name: self._model(root, "inference.json", versions)}
        except Exception as error:  # whatever is wrong with one bundle must not take the others down
            logger.warning("bundle %s is not served: %s", source.name, describe_failure(error))
            return {**told, "reason": describe_failure(error)}
        if (root / "configs" / careful).is_file():
            try:
                made[source.name + CAREFUL] = self._model(root, careful, None)
            except Exception as error:
                logger.warning("bundle %s: no careful model: %s", source.name, describe_failure(error))
                told["reason"] = f"no careful model: {describe_failure(error)}"
        self.models |= made
        return {**told, "served": True, "models": list(made)}

    def _model(self, root: Path, config: str, versions: ModelVersions | None) -> ServedModel:
        return ServedModel(root, config, versions, self.options.device, self.options.time_limit)

    # ---- what MONAI Label asks for -------------------------------------------------------------
    def init_datastore(self) -> Datastore:
        if self.studies.startswith(("http://", "https://")):
            return self.init_remote_datastore()
        return StudiesDatastore(self.studies)

    def init_infers(self) -> dict[str, InferTask]:
        return {
            name: SegmentationTask(model, "careful" if name.endswith(CAREFUL) or model.generative else "fast")
            for name, model in self.models.items()
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        folder = Path(self.app_dir) / "model"
        return {
            name: FineTuningTask(name, model, self.models.get(name + CAREFUL), folder / name / "tracking")
            for name, model in self.models.items()
            if can_fine_tune(model)
        }

    def init_strategies(self) -> dict[str, Strategy]:
        models = list(self.bundles)
        return {
            "uncertainty": HighestScore("uncertainty", models),
            "reconstruction_error": HighestScore("reconstruction_error", models),
            "random": Random(),
            "first": First(),
        }

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        methods: dict[str, ScoringMethod] = {"dice": DiceScore()}
        for name in self.bundles:
            model = self.models.get(name + CAREFUL) or self.models.get(name)
            if model is not None:
                methods[f"quality_{name}"] = QualityScore(name, model)
        return methods

    def init_batch_infer(self) -> Callable:
        return _BatchOnThisDevice(self.options.device)

    def info(self) -> dict[str, Any]:
        return {**super().info(), "bundles": self.bundles}

    def on_init_complete(self) -> None:
        super().on_init_complete()
        if self.is_server and self.options.score_at_start and self.datastore().get_unlabeled_images():
            for name in self._scoring_methods:
                if name != "dice":
                    self.async_scoring(name)

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment an image of the datastore, or the file ``request["uploaded"]``, which only the server's route sets.

        Raises:
            InputError: no such model, or the scan cannot be segmented.
            ImageNotFoundException: no such image.
        """
        task = self._infers.get(str(request.get("model")))
        if task is None:
            raise InputError(
                f"model {request.get('model')!r}",
                got="no model of that name",
                wanted=f"one of {', '.join(self._infers)}",
            )
        store = datastore or self.datastore()
        image = str(request.get("image") or "")
        path = request.get("uploaded") or (store.get_image_uri(image) if image else "")
        if not path or not os.path.exists(path):
            raise ImageNotFoundException(f"image {image!r} is not in the datastore")
        name = request.get("name") or image or "scan"
        try:
            file, params = task({**request, "image": path, "name": name})
        except InputError as error:  # where the server keeps its files is none of the client's business
            raise InputError(str(error).replace(str(path), str(name))) from error
        label = file
        if request.get("save_label") and not request.get("uploaded"):
            tag = str(request.get("label_tag") or DefaultLabelTag.ORIGINAL.value)
            label = store.save_label(image, file, tag, {"model": request["model"], "params": params})
        return {"label": label, "tag": DefaultLabelTag.ORIGINAL.value, "file": file, "params": params}

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        task = self._trainers.get(str(request.get("model")))
        if task is None:
            raise InputError(f"model {request.get('model')!r}", got="no model of that name can be trained")
        return task(request, self.datastore())

    def bundle_path(self, model: str) -> None:
        """None: no bundle has code that a training process would have to find."""


class _BatchOnThisDevice(BatchInferTask):
    """MONAI Label's default divides by the number of GPUs, which may be none."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, request: Mapping[str, Any], datastore: Datastore, infer: Callable) -> dict[str, Any]:
        return super().__call__(
            {**request, "multi_gpu": False, "device": self.device, "max_workers": 1}, datastore, infer
        )
