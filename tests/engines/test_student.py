"""The student: what it is taught by, how much, from when on, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss

from monai_semgan.data import PairedSliceLoader
from monai_semgan.engines import SupervisedSliceTrainer
from monai_semgan.engines.student import resize
from monai_semgan.transforms import RandBatchAppearance, RandSliceAffine, RandVolumeAffine
from tests.tiny import make_bank, make_segmenter
from tests.tiny_student import (
    ALONE,
    AT_ONCE,
    both_dims,
    equal,
    make_network,
    make_trainer,
    other_teacher,
    outputs,
    terms,
    weights,
)


# ---- terms and weights ---------------------------------------------------------------------------------------
@both_dims
def test_terms_are_recorded_and_summed(dims: int) -> None:
    trainer = make_trainer(4, dims=dims, start=0.5, ramp=0.5, generated_every=3)
    rows = [{k.removeprefix("student/") for k in row} for row in outputs(trainer)]
    assert rows[0] == {"loss", "label"}  # pairs wait for the start, too
    assert rows[1] == {"loss", "label"}
    assert rows[2] == {"loss", "label"}  # the ramp begins at 0
    assert rows[3] == {"loss", "label", "unlabelled", "generated"}
    output = trainer.state.output
    assert output["loss"] == pytest.approx(sum(v for k, v in output.items() if k != "loss"))
    assert trainer.skipped_steps == 0


@both_dims
@pytest.mark.parametrize("consistency", ["hard", "soft"])
def test_weights_are_factors(dims: int, consistency: str) -> None:
    def run(unlabelled: float, generated: float) -> dict[str, torch.Tensor]:
        trainer = make_trainer(
            **AT_ONCE, dims=dims, consistency=consistency, confidence=0.0, unlabelled_weight=unlabelled,
            generated_weight=generated,
        )  # fmt: skip
        other_teacher(trainer)
        return terms(trainer)

    plain, heavy = run(1.0, 1.0), run(3.0, 5.0)
    assert heavy.keys() == plain.keys() == {"label", "unlabelled", "generated"}
    for name, factor in {"label": 1.0, "unlabelled": 3.0, "generated": 5.0}.items():
        torch.testing.assert_close(heavy[name], factor * plain[name])
        assert plain[name] > 0


def test_the_terms_written_down_once_more() -> None:
    trainer = make_trainer(**AT_ONCE, clean_fraction=1.0, confidence=0.5, unlabelled_weight=2.0, generated_weight=0.25)
    other_teacher(trainer)
    made, made_label = torch.rand(2, 1, 16, 16), torch.randint(0, 2, (2, 1, 16, 16))
    trainer.generated = lambda batch: (made, made_label)
    batch = trainer.data_loader.batch(0)
    got = terms(trainer, batch)
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    with torch.no_grad():
        unlabelled = batch["unlabelled"]["image"]
        target = trainer.ema.average(unlabelled).argmax(dim=1, keepdim=True)
        network = trainer.network
        want = {
            "label": loss(network(batch["labelled"]["image"]), batch["labelled"]["label"].long()),
            "unlabelled": 2.0 * loss(network(unlabelled), target),  # two classes: the better one has 0.5 or more
            "generated": 0.25 * loss(network(made), made_label),
        }
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(got[name].detach(), want[name], rtol=1e-4, atol=1e-5)


def test_another_loss_judges_masks_and_pairs_and_the_teachers_classes() -> None:
    seen = []

    def loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(logits.shape), tuple(label.shape), label.dtype))
        return logits.square().mean()

    terms(make_trainer(**AT_ONCE, loss=loss))
    assert seen == [((2, 2, 16, 16), (2, 1, 16, 16), torch.int64)] * 3


def test_the_student_is_run_once_an_iteration() -> None:
    trainer = make_trainer(**AT_ONCE)
    sizes = []
    trainer.network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    terms(trainer)
    assert sizes == [6]


@pytest.mark.parametrize(
    ("options", "heights"),
    [
        ({"start": 0.1, "ramp": 0.2}, {1: 0.0, 11: 0.0, 16: 0.5, 21: 1.0, 31: 2.0, 100: 2.0}),
        ({"start": 0.0, "ramp": 0.0}, {1: 2.0, 100: 2.0}),
        ({"start": 0.5, "ramp": 0.0}, {50: 0.0, 51: 2.0}),
        ({"start": 1.0, "ramp": 0.2}, {1: 0.0, 100: 0.0}),
        ({"start": 0.0, "ramp": 1.0}, {1: 0.0, 51: 1.0, 100: 1.98}),
    ],
)
def test_the_ramp(options: dict[str, float], heights: dict[int, float]) -> None:
    trainer = make_trainer(100, unlabelled_weight=2.0, **options)
    for iteration, height in heights.items():
        trainer.state.iteration = iteration
        assert trainer.unlabelled_height() == pytest.approx(height)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_an_iteration_can_show_either_masks_or_unlabelled_slices(share: float) -> None:
    rows = outputs(make_trainer(40, start=0.5, ramp=0.0, unlabelled_share=share, generated_weight=0.0))
    masks = ["student/label" in row for row in rows]
    others = ["student/unlabelled" in row for row in rows]
    assert all(masks[:20])
    assert not any(others[:20])
    assert all(mask != other for mask, other in zip(masks, others, strict=True))
    assert sum(others) == pytest.approx(20 * share, abs=1)


def test_without_unlabelled_slices_every_iteration_shows_masks() -> None:
    class LabelledOnly(PairedSliceLoader):
        def batch(self, index: int) -> Any:
            return {"labelled": super().batch(index)["labelled"]}

    loader = LabelledOnly(make_bank(8), make_bank(8, seed=1), 2, 4)
    rows = outputs(make_trainer(4, **AT_ONCE, **ALONE, unlabelled_share=0.5, train_data_loader=loader))
    assert all("student/label" in row for row in rows)


def test_pairs_come_every_so_often() -> None:
    rows = outputs(make_trainer(7, **AT_ONCE, generated_every=3))
    assert ["student/generated" in row for row in rows] == [True, False, False, True, False, False, True]
    rows = outputs(make_trainer(7, start=0.5, ramp=0.0, generated_every=3))
    assert ["student/generated" in row for row in rows] == [False, False, False, False, False, False, True]


# ---- what it is without its sources --------------------------------------------------------------------------
@pytest.mark.parametrize("without", ["weights", "unlabelled slices"])
def test_without_its_sources_it_is_the_supervised_trainer(without: str) -> None:
    class LabelledOnly(PairedSliceLoader):
        def batch(self, index: int) -> Any:
            return {"labelled": super().batch(index)["labelled"]}

    banks = make_bank(8), make_bank(8, seed=1)
    options = {"randomise": RandBatchAppearance(), "warp": RandSliceAffine()}

    def loader() -> PairedSliceLoader:
        return (PairedSliceLoader if without == "weights" else LabelledOnly)(*banks, 2, 4)

    student = make_trainer(
        **ALONE,
        **AT_ONCE,
        unlabelled_weight=0.0 if without == "weights" else 1.0,
        train_data_loader=loader(),
        **options,
    )
    rows = outputs(student)
    supervised = SupervisedSliceTrainer("cpu", 1, 4, loader(), make_network(), **options)
    supervised.run()
    assert equal(student.network.state_dict(), supervised.network.state_dict())
    assert equal(student.ema.state_dict(), supervised.ema.state_dict())
    assert set(rows[-1]) == {"loss", "student/label"}


# ---- what is shown to whom -----------------------------------------------------------------------------------
class Noted:
    """An appearance randomisation that adds 0.25 and keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        self.calls.append((image.clone(), label.clone()))
        return image + 0.25


@both_dims
def test_teacher_sees_the_clean_image_and_student_the_disguised_one(dims: int) -> None:
    noted = Noted()
    warp = RandSliceAffine() if dims == 2 else RandVolumeAffine()
    trainer = make_trainer(**AT_ONCE, dims=dims, randomise=noted, warp=warp, clean_fraction=0.0)
    shown: dict[str, torch.Tensor] = {}
    trainer.ema.average.register_forward_hook(lambda m, inputs, out: shown.update(clean=inputs[0], said=out))
    trainer.network.register_forward_hook(lambda m, inputs, out: shown.update(student=inputs[0]))
    batch = trainer.data_loader.batch(0)
    terms(trainer, batch)
    (labelled, masks), (unlabelled, hint), (made, made_label) = noted.calls
    assert torch.equal(shown["clean"], unlabelled)  # deformed, but not disguised
    assert not torch.equal(unlabelled, batch["unlabelled"]["image"])
    assert torch.equal(shown["student"], torch.cat([labelled, unlabelled, made]) + 0.25)
    # the randomisation is guided by the masks, what the teacher says, and the generator's labels
    assert torch.equal(hint, shown["said"].argmax(dim=1, keepdim=True).to(torch.uint8))
    assert masks.dtype == hint.dtype == made_label.dtype == torch.uint8
    assert masks.shape == labelled.shape
    assert made_label.shape == made.shape


def test_a_part_is_shown_undisguised() -> None:
    trainer = make_trainer(**AT_ONCE, dims=3, randomise=lambda image, label: image + 9.0, clean_fraction=0.5)
    torch.manual_seed(0)
    volume = torch.zeros(200, 1, 2, 2, 3)
    shown = trainer.disguise(volume, volume)
    assert set(shown.unique().tolist()) == {0.0, 9.0}
    assert (shown.flatten(1).std(dim=1) == 0).all()  # per volume, not per slice
    assert (shown == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_masks_of_unlabelled_slices_are_never_read() -> None:
    class Sealed(dict):
        def __getitem__(self, key: str) -> Any:
            assert key == "image", "the mask of an unlabelled slice was read"
            return super().__getitem__(key)

    trainer = make_trainer(**AT_ONCE, reader_weight=0.5)
    batch = trainer.data_loader.batch(0)
    want = terms(trainer, batch)
    sealed = Sealed(image=batch["unlabelled"]["image"], label=torch.full((2, 1, 16, 16), 255, dtype=torch.uint8))
    assert equal(terms(trainer, {**batch, "unlabelled": sealed}), want)


@both_dims
def test_batches_stay_as_they_are(dims: int) -> None:
    trainer = make_trainer(**AT_ONCE, dims=dims, reader_weight=0.5, randomise=RandBatchAppearance())
    batch, before = trainer.data_loader.batch(0), trainer.data_loader.batch(0)
    terms(trainer, batch)
    assert equal(batch["labelled"], before["labelled"])
    assert equal(batch["unlabelled"], before["unlabelled"])


# ---- who learns ----------------------------------------------------------------------------------------------
@both_dims
@pytest.mark.parametrize("consistency", ["hard", "soft"])
def test_only_the_student_has_gradients(dims: int, consistency: str) -> None:
    trainer = make_trainer(
        **AT_ONCE,
        dims=dims,
        consistency=consistency,
        confidence=0.0,
        reader_weight=0.5,
        segmenter=make_segmenter().train(),
    )
    before, student = weights(trainer.segmenter), weights(trainer.network)
    teacher = weights(trainer.ema.average)
    phase = trainer.schedule[0]
    trainer._run_phase(phase, trainer.data_loader.batch(0))
    assert not equal(weights(trainer.network), student)
    assert equal(weights(trainer.ema.average), teacher)  # it follows after the iteration, by averaging alone
    assert equal(weights(trainer.segmenter), before)
    for other in (trainer.ema.average, trainer.segmenter):
        assert all(p.grad is None and not p.requires_grad for p in other.parameters())
        assert not any(m.training for m in other.modules())


@pytest.mark.parametrize("term", ["unlabelled", "generated"])
def test_each_source_teaches_the_student(term: str) -> None:
    trainer = make_trainer(**AT_ONCE, confidence=0.0)
    terms(trainer)[term].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.network.parameters())


# ---- the teacher ---------------------------------------------------------------------------------------------
class TestAgreement:
    def logits(self, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
        """Student's logits and a teacher's probabilities, sure of half the pixels."""
        draw = torch.Generator().manual_seed(0)
        logits = torch.randn(2, classes, 8, 8, generator=draw).requires_grad_()
        sharpness = torch.where(torch.arange(8) < 4, 20.0, 0.1)
        return logits, (sharpness * torch.rand(2, classes, 8, 8, generator=draw)).softmax(dim=1)

    def test_pixels_of_an_unsure_teacher_give_no_gradient(self) -> None:
        trainer = make_trainer(confidence=0.8)
        logits, probability = self.logits()
        trusted = probability.amax(dim=1) >= 0.8
        assert 0.2 < trusted.float().mean() < 0.6
        trainer.agree(logits, probability).backward()
        size = logits.grad.abs().sum(dim=1)
        assert (size[~trusted] == 0).all()
        assert (size[trusted] > 0).all()

    def test_a_step_moves_towards_the_teacher(self) -> None:
        trainer = make_trainer(confidence=0.8)
        logits, probability = self.logits()
        trainer.agree(logits, probability).backward()
        sure, chosen = probability.max(dim=1, keepdim=True)
        slope = logits.grad.gather(1, chosen)[sure >= 0.8]
        assert (slope < 0).all()

    def test_what_the_unsure_teacher_says_does_not_matter(self) -> None:
        trainer = make_trainer(confidence=0.8)
        logits, probability = self.logits()
        unsure = probability.amax(dim=1, keepdim=True) < 0.8
        other = torch.where(unsure, probability.roll(1, dims=1), probability)
        assert not torch.equal(other, probability)
        torch.testing.assert_close(trainer.agree(logits, other), trainer.agree(logits, probability))

    def test_confidence_at_its_ends(self) -> None:
        logits, probability = self.logits()
        everything = make_trainer(confidence=0.0)
        want = everything.loss(logits, probability.argmax(dim=1, keepdim=True))
        torch.testing.assert_close(everything.agree(logits, probability), want)
        make_trainer(confidence=1.0).agree(logits, 0.99 * probability).backward()
        assert not logits.grad.any()

    def test_soft_is_the_mean_teachers(self) -> None:
        trainer = make_trainer(consistency="soft", confidence=1.0)
        logits, probability = self.logits()
        got = trainer.agree(logits, probability)
        want = sum(((logits.softmax(1)[:, k] - probability[:, k]) ** 2).mean() for k in range(3))
        torch.testing.assert_close(got, want)
        assert trainer.agree(probability.log(), probability) < 1e-10
        got.backward()
        assert (logits.grad.abs().sum(dim=1) > 0).all()  # confidence is not asked


@both_dims
def test_the_reader_is_a_second_teacher_that_retires(dims: int) -> None:
    trainer = make_trainer(10, dims=dims, size=32, reader_weight=0.6)
    image = trainer.data_loader.batch(0)["unlabelled"]["image"]
    with torch.no_grad():
        own = trainer.ema.average(image).softmax(dim=1)
        slices = image if dims == 2 else torch.cat([volume.permute(3, 0, 1, 2) for volume in image])
        read = resize(trainer.segmenter(resize(slices, 16)), 32)
        if dims == 3:
            read = torch.stack([part.permute(1, 2, 3, 0) for part in read.split(4)])
        read = read.softmax(dim=1)
    for iteration, share in {1: 0.6, 6: 0.3, 10: 0.06}.items():
        trainer.state.iteration = iteration
        probability = trainer.teach(image)
        assert not probability.requires_grad
        torch.testing.assert_close(probability, (1 - share) * own + share * read, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(probability.sum(dim=1), torch.ones_like(probability[:, 0]))


def test_without_a_weight_the_reader_is_not_asked() -> None:
    trainer = make_trainer(reader_weight=0.0)
    trainer.segmenter.forward = lambda image: pytest.fail("the segmenter was run")
    image = trainer.data_loader.batch(0)["unlabelled"]["image"]
    torch.testing.assert_close(trainer.teach(image), trainer.ema.average(image).softmax(dim=1))
