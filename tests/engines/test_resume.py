"""Stopping and going on is bit for bit the same as never having stopped (on a CPU)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_semgan.engines import PhaseTrainer
from monai_semgan.transforms import JointDiffAugment, RandBatchAppearance, RandSliceAffine
from monai_semgan.utils import InputError
from monai_semgan.utils.checkpoint import load_checkpoint, save_checkpoint
from tests.tiny import make_encoder_trainer, make_gan_trainer


class PowerCut(BaseException):
    """Not an Exception: nothing may tidy up."""


def cut_at(trainer: PhaseTrainer, iteration: int) -> None:
    """Fail inside of an iteration (counted from 0), after its first phase has stepped."""
    after = trainer.after_iteration

    def fail(current: int, batch: Any) -> None:
        if current == iteration:
            raise PowerCut
        after(current, batch)

    trainer.after_iteration = fail


def flatten(state: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flatten(value, f"{prefix}/{key}").items()}
    if isinstance(state, (list, tuple)):
        return {k: v for i, value in enumerate(state) for k, v in flatten(value, f"{prefix}/{i}").items()}
    return {prefix: state}


def assert_same(a: Any, b: Any) -> None:
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    different = [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]
    assert not different


def augmented_gan(folder: Path, **options: Any) -> PhaseTrainer:
    return make_gan_trainer(folder, augment=JointDiffAugment(), warp=RandSliceAffine(), **options)


def stage_two(train_generator: str) -> Callable[..., PhaseTrainer]:
    def make(folder: Path, **options: Any) -> PhaseTrainer:
        return make_encoder_trainer(
            folder,
            train_generator=train_generator,
            randomise=RandBatchAppearance(),
            warp=RandSliceAffine(),
            **options,
        )

    return make


# cut in the warm start, in its first adversarial iteration, and after lazy phases have run
CASES = {
    "gan-warmup": (augmented_gan, 1),
    "gan-switch": (augmented_gan, 2),
    "gan-lazy": (augmented_gan, 5),
    "encoder-none": (stage_two("none"), 2),
    "encoder-label_heads": (stage_two("label_heads"), 4),
    "encoder-all": (stage_two("all"), 3),
}


@pytest.mark.parametrize("case", CASES)
def test_going_on_is_bit_for_bit_the_same(case: str, tmp_path: Path) -> None:
    make, iteration = CASES[case]
    make(tmp_path / "whole").run()

    cut = make(tmp_path / "cut")
    cut_at(cut, iteration)
    with pytest.raises(PowerCut):
        cut.run()
    torch.rand(17)  # whatever the process has drawn since must not matter
    again = make(tmp_path / "cut", seed=123)  # nor what its networks were born with
    again.run()

    assert_same(load_checkpoint(tmp_path / "whole/last.pt"), load_checkpoint(tmp_path / "cut/last.pt"))
    result = "generator.pt" if case.startswith("gan") else "model.pt"
    assert_same(load_checkpoint(tmp_path / "whole" / result), load_checkpoint(tmp_path / "cut" / result))


def test_a_state_holds_all_that_is_needed(tmp_path: Path) -> None:
    trainer = make_gan_trainer(tmp_path)
    trainer.run()
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["extra"]["mean_path_length"] > 0
    assert state["extra"]["ema"].keys() == trainer.generator.state_dict().keys()
    assert state["loader"]["position"] == 6
    assert state["optimizers"]["generator"]["state"]
    assert (state["iteration"], state["images_seen"]) == (6, 12)


@pytest.mark.parametrize("make", [make_gan_trainer, make_encoder_trainer])
def test_other_settings_are_refused(make: Callable[..., PhaseTrainer], tmp_path: Path) -> None:
    make(tmp_path).run()
    with pytest.raises(InputError, match="batch_size was 2 and is now 4"):
        make(tmp_path, settings={"batch_size": 4}).run()


@pytest.mark.parametrize("make", [make_gan_trainer, make_encoder_trainer])
def test_a_finished_stage_returns_at_once(make: Callable[..., PhaseTrainer], tmp_path: Path) -> None:
    make(tmp_path).run()
    stamps = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = make(tmp_path, seed=9)
    cut_at(again, 0)
    again.run()
    assert again.state.iteration == 6
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == stamps


def test_a_finished_stage_hands_its_networks_over(tmp_path: Path) -> None:
    first = make_gan_trainer(tmp_path)
    first.run()
    again = make_gan_trainer(tmp_path, seed=9)
    again.run()
    assert_same(again.generator.state_dict(), first.generator.state_dict())
    assert_same(again.ema.state_dict(), first.ema.state_dict())


def test_stage_two_does_not_read_stage_one_again_when_it_goes_on(tmp_path: Path) -> None:
    make_gan_trainer(tmp_path).run()
    source = tmp_path / "generator.pt"
    cut = make_encoder_trainer(tmp_path / "two", generator_checkpoint=source, train_generator="all")
    cut_at(cut, 3)
    with pytest.raises(PowerCut):
        cut.run()
    make_encoder_trainer(tmp_path / "whole", generator_checkpoint=source, train_generator="all").run()
    save_checkpoint({"nothing": torch.zeros(1)}, source)
    make_encoder_trainer(tmp_path / "two", generator_checkpoint=source, train_generator="all", seed=5).run()
    assert_same(load_checkpoint(tmp_path / "two/model.pt"), load_checkpoint(tmp_path / "whole/model.pt"))


SCRIPT = """
import sys, time
import torch
torch.set_num_threads(1)
from ignite.engine import Events
from pathlib import Path
from tests.tiny import make_gan_trainer
trainer = make_gan_trainer(Path(sys.argv[1]), max_epochs=4)
trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: time.sleep(float(sys.argv[2])))
trainer.run()
"""


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path: Path, repository: Path) -> None:
    def start(folder: str, pause: float) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / folder), str(pause)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    whole, killed = start("whole", 0.0), start("killed", 0.3)
    checkpoint, deadline = tmp_path / "killed/last.pt", time.monotonic() + 120
    while not (checkpoint.is_file() and load_checkpoint(checkpoint)["iteration"] >= 4):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert load_checkpoint(checkpoint)["iteration"] < 12
    again = start("killed", 0.0)
    assert again.wait(timeout=120) == 0
    assert whole.wait(timeout=120) == 0
    assert_same(load_checkpoint(tmp_path / "whole/last.pt"), load_checkpoint(checkpoint))
