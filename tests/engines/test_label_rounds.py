"""Self-training in rounds: when labels are made, what they say, and that a training goes on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from monai_semgan.engines import UNSURE, LabelRounds
from monai_semgan.utils import InputError
from tests.tiny_student import ALONE, equal, make_loader, make_trainer, outputs, terms, weights


def _rounds(*at: float, **options: Any) -> LabelRounds:
    window = SlidingWindowInferer((16, 16, 4), 1, 0.5, mode="gaussian", cval=-1.0)
    return LabelRounds(at, window, **{"confidence": 0.0, **options})


def _trainer(iterations: int = 6, output_dir: Path | None = None, **options: Any) -> Any:
    defaults = {**ALONE, "dims": 3, "start": 0.0, "ramp": 0.0, "rounds": _rounds(0.34, 0.67)}
    return make_trainer(iterations, output_dir, **{**defaults, **options})


def test_due_at_shares_of_the_training() -> None:
    rounds = _rounds(0.25, 0.4, 0.99)
    assert [i for i in range(200) if rounds.due(i, 200)] == [50, 80, 198]
    assert [i for i in range(2) if rounds.due(i, 2)] == [1]  # never before the first iteration


@pytest.mark.parametrize("at", [[], [0.0, 0.5], [0.5, 0.2], [0.5, 0.5], [0.5, 1.0]])
def test_times_that_make_no_sense_are_refused(at: list[float]) -> None:
    with pytest.raises(InputError, match="rising shares"):
        LabelRounds(at, SimpleInferer())


def _network_of(logits: torch.Tensor) -> Any:
    return lambda image: logits


def test_an_organ_is_one_piece_and_unsure_voxels_are_left_out() -> None:
    probability = torch.full((1, 1, 6, 6, 4), 0.02)
    probability[..., :3, :3, :] = 0.95  # the organ
    probability[..., 5, 5, :] = 0.99  # a second piece
    probability[..., 3, :3, :] = 0.6  # its border
    logits = torch.cat([1 - probability, probability], dim=1).log()
    volume = torch.zeros(4, 1, 6, 6)
    (label,) = LabelRounds([0.5], SimpleInferer(), 0.75).label(_network_of(logits), [volume])
    assert label.shape == (4, 1, 6, 6)
    assert label.dtype == torch.uint8
    assert (label[:, 0, :3, :3] == 1).all()
    assert (label[:, 0, 5, 5] == 0).all()
    assert (label[:, 0, 3, :3] == UNSURE).all()
    assert (label == 1).sum() == 4 * 9
    (both,) = LabelRounds([0.5], SimpleInferer(), 0.75, single=[]).label(_network_of(logits), [volume])
    assert (both[:, 0, 5, 5] == 1).all()


def test_answers_are_of_the_average_and_change_with_the_rounds() -> None:
    trainer = _trainer()
    assert not trainer.data_loader.answers
    seen: list[int] = []
    label = trainer.rounds.label

    def note(network: Any, volumes: Any, device: Any) -> Any:
        assert network is trainer.ema.average
        seen.append(trainer.state.iteration)
        return label(network, volumes, device)

    trainer.rounds.label = note
    rows = [{k.removeprefix("student/") for k in row} for row in outputs(trainer)]
    assert seen == [2, 4]
    assert [row == {"loss", "label"} for row in rows] == [True, True, False, False, False, False]
    assert rows[2] == {"loss", "label", "unlabelled"}
    assert len(trainer.data_loader.answers) == len(trainer.data_loader.unlabelled)


def test_unsure_voxels_send_no_gradient() -> None:
    trainer = _trainer(clean_fraction=1.0, warp=None)
    batch = trainer.data_loader.batch(0)
    logits = torch.randn(2, 2, 16, 16, 4, requires_grad=True)
    answer = torch.randint(0, 2, (2, 1, 16, 16, 4), dtype=torch.uint8)
    answer[:, :, :8] = UNSURE
    trainer.follow(logits, answer).backward()
    assert (logits.grad[:, :, :8] == 0).all()
    assert (logits.grad[:, :, 8:] != 0).any()
    batch["unlabelled"]["label"] = torch.full_like(answer, UNSURE)
    trainer.network.zero_grad()
    terms(trainer, batch)["unlabelled"].backward()
    assert all(p.grad is None or not p.grad.any() for p in trainer.network.parameters())


def test_the_answer_is_learned(tmp_path: Path) -> None:
    """Labels that a round gives are what the student then says of these scans."""
    trainer = _trainer(60, rounds=_rounds(0.02), unlabelled_share=0.9, clean_fraction=1.0, learning_rate=1e-2)
    wanted = [(image > image.mean()).to(torch.uint8) for image in trainer.data_loader.unlabelled]
    trainer.rounds.label = lambda *_: wanted
    losses = [row["student/unlabelled"] for row in outputs(trainer) if "student/unlabelled" in row]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = _trainer(6, tmp_path / "whole")
    whole.state.iteration = 0
    whole.run()
    stopped = _trainer(6, tmp_path / "stopped", checkpoint_every=3)
    stopped.state.iteration = 0

    def stop() -> None:
        if stopped.state.iteration == 5:
            raise KeyboardInterrupt

    from ignite.engine import Events

    stopped.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    again = _trainer(6, tmp_path / "stopped", checkpoint_every=3)
    again.state.iteration = 0
    again.run()
    assert equal(weights(again.network), weights(whole.network))
    assert equal(weights(again.ema.average), weights(whole.ema.average))


def test_rounds_need_volumes() -> None:
    with pytest.raises(InputError, match="PairedPatchLoader"):
        make_trainer(**ALONE, dims=2, rounds=_rounds(0.5))


def test_without_weight_there_are_no_rounds() -> None:
    trainer = _trainer(unlabelled_weight=0.0)
    outputs(trainer)
    assert not trainer.data_loader.answers


def test_answers_of_other_volumes_are_refused() -> None:
    loader = make_loader(3)
    with pytest.raises(InputError, match="answers"):
        loader.set_answers([torch.zeros(3, 1, 16, 16, dtype=torch.uint8)])


def test_answered_batches_hold_unlabelled_scans_alone() -> None:
    loader = make_loader(3)
    loader.set_answers([(image > 0).to(torch.uint8) for image in loader.unlabelled])
    for index in range(12):
        part = loader.batch(index)["unlabelled"]
        assert torch.equal(part["label"], (part["image"] > 0).to(torch.uint8))
    loader.set_answers([])
    assert set(loader.batch(0)["unlabelled"]) == {"image"}


# ---- the weights to start from -------------------------------------------------------------------------------
def test_a_training_starts_from_given_weights_once(tmp_path: Path) -> None:
    from monai_semgan.utils.checkpoint import save_checkpoint
    from tests.tiny_student import make_network

    start = make_network(3, seed=5)
    save_checkpoint(start.state_dict(), tmp_path / "start.pt")
    trainer = _trainer(2, tmp_path / "run", start_weights=tmp_path / "start.pt", learning_rate=0.0, rounds=None)
    trainer.state.iteration = 0
    trainer.run()
    assert equal(weights(trainer.network), weights(start))
    assert equal(weights(trainer.ema.average), weights(start))
    (tmp_path / "start.pt").unlink()
    again = _trainer(2, tmp_path / "run", start_weights=tmp_path / "start.pt", learning_rate=0.0, rounds=None)
    again.state.iteration = 0
    again.run()  # finished: the file is not asked for
