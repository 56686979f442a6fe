"""Every stage of every method by itself, with networks of a few thousand weights, so that a kill costs little time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai_semgan.transforms import JointDiffAugment, RandBatchAppearance, RandSliceAffine
from tests import tiny, tiny_adversarial, tiny_generative, tiny_one_shot, tiny_student, tiny_transfer
from tests.faults.jobs import Job

__all__ = ["STAGES", "Stage"]

ITERATIONS = 8


class Stage(Job):
    """A trainer that is made in the results folder and run."""

    def action(self, folder: Path, out: Path, export: bool) -> Callable[[], Any]:
        make = MAKERS[self.config]
        return lambda: make(out).run()


MAKERS: dict[str, Callable[[Path], Any]] = {
    "gan": lambda out: tiny.make_gan_trainer(
        out, augment=JointDiffAugment(), warp=RandSliceAffine(), max_epochs=3, checkpoint_every=2
    ),
    "style_encoder": lambda out: tiny.make_encoder_trainer(
        out, train_generator="all", randomise=RandBatchAppearance(), max_epochs=3, checkpoint_every=2
    ),
    "student": lambda out: tiny_student.make_trainer(ITERATIONS, out),
    "student_volumes": lambda out: tiny_student.make_trainer(ITERATIONS, out, dims=3),
    "adversarial_semi_trainer": lambda out: tiny_adversarial.make_trainer(ITERATIONS, out, **tiny_adversarial.AT_ONCE),
    "transfer_objects": lambda out: tiny_transfer.make_object_trainer(ITERATIONS, out),
    "transfer_tags": lambda out: tiny_transfer.make_tag_trainer(ITERATIONS, out),
    "transfer_trainer": lambda out: tiny_transfer.make_trainer(ITERATIONS, out),
    "mask_tokenizer": lambda out: tiny_generative.make_tokenizer_trainer(ITERATIONS, out),
    "code_prior": lambda out: tiny_generative.make_prior_trainer(ITERATIONS, out),
    "feature_projector": lambda out: tiny_one_shot.make_projector_trainer(ITERATIONS, out),
    "one_shot_head": lambda out: tiny_one_shot.make_head_trainer(out, ITERATIONS),
}
STAGES: dict[str, Stage] = {name: Stage(name, {}) for name in MAKERS}
