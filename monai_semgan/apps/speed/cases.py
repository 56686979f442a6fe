"""What is timed: networks of one size with random weights and random data, and the parts of work with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import MetaTensor
from monai.networks.nets import UNet

from ...data import PairedSliceLoader, SliceBank
from ...engines import EmaByImages, SemanticGANTrainer, StyleEncoderTrainer
from ...inferers import LatentInversionInferer, VolumeStackInferer
from ...networks.nets import (
    JointPatchCritic,
    ResidualStyleCritic,
    SemanticGANSegmenter,
    SemanticStyleGenerator,
    StyleEncoder,
)
from ...transforms import JointDiffAugment, RandBatchAppearance, RandSliceAffine
from ...utils.compiled import CompiledPasses

__all__ = ["WIDTHS", "Case", "Nets", "data_cases", "inference_cases", "make_nets", "network_cases", "training_parts"]


Part = tuple[str, Callable[[], Any], float]


@dataclass(frozen=True)
class Width:
    """Widths of the networks: ``channels(resolution) = min(base / resolution, most)``."""

    base: int
    most: int
    latent: int
    mapping: int
    joint: int
    joint_layers: int
    scales: int
    encoder: tuple[int, ...]
    spatial: float  # resolution of the spatial features, as a share of the image's; 0: none


WIDTHS: dict[str, Width] = {
    "w128": Width(8192, 128, 512, 8, 32, 3, 3, (32, 64, 128, 256), 0.25),
    "bundle": Width(1024, 64, 64, 2, 16, 2, 2, (16, 32, 64, 96), 0.25),
    "tiny": Width(128, 8, 16, 2, 4, 2, 2, (8, 8), 0.25),
}
"""``w128``: as the published implementation with at most 128 channels; ``bundle``: as ``bundles/ct_liver``; ``tiny``:
for a try-out."""


@dataclass(frozen=True)
class Case:
    """One line of the table: work, and how much of what it does."""

    work: Callable[[], Any]
    per: str
    amount: float = 1.0
    flops: bool = True


@dataclass(frozen=True)
class Nets:
    """All networks of one size."""

    size: int
    width: Width
    segmenter: SemanticGANSegmenter
    image_critic: ResidualStyleCritic
    joint_critic: JointPatchCritic
    device: torch.device


def make_nets(size: int, width: str, device: torch.device | str) -> Nets:
    """Networks with random weights; noise strengths away from 0, so that nothing is skipped."""
    torch.manual_seed(0)
    w = WIDTHS[width]
    device = torch.device(device)
    generator = SemanticStyleGenerator(
        image_size=size, latent_dim=w.latent, num_mapping_layers=w.mapping, channel_base=w.base, channel_max=w.most,
        spatial_resolution=int(size * w.spatial),
    )  # fmt: skip
    encoder = StyleEncoder(
        image_size=size, in_channels=1, latent_dim=w.latent, channels=w.encoder,
        spatial_channels=generator.spatial_channels, spatial_resolution=generator.spatial_resolution,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    critic = ResidualStyleCritic(image_size=size, channel_base=w.base, channel_max=w.most)
    joint = JointPatchCritic(channels=w.joint, num_layers=w.joint_layers, num_scales=w.scales)
    segmenter = SemanticGANSegmenter(encoder, generator)
    return Nets(size, w, segmenter.to(device), critic.to(device), joint.to(device), device)


def random_bank(count: int, size: int, depth: int | None = None) -> SliceBank:
    """Random slices with random masks: never zeros, which a processor treats in its own way."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, size, size, generator=draw) * 2 - 1
    labels = (torch.rand(count, 1, size, size, generator=draw) < 0.3).to(torch.uint8)
    per_case = depth or count
    return SliceBank(images, labels, [f"case{i // per_case}" for i in range(count)], torch.linspace(0, 1, count))


def training_parts(
    nets: Nets, batch_size: int, slices_at_once: int | None = None, compile_mode: str | None = None
) -> tuple[SemanticGANTrainer, list[tuple[str, Callable[[], Any], float]]]:
    """The adversarial trainer, and the parts of one iteration: name, work, and iterations between two of them.

    Both critics see the same generated pairs; their making is part of the first critic's step. With a
    ``compile_mode`` the phases are compiled that the trainer compiles.
    """
    loader = PairedSliceLoader(random_bank(64, nets.size), None, batch_size, 10)
    generator = nets.segmenter.generator
    trainer = SemanticGANTrainer(
        nets.device, 1, 10, loader, generator, nets.image_critic, nets.joint_critic,
        ema=EmaByImages(generator), learning_rate=1e-4, slices_at_once=slices_at_once, compile_mode=compile_mode,
    )  # fmt: skip
    trainer.state.iteration = 1
    batch = trainer._to_device(loader.batch(0))
    trainer.real(batch)

    def run(phase: Any, first: bool) -> None:
        if first:
            trainer.shared.pop("fake", None)
        trainer._run_phase(phase, batch)

    parts: list[Part] = [
        (phase.name.removeprefix("gan/"), lambda p=phase, n=number: run(p, n == 0), float(phase.every))
        for number, phase in enumerate(trainer.schedule)
    ]
    parts.append(("moving average", lambda: trainer.ema.update(batch_size, 10**6), 1.0))
    return trainer, parts


def without_gradients(function: Callable[..., Any], *inputs: Any) -> Callable[[], Any]:
    """The call as work."""

    def work() -> Any:
        with torch.no_grad():
            return function(*inputs)

    return work


def network_cases(nets: Nets, batch_size: int, compile_mode: str | None = None) -> dict[str, Case]:
    """Forward passes, and one step of stage 2; compiled with a ``compile_mode``."""
    generator, encoder = nets.segmenter.generator, nets.segmenter.encoder
    image = torch.rand(batch_size, 1, nets.size, nets.size, device=nets.device) * 2 - 1
    latents = generator.sample_latents(batch_size).detach()

    loader = PairedSliceLoader(random_bank(64, nets.size), None, batch_size, 10)
    trainer = StyleEncoderTrainer(
        nets.device, 1, 10, loader, nets.segmenter, randomise=RandBatchAppearance(), compile_mode=compile_mode
    )
    trainer.state.iteration = 1
    batch = trainer._to_device(loader.batch(0))
    passes = CompiledPasses(compile_mode)
    draw, encode = passes(generator), passes(encoder)
    return {
        "generator": Case(
            without_gradients(lambda w: draw(w, generator.make_noise(batch_size)), latents), "image", batch_size
        ),
        "encoder, 1 image": Case(without_gradients(encode, image[:1]), "image"),
        f"encoder, {batch_size} images": Case(without_gradients(encode, image), "image", batch_size),
        "encoder's training step": Case(lambda: trainer._run_phase(trainer.schedule[0], batch), "iteration"),
    }


def inference_cases(nets: Nets, depth: int = 36, steps: int = 10) -> dict[str, Case]:
    """Inversion steps, and whole volumes: by the encoder alone, with optimised latents, and by a student."""
    volume = torch.rand(1, 1, nets.size, nets.size, depth, device=nets.device) * 2 - 1
    image = volume[..., 0]
    fast, step = LatentInversionInferer(steps=0), LatentInversionInferer(steps=4)
    careful = LatentInversionInferer(steps=steps, slice_batch=32, learning_rate=0.01, spatial_learning_rate=0.0)
    torch.manual_seed(0)
    student = UNet(3, 1, 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm="INSTANCE")
    student = student.to(device=nets.device, memory_format=torch.channels_last_3d).eval()
    scan = MetaTensor(volume, affine=torch.diag(torch.tensor([4.0, 4.0, 6.0, 1.0])))
    stack = VolumeStackInferer(spacing_mm=6.0, depth=32)
    batch = volume[0].permute(3, 0, 1, 2)[:8].contiguous()
    nets.segmenter.eval().requires_grad_(False)
    return {
        "inversion, 1 slice": Case(lambda: step(image, nets.segmenter), "step", 4),
        "inversion, 8 slices at once": Case(lambda: step(batch, nets.segmenter), "step and slice", 4 * 8),
        "volume, fast": Case(lambda: fast(volume, nets.segmenter), f"volume of {depth} slices"),
        "volume, careful": Case(lambda: careful(volume, nets.segmenter), f"volume of {depth} slices"),
        "volume, student": Case(without_gradients(stack, scan, student), f"volume of {depth} slices"),
    }


def data_cases(size: int, batch_size: int, device: torch.device | str) -> dict[str, Case]:
    """What a batch costs before a network sees it."""
    loader = PairedSliceLoader(random_bank(2000, size), random_bank(2000, size), batch_size, 10)
    batch = loader.batch(0)["labelled"]
    image, label = (batch[key].to(device) for key in ("image", "label"))
    warp, randomise, augment = RandSliceAffine(), RandBatchAppearance(), JointDiffAugment()
    position = iter(range(10**9))
    cases = {
        "batch from memory": lambda: loader.batch(next(position)),
        "deformation": lambda: warp(image, label),
        "appearance randomisation": lambda: randomise(image, label),
        "critic's augmentation": lambda: augment(image, label.float()),
    }
    return {name: Case(work, "batch", flops=False) for name, work in cases.items()}
