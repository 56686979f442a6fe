"""Trainings of the student: options, files, going on after a stop, and what it learns from which source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import nn

from monai_semgan.data import PairedSliceLoader, SliceBank
from monai_semgan.engines import EmaByImages, StudentTrainer
from monai_semgan.transforms import RandBatchAppearance, RandSliceAffine, RandVolumeAffine
from monai_semgan.utils import InputError, load_network, read_model_settings
from monai_semgan.utils.checkpoint import load_checkpoint, save_checkpoint
from tests.tiny import make_segmenter
from tests.tiny_student import ALONE, AT_ONCE, SETTINGS, both_dims, equal, make_network, make_trainer, outputs


# ---- options and files ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consistency": "firm"}, "option consistency: got 'firm'; wanted 'hard' or 'soft'"),
        ({"ramp": 1.5}, r"option ramp: got 1\.5; wanted 0\.\.1"),
        ({"start": -0.1}, r"option start: got -0\.1; wanted 0\.\.1"),
        ({"confidence": 2}, r"option confidence: got 2; wanted 0\.\.1"),
        ({"reader_weight": 1.1}, r"option reader_weight: got 1\.1; wanted 0\.\.1"),
        ({"mixture": -1}, r"option mixture: got -1; wanted 0\.\.1"),
        ({"prior_fraction": 7}, r"option prior_fraction: got 7; wanted 0\.\.1"),
        ({"unlabelled_weight": -1.0}, r"option unlabelled_weight: got -1\.0; wanted 0 or more"),
        ({"generated_weight": -1.0}, r"option generated_weight: got -1\.0; wanted 0 or more"),
        ({"generated_every": 0}, "option generated_every: got 0; wanted 1 iteration or more"),
        ({"unlabelled_share": 1.5}, "option unlabelled_share.*0..1"),
        ({"segmenter": None}, "generated pairs without a generative model.*set generated_weight and reader_w"),
        ({**ALONE, "reader_weight": 0.5}, "wanted a SemanticGANSegmenter as segmenter"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_trainer(**options)


class TestSegmenterCheckpoint:
    def stage_two(self, tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
        torch.manual_seed(9)
        state = make_segmenter().state_dict()
        save_checkpoint(state, tmp_path / "two/model.pt")
        return tmp_path / "two/model.pt", state

    def test_it_is_read_when_the_training_starts(self, tmp_path: Path) -> None:
        path, state = self.stage_two(tmp_path)
        trainer = make_trainer(1, segmenter_checkpoint=path)
        assert not equal(trainer.segmenter.state_dict(), state)
        outputs(trainer)
        assert equal(trainer.segmenter.state_dict(), state)

    def test_it_need_not_be_there_before(self, tmp_path: Path) -> None:
        trainer = make_trainer(1, segmenter_checkpoint=str(tmp_path / "later.pt"))
        with pytest.raises(InputError, match=r"later\.pt: got no such file"):
            outputs(trainer)

    def test_another_architecture_is_refused(self, tmp_path: Path) -> None:
        path, _ = self.stage_two(tmp_path)
        trainer = make_trainer(1, segmenter=make_segmenter(channel_max=4), segmenter_checkpoint=path)
        with pytest.raises(InputError, match=r"Stage 2's result .*model\.pt: got .* file \(.* network \("):
            outputs(trainer)

    def test_without_a_segmenter_no_file_is_asked_for(self, tmp_path: Path) -> None:
        outputs(make_trainer(1, **ALONE, segmenter_checkpoint=tmp_path / "nothing.pt"))


@both_dims
def test_the_result_is_a_deployable_network(tmp_path: Path, dims: int) -> None:
    trainer = make_trainer(3, tmp_path, dims=dims)
    outputs(trainer)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "model.pt", "model.json"}
    assert read_model_settings(tmp_path / "model.pt") == SETTINGS
    network = load_network(make_network(dims, seed=5), tmp_path / "model.pt")
    image = trainer.data_loader.batch(0)["labelled"]["image"]
    with torch.no_grad():
        assert torch.equal(network(image), trainer.ema.average(image))
    assert not any("segmenter" in key for key in load_checkpoint(tmp_path / "last.pt")["networks"])


@both_dims
@pytest.mark.parametrize("consistency", ["hard", "soft"])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path, dims: int, consistency: str) -> None:
    options = {
        "dims": dims,
        "consistency": consistency,
        "confidence": 0.5,
        "start": 0.2,
        "ramp": 0.5,
        "reader_weight": 0.4,
        "randomise": RandBatchAppearance(),
        "warp": RandSliceAffine() if dims == 2 else RandVolumeAffine(),
    }
    whole = make_trainer(7, tmp_path / "whole", **options)
    rows = outputs(whole)
    stopped = make_trainer(7, tmp_path / "stopped", **options)

    def stop(engine: Any) -> None:
        raise RuntimeError("power cut")

    stopped.add_event_handler(Events.ITERATION_STARTED(once=6), stop)
    with pytest.raises(RuntimeError, match="power cut"):
        outputs(stopped)
    resumed = make_trainer(7, tmp_path / "stopped", **options)
    assert outputs(resumed) == rows[4:]
    assert any("student/unlabelled" in row for row in rows)
    assert equal(resumed.network.state_dict(), whole.network.state_dict())
    assert equal(resumed.ema.state_dict(), whole.ema.state_dict())
    assert equal(*(load_checkpoint(tmp_path / name / "model.pt") for name in ("whole", "stopped")))


def test_mixed_precision_runs() -> None:
    trainer = make_trainer(
        2, **AT_ONCE, mixed_precision=True, reader_weight=0.5, segmenter=make_segmenter(spatial_resolution=8)
    )
    rows = outputs(trainer)
    assert trainer.skipped_steps == 0
    assert set(rows[0]) == {"loss", "student/label", "student/unlabelled", "student/generated"}


# ---- learning ------------------------------------------------------------------------------------------------
def spread_bank(organ: tuple[float, float], other: tuple[float, float], seed: int, labelled: bool) -> SliceBank:
    """Left half organ, right half not; grey values uniform in a range each."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.rand(8, 1, 16, 16, generator=draw)
    label = (torch.arange(16) < 8).expand(8, 1, 16, 16)
    image = torch.where(label, organ[0] + (organ[1] - organ[0]) * values, other[0] + (other[1] - other[0]) * values)
    return SliceBank(image, label.to(torch.uint8) if labelled else None, ["a"] * 8, torch.zeros(8))


def border(trainer: StudentTrainer) -> float:
    """Lowest grey value that the averaged network calls organ."""
    greys = torch.linspace(-1, 1, 2001).reshape(1, 1, 1, -1)
    with torch.no_grad():
        found = trainer.ema.average(greys).argmax(dim=1).flatten()
    return float(greys.flatten()[found.argmax()])


def trained_border(consistency: str, weight: float) -> float:
    """A network that knows grey values alone: masks leave a wide gap, unlabelled slices say where it really is."""
    network = nn.Conv2d(1, 2, 1)
    torch.manual_seed(0)
    nn.init.normal_(network.weight, std=0.1)
    nn.init.zeros_(network.bias)
    labelled = spread_bank((0.6, 0.8), (-0.8, -0.6), seed=0, labelled=True)
    unlabelled = spread_bank((-0.1, 0.8), (-0.8, -0.6), seed=1, labelled=False)
    trainer = make_trainer(
        300, **ALONE, network=network, consistency=consistency, unlabelled_weight=weight, confidence=0.6,
        randomise=lambda image, label: image + 0.2 * torch.randn_like(image), clean_fraction=0.0,
        train_data_loader=PairedSliceLoader(labelled, unlabelled, 4, 300), learning_rate=0.05,
        ema=EmaByImages(network, half_life_images=40),
    )  # fmt: skip
    outputs(trainer)
    return border(trainer)


def test_unlabelled_slices_move_the_border_into_the_gap() -> None:
    alone = trained_border("hard", 0.0)
    assert abs(alone) < 0.03, "the middle of what the masks show: a part of the unlabelled organs is missed"
    assert -0.6 < trained_border("hard", 3.0) < -0.1, "the organs of the unlabelled slices are found whole"
    assert -0.6 < trained_border("soft", 10.0) < alone - 0.03


class Reader(nn.Module):
    """A generative model of slices whose organ is dark: what it makes is right about them."""

    class Maker(nn.Module):
        image_size = 16

        def sample_latents(self, count: int) -> torch.Tensor:
            return torch.rand(count, 1, 1)

        def make_noise(self, batch_size: int, mode: str) -> list[torch.Tensor]:
            return []

        def forward(self, latents: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
            ticks = torch.linspace(0, 1, 16).expand(len(latents), 1, 16, 16)
            inside = ticks < 0.25 + 0.5 * latents[:, :, :, None]
            return torch.where(inside, -0.5, 0.0) + 0.02 * torch.randn(inside.shape), 2.0 * inside - 1

    class Encoder(nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
            return torch.rand(len(image), 1, 1), None

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.encoder = self.Maker(), self.Encoder()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(image), 20 * (-0.25 - image)], dim=1)


def score_dark(options: dict[str, Any]) -> float:
    """Dice on slices with a dark organ, which no mask has shown."""
    network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.LeakyReLU(0.1), nn.Conv2d(8, 2, 1))
    torch.manual_seed(0)
    for layer in (network[0], network[2]):
        nn.init.normal_(layer.weight, std=0.5)
        nn.init.normal_(layer.bias, std=0.5)
    labelled = spread_bank((0.4, 0.6), (-0.1, 0.1), seed=0, labelled=True)
    dark = spread_bank((-0.6, -0.4), (-0.1, 0.1), seed=1, labelled=True)
    trainer = make_trainer(
        200, network=network, learning_rate=0.05, ema=EmaByImages(network, half_life_images=40),
        train_data_loader=PairedSliceLoader(labelled, dark, 4, 200), **options,
    )  # fmt: skip
    outputs(trainer)
    with torch.no_grad():
        found, wanted = trainer.ema.average(dark.images).argmax(1, keepdim=True), dark.labels
    return float(2 * (found * wanted).sum() / (found.sum() + wanted.sum()))


def test_pairs_and_the_reader_teach_what_no_mask_shows() -> None:
    assert score_dark({**ALONE, "unlabelled_weight": 0.0}) < 0.3
    assert score_dark({"segmenter": Reader(), "generated_weight": 1.0, "unlabelled_weight": 0.0}) > 0.9
    # the average would keep its own opinion if it were given the time to become sure of it
    reader = {"segmenter": Reader(), "generated_weight": 0.0, "reader_weight": 1.0, "confidence": 0.5}
    assert score_dark({**reader, **AT_ONCE, "unlabelled_weight": 1.0}) > 0.9


def test_it_learns() -> None:
    trainer = make_trainer(60, **AT_ONCE, learning_rate=0.02, generated_every=2, randomise=RandBatchAppearance())
    rows = outputs(trainer)
    assert sum(row["student/label"] for row in rows[-8:]) < 0.6 * sum(row["student/label"] for row in rows[:8])
