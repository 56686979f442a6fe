"""SemanticGAN's trainers without masks: the image branch alone."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_semgan.engines import SemanticGANTrainer, StyleEncoderTrainer
from monai_semgan.handlers import GeneratorPreview, ReconstructionPreview
from monai_semgan.networks.nets import SemanticGANSegmenter
from tests.tiny import make_bank, make_encoder, make_generator, make_image_critic
from tests.tiny_adversarial import outputs
from tests.tiny_one_shot import make_images


def make_gan(folder: Path | None = None, iterations: int = 4) -> SemanticGANTrainer:
    torch.manual_seed(0)
    generator = make_generator(label_channels=0)
    return SemanticGANTrainer(
        "cpu", 1, iterations, make_images(iterations), generator, make_image_critic(), encoder=make_encoder(generator),
        warmup_iterations=2, reconstruct_weight=0.5, critic_regularise_every=2, path_length_every=2,
        output_dir=folder, checkpoint_every=2,
    )  # fmt: skip


def make_reader(folder: Path | None = None, gan: Path | None = None) -> StyleEncoderTrainer:
    torch.manual_seed(1)
    generator = make_generator(label_channels=0)
    network = SemanticGANSegmenter(make_encoder(generator), generator)
    return StyleEncoderTrainer(
        "cpu", 1, 2, make_images(2), network, generator_checkpoint=gan, output_dir=folder, checkpoint_every=2
    )


def test_no_term_is_of_masks() -> None:
    rows = outputs(make_gan())
    names = set().union(*rows)
    assert not [name for name in names if "label" in name or "joint" in name or "feature_matching" in name]
    assert {"warmup/image", "gan/image_critic", "gan/r1_image", "gan/generator/image", "gan/path_length"} <= names
    assert set(rows[0]) & {"gan/image_critic"} == set()  # the warm start comes first
    assert [phase.name for phase in make_gan().schedule].index("gan/r1_image") == 3


def test_the_encoder_follows_by_file(tmp_path: Path) -> None:
    make_gan(tmp_path / "gan").run()
    trainer = make_reader(tmp_path / "encoder", tmp_path / "gan" / "generator.pt")
    rows = outputs(trainer)
    assert set(rows[0]) == {"loss", "encoder/image", "encoder/latent"}
    handed = torch.load(tmp_path / "gan" / "generator.pt", weights_only=True)["generator"]
    kept = torch.load(tmp_path / "encoder" / "model.pt", weights_only=True)
    assert all(torch.equal(kept[f"generator.{name}"], value) for name, value in handed.items())


def test_masks_in_a_batch_change_nothing(tmp_path: Path) -> None:
    def weights(with_masks: bool) -> dict[str, torch.Tensor]:
        trainer = make_gan()
        loader = trainer.data_loader
        if with_masks:
            whole = loader.batch

            def batch(index: int):
                made = whole(index)
                image = torch.rand(2, 1, 16, 16)
                return {**made, "labelled": {"image": image, "label": (image > 0.5).to(torch.uint8)}}

            loader.batch = batch
        trainer.run()
        return trainer.generator.state_dict()

    one, other = weights(False), weights(True)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_pictures_without_masks() -> None:
    generator = make_generator(label_channels=0)
    network = SemanticGANSegmenter(make_encoder(generator), generator)
    assert GeneratorPreview(generator, 4)()["samples"].ndim == 3
    shown = ReconstructionPreview(network, {"all": make_bank(6)}, 3)()
    assert set(shown) == {"reconstruction_all"}
