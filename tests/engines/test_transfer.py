"""P-Net's trainer: what it learns from, who learns from whom, and that weak masks cannot reach it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from monai_semgan.data import UNKNOWN, PseudoLabels
from monai_semgan.engines import PredictionTransferTrainer, SupervisedSliceTrainer
from monai_semgan.transforms import RandSliceAffine
from monai_semgan.utils import InputError, load_network, read_model_settings
from tests.tiny_adversarial import equal, gradients, weights
from tests.tiny_transfer import (
    BATCH,
    SETTINGS,
    make_critic,
    make_loader,
    make_network,
    make_tagged,
    make_trainer,
    make_truth,
)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Transferred labels that are right."""
    banks = {"labelled": make_truth(), "unlabelled": make_truth(seed=1)}
    made = PseudoLabels({k: b.labels for k, b in banks.items()}, {k: b.cases for k, b in banks.items()})
    made.save(tmp_path / "labels.pt")
    return tmp_path / "labels.pt"


def outputs(trainer: PredictionTransferTrainer) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: rows.append(e.state.output))
    trainer.run()
    return rows


def test_it_learns_both_kinds_of_organs(labels: Path) -> None:
    torch.manual_seed(0)
    trainer = make_trainer(
        100, loader=make_loader(100), pseudo_labels=labels, learning_rate=0.01, critic=make_critic(),
        network=make_network(norm="BATCH"),
    )  # fmt: skip
    trainer.run()
    truth = make_truth(seed=7)
    trainer.network.eval()
    with torch.no_grad():
        found = trainer.network(truth.images).argmax(1, keepdim=True)
    for c in (1, 2):
        overlap = ((found == c) & (truth.labels == c)).sum()
        assert float(2 * overlap / ((found == c).sum() + (truth.labels == c).sum())) > 0.8


def test_terms(labels: Path) -> None:
    def names(**options: Any) -> list[set[str]]:
        return [set(row) for row in outputs(make_trainer(2, **options))]

    base, transferred = {"loss", "p_net/segmenter/label"}, {"p_net/segmenter/transferred"}
    adversary = {"p_net/segmenter/adversarial", "p_net/critic/real", "p_net/critic/fake"}
    critic = make_critic()
    assert names() == names(critic=critic) == [base] * 2  # without transferred labels there is nothing to judge
    assert names(pseudo_labels=labels) == [base | transferred] * 2
    full = base | transferred | adversary
    assert names(pseudo_labels=labels, critic=critic, adversarial_start=0.0) == [full] * 2
    assert names(pseudo_labels=labels, critic=critic, adversarial_start=0.5) == [base | transferred, full]
    assert names(pseudo_labels=labels, critic=critic, adversarial_weight=0.0) == [base | transferred] * 2
    assert names(pseudo_labels=labels, critic=critic, loader=make_loader(unlabelled=None)) == [base] * 2


def test_without_weak_organs_it_is_supervised() -> None:
    """Same batches, same loss: the weights of the supervised trainer, but for its schedule and clipping."""
    truth = make_truth()
    bank = make_tagged(truth)
    known = replace(bank, labels=truth.labels)
    ours, theirs = make_network(), make_network()
    options = {"learning_rate": 1e-3, "warp": RandSliceAffine()}
    trainer = make_trainer(
        1, network=ours, loader=make_loader(1, labelled=known, unlabelled=None),
        optimizer=torch.optim.SGD(ours.parameters(), 0.1), decay=lambda iteration, total: 1.0, **options,
    )  # fmt: skip
    other = SupervisedSliceTrainer("cpu", 1, 1, make_loader(1, labelled=known, unlabelled=None), theirs, **options)
    other.optimizers["network"] = torch.optim.SGD(theirs.parameters(), 0.1)
    other.before_iteration = lambda iteration, batch: theirs.train()
    trainer.run()
    other.run()
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_masks_win_over_transferred_labels(labels: Path) -> None:
    trainer = make_trainer(pseudo_labels=labels)
    trainer.pseudo_labels = PseudoLabels.load(labels)
    for name in ("labelled", "unlabelled"):
        trainer.pseudo_labels.labels[name].fill_(1)
    batch = trainer.data_loader.batch(0)
    made = trainer.label_of("labelled", batch["labelled"])
    given = batch["labelled"]["label"]
    assert torch.equal(made[given != UNKNOWN], given[given != UNKNOWN])
    assert (made[given == UNKNOWN] == 1).all()
    assert (trainer.label_of("unlabelled", batch["unlabelled"]) == 1).all()
    for name in ("labelled", "unlabelled"):  # a strong organ where the mask has none
        trainer.pseudo_labels.labels[name].fill_(2)
    assert torch.equal(trainer.label_of("labelled", batch["labelled"]), given)
    assert (trainer.label_of("unlabelled", batch["unlabelled"]) == 2).all()


# ---- the critic ------------------------------------------------------------------------------------------------
def test_each_phase_moves_its_own_network_alone(labels: Path) -> None:
    trainer = make_trainer(1, pseudo_labels=labels, critic=make_critic(), adversarial_start=0.0, adversarial_weight=1.0)
    before = weights(trainer.network), weights(trainer.critic)
    seen = []
    run_phase = trainer._run_phase

    def watched(phase: Any, batch: Any) -> dict[str, float]:
        values = run_phase(phase, batch)
        seen.append((phase.name, gradients(trainer.network), weights(trainer.network), weights(trainer.critic)))
        return values

    trainer._run_phase = watched
    trainer.run()
    (first, grads, network, critic), (second, later, network_last, critic_last) = seen
    assert (first, second) == ("p_net/segmenter", "p_net/critic")
    assert not equal(network, before[0])
    assert equal(critic, before[1])
    assert equal(network_last, network)
    assert grads
    assert later == []  # dropped before D's step, which leaves nothing in P-Net
    assert not equal(critic_last, critic)


def test_the_critic_sees_a_slice_and_one_silhouette(labels: Path) -> None:
    critic = make_critic()
    trainer = make_trainer(1, pseudo_labels=labels, critic=critic, adversarial_start=0.0)
    shapes, silhouettes = [], []
    forward = critic.forward

    def watched(silhouette: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        shapes.append((tuple(silhouette.shape), tuple(image.shape)))
        silhouettes.append(silhouette.detach())
        return forward(silhouette, image)

    critic.forward = watched
    trainer.run()
    assert shapes == [((BATCH, 1, 32, 32), (BATCH, 1, 32, 32))] * 3  # P-Net's, the same for D, and true ones
    fake, again, real = silhouettes
    assert torch.equal(fake, again)
    assert set(torch.unique(real).tolist()) == {0.0, 1.0}


def test_no_clear_slice_for_the_critic(labels: Path) -> None:
    loader = make_loader()
    loader._real = loader._real[:0]
    with pytest.raises(InputError, match=r"silhouettes for the critic: .*--adversarial_weight 0.0"):
        make_trainer(loader=loader, pseudo_labels=labels, critic=make_critic())
    make_trainer(loader=loader, pseudo_labels=labels, critic=make_critic(), adversarial_weight=0.0)


# ---- files -----------------------------------------------------------------------------------------------------
def test_it_starts_from_the_stage_before(tmp_path: Path) -> None:
    source = make_network(seed=9)
    torch.save(source.state_dict(), tmp_path / "start.pt")
    trainer = make_trainer(1, initial_checkpoint=tmp_path / "start.pt", learning_rate=0.0)
    trainer.run()
    assert equal(weights(trainer.network), weights(source))
    with pytest.raises(InputError, match="no such file"):
        make_trainer(1, initial_checkpoint=tmp_path / "gone.pt").run()


def test_resumed_it_is_the_same(tmp_path: Path, labels: Path) -> None:
    torch.save(make_network(seed=9).state_dict(), tmp_path / "start.pt")

    def train(folder: str, stop: int | None = None) -> None:
        torch.manual_seed(0)
        trainer = make_trainer(
            4, tmp_path / folder, pseudo_labels=labels, critic=make_critic(), warp=RandSliceAffine(),
            adversarial_start=0.25, initial_checkpoint=tmp_path / "start.pt", network=make_network(seed=stop or 5),
        )  # fmt: skip
        if stop:
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop), stop_now)
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
            trainer.run()

    train("whole")
    train("parts", 2)
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["iteration"] == 2
    train("parts")
    first, second = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    for network in ("network", "critic"):
        assert equal(first["networks"][network], second["networks"][network])
    assert equal(first["extra"]["ema"], second["extra"]["ema"])
    assert read_model_settings(tmp_path / "whole" / "model.pt") == SETTINGS
    assert equal(weights(load_network(make_network(), tmp_path / "parts" / "model.pt")), second["extra"]["ema"])


def stop_now(engine: Any) -> None:
    raise KeyboardInterrupt


def test_transferred_labels_of_other_slices_are_refused(labels: Path) -> None:
    trainer = make_trainer(loader=make_loader(unlabelled=make_tagged(masks=False, count=12)), pseudo_labels=labels)
    with pytest.raises(InputError, match="transferred labels of the unlabelled slices"):
        trainer.run()


@pytest.mark.parametrize(
    "options", [{"adversarial_weight": -1.0}, {"unlabelled_weight": -1.0}, {"adversarial_start": 2.0}]
)
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(InputError, match="weights of P-Net"):
        make_trainer(**options)
