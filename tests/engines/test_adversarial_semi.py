"""AdvSemiSeg's trainer: who learns from what, when, and from nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Events
from monai.losses import DiceCELoss

from monai_semgan.data import PairedSliceLoader
from monai_semgan.engines import AdversarialSemiTrainer, SupervisedSliceTrainer, poly_decay, warmup_cosine
from monai_semgan.networks.nets import ConfidenceDiscriminator
from monai_semgan.transforms import RandBatchAppearance, RandSliceAffine
from monai_semgan.utils import load_network, read_model_settings
from tests.tiny import make_bank
from tests.tiny_adversarial import (
    AT_ONCE,
    BATCH,
    NO_ADVERSARY,
    SETTINGS,
    SIZE,
    equal,
    gradients,
    make_network,
    make_trainer,
    outputs,
    weights,
)


# ---- the algorithm -------------------------------------------------------------------------------------------
def test_one_iteration_is_the_papers() -> None:
    """Written down once more, in the paper's order: all gradients at the weights of the start, then both steps."""
    segmenter, critic = make_network(), ConfidenceDiscriminator(2, 2, (8, 8))
    ours = make_network(), ConfidenceDiscriminator(2, 2, (8, 8))
    ours[1].load_state_dict(critic.state_dict())
    trainer = make_trainer(
        4, **AT_ONCE, adversarial_weight=0.5, unlabelled_adversarial_weight=0.25, self_training_weight=0.75,
        confidence_threshold=0.5, clean_fraction=1.0, network=ours[0], discriminator=ours[1],
        optimizer=torch.optim.SGD(ours[0].parameters(), 0.1),
        discriminator_optimizer=torch.optim.SGD(ours[1].parameters(), 0.2),
    )  # fmt: skip
    batch = trainer.data_loader.batch(0)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda e: e.terminate())
    with torch.no_grad():  # confidence on both sides of the threshold
        middle = critic(segmenter(batch["unlabelled"]["image"]).softmax(1)).median()
        for network in (critic, ours[1]):
            network.layers[-1].conv.bias.sub_(middle)
    row = outputs(trainer)[0]

    p_l, p_u = (segmenter(batch[part]["image"]).softmax(1) for part in ("labelled", "unlabelled"))
    y_real = torch.cat([batch["real"]["label"] == k for k in range(2)], dim=1).float()
    z_l, z_u = critic(p_l), critic(p_u)
    selected = torch.sigmoid(z_u) >= 0.5
    assert 0.2 < selected.float().mean() < 0.8
    ce = -p_l.gather(1, batch["labelled"]["label"].long()).log().mean()
    semi = -(p_u.max(1, keepdim=True)[0].log())[selected].mean()
    loss_s = ce - 0.5 * F.logsigmoid(z_l).mean() - 0.25 * F.logsigmoid(z_u).mean() + 0.75 * semi
    fake, real = critic(torch.cat([p_l, p_u]).detach()), critic(y_real)
    loss_d = -0.5 * F.logsigmoid(-fake).mean() - 0.5 * F.logsigmoid(real).mean()
    grad_s = torch.autograd.grad(loss_s, list(segmenter.parameters()))
    grad_d = torch.autograd.grad(loss_d, list(critic.parameters()))
    assert torch.cat([g.flatten() for g in grad_s]).norm() < 5  # or clipping would have to be written down too
    assert row["loss"] == pytest.approx((loss_s + loss_d).item(), rel=1e-5)
    assert row["adversarial_semi/trusted/ratio"] == pytest.approx(float(selected.float().mean()))
    with torch.no_grad():
        for network, theirs, grads, rate in zip(ours, (segmenter, critic), (grad_s, grad_d), (0.1, 0.2), strict=True):
            for a, b, grad in zip(network.parameters(), theirs.parameters(), grads, strict=True):
                torch.testing.assert_close(a, b - rate * grad, rtol=1e-5, atol=1e-6)


def test_terms_and_records() -> None:
    rows = outputs(make_trainer(4, self_training_start=0.5))
    first, last = ({k.removeprefix("adversarial_semi/") for k in row} for row in (rows[0], rows[-1]))
    assert first == {
        "loss", "segmenter/label", "segmenter/adversarial", "segmenter/adversarial_unlabelled",
        "discriminator/real", "discriminator/fake", "discriminator_accuracy", "confidence/labelled",
        "confidence/unlabelled", "confidence/real", "confidence/fake", "trusted/ratio", "trusted/ratio_background",
        "trusted/ratio_organ",
    }  # fmt: skip
    assert last - first == {"segmenter/self_training"}
    for row in rows:
        losses = [v for k, v in row.items() if "/segmenter/" in k or "/discriminator/" in k]
        assert row["loss"] == pytest.approx(sum(losses))
        assert all(0 <= v <= 1 for k, v in row.items() if "/confidence/" in k or "/trusted/" in k)


# ---- the detach table ----------------------------------------------------------------------------------------
def stepped_through(trainer: AdversarialSemiTrainer) -> Iterator[str]:
    """Runs an iteration and stops after each phase."""
    seen = []
    run_phase = trainer._run_phase

    def watched(phase: Any, batch: Any) -> dict[str, float]:
        values = run_phase(phase, batch)
        both = (trainer.network, trainer.discriminator)
        seen.append((phase.name, *(part for n in both for part in (gradients(n), weights(n)))))
        return values

    trainer._run_phase = watched
    trainer.run()
    return iter(seen)


def test_each_phase_moves_its_own_network_alone() -> None:
    trainer = make_trainer(1, **AT_ONCE, confidence_threshold=0.0)
    before_s, before_d = weights(trainer.network), weights(trainer.discriminator)
    (name_s, grads_s, s_after, grads_d, d_after), (name_d, later, s_last, _, d_last) = stepped_through(trainer)
    assert (name_s, name_d) == ("adversarial_semi/segmenter", "adversarial_semi/discriminator")
    assert grads_d == []  # D is a judge while S learns
    assert equal(d_after, before_d)
    assert not equal(s_after, before_s)
    assert grads_s
    assert later == []  # dropped before D's step, which leaves nothing in S
    assert equal(s_last, s_after)
    assert not equal(d_last, d_after)


def gradient_of(trainer: AdversarialSemiTrainer, *terms: str) -> torch.Tensor:
    """Gradient in S of some terms of the segmenter's phase."""
    batch = trainer.data_loader.batch(0)
    trainer.state.iteration, trainer.shared = 1, {}
    trainer.network.requires_grad_(True)
    trainer.discriminator.requires_grad_(False)
    torch.manual_seed(0)
    found = trainer.segment(batch)
    total = sum(found[name] for name in terms)
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(trainer.network.parameters()))])


@pytest.mark.parametrize("term", ["label", "adversarial", "adversarial_unlabelled", "self_training"])
def test_every_term_reaches_the_segmenter(term: str) -> None:
    assert gradient_of(make_trainer(1, **AT_ONCE, confidence_threshold=0.0), term).abs().sum() > 0


def test_trust_and_targets_are_constants() -> None:
    """Self-training's gradient is that of cross-entropy with a fixed mask and fixed classes: nothing through D."""
    trainer = make_trainer(1, **AT_ONCE, confidence_threshold=0.5, clean_fraction=1.0)
    found = gradient_of(trainer, "self_training")
    with torch.no_grad():
        maps = trainer.network(trainer.data_loader.batch(0)["unlabelled"]["image"]).softmax(1)
        mask, classes = torch.sigmoid(trainer.discriminator(maps))[:, 0] >= 0.5, maps.argmax(1)
    logits = trainer.network(trainer.data_loader.batch(0)["unlabelled"]["image"])
    loss = 0.1 * (F.cross_entropy(logits, classes, reduction="none") * mask).sum() / mask.sum().clamp(min=1)
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(trainer.network.parameters()))])
    torch.testing.assert_close(found, wanted)


def test_nothing_trusted_costs_nothing_and_the_adversary_still_teaches() -> None:
    trainer = make_trainer(1, **AT_ONCE, confidence_threshold=1.1)
    row = outputs(trainer)[0]
    assert row["adversarial_semi/segmenter/self_training"] == 0.0
    assert row["adversarial_semi/trusted/ratio"] == 0.0
    both = gradient_of(trainer, "adversarial_unlabelled", "self_training")
    assert torch.equal(both, gradient_of(trainer, "adversarial_unlabelled"))
    assert both.abs().sum() > 0


def test_fewer_are_trusted_at_a_higher_threshold() -> None:
    ratios = [
        outputs(make_trainer(1, confidence_threshold=level))[0]["adversarial_semi/trusted/ratio"]
        for level in (0.0, 0.499, 0.501, 0.53, 1.1)
    ]
    assert ratios == sorted(ratios, reverse=True)
    assert (ratios[0], ratios[-1]) == (1.0, 0.0)


# ---- schedule ------------------------------------------------------------------------------------------------
def test_terms_begin_when_they_should() -> None:
    rows = outputs(make_trainer(8, self_training_start=0.25, unlabelled_adversarial_start=0.5))
    for term, start in (("self_training", 2), ("adversarial_unlabelled", 4), ("adversarial", 0)):
        assert [f"adversarial_semi/segmenter/{term}" in row for row in rows] == [i >= start for i in range(8)]


def test_both_rates_follow_the_polynomial() -> None:
    trainer, rates = make_trainer(10, learning_rate=2e-3, discriminator_learning_rate=3e-4), []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda e: rates.append([o.param_groups[0]["lr"] for o in trainer.optimizers.values()]),
    )
    trainer.run()
    assert rates == [pytest.approx([2e-3 * poly_decay(i, 10), 3e-4 * poly_decay(i, 10)]) for i in range(10)]


def test_an_optimiser_keeps_the_rates_it_came_with() -> None:
    network = make_network()
    parts = list(network.parameters())
    groups = [{"params": parts[:-1]}, {"params": parts[-1:], "lr": 2.5e-3}]  # the head learns ten times as fast
    optimizer = torch.optim.SGD(groups, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    trainer = make_trainer(2, network=network, optimizer=optimizer)
    trainer.run()
    assert trainer.optimizers["network"] is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
        [2.5e-4 * poly_decay(1, 2), 2.5e-3 * poly_decay(1, 2)]
    )


# ---- supervised only -----------------------------------------------------------------------------------------
def test_without_adversary_it_is_the_supervised_trainer_bit_for_bit() -> None:
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    options = {"warp": RandSliceAffine(label_mode="linear"), "randomise": RandBatchAppearance(1.0)}
    ours = make_trainer(4, decay=warmup_cosine, loss=loss, **NO_ADVERSARY, **options)
    untouched = weights(ours.discriminator)
    rows = outputs(ours)
    theirs = SupervisedSliceTrainer(
        "cpu", 1, 4, PairedSliceLoader(make_bank(8, size=SIZE), None, BATCH, 4), make_network(), **options
    )
    theirs.run()
    assert set(rows[0]) == {"loss", "adversarial_semi/segmenter/label"}
    assert equal(ours.network.state_dict(), theirs.network.state_dict())
    assert equal(ours.ema.state_dict(), theirs.ema.state_dict())
    assert equal(weights(ours.discriminator), untouched)


def test_without_unlabelled_slices_the_labelled_ones_are_left(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = outputs(make_trainer(2, unlabelled=None, **AT_ONCE))
    assert caplog.text.count("there are no unlabelled slices") == 1
    terms = {k.rpartition("/")[2] for k in rows[0] if "/segmenter/" in k}
    assert terms == {"label", "adversarial"}
    supervised, same = make_trainer(2, **NO_ADVERSARY), make_trainer(2, unlabelled=None, adversarial_weight=0.0)
    supervised.run()
    same.run()
    assert equal(supervised.network.state_dict(), same.network.state_dict())


# ---- no leak, exact continuation -----------------------------------------------------------------------------
def test_masks_of_unlabelled_slices_change_nothing() -> None:
    bank = make_bank(12, seed=5, size=SIZE)
    runs = []
    for labels in (bank.labels, torch.randint_like(bank.labels, 0, 256), None):
        trainer = make_trainer(4, unlabelled=replace(bank, labels=labels), **AT_ONCE)
        trainer.run()
        runs.append({**trainer.network.state_dict(), **trainer.discriminator.state_dict()})
    assert equal(runs[0], runs[1])
    assert equal(runs[0], runs[2])


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    options = {
        "randomise": RandBatchAppearance(1.0), "warp": RandSliceAffine(), "instance_noise": 0.1, "r1_gamma": 0.1,
        "r1_every": 2, "ema_teacher": True,
    }  # fmt: skip
    whole = make_trainer(10, tmp_path / "whole", **options)
    whole.run()
    stopped = make_trainer(10, tmp_path / "stopped", **options)

    def stop(engine: Any) -> None:
        raise RuntimeError("power cut")

    stopped.add_event_handler(Events.ITERATION_STARTED(once=6), stop)
    with pytest.raises(RuntimeError, match="power cut"):
        stopped.run()
    resumed = make_trainer(10, tmp_path / "stopped", **options)
    resumed.run()
    assert resumed.state.images_seen == whole.state.images_seen == 10 * BATCH
    for part in ("network", "discriminator", "ema"):
        assert equal(getattr(resumed, part).state_dict(), getattr(whole, part).state_dict()), part
    assert [o.param_groups[0]["lr"] for o in resumed.optimizers.values()] == [
        o.param_groups[0]["lr"] for o in whole.optimizers.values()
    ]


def test_it_learns_and_writes_the_segmenter_alone(tmp_path: Path) -> None:
    trainer = make_trainer(80, tmp_path, learning_rate=2e-2, warp=RandSliceAffine(label_mode="linear"))
    trainer.ema.half_life_images = 20
    rows = outputs(trainer)
    assert rows[-1]["adversarial_semi/segmenter/label"] < 0.3 * rows[0]["adversarial_semi/segmenter/label"]
    assert read_model_settings(tmp_path / "model.pt") == SETTINGS
    network = load_network(make_network(), tmp_path / "model.pt")
    unseen = make_bank(20, seed=7, size=SIZE)
    with torch.no_grad():
        found = network(unseen.images).argmax(1, keepdim=True)
    dice = 2 * (found * unseen.labels).sum() / (found.sum() + unseen.labels.sum())
    assert dice > 0.9
    kept = torch.load(tmp_path / "model.pt", weights_only=True)
    assert kept.keys() == network.state_dict().keys()
