"""The three stages of GSS with networks of a few thousand weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from monai_semgan.data import PairedSliceLoader, SliceBank
from monai_semgan.engines import CodePriorTrainer, MaskigeInverseTrainer, MaskTokenizerTrainer
from monai_semgan.networks.nets import ConditioningNet, GenerativeSegmenter, MaskTokenizer
from tests.tiny import make_bank

SIZE, BATCH, CLASSES, CODES = 16, 4, 3, 16


def make_tokenizer(variant: str = "FF", dims: int = 2, **options: Any) -> MaskTokenizer:
    torch.manual_seed(0)
    defaults = {"channels": (8, 16), "num_codes": CODES, "code_channels": 8, "inverse_channels": 8}
    return MaskTokenizer(CLASSES, dims, variant, **{**defaults, **options})


def make_segmenter(variant: str = "FF", dims: int = 2, head: str = "codes", **options: Any) -> GenerativeSegmenter:
    torch.manual_seed(1)
    outputs = (CODES, CLASSES) if head == "codes" else (CLASSES, 0)
    conditioning = ConditioningNet(
        *outputs, dims, channels=(8, 16, 16), level_channels=8, grid_channels=16, heads=2, window=4
    )
    return GenerativeSegmenter(conditioning, make_tokenizer(variant, dims), head=head, **options)


def labelled(count: int = 12, seed: int = 0) -> SliceBank:
    """Discs: every second one is of class 2, and darker."""
    bank = make_bank(count, 2, seed, SIZE)
    second = (bank.labels == 1) & (torch.arange(count) % 2 == 1)[:, None, None, None]
    return replace(bank, images=bank.images - 0.6 * second, labels=bank.labels + second.to(torch.uint8))


def loader(iterations: int, bank: SliceBank | None = None) -> PairedSliceLoader:
    return PairedSliceLoader(labelled() if bank is None else bank, None, BATCH, iterations)


def common(iterations: int, output_dir: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "device": "cpu", "max_epochs": 1, "epoch_length": iterations, "output_dir": output_dir,
        "train_data_loader": options.pop("loader", None) or loader(iterations, options.pop("bank_to_learn", None)),
        "checkpoint_every": 2, "settings": {"image_size": SIZE},
    }  # fmt: skip


def make_tokenizer_trainer(iterations: int = 4, output_dir: Path | None = None, **options: Any) -> MaskTokenizerTrainer:
    tokenizer = options.pop("tokenizer", None) or make_tokenizer(options.pop("variant", "FF"))
    defaults = {"bank": labelled(6, seed=3), "gate": 0.0, "continuous_iterations": 2}
    if tokenizer.learns_palette or tokenizer.has_inverse:
        defaults["maskige_iterations"] = iterations // 2
    return MaskTokenizerTrainer(
        **common(iterations, output_dir, options), tokenizer=tokenizer, **{**defaults, **options}
    )


def make_prior_trainer(iterations: int = 4, output_dir: Path | None = None, **options: Any) -> CodePriorTrainer:
    network = options.pop("network", None) or make_segmenter()
    settings = {"network_settings": {"image_size": SIZE}, "clean_fraction": 1.0}
    return CodePriorTrainer(**common(iterations, output_dir, options), network=network, **{**settings, **options})


def make_inverse_trainer(iterations: int = 4, output_dir: Path | None = None, **options: Any) -> MaskigeInverseTrainer:
    network = options.pop("network", None) or make_segmenter("FT")
    return MaskigeInverseTrainer(**common(iterations, output_dir, options), network=network, **options)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
