"""The three stages of GSS: who learns in which, what is handed on, and what stops them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Events

from monai_semgan.data import PairedPatchLoader
from monai_semgan.engines import check_reconstruction, class_weights, reconstruction_dice
from monai_semgan.losses import MaskedSegmentationLoss
from monai_semgan.transforms import RandSliceAffine, RandVolumeAffine
from monai_semgan.utils import InputError, load_network, read_model_settings
from tests.tiny_generative import (
    CLASSES,
    equal,
    labelled,
    loader,
    make_inverse_trainer,
    make_prior_trainer,
    make_segmenter,
    make_tokenizer,
    make_tokenizer_trainer,
    weights,
)


def rows_of(trainer: Any) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: rows.append(e.state.output))
    trainer.run()
    return rows


# ---- stage I ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def learned() -> Any:
    """A tokenizer that has seen a few hundred masks."""
    trainer = make_tokenizer_trainer(200, continuous_iterations=30, warp=RandSliceAffine(label_mode="linear"))
    rows = rows_of(trainer)
    return trainer, rows


def test_it_learns_to_give_masks_back(learned: Any) -> None:
    trainer, rows = learned
    bank = labelled(6, seed=3)
    before = reconstruction_dice(make_tokenizer(), bank)
    after = reconstruction_dice(trainer.tokenizer, bank)
    assert set(after) == {1, 2}
    assert sum(after.values()) / 2 > 0.7 > sum(before.values()) / 2 + 0.2
    assert float(trainer.tokenizer.quantizer.embedding.weight.norm(dim=1).max()) < 1e3
    assert "tokenizer/codes_used" not in rows[29]
    assert rows[-1]["tokenizer/codes_used"] > 3
    assert any(row.get("tokenizer/codes_restarted") is not None for row in rows)
    assert rows[-1]["loss"] == pytest.approx(sum(v for k, v in rows[-1].items() if "/autoencoder/" in k))


@pytest.mark.parametrize(
    ("variant", "palette", "inverse"),
    [("FT", False, True), ("FT-W", False, True), ("TF", True, False), ("TT", True, True)],
)
def test_the_second_phase_moves_what_the_variant_learns_alone(variant: str, palette: bool, inverse: bool) -> None:
    # within the cube: colours at its corners may have nowhere to go
    inner = [[0.2, 0.2, 0.3], [0.5, 0.8, 0.5], [0.8, 0.3, 0.7]]
    trainer = make_tokenizer_trainer(8, tokenizer=make_tokenizer(variant, palette=inner))
    parts = ("encoder", "decoder", "quantizer", "maskige", "inverse")
    kept: dict[str, Any] = {}

    def keep(engine: Any) -> None:
        kept.update({name: weights(getattr(trainer.tokenizer, name)) for name in parts})

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), keep)
    rows = rows_of(trainer)
    changed = {name for name in parts if not equal(weights(getattr(trainer.tokenizer, name)), kept[name])}
    assert changed == {name for name, used in (("maskige", palette), ("inverse", inverse)) if used}
    assert "tokenizer/maskige/class" in rows[-1]
    assert "tokenizer/autoencoder/class" not in rows[-1]
    colours = trainer.tokenizer.maskige.palette.detach()
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1


def test_colours_are_given_by_what_touches_once() -> None:
    trainer = make_tokenizer_trainer(2)
    before = trainer.tokenizer.maskige.palette.detach().clone()
    trainer.run()
    after = trainer.tokenizer.maskige.palette.detach()
    assert sorted(after.tolist()) == sorted(before.tolist())


def test_rare_classes_weigh_more() -> None:
    label = torch.tensor([0] * 90 + [1] * 9 + [2])
    weight = class_weights(label, 3)
    assert weight[2] > weight[1] > weight[0]
    assert float(weight[label].mean()) == pytest.approx(1.0, abs=1e-5)
    assert float(weight[1] / weight[2]) == pytest.approx((1 / 9) ** 0.5, abs=1e-5)


def test_pixels_without_a_label_teach_nothing() -> None:
    bank = labelled(8)
    hidden = replace(bank, labels=torch.where(bank.labels == 2, torch.full_like(bank.labels, 255), bank.labels))
    trainer = make_tokenizer_trainer(3, loader=loader(3, hidden))
    assert all(row["loss"] == row["loss"] for row in rows_of(trainer))
    logits = torch.randn(2, CLASSES, 4, 4)
    label = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    assert not trainer.error(logits, label).any()


def test_the_gate(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot give masks back.*got a mean Dice of 0\.\d+ on 2 masks.*one_hot"):
        make_tokenizer_trainer(3, tmp_path, gate=0.999).run()
    found = json.loads((tmp_path / "reconstruction.json").read_text(encoding="utf-8"))
    assert set(found["organs"]) == {"1", "2"}
    with pytest.raises(InputError, match="cannot give masks back"):  # it is finished, and still too bad
        make_tokenizer_trainer(3, tmp_path, gate=0.999).run()
    make_tokenizer_trainer(3, tmp_path, gate=0.0).run()
    assert check_reconstruction(tmp_path / "reconstruction.json", 0.0) == found
    with pytest.raises(InputError, match="train the tokenizer first"):
        check_reconstruction(tmp_path / "nothing" / "reconstruction.json", 0.0)


@pytest.mark.parametrize(("variant", "iterations"), [("FF", 2), ("FT", 0), ("FT", 4)])
def test_lengths_that_do_not_fit_the_variant(variant: str, iterations: int) -> None:
    with pytest.raises(InputError, match=f"stage I of variant {variant}"):
        make_tokenizer_trainer(4, variant=variant, maskige_iterations=iterations)


# ---- stage II --------------------------------------------------------------------------------------------------
def test_the_terms_are_the_papers() -> None:
    network = make_segmenter()
    trainer = make_prior_trainer(1, network=network)
    batch = trainer.data_loader.batch(0)["labelled"]
    theirs = make_segmenter()
    logits, auxiliary = theirs.conditioning(batch["image"])
    codes = theirs.tokenizer.tokenize(batch["label"])
    auxiliary = F.interpolate(auxiliary, size=batch["image"].shape[2:], mode="bilinear", align_corners=False)
    row = rows_of(trainer)[0]
    assert row["prior/tokens"] == pytest.approx(0.8 * F.cross_entropy(logits, codes).item(), rel=1e-4)
    assert row["prior/pixels"] == pytest.approx(
        0.2 * F.cross_entropy(auxiliary, batch["label"][:, 0].long()).item(), rel=1e-4
    )
    assert set(row) == {"loss", "prior/tokens", "prior/pixels"}


def test_the_tokenizer_stays_as_it_was() -> None:
    trainer = make_prior_trainer(3, mask_weight=1.0)
    before, moved = weights(trainer.network.tokenizer), weights(trainer.network.conditioning)
    rows = rows_of(trainer)
    assert "prior/mask" in rows[0]
    assert equal(weights(trainer.network.tokenizer), before)
    assert equal(weights(trainer.ema.average.tokenizer), before)
    assert not equal(weights(trainer.network.conditioning), moved)


def test_unknown_pixels_are_completed_by_the_auxiliary_head() -> None:
    bank = labelled()
    nothing = replace(bank, labels=torch.full_like(bank.labels, 255))
    row = rows_of(make_prior_trainer(1, loader=loader(1, nothing)))[0]
    assert row["loss"] == 0  # no place of the grid counts, and no pixel
    half = bank.labels.clone()
    half[..., :8] = 255
    trainer = make_prior_trainer(1, loader=loader(1, replace(bank, labels=half)))
    seen: list[torch.Tensor] = []
    tokenize = trainer.network.tokenizer.tokenize
    trainer.network.tokenizer.tokenize = lambda label: seen.append(label) or tokenize(label)
    trainer.run()
    assert int(seen[0].max()) < CLASSES
    assert torch.equal(seen[0][..., 8:], trainer.data_loader.batch(0)["labelled"]["label"][..., 8:])


def test_the_baseline_is_the_same_trunk_with_another_head() -> None:
    codes, pixels = make_segmenter(), make_segmenter(head="pixels")
    own, other = ({k: v.shape for k, v in n.conditioning.state_dict().items()} for n in (codes, pixels))
    different = {name for name in own if own[name] != other.get(name)}
    assert {name.split(".")[0] for name in different} == {"head", "auxiliary"}
    trainer = make_prior_trainer(1, network=pixels, loss=MaskedSegmentationLoss(dice_weight=1.0))
    batch = trainer.data_loader.batch(0)["labelled"]
    wanted = trainer.loss(make_segmenter(head="pixels")(batch["image"]), batch["label"].long())
    row = rows_of(trainer)[0]
    assert set(row) == {"loss", "prior/label"}
    assert row["loss"] == pytest.approx(wanted.item(), rel=1e-4)


def test_a_negative_weight() -> None:
    with pytest.raises(InputError, match="option token_weight: got -1"):
        make_prior_trainer(token_weight=-1)


# ---- from file to file -----------------------------------------------------------------------------------------
def test_each_stage_reads_what_the_one_before_wrote(tmp_path: Path) -> None:
    first = make_tokenizer_trainer(6, tmp_path / "tokenizer", variant="FT")
    first.run()
    second = make_prior_trainer(
        3,
        tmp_path / "prior",
        network=make_segmenter("FT"),
        gate=0.0,
        tokenizer_checkpoint=tmp_path / "tokenizer" / "model.pt",
    )
    second.run()
    assert equal(weights(second.network.tokenizer), weights(first.tokenizer))
    for trained_on in ("prior", "posterior"):
        third = make_inverse_trainer(
            3, tmp_path / f"on_{trained_on}", initial_checkpoint=tmp_path / "prior" / "model.pt", trained_on=trained_on,
            network_settings={"image_size": 16},
        )  # fmt: skip
        third.run()
        before = torch.load(tmp_path / "prior" / "model.pt", weights_only=True)
        after = torch.load(tmp_path / f"on_{trained_on}" / "model.pt", weights_only=True)
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed
        assert all(name.startswith("tokenizer.inverse.") for name in changed)
    assert read_model_settings(tmp_path / "prior" / "model.pt")["image_size"] == 16
    network = load_network(make_segmenter("FT"), tmp_path / "prior" / "model.pt")
    assert network(torch.randn(1, 1, 16, 16)).shape == (1, CLASSES, 16, 16)


def test_a_prior_without_a_good_tokenizer_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train the tokenizer first"):
        make_prior_trainer(2, tokenizer_checkpoint=tmp_path / "model.pt").run()
    make_tokenizer_trainer(2, tmp_path).run()
    with pytest.raises(InputError, match="cannot give masks back"):
        make_prior_trainer(2, tokenizer_checkpoint=tmp_path / "model.pt", gate=0.999).run()


def test_stage_three_needs_something_to_learn() -> None:
    with pytest.raises(InputError, match="stage III: got a network without a learned inverse"):
        make_inverse_trainer(network=make_segmenter("FF"))
    with pytest.raises(InputError, match="option inverse_training: got both"):
        make_inverse_trainer(trained_on="both")


class Stop(Exception):  # noqa: N818
    """What interrupts a training in the tests."""


@pytest.mark.parametrize("make", [make_tokenizer_trainer, make_prior_trainer, make_inverse_trainer])
def test_interrupted_it_goes_on_as_if_nothing_had_been(make: Any, tmp_path: Path) -> None:
    options = {"variant": "TT"} if make is make_tokenizer_trainer else {}
    whole = make(8, tmp_path / "whole", **options)
    whole.run()
    for stop in (5, None):
        part = make(8, tmp_path / "parts", **options)
        if stop:

            def interrupt(engine: Any) -> None:
                raise Stop

            part.add_event_handler(Events.ITERATION_COMPLETED(once=stop), interrupt)
            with pytest.raises(Stop):
                part.run()
        else:
            part.run()
    for one, other in zip(whole.networks.values(), part.networks.values(), strict=True):
        assert equal(weights(one), weights(other))


# ---- three dimensions ------------------------------------------------------------------------------------------
def test_all_stages_in_three_dimensions() -> None:
    bank = labelled(16)

    def volumes(iterations: int) -> PairedPatchLoader:
        return PairedPatchLoader(bank, None, 2, iterations, depth=8)

    tokenizer = make_tokenizer("FT-W", dims=3)
    options = {"warp": RandVolumeAffine()}
    make_tokenizer_trainer(4, tokenizer=tokenizer, bank=None, loader=volumes(4), **options).run()
    network = make_segmenter("FT-W", dims=3)
    load = network.tokenizer.load_state_dict(tokenizer.state_dict())
    assert not load.missing_keys
    for trainer in (
        make_prior_trainer(2, network=network, loader=volumes(2), mask_weight=0.5, **options),
        make_inverse_trainer(2, network=network, loader=volumes(2), **options),
    ):
        rows = rows_of(trainer)
        assert all(row["loss"] == row["loss"] > 0 for row in rows)
    assert network.eval()(torch.randn(1, 1, 16, 16, 8)).shape == (1, CLASSES, 16, 16, 8)


def test_class_weights_and_colours_come_from_volumes_too() -> None:
    trainer = make_tokenizer_trainer(
        1, tokenizer=make_tokenizer(dims=3), bank=None, loader=PairedPatchLoader(labelled(16), None, 2, 1, depth=8)
    )
    arranged: list[torch.Tensor] = []
    trainer.tokenizer.arrange_colours = arranged.append
    trainer.run()
    assert torch.equal(arranged[0], labelled(16).labels)
    assert torch.equal(trainer.weights, class_weights(labelled(16).labels, CLASSES))


def test_masks_of_volumes_are_given_back_as_a_whole() -> None:
    class GivesBack(torch.nn.Module):
        """All but the last slice that shows class 2."""

        spatial_dims, stride, num_classes = 3, 4, CLASSES

        def __init__(self) -> None:
            super().__init__()
            self.anything = torch.nn.Parameter(torch.zeros(1))
            self.seen: list[tuple[int, ...]] = []

        def forward(self, label: torch.Tensor) -> torch.Tensor:
            self.seen.append(tuple(label.shape))
            found = label.clone()
            last = int((label == 2).flatten(0, 3).any(0).nonzero().max())
            found[..., last] = 0
            return F.one_hot(found[:, 0].long(), CLASSES).movedim(-1, 1).float()

    bank, tokenizer = labelled(10), GivesBack()
    found = reconstruction_dice(tokenizer, bank)
    assert tokenizer.seen == [(1, 1, 16, 16, 8)] * 2  # five slices each, completed to a multiple of the stride
    wanted = []
    for case in ("a", "b"):
        areas = [int((m == 2).sum()) for m, name in zip(bank.labels, bank.cases, strict=True) if name == case]
        kept = sum(areas) - [area for area in areas if area][-1]
        wanted.append(2 * kept / (kept + sum(areas)))
    assert found[1] == 1.0
    assert found[2] == pytest.approx(sum(wanted) / 2)


# ---- learning --------------------------------------------------------------------------------------------------
def test_it_learns_to_segment(learned: Any) -> None:
    trainer, _ = learned
    network = make_segmenter()
    network.tokenizer.load_state_dict(trainer.tokenizer.state_dict())
    prior = make_prior_trainer(100, network=network, loader=loader(100, labelled(24, seed=1)), learning_rate=5e-3)
    prior.run()
    test = labelled(12, seed=9)
    with torch.no_grad():
        found = prior.ema.average(test.images).argmax(1, keepdim=True) > 0
    wanted = test.labels > 0  # which class is told by contrast, of which instance normalisation leaves little
    assert 2 * float((found & wanted).sum()) / float(found.sum() + wanted.sum()) > 0.7
