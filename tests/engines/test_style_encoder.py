"""Stage 2: what is trained, what the encoder is shown, hand-over from stage 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from monai_semgan.engines import StyleEncoderTrainer
from monai_semgan.networks.nets import SemanticGANSegmenter
from monai_semgan.utils import InputError
from monai_semgan.utils.checkpoint import load_checkpoint, load_network
from tests.tiny import make_batch, make_encoder_trainer, make_gan_trainer, make_segmenter


def snapshot(trainer: StyleEncoderTrainer) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in trainer.network.named_parameters()}


def moved(trainer: StyleEncoderTrainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {k for k, v in trainer.network.named_parameters() if not torch.equal(v, before[k])}


@pytest.mark.parametrize("choice", ["none", "label_heads", "all"])
def test_what_is_trained(choice: str) -> None:
    trainer = make_encoder_trainer(train_generator=choice)
    before = snapshot(trainer)
    trainer.run()
    changed = {k for k in moved(trainer, before) if k.startswith("generator")}
    assert any(k.startswith("encoder") for k in moved(trainer, before))
    if choice == "none":
        assert not changed
    elif choice == "label_heads":
        assert changed
        assert all("to_label" in k for k in changed)
    else:
        assert any("to_image" in k for k in changed)
        assert any("conv_up" in k for k in changed)


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="train_generator: got 'some'; wanted 'none', 'label_heads' or 'all'"):
        make_encoder_trainer(train_generator="some")


def test_terms_and_their_weights() -> None:
    trainer = make_encoder_trainer(image_weight=2.0, label_weight=3.0, latent_weight=5.0, perceptual_weight=7.0)
    plain = make_encoder_trainer(perceptual_weight=1.0)

    def terms(t: StyleEncoderTrainer) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return t.encode(make_batch())

    got, want = terms(trainer), terms(plain)
    factors = {"image": 2.0, "label": 3.0, "latent": 5.0, "perceptual": 7.0}
    assert got.keys() == factors.keys()
    for name, factor in factors.items():
        torch.testing.assert_close(got[name], factor * want[name])


@pytest.mark.parametrize(
    "options",
    [
        {"generated_fraction": 0.0},
        {"generated_fraction": 2.0},
        {"image_critic": None},
        {"generator_options": {"label_channels": 3}},
        {"generator_options": {"spatial_resolution": 8}},
    ],
)
def test_variants_run(options: dict) -> None:
    trainer = make_encoder_trainer(**options)
    trainer.run()
    assert trainer.skipped_steps == 0
    assert ("encoder/latent" in trainer.state.output) == (options.get("generated_fraction") != 0.0)


def test_labelled_slices_alone_are_enough() -> None:
    trainer = make_encoder_trainer(train_data_loader=[{"labelled": make_batch()["labelled"]}] * 3)
    trainer.run()
    assert trainer.state.images_seen == 12


def test_the_critic_is_a_ruler_and_does_not_change() -> None:
    trainer = make_encoder_trainer()
    before = [p.clone() for p in trainer.image_critic.parameters()]
    trainer.run()
    for a, b in zip(before, trainer.image_critic.parameters(), strict=True):
        assert torch.equal(a, b)
        assert b.grad is None


@pytest.mark.parametrize("choice", ["none", "label_heads"])
def test_the_encoder_learns_masks_also_from_a_read_out_generator(choice: str) -> None:
    """``label_trunk_gradient`` protects a trunk in training; here it is fixed, and the way to the encoder."""

    def gradient(scale: float) -> torch.Tensor:
        trainer = make_encoder_trainer(train_generator=choice, generator_options={"label_trunk_gradient": scale})
        torch.manual_seed(0)
        trainer.encode(make_batch())["label"].backward()
        return trainer.network.encoder.to_latents.weight.grad

    torch.testing.assert_close(gradient(0.0), gradient(1.0))


class TestDisguise:
    def test_what_must_be_given_back_is_the_clean_image(self) -> None:
        """With a perfect memory of the clean image, the image term is zero whatever was shown."""
        shown = []
        trainer = make_encoder_trainer(
            randomise=lambda image, label=None: torch.full_like(image, 0.123),
            clean_fraction=0.0,
            generated_fraction=0.0,
        )
        encode = trainer.network.encoder.forward
        trainer.network.encoder.forward = lambda x: (shown.append(x), encode(x))[1]
        terms = trainer.encode(make_batch())
        assert (shown[0] == 0.123).all()
        assert terms["image"] > 0.1

    def test_a_fraction_stays_clean(self) -> None:
        trainer = make_encoder_trainer(randomise=lambda i, label=None: i + 1, clean_fraction=0.25)
        torch.manual_seed(0)
        image = torch.zeros(400, 1, 2, 2)
        shown = trainer.disguise(image, image)
        assert set(shown.unique().tolist()) == {0.0, 1.0}
        assert (shown.flatten(1).std(dim=1) == 0).all()  # per image, not per pixel
        assert (shown == 0).float().mean().item() == pytest.approx(0.25, abs=0.06)

    def test_hints_are_masks_where_there_are_any(self) -> None:
        seen = {}

        def randomise(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            seen["image"], seen["label"] = image, label
            return image

        batch = make_batch(4)
        make_encoder_trainer(randomise=randomise, generated_fraction=0.5).encode(batch)
        assert seen["image"].shape == seen["label"].shape == (4 + 4 + 2, 1, 16, 16)
        assert not seen["label"][:4].any()
        assert torch.equal(seen["label"][4:8], batch["labelled"]["label"])
        assert seen["label"].dtype == torch.uint8


def test_generated_pairs_are_labelled_by_the_generator() -> None:
    trainer = make_encoder_trainer(generator_options={"label_channels": 3})
    image, label, latents = trainer.generated(5)
    assert image.shape == (5, 1, 16, 16)
    assert image.abs().max() <= 1
    assert label.shape == (5, 1, 16, 16)
    assert set(label.unique().tolist()) <= {0, 1, 2}
    assert not latents.requires_grad


class TestTakeOver:
    def stage_one(self, tmp_path: Path, **options) -> Path:
        make_gan_trainer(tmp_path / "one", **options).run()
        return tmp_path / "one/generator.pt"

    def test_generator_critic_and_encoder_come_from_stage_one(self, tmp_path: Path) -> None:
        source = self.stage_one(tmp_path)
        trainer = make_encoder_trainer(tmp_path / "two", seed=7, generator_checkpoint=source)
        trainer.take_over(load_checkpoint(source))
        wanted = load_checkpoint(source)
        for name, network in (
            ("generator", trainer.network.generator),
            ("image_critic", trainer.image_critic),
            ("encoder", trainer.network.encoder),
        ):
            for key, value in network.state_dict().items():
                assert torch.equal(value, wanted[name][key])
        for key, value in trainer.ema.average.state_dict().items():
            assert torch.equal(value, trainer.network.state_dict()[key])

    def test_an_encoder_that_never_ran_starts_at_the_mean(self, tmp_path: Path) -> None:
        source = self.stage_one(tmp_path, encoder=None, warmup_iterations=0, reconstruct_weight=0.0)
        trainer = make_encoder_trainer(generator_checkpoint=source)
        trainer.take_over(load_checkpoint(source))
        encoder, generator = trainer.network.encoder, trainer.network.generator
        torch.testing.assert_close(encoder.mean_latent, generator.mean_latent())
        torch.testing.assert_close(trainer.ema.average.encoder.mean_latent, encoder.mean_latent)

    def test_it_happens_when_the_training_starts_not_when_it_is_built(self, tmp_path: Path) -> None:
        make_encoder_trainer(generator_checkpoint=tmp_path / "later.pt")

    def test_another_generator_is_refused(self, tmp_path: Path) -> None:
        source = self.stage_one(tmp_path)
        trainer = make_encoder_trainer(generator_checkpoint=source, generator_options={"channel_max": 4})
        with pytest.raises(InputError, match=r"generator\.pt, generator: got .* file \(.* network \("):
            trainer.run()

    def test_a_plain_encoder_is_handed_to_one_with_spatial_features(self, tmp_path: Path) -> None:
        source = self.stage_one(tmp_path)
        trainer = make_encoder_trainer(generator_options={"spatial_resolution": 8})
        trainer.take_over(load_checkpoint(source))
        wanted = load_checkpoint(source)["encoder"]
        torch.testing.assert_close(trainer.network.encoder.stem.weight, wanted["stem.weight"])


def test_the_result_is_a_deployable_network(tmp_path: Path) -> None:
    trainer = make_encoder_trainer(tmp_path, network_settings={"image_size": 16})
    trainer.run()
    network = load_network(make_segmenter(), tmp_path / "model.pt")
    assert isinstance(network, SemanticGANSegmenter)
    image = make_batch()["labelled"]["image"]
    torch.testing.assert_close(network(image), trainer.ema.average(image))
    assert (tmp_path / "model.json").is_file()


def test_learning_rate_warms_up_and_falls() -> None:
    trainer = make_encoder_trainer(max_epochs=100, epoch_length=3)
    rates = []
    for iteration in range(300):
        trainer.before_iteration(iteration, None)
        rates.append(trainer.optimizers["encoder"].param_groups[0]["lr"])
    assert rates[0] < 0.05 * max(rates)
    assert 40 < rates.index(max(rates)) < 60
    assert rates[-1] < 0.05 * max(rates)
    assert max(rates) <= trainer.learning_rate


def test_it_learns() -> None:
    """A few dozen steps of everything lower the loss on the training slices."""
    trainer = make_encoder_trainer(
        train_generator="all",
        max_epochs=10,
        learning_rate=0.02,
        generated_fraction=0.0,
        perceptual_weight=0.0,
    )
    losses: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"]))
    trainer.run()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
