"""What is compared, and how much each method may cost: one row a method, one row a preset.

A new method is one row in `BENCHMARK_METHODS`, and where the bundle's defaults do not fit, its settings in the
presets. Everything else (cells, tables, figures) follows from these rows and from the stages that a method's
evaluation writes to ``per_case.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...utils.errors import InputError

__all__ = [
    "BENCHMARK_METHODS",
    "PRESETS",
    "REFERENCE_ROW",
    "BenchmarkMethod",
    "Preset",
    "find_methods",
    "find_preset",
    "row_order",
]

REFERENCE_ROW = "unet_randomised"
"""The row that all others are compared with: what appearance randomisation alone gives."""


@dataclass(frozen=True)
class BenchmarkMethod:
    """One training, which gives one row of the tables for each stage of its evaluation.

    Args:
        name: of the method's folder, and on the command line.
        title: for people.
        bundle: folder under ``bundles/``. A method whose bundle is not there is left out.
        rows: evaluation stage (column ``stage`` of ``per_case.csv``) -> name and title of the row. A stage that
            is not named here becomes the row ``<method>_<stage>``.
        options: settings of the bundle that make this method, whatever the preset.
        seconds: setting -> CPU seconds of one iteration with the settings of the CPU presets; empty: not timed.
        overlays: files in the bundle's folder that are merged over ``train.json``, whatever the preset.
        after: name of a method whose cell with the same labels and seed is needed first. ``{after}`` in a text
            among the options stands for the output folder of that cell.
    """

    name: str
    title: str
    bundle: str
    rows: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    overlays: Sequence[str] = ()
    after: str = ""

    def row(self, stage: str) -> tuple[str, str]:
        """Name and title of the row that a stage of the evaluation makes."""
        return self.rows.get(stage) or (f"{self.name}_{stage}", f"{self.title}, {stage}")


@dataclass(frozen=True)
class Preset:
    """A budget that is the same for every method.

    Args:
        name: on the command line.
        about: for people.
        options: settings for every method.
        methods: method -> its own settings; they win over ``options``.
        overlays: method -> files in its bundle's folder that are merged over ``train.json``.
        timed: whether the methods' ``seconds`` hold.
        phantom_subjects: where no data set is named: a phantom of that size in the results folder. None: the
            phantom that the bundle ``ct_liver`` makes for itself.
    """

    name: str
    about: str
    options: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    overlays: Mapping[str, Sequence[str]] = field(default_factory=dict)
    timed: bool = True
    phantom_subjects: int | None = None

    def settings(self, method: BenchmarkMethod) -> dict[str, Any]:
        """What is given to ``method`` beside data, labels and seed."""
        return {**method.options, **self.options, **self.methods.get(method.name, {})}


BENCHMARK_METHODS: dict[str, BenchmarkMethod] = {
    row.name: row
    for row in (
        # Seconds: one core with bfloat16 units, 64 px, the bundles' batch sizes.
        BenchmarkMethod(
            name="unet_plain",
            title="U-Net, plain",
            bundle="ct_liver_supervised",
            rows={"network": ("unet_plain", "U-Net, plain")},
            options={"randomise_strength": 0.0},
            seconds={"iterations": 0.169},
        ),
        BenchmarkMethod(
            name="unet_randomised",
            title="U-Net, appearance randomisation",
            bundle="ct_liver_supervised",
            rows={"network": ("unet_randomised", "U-Net, appearance randomisation")},
            options={"randomise_strength": 1.0},
            seconds={"iterations": 0.174},
        ),
        BenchmarkMethod(
            name="mean_teacher",
            title="Mean teacher",
            bundle="ct_liver_mean_teacher",
            rows={"network": ("mean_teacher", "Mean teacher")},
            options={"randomise_strength": 1.0},
            seconds={"iterations": 0.21},
        ),
        BenchmarkMethod(
            name="adversarial_semi",
            title="AdvSemiSeg",
            bundle="ct_liver_adversarial_semi",
            rows={"network": ("adversarial_semi", "AdvSemiSeg")},
            options={"randomise_strength": 1.0},  # as the reference, so that the difference is the method's
            seconds={"iterations": 0.274},
        ),
        BenchmarkMethod(
            name="volume_unet",
            title="3-D U-Net, appearance randomisation",
            bundle="ct_liver",
            rows={"student": ("volume_unet", "3-D U-Net, appearance randomisation")},
            options={"student_unlabelled_weight": 0.0},
            seconds={"student_iterations": 0.15},
            overlays=("configs/student_only.json",),
        ),
        BenchmarkMethod(
            name="student_only",
            title="Student without a generator",
            bundle="ct_liver",
            rows={"student": ("student_only", "Student without a generator")},
            options={"student_unlabelled_share": 0.5},
            seconds={"student_iterations": 0.155},
            overlays=("configs/student_only.json",),
        ),
        BenchmarkMethod(
            name="semantic_gan",
            title="SemanticGAN",
            bundle="ct_liver",
            rows={
                "encoder": ("semantic_gan_encoder", "SemanticGAN, encoder only"),
                "optimised": ("semantic_gan_optimised", "SemanticGAN, optimised"),
                "student": ("semantic_gan_student", "SemanticGAN, distilled student"),
            },
            # the rows of the encoder are what this training has by then: half of the budget
            seconds={
                "warmup_iterations": 0.177,
                "gan_iterations": 0.43,
                "encoder_iterations": 0.226,
                "student_iterations": 0.36,
            },
        ),
    )
}
"""Method name to row, in the order of the tables."""

_CPU = {"device": "$torch.device('cpu')"}  # a budget in CPU seconds means nothing on a GPU that happens to be there

_TINY_STUDENT = {"student_iterations": 2, "student_channels": [4, 8], "student_strides": [2], "stack_depth": 8}

PRESETS: dict[str, Preset] = {
    row.name: row
    for row in (
        Preset(
            name="cpu",
            about="11 min of one core for each training; 7 methods, 3 numbers of labels and 3 seeds: a night on two",
            options=_CPU,
            methods={
                # 660 s each: 3900 * .169; 3800 * .174; 3140 * .21; 2410 * .274; 4400 * .15; 4260 * .155
                # 475 * .177 + 295 * .43 + 525 * .226 + 915 * .36
                "unet_plain": {"iterations": 3900},
                "unet_randomised": {"iterations": 3800},
                "mean_teacher": {"iterations": 3140},
                "adversarial_semi": {"iterations": 2410},
                "volume_unet": {"student_iterations": 4400},
                "student_only": {"student_iterations": 4260},
                "semantic_gan": {
                    "warmup_iterations": 475, "gan_iterations": 295, "encoder_iterations": 525,
                    "student_iterations": 915,
                },
            },
        ),
        Preset(
            name="quick",
            about="4 min of one core for each training: to see the direction, not the size, of a difference",
            options=_CPU,
            methods={
                # 240 s each: 1420 * .169; 1380 * .174; 1140 * .21; 875 * .274; 1600 * .15; 1550 * .155;
                # 170 * .177 + 108 * .43 + 195 * .226 + 333 * .36
                "unet_plain": {"iterations": 1420},
                "unet_randomised": {"iterations": 1380},
                "mean_teacher": {"iterations": 1140},
                "adversarial_semi": {"iterations": 875},
                "volume_unet": {"student_iterations": 1600},
                "student_only": {"student_iterations": 1550},
                "semantic_gan": {
                    "warmup_iterations": 170, "gan_iterations": 108, "encoder_iterations": 195,
                    "student_iterations": 333,
                },
            },
        ),
        Preset(
            name="gpu",
            about="128 px on one GPU; iterations are chosen by eye, not timed, so look at the seconds in the results",
            options={
                "device": "$torch.device('cuda:0')",
                "image_size": 128,
                "batch_size": 64,
                "checkpoint_every": 500,
                "validate_every": 1000,
            },
            methods={
                "unet_plain": {"iterations": 12000, "mixed_precision": True},
                "unet_randomised": {"iterations": 12000, "mixed_precision": True},
                "mean_teacher": {"iterations": 9000, "mixed_precision": True},
                "adversarial_semi": {"iterations": 7500, "mixed_precision": True},
                "volume_unet": {"student_iterations": 12000, "mixed_precision": True},
                "student_only": {"student_iterations": 12000, "mixed_precision": True},
            },
            overlays={"semantic_gan": ("configs/gpu_128.json",)},
            timed=False,
        ),
        Preset(
            name="phantom",
            about="seconds for each training, on 3 phantom subjects: shows that everything runs, nothing else",
            options={**_CPU, "image_size": 32, "batch_size": 2, "mixed_precision": False, "slice_batch": 64},
            methods={
                "unet_plain": {"iterations": 4, "unet_channels": [4, 8], "unet_strides": [2], "unet_res_units": 0},
                "unet_randomised": {
                    "iterations": 4, "unet_channels": [4, 8], "unet_strides": [2], "unet_res_units": 0,
                },
                "mean_teacher": {
                    "iterations": 4, "unet_channels": [4, 8], "unet_strides": [2], "unet_res_units": 0,
                },
                "adversarial_semi": {
                    "iterations": 4, "unet_channels": [4, 8], "unet_strides": [2], "unet_res_units": 0,
                    "discriminator_channels": [4, 8],
                },
                "volume_unet": _TINY_STUDENT,
                "student_only": _TINY_STUDENT,
                "semantic_gan": {
                    "latent_dim": 16, "channel_base": 128, "channel_max": 8, "spatial_resolution": 8,
                    "encoder_channels": [8, 8], "critic_channel_base": 128, "critic_channel_max": 8,
                    "joint_critic_channels": 4, "warmup_iterations": 2, "gan_iterations": 2, "encoder_iterations": 2,
                    "steps": 1, **_TINY_STUDENT,
                },
            },
            timed=False,
            phantom_subjects=3,
        ),
    )
}  # fmt: skip
"""Preset name to preset."""


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError("--preset", got=name, wanted=f"one of {', '.join(PRESETS)}")
    return PRESETS[name]


def find_methods(names: Sequence[str] | None) -> list[BenchmarkMethod]:
    """The methods of these names in the order of the tables; None: all.

    Raises:
        InputError: a name is not known.
    """
    strangers = [name for name in names or () if name not in BENCHMARK_METHODS]
    if strangers:
        raise InputError("--methods", got=", ".join(strangers), wanted=f"some of {', '.join(BENCHMARK_METHODS)}")
    return [method for name, method in BENCHMARK_METHODS.items() if names is None or name in names]


def row_order(method: str, row: str) -> tuple[int, int]:
    """Where a row stands in the tables: by method, then by stage; what is not known stands last."""
    names = list(BENCHMARK_METHODS)
    if method not in BENCHMARK_METHODS:
        return len(names), 0
    rows = [name for name, _ in BENCHMARK_METHODS[method].rows.values()]
    return names.index(method), rows.index(row) if row in rows else len(rows)
