"""A bank on the device: every loader's batches, and all that looks at slices, as with one on the CPU.

Without a GPU with tensors that refuse what CUDA refuses (``tests.pretend_device``), and with a GPU on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from monai_semgan.apps import TransferReport
from monai_semgan.data import (
    ImageSliceLoader,
    PairedPatchLoader,
    PairedSliceLoader,
    RealMaskSliceLoader,
    SliceBank,
    TransferSliceLoader,
    build_slice_bank,
)
from monai_semgan.engines import LabelTransfer, OneShotAnnotation, class_weights, reconstruction_dice
from monai_semgan.handlers import CriticMonitor, GeneratorMonitor, SelectionMonitor
from monai_semgan.handlers.previews import ReconstructionPreview
from monai_semgan.handlers.slice_validation import SliceValidation
from monai_semgan.inferers import SelfDiffusion
from monai_semgan.transforms import RandSliceAffine
from tests import tiny, tiny_generative
from tests.pretend_device import DeviceTensor, put_on_device
from tests.tiny_adversarial import make_trainer
from tests.tiny_one_shot import make_one_shot
from tests.tiny_transfer import ROLES, Bright, LowerRight, UpperLeft, make_network, make_tagged, make_truth

Move = Callable[[SliceBank], SliceBank]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def put_on_gpu(bank: SliceBank) -> SliceBank:
    labels = None if bank.labels is None else bank.labels.cuda()
    return replace(bank, images=bank.images.cuda(), labels=labels)


@pytest.fixture(params=[put_on_device, pytest.param(put_on_gpu, marks=[pytest.mark.gpu, needs_gpu])])
def move(request: pytest.FixtureRequest) -> Move:
    return request.param


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value.cpu() if isinstance(value, torch.Tensor) else value


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) and one.dtype == other.dtype


LOADERS: dict[str, Callable[..., Any]] = {
    "slices": lambda a, b: PairedSliceLoader(a, b, 4, 6),
    "with organs": lambda a, b: PairedSliceLoader(a, b, 4, 6, labelled_foreground_fraction=0.6),
    "all of organs": lambda a, b: PairedSliceLoader(a, None, 4, 6, labelled_foreground_fraction=1.0),
    "volumes": lambda a, b: PairedPatchLoader(a, b, 2, 6, depth=3),
    "thick volumes": lambda a, b: PairedPatchLoader(a, b, 2, 6, depth=30),
    "images": lambda a, b: ImageSliceLoader([a, b, None], 4, 6),
    "real masks": lambda a, b: RealMaskSliceLoader(a, b, 4, 6, labelled_foreground_fraction=0.6),
}


@pytest.mark.parametrize("name", LOADERS)
def test_batches_are_the_same_and_on_the_device(name: str, move: Move) -> None:
    labelled, unlabelled = tiny.make_bank(12), replace(tiny.make_bank(8, seed=3), labels=None)
    labelled.labels[::3] = 0
    expected = list(LOADERS[name](labelled, unlabelled))
    found = list(LOADERS[name](move(labelled), move(unlabelled)))
    assert all(same(one, plain(other)) for one, other in zip(expected, found, strict=True))
    for batch in found:
        for part in batch.values():
            assert all(isinstance(tensor, DeviceTensor) or tensor.is_cuda for tensor in part.values())


def test_batches_for_transfer(move: Move) -> None:
    banks = make_tagged(), make_tagged(masks=False, seed=1)
    for options in ({}, {"labelled_foreground_fraction": 0.6}):
        one = TransferSliceLoader(*banks, ROLES, 4, 6, **options)
        other = TransferSliceLoader(*map(move, banks), ROLES, 4, 6, **options)
        assert one.has_real
        assert other.has_real
        assert all(same(a, plain(b)) for a, b in zip(one, other, strict=True))


def test_answers_for_volumes(move: Move) -> None:
    labelled, unlabelled = tiny.make_bank(12), tiny.make_bank(8, seed=3)
    loaders = [PairedPatchLoader(*pair, 2, 6, depth=3) for pair in ((labelled, unlabelled),)]
    loaders.append(PairedPatchLoader(move(labelled), move(unlabelled), 2, 6, depth=3))
    for loader in loaders:
        loader.set_answers([(image.cpu() > 0).to(torch.uint8) for image in loader.unlabelled])
    assert all(same(a, plain(b)) for a, b in zip(*loaders, strict=True))


class Threshold(nn.Module):
    """Everything brighter than its parameter is organ; volumes too."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(0.1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(image), image - self.at], dim=1)


class Pictures:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def log_image(self, image: np.ndarray, *_: Any) -> None:
        self.kept.append(image)


@pytest.mark.parametrize("inferer", [None, lambda volume, network: network(volume)])
def test_validation(move: Move, inferer: Any) -> None:
    class Engine:
        def __init__(self) -> None:
            self.state = type("State", (), {"iteration": 1, "metrics": {}, "images_seen": 8})()

    bank, found = tiny.make_bank(), []
    for kept in (bank, move(bank)):
        engine, run = Engine(), Pictures()
        SliceValidation(Threshold(), {"ct": kept}, inferer=inferer, run=run)(engine)  # type: ignore[arg-type]
        found.append((engine.state.metrics, run.kept))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1][0], found[1][1][0])


def test_monitors(move: Move) -> None:
    bank, generator, trainer = tiny.make_bank(6), tiny.make_generator(), make_trainer(2)
    critics = {"image": tiny.make_image_critic(), "joint": tiny.make_joint_critic()}
    found = []
    for banks in ({"a": bank, "b": tiny.make_bank(6, seed=5)}, {"a": move(bank), "b": move(tiny.make_bank(6, seed=5))}):
        critic = CriticMonitor(critics, banks, generator).scores()
        measured = GeneratorMonitor(generator, banks, count=6, batch_size=4).measures()
        selection = SelectionMonitor(
            trainer.networks["network"], trainer.networks["discriminator"], banks, warp=RandSliceAffine()
        ).scores(banks["a"])
        found.append({**critic, **measured, **selection})
    assert found[0] == pytest.approx(found[1], nan_ok=True)


def test_pictures_of_reconstructions(move: Move) -> None:
    bank, network = tiny.make_bank(), tiny.make_segmenter()
    one, other = (ReconstructionPreview(network, {"ct": kept}, 4)() for kept in (bank, move(bank)))
    assert np.array_equal(one["reconstruction_ct"], other["reconstruction_ct"])


def test_the_annotated_slice(move: Move) -> None:
    network, bank = make_one_shot(spatial_resolution=8), tiny.make_bank(6)
    one, other = (OneShotAnnotation(network, kept).real() for kept in (bank, move(bank)))
    assert one.source == other.source
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("image", "label", "latents"))
    assert not isinstance(other.image, DeviceTensor)


def test_tokenizer(move: Move) -> None:
    bank, tokenizer = tiny_generative.labelled(), tiny_generative.make_tokenizer()
    kept = move(bank)
    assert reconstruction_dice(tokenizer, bank) == reconstruction_dice(tokenizer, kept)
    assert torch.equal(class_weights(bank.labels, 3), class_weights(kept.labels, 3).cpu())
    palettes = []
    for labels in (bank.labels, kept.labels):
        fresh = tiny_generative.make_tokenizer()
        fresh.arrange_colours(labels)
        palettes.append(fresh.maskige.palette.detach().clone())
    assert torch.equal(*palettes)


def test_transfer_of_labels(move: Move, tmp_path: Path) -> None:
    found = []
    for place, moved in (("cpu", lambda bank: bank), ("device", move)):
        banks = {"labelled": moved(make_tagged()), "validation": moved(make_tagged(masks=False))}
        parts = Bright(), LowerRight(), UpperLeft(), SelfDiffusion(steps=12)
        transfer = LabelTransfer(ROLES, banks, *parts, output_dir=tmp_path / f"{place}-labels")
        transfer.run()
        report = TransferReport(
            LabelTransfer(ROLES, {}, *parts), {"validation": banks["validation"]}, {"validation": moved(make_truth())},
            network=make_network(), output_dir=tmp_path / place,
        )  # fmt: skip
        found.append((report.run(), transfer.report))
        assert (tmp_path / place / "steps_validation.png").is_file()
    assert found[0] == found[1]


def test_the_cpu_is_a_device_too() -> None:
    items = [{"name": "a"}, {"name": "b"}]

    def prepare(item: dict[str, Any]) -> dict[str, Any]:
        return {"image": torch.ones(1, 2, 2, 3), "label": torch.ones(1, 2, 2, 3)}

    bank = build_slice_bank(items, prepare, None, device="cpu")
    assert bank.images.device == torch.device("cpu")
    assert same({"image": bank.images}, {"image": build_slice_bank(items, prepare, None).images})


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("label_key", ["label", None])
def test_on_a_gpu(tmp_path: Path, label_key: str | None) -> None:
    def prepare(item: dict[str, Any]) -> dict[str, Any]:
        return {"image": torch.ones(1, 2, 2, 3), "label": torch.ones(1, 2, 2, 3)}

    items = [{"name": "a", "label": "x"}, {"name": "b", "label": "x"}]
    for _ in range(2):
        bank = build_slice_bank(items, prepare, label_key, cache_dir=tmp_path, device="cuda:0")
        assert bank.images.is_cuda
        assert bank.labels is None or bank.labels.is_cuda
        assert not bank.positions.is_cuda
