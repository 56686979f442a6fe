"""Go on training a served network with what a studies folder holds: labelled scans and unlabelled ones."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.inferers import SliceInferer
from monai.transforms import Compose, Spacingd
from torch import nn

from ...data import PairedPatchLoader, PairedSliceLoader, build_slice_bank
from ...engines import EmaByImages, StudentTrainer
from ...handlers import ExperimentRun, ProgressReport, TrackTraining
from ...inferers import MeanInferer, VolumeStackInferer
from ...networks.nets import SemanticGANSegmenter
from ...transforms import RandBatchAppearance, RandSliceAffine, RandVolumeAffine
from ...utils import InputError
from ...utils.mixed_precision import bfloat16_is_fast
from .model import ServedModel

__all__ = ["FineTuningSettings", "can_fine_tune", "fine_tune"]

# A network that has learnt already is moved, not made: a third of the rate that it was trained with.
DEFAULT_RATE = 3e-4


@dataclass(frozen=True)
class FineTuningSettings:
    """What a request may choose.

    Args:
        iterations: batches.
        learning_rate: its peak.
        unlabelled_weight: of the unlabelled scans' loss; 0 leaves them out.
        batch_size: stacks (3-D networks) or slices of each kind; 0 for 1 stack or 8 slices.
        seed: of the batches.

    Raises:
        InputError: a number out of range.
    """

    iterations: int = 200
    learning_rate: float = DEFAULT_RATE
    unlabelled_weight: float = 1.0
    batch_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "iterations": (1, 100_000), "learning_rate": (0.0, 1.0), "unlabelled_weight": (0.0, 100.0),
            "batch_size": (0, 256), "seed": (0, 2**31),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            whole = name not in ("learning_rate", "unlabelled_weight")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise InputError(f"option {name}", got=repr(value), wanted="a whole number" if whole else "a number")
            if not least <= value <= most:
                raise InputError(f"option {name}", got=value, wanted=f"{least}..{most}")


def can_fine_tune(model: ServedModel) -> bool:
    """Whether the model is a plain segmentation network, on slices or on stacks of them."""
    try:
        _inner_inferer(model)
    except InputError:
        return False
    return not model.generative


def fine_tune(
    model: ServedModel,
    generator: ServedModel | None,
    labelled: Sequence[Mapping[str, Any]],
    unlabelled: Sequence[Mapping[str, Any]],
    settings: FineTuningSettings,
    output_dir: Path,
    run: ExperimentRun,
    handlers: Sequence[Any] = (),
) -> None:
    """Train from the served weights; writes ``model.pt`` and ``model.json`` into ``output_dir``.

    The trainer is ``StudentTrainer``: masks where a person has made them, the network's own moving average where not,
    and generated pairs where the bundle has a generative model.

    Args:
        model: whose network is trained; its own copy in memory is left as it is.
        generator: of the same bundle, or None.
        labelled: ``{"image", "label"}`` paths; unlabelled: ``{"image"}``.
        settings: how long and how.
        output_dir: an empty folder.
        run: where it is tracked.
        handlers: further ones for the trainer.

    Raises:
        InputError: no labelled scan, or scans that cannot be read.
        TrainingDiverged: the losses became infinite.
    """
    if not labelled:
        raise InputError(
            "nothing to train on", got="no labelled scan", wanted="at least one", fix="correct a mask and submit it"
        )
    served, _ = model.load()
    network = copy.deepcopy(served)
    inferer = _inner_inferer(model)
    volumes = isinstance(inferer, VolumeStackInferer)
    batch = settings.batch_size or (1 if volumes else 8)
    banks = _banks(model, labelled, unlabelled, inferer.spacing_mm if isinstance(inferer, VolumeStackInferer) else None)
    if isinstance(inferer, VolumeStackInferer):
        loader: Any = PairedPatchLoader(*banks, batch, settings.iterations, inferer.depth, settings.seed)
    else:
        loader = PairedSliceLoader(*banks, batch, settings.iterations, settings.seed, labelled_foreground_fraction=0.7)
    segmenter = _segmenter(generator)
    trainer = StudentTrainer(
        model.device, 1, settings.iterations, loader, network,
        segmenter=segmenter,
        generated_weight=0.5 if segmenter is not None else 0.0,
        generated_every=3,
        unlabelled_weight=settings.unlabelled_weight,
        start=0.0,  # the teacher knows its task from the start
        learning_rate=settings.learning_rate,
        ema=EmaByImages(network, half_life_images=200 * batch),
        randomise=RandBatchAppearance(),
        warp=RandVolumeAffine() if volumes else RandSliceAffine(label_mode="linear"),
        seed=settings.seed,
        mixed_precision=bfloat16_is_fast(torch.device(model.device)),
        output_dir=output_dir,
        network_settings=_network_settings(model),
        checkpoint_every=max(1, settings.iterations),
        train_handlers=[
            ProgressReport("training", settings.iterations * batch, every_seconds=2.0, stream=sys.stdout),
            TrackTraining(run, every=5, stage="label", first_stage=True),
            *handlers,
        ],
    )  # fmt: skip
    trainer.run()
    (output_dir / "last.pt").unlink(missing_ok=True)  # the state of a finished training is of no further use


def _inner_inferer(model: ServedModel) -> VolumeStackInferer | SliceInferer:
    inferer = model.build("inferer")
    inferer = getattr(inferer, "inferer", inferer)  # inside of an ensemble of views
    if isinstance(inferer, MeanInferer):
        inferer = inferer.inferers[0]  # the network that is trained; the others have networks of their own
    if not isinstance(inferer, (VolumeStackInferer, SliceInferer)):
        raise InputError(
            f"bundle {model.root.name} cannot be trained from the server", got=type(inferer).__name__,
            wanted="a network on slices or on stacks of slices",
        )  # fmt: skip
    return inferer


def _banks(
    model: ServedModel, labelled: Sequence[Any], unlabelled: Sequence[Any], spacing_mm: float | None
) -> tuple[Any, Any]:
    """Slices of both kinds of scans, preprocessed as for inference."""
    preprocessing = _with_labels(model, spacing_mm)
    with_masks = build_slice_bank(labelled, preprocessing)
    if not unlabelled:
        return with_masks, None
    return with_masks, build_slice_bank(unlabelled, preprocessing, label_key=None)


def _with_labels(model: ServedModel, spacing_mm: float | None) -> Compose:
    """The preprocessing of the configuration, for masks too: whatever moves voxels takes the mask along."""
    config = copy.deepcopy(model.config["preprocessing"])
    for transform in config["transforms"]:
        kind = transform["_target_"].rpartition(".")[2]
        if "Intensity" not in kind:
            transform |= {"keys": ["image", "label"], "allow_missing_keys": True}
        if kind == "LoadScand":
            transform["label_values"] = list(model.labels.values())
    transforms = [model.build("preprocessing", {"preprocessing": config})]
    if spacing_mm is not None:
        pixdim, mode = (-1.0, -1.0, spacing_mm), ("bilinear", "nearest")
        transforms.append(Spacingd(["image", "label"], pixdim=pixdim, mode=mode, allow_missing_keys=True))
    return Compose(transforms)


def _segmenter(generator: ServedModel | None) -> nn.Module | None:
    network = None if generator is None else generator.load()[0]
    return copy.deepcopy(network) if isinstance(network, SemanticGANSegmenter) else None


def _network_settings(model: ServedModel) -> dict[str, Any]:
    return json.loads(model.versions.served()[1].with_suffix(".json").read_text(encoding="utf-8"))
