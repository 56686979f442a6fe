"""The tag classifier's trainer: where it may look, and what it needs from the stages before."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_semgan.data import TransferSliceLoader
from monai_semgan.engines import object_gate, strong_share
from monai_semgan.utils import InputError, load_network
from tests.tiny_transfer import (
    BATCH,
    ROLES,
    make_classifier,
    make_loader,
    make_network,
    make_tag_trainer,
    make_tagged,
    make_truth,
)


class Known(nn.Module):
    """Logits that are right: by the brightness of the made-up slices, which show a disc or a square."""

    def __init__(self, objects: bool) -> None:
        super().__init__()
        self.objects = objects
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        bright = 20 * (image - self.level)
        return bright if self.objects else torch.cat([-bright, torch.full_like(image, -20.0), bright], dim=1)


def test_shares_of_strong_organs_are_zero_where_they_are_not_tagged() -> None:
    image, tags = torch.full((2, 1, 4, 4), 0.5), torch.tensor([[True, True], [True, False]])
    share = strong_share(Known(False), image, tags, ROLES)
    assert share.shape == (2, 1, 4, 4)
    assert (share[0] > 0.99).all()
    assert (share[1] == 0).all()


def test_a_weak_organ_is_not_where_a_strong_one_is() -> None:
    objects, strong = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    gate = object_gate(objects, strong, ROLES)
    torch.testing.assert_close(gate[:, :1], objects * (1 - strong))  # class 1 is weak
    assert torch.equal(gate[:, 1:], objects)
    for plain in (object_gate(objects, strong, ROLES, explain_away=False), object_gate(objects, None, ROLES)):
        assert torch.equal(plain, objects.expand(-1, 2, -1, -1))


def test_a_margin_keeps_a_weak_organ_off_the_rim_of_a_strong_one() -> None:
    strong = torch.zeros(1, 1, 9, 9)
    strong[..., 4, 4] = 0.9
    gate = object_gate(torch.ones(1, 1, 9, 9), strong, ROLES, margin=2)[0, 0]
    assert (gate[2:7, 2:7] - 0.1).abs().max() < 1e-6
    gate[2:7, 2:7] = 1.0
    assert (gate == 1).all()


def test_it_learns_the_tags_and_where_to_look() -> None:
    torch.manual_seed(0)
    loader = make_loader(100, 8, parts=("labelled", "unlabelled"))
    trainer = make_tag_trainer(100, loader=loader, objects=Known(True), learning_rate=0.01)
    trainer.run()
    truth = make_truth(seed=5)
    tags = make_tagged(truth).tags
    with torch.no_grad():
        trainer.network.eval()
        gate = object_gate(torch.sigmoid(Known(True)(truth.images)), None, ROLES)
        logits = trainer.network(truth.images, gate)
        maps = torch.nn.functional.interpolate(trainer.network.class_maps(truth.images), size=truth.images.shape[2:])
    assert ((logits > 0) == tags).float().mean() > 0.85
    peaks = (maps * gate - (1 - gate) * 100)[:, 0].flatten(1).argmax(1)
    rows = tags[:, 0]
    assert (truth.labels[:, 0].flatten(1).gather(1, peaks[:, None])[rows] == 1).float().mean() > 0.7


def test_the_frozen_networks_stay_as_they_are() -> None:
    objects, segmenter = make_network(1, "BATCH"), make_network(3)
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in (objects, segmenter)]
    trainer = make_tag_trainer(2, objects=objects, segmenter=segmenter)
    trainer.run()
    for network, state in zip((objects, segmenter), before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())  # running means too
        assert all(p.grad is None for p in network.parameters())
    assert set(trainer.networks) == {"network"}


def test_it_reads_what_the_stages_before_wrote(tmp_path: Path) -> None:
    source = make_network(1, "BATCH", seed=9)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    objects = make_network(1, "BATCH")
    make_tag_trainer(1, objects=objects, objects_checkpoint=tmp_path / "model.pt").run()
    assert all(torch.equal(v, objects.state_dict()[k]) for k, v in source.state_dict().items())
    with pytest.raises(InputError, match="no such file"):
        make_tag_trainer(1, objects=objects, objects_checkpoint=tmp_path / "gone.pt").run()


def test_result_and_resuming(tmp_path: Path) -> None:
    trainer = make_tag_trainer(3, tmp_path)
    trainer.run()
    again = make_tag_trainer(3, tmp_path)
    again.run()  # finished: returns at once
    assert again.state.iteration == 3
    network = load_network(make_classifier(), tmp_path / "model.pt")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in trainer.ema.state_dict().items())
    assert trainer.state.images_seen == 3 * 2 * BATCH


def test_organs_that_always_come_together_are_told(caplog: pytest.LogCaptureFixture) -> None:
    bank = make_tagged()
    same = replace(bank, tags=bank.tags[:, :1].expand(-1, 2).clone())
    with caplog.at_level(logging.WARNING):
        make_tag_trainer(1, loader=TransferSliceLoader(same, None, ROLES, 2, 1, parts=("labelled",))).run()
    assert "disc and square are nearly always tagged together (correlation 1.00)" in caplog.text
    caplog.clear()
    make_tag_trainer(1).run()
    assert "tagged together" not in caplog.text
