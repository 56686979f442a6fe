"""The commands that are killed, starved and repeated: every method at the smallest size, inference and a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_semgan.utils import write_model_settings
from tests.benchmark_cells import METHODS, PRESET, FakeBundles, write_bundles
from tests.bundle_command import TINY, words
from tests.faults.forked import run_bundle_here
from tests.scans import AFFINES, BrightnessNetwork, make_scan, write_scan

ORIENTATIONS = ("LAS", "RAS", "oblique", "LPI")
STEPS, EVERY = 6, 2


@dataclass(frozen=True)
class Job:
    """One command.

    Args:
        config: the bundle's configuration.
        options: what is given on the command line; sizes of a few thousand weights.
        stages: folders of the stages, in order.
        weights: files that have to be the same, bit for bit, however often the command was killed.
        prepare: writes the data into a folder and gives further options.
    """

    config: str
    options: dict[str, Any]
    stages: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    prepare: Callable[[Path], dict[str, Any]] = field(default=lambda folder: {"dataset_dir": write_data(folder)})

    def command(self, folder: Path, out: Path, **more: Any) -> list[str]:
        """The words after ``python -m monai.bundle``; the data are written when they are not there."""
        return words(self.config, {**self.options, **self.prepare(folder), "output_dir": out, **more})

    def action(self, folder: Path, out: Path, export: bool) -> Callable[[], Any]:
        """The same, to be called in a child."""
        command = self.command(folder, out)
        return lambda: run_bundle_here(command, export)


class Benchmark(Job):
    """Two methods, two numbers of labels, two seeds, with jobs that write their scores without training anything."""

    def action(self, folder: Path, out: Path, export: bool) -> Callable[[], Any]:
        bundles = folder / "benchmark_bundles"
        if not bundles.is_dir():
            write_bundles(bundles)
        return lambda: _run_benchmark(bundles / "bundles", out)


def _run_benchmark(bundles: Path, out: Path) -> None:
    from monai_semgan.apps.benchmark import collect, marker, plan, report, rows, runner

    for module in (rows, plan, collect):
        module.BENCHMARK_METHODS = METHODS
    cells = plan.plan_cells(list(METHODS.values()), PRESET, {1: "split1", 4: "split4"}, (0, 1), "data", out, bundles)
    marker.check_markers(cells, out)
    failures = runner.run_cells(cells, FakeBundles(), finished=lambda cell: collect.collect_results(out))
    report.write_report(out, collect.collect_results(out), {"benchmark": "two"}, "plain", failures)


def write_data(folder: Path) -> Path:
    """Four small scans with masks of a liver (1) and a spleen (4): two for training, one labelled; two to be judged."""
    data = folder / "data"
    if (data / "splits.json").is_file():
        return data
    for number, orientation in enumerate(ORIENTATIONS):
        volume, label = make_organs(AFFINES[orientation])
        write_scan(data / "ct" / "images" / f"case{number}.nii.gz", volume, AFFINES[orientation])
        write_scan(data / "ct" / "labels" / f"case{number}.nii.gz", label, AFFINES[orientation])
    names = [f"case{number}" for number in range(len(ORIENTATIONS))]
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"1": names[:1]}}
    (data / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return data


def make_organs(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A body with a liver (1) in its upper and a spleen (4) in its lower slices; some slices show one of them alone."""
    volume, label = make_scan(affine, (32, 28, 10))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"))
    middle = affine[:3, :3] @ ((np.array(volume.shape) - 1) / 2)
    x, y, z = np.einsum("ij,jabc->iabc", affine[:3, :3], index) - middle[:, None, None, None]
    low = (label > 0) & (z < -6)
    volume[low], label[low] = 50, 0
    spleen = ((x + 40) / 24) ** 2 + (y / 26) ** 2 + ((z + 10) / 24) ** 2 < 1
    volume[spleen & (label == 0)] = 170
    return volume, np.where(spleen & (label == 0), 4, label).astype(np.uint8)


def write_inference(folder: Path) -> dict[str, Any]:
    """Four scans, one that cannot be read, and weights of a stand-in that finds the liver by its brightness."""
    write_data(folder)
    scans, weights = folder / "data" / "ct" / "images", folder / "weights" / "model.pt"
    if not weights.is_file():
        weights.parent.mkdir()
        (scans / "broken.nii.gz").write_bytes(b"broken")
        torch.save(BrightnessNetwork().state_dict(), weights)
        write_model_settings({"image_size": 32, "fov_mm": 352.0}, weights)
    return {"dataset_dir": scans, "checkpoint": weights}


_COMMON = {
    "labelled": 1, "modality": "ct", "device": "$torch.device('cpu')", "mixed_precision": False, "image_size": 32,
    "checkpoint_every": EVERY, "validate_every": EVERY, "batch_size": 2,
}  # fmt: skip
_UNET = {"unet_channels": "[4,8,8]", "unet_strides": "[2,2]", "iterations": STEPS}

JOBS: dict[str, Job] = {
    "semantic_gan": Job(
        "ct_liver/train.json",
        {
            **TINY, **_COMMON, "gan_iterations": STEPS, "encoder_iterations": STEPS, "student_iterations": STEPS,
            "picture_every": 4,
        },
        ("gan", "encoder", "student"),
        ("gan/generator.pt", "encoder/model.pt", "student/model.pt"),
    ),
    "adversarial_semi": Job(
        "ct_liver_adversarial_semi/train.json",
        {**_COMMON, **_UNET, "discriminator_channels": "[4,4]", "self_training_start": 0.0},
        ("adversarial_semi",),
        ("adversarial_semi/model.pt",),
    ),
    "transfer": Job(
        "ct_abdomen_transfer/train.json",
        {
            **_COMMON, **_UNET, "strong": "['spleen']", "weak": "['liver']", "tag_min_area_mm2": 0.0,
            "unet_norm": "BATCH", "l_net_channels": "[4,8]", "l_net_strides": "[2]", "tag_net_channels": "[4,8]",
            "tag_net_strides": "[2,2]", "critic_channels": "[4]", "l_net_randomise_strength": 0.0,
            "objectness_gate": "[0.0, 1000.0]", "l_net_iterations": STEPS, "strong_net_iterations": STEPS,
            "tag_net_iterations": STEPS,
        },
        ("l_net", "strong_net", "tag_net", "p_net"),
        ("l_net/model.pt", "strong_net/model.pt", "tag_net/model.pt", "p_net/model.pt"),
    ),
    "generative_segmentation": Job(
        "ct_liver_generative_segmentation/train.json",
        {
            **_COMMON, "tokenizer_channels": "[4,8]", "num_codes": 8, "code_channels": 4, "inverse_channels": 8,
            "conditioning_channels": "[4,8]", "level_channels": 4, "grid_channels": 8, "attention_depth": 1,
            "tokenizer_iterations": STEPS, "maskige_iterations": STEPS, "iterations": STEPS,
            "inverse_iterations": STEPS, "reconstruction_gate": 0.0,
        },
        ("tokenizer", "prior", "inverse"),
        ("tokenizer/model.pt", "prior/model.pt", "inverse/model.pt"),
    ),
    "one_shot": Job(
        "ct_liver_one_shot/train.json",
        {
            **_COMMON, "latent_dim": 16, "channel_base": 256, "channel_max": 8, "encoder_channels": "[8,8]",
            "critic_channel_base": 256, "critic_channel_max": 8, "feature_dim": 8, "prototypes": 8, "pixels": 64,
            "statistics_images": 4, "warmup_iterations": 2, "gan_iterations": STEPS, "encoder_iterations": STEPS,
            "projector_iterations": STEPS, "head_iterations": STEPS,
        },
        ("gan", "encoder", "projector", "annotation", "head"),
        ("gan/generator.pt", "encoder/model.pt", "projector/projector.pt", "annotation/shots.pt", "head/model.pt"),
    ),
    "mean_teacher": Job(
        "ct_liver_mean_teacher/train.json", {**_COMMON, **_UNET}, ("mean_teacher",), ("mean_teacher/model.pt",)
    ),
    "supervised": Job(
        "ct_liver_supervised/train.json", {**_COMMON, **_UNET}, ("supervised",), ("supervised/model.pt",)
    ),
    "inference": Job(
        "ct_liver/configs/inference.json",
        {
            "modality": "ct", "device": "$torch.device('cpu')", "mixed_precision": False,
            "network_def": {"_target_": "tests.scans.BrightnessNetwork"},
            "inferer": {"_target_": "tests.scans.ReportingInferer"},
        },
        prepare=write_inference,
    ),
    "benchmark": Benchmark("benchmark", {}),
}  # fmt: skip
TRAININGS = tuple(name for name, job in JOBS.items() if job.stages)
