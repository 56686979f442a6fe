"""L-Net's trainer: it finds organs it has no mask of, and no mask of theirs would matter."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from monai_semgan.data import UNKNOWN
from monai_semgan.utils import load_network
from tests.tiny_transfer import make_loader, make_network, make_object_trainer, make_tagged, make_truth


def test_weak_organs_are_found() -> None:
    torch.manual_seed(0)
    loader = make_loader(120, 8, parts=("labelled",), labelled_foreground_fraction=0.8)
    trainer = make_object_trainer(120, loader=loader, learning_rate=0.01)
    trainer.run()
    truth = make_truth(seed=7)
    trainer.network.eval()
    with torch.no_grad():
        found = torch.sigmoid(trainer.network(truth.images)) > 0.5
    weak, strong = (truth.labels == c for c in (1, 2))
    assert found[weak].float().mean() > 0.8
    assert found[strong].float().mean() > 0.9
    assert found[truth.labels == 0].float().mean() < 0.1


def test_what_is_unknown_teaches_nothing() -> None:
    """Beyond the ring, whatever stands at an unknown pixel: the loss has no gradient there."""
    trainer = make_object_trainer(1, ring=0, orientation=lambda image, label: (image, label), gain=0.0, shift=0.0)
    batch = trainer.data_loader.batch(0)
    logits = {}
    forward = trainer.network.forward

    def watched(image: torch.Tensor) -> torch.Tensor:
        logits["out"] = forward(image)
        logits["out"].retain_grad()
        return logits["out"]

    trainer.network.forward = watched
    trainer.segment(batch)["objects"].backward()
    unknown = (batch["labelled"]["label"] == UNKNOWN) & (batch["labelled"]["image"] > -0.95)
    assert unknown.any()
    assert (logits["out"].grad[unknown] == 0).all()
    assert (logits["out"].grad[~unknown] != 0).any()


def test_grey_values_change_and_air_does_not() -> None:
    trainer = make_object_trainer(1, clean_fraction=1.0)
    image = torch.rand(4, 1, 8, 8) - 0.5
    image[..., 0] = -1.0
    changed = trainer.disguise(image, torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
    assert (changed[..., 0] == -1).all()
    assert not torch.equal(changed, image)
    assert changed.abs().max() <= 1


def test_resumed_it_is_the_same(tmp_path: Path) -> None:
    def train(folder: str, stop: int | None = None) -> None:
        trainer = make_object_trainer(4, tmp_path / folder)
        if stop:
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop), stop_now)
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
            trainer.run()

    train("whole")
    train("parts", 2)
    train("parts")
    first, second = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    load_network(make_network(1, "BATCH"), tmp_path / "parts" / "model.pt")


def stop_now(engine: Any) -> None:
    raise KeyboardInterrupt


def test_garbled_masks_of_weak_organs_change_nothing() -> None:
    states = []
    for seed in (0, 1):
        truth = make_truth()
        noise = torch.rand(truth.labels.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
        shows = (truth.labels == 1).flatten(1).any(1)[:, None, None, None]
        labels = torch.where(truth.labels == 2, 2, (noise & shows).to(torch.uint8)).to(torch.uint8)
        bank = make_tagged(replace(truth, labels=labels))
        trainer = make_object_trainer(2, loader=make_loader(labelled=bank, parts=("labelled",)))
        trainer.run()
        states.append(trainer.network.state_dict())
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())
