"""Stage 1: who gets a gradient from what, the phases, exact resume, hand-over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from monai_semgan.engines import SemanticGANTrainer
from monai_semgan.transforms import JointDiffAugment, RandSliceAffine
from monai_semgan.utils import InputError
from monai_semgan.utils.checkpoint import load_checkpoint
from tests.tiny import (
    make_batch,
    make_gan_trainer,
    make_image_critic,
    make_joint_critic,
    whole_terms,
)

PARTS = {
    "to_image": "blocks.1.heads.to_image.weight",
    "to_label": "blocks.1.heads.to_label.weight",
    "trunk": "blocks.0.conv.conv.weight",
    "mapping": "mapping_layers.0.weight",
}


def gradients(trainer: SemanticGANTrainer, terms: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Gradient of some terms of the generator's phase, by part of the generator; zeros for none."""
    for network in trainer.networks.values():
        network.zero_grad(set_to_none=True)
        network.requires_grad_(network is trainer.generator)
    torch.manual_seed(0)
    trainer.shared = {}
    losses = whole_terms(trainer.generator_step(make_batch()))
    sum(losses[t] for t in terms).backward()
    found = dict(trainer.generator.named_parameters())
    return {
        k: found[n].grad.clone() if found[n].grad is not None else torch.zeros_like(found[n]) for k, n in PARTS.items()
    }


def is_zero(gradient: torch.Tensor) -> bool:
    return not gradient.any()


class TestStopGradients:
    """Specification 2.2, row by row."""

    @pytest.mark.parametrize("augment", [None, JointDiffAugment()])
    @pytest.mark.parametrize("term", ["joint", "feature_matching"])
    def test_joint_critic_moves_mask_and_shared_parts_but_not_the_image(self, term: str, augment) -> None:
        trainer = make_gan_trainer(augment=augment)
        found = gradients(trainer, (term,))
        assert is_zero(found["to_image"])
        assert not is_zero(found["to_label"])
        assert not is_zero(found["trunk"])
        assert not is_zero(found["mapping"])
        if augment is None:  # not even a zero: nothing is connected
            assert trainer.generator.blocks[1].heads.to_image.weight.grad is None

    def test_image_critic_moves_the_image_but_not_the_mask_heads(self) -> None:
        trainer = make_gan_trainer()
        found = gradients(trainer, ("image",))
        assert is_zero(found["to_label"])
        assert trainer.generator.blocks[1].heads.to_label.weight.grad is None
        assert trainer.generator.heads.label_bias.grad is None
        assert not is_zero(found["to_image"])
        assert not is_zero(found["trunk"])
        assert not is_zero(found["mapping"])

    @pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
    def test_the_trunk_gradient_of_the_mask_is_scaled(self, scale: float) -> None:
        reference = make_gan_trainer()
        trainer = make_gan_trainer(generator_options={"label_trunk_gradient": scale})
        terms = ("joint", "feature_matching")
        want, got = gradients(reference, terms), gradients(trainer, terms)
        torch.testing.assert_close(got["trunk"], scale * want["trunk"], atol=1e-7, rtol=1e-4)
        torch.testing.assert_close(got["to_label"], want["to_label"])
        image = gradients(reference, ("image",))["trunk"]
        torch.testing.assert_close(gradients(trainer, ("image",))["trunk"], image)

    def test_real_features_are_constants_and_critics_get_no_gradient(self) -> None:
        trainer = make_gan_trainer()
        gradients(trainer, ("image", "joint", "feature_matching"))
        for critic in (trainer.image_critic, trainer.joint_critic):
            assert all(p.grad is None for p in critic.parameters())

    @pytest.mark.parametrize("phase", ["image_critic_step", "joint_critic_step", "r1_image", "r1_joint"])
    def test_critics_steps_leave_the_generator_alone(self, phase: str) -> None:
        trainer = make_gan_trainer()
        (loss,) = whole_terms(getattr(trainer, phase)(make_batch())).values()  # nothing frozen: the phases' own care
        loss.backward()
        assert all(p.grad is None for p in trainer.generator.parameters())
        trained = trainer.image_critic if "image" in phase else trainer.joint_critic
        assert any(p.grad is not None and p.grad.any() for p in trained.parameters())

    def test_path_length_moves_mapping_and_trunk_but_not_the_mask_heads(self) -> None:
        trainer = make_gan_trainer()
        whole_terms(trainer.path_length(make_batch()))[""].backward()
        found = dict(trainer.generator.named_parameters())
        assert found[PARTS["to_label"]].grad is None
        for part in ("trunk", "mapping", "to_image"):
            assert found[PARTS[part]].grad.any()
        assert trainer.mean_path_length > 0


class TestPhases:
    def test_order_of_the_specification(self) -> None:
        trainer = make_gan_trainer(path_length_every=4, critic_regularise_every=16)
        due = [p.name for p in trainer.schedule if p.due(2)]  # the first after the warm start
        assert due == [
            "gan/image_critic", "gan/joint_critic", "gan/r1_image", "gan/r1_joint", "gan/generator",
            "gan/path_length", "gan/autoencode",
        ]  # fmt: skip
        assert [p.name for p in trainer.schedule if p.due(3)] == [
            "gan/image_critic", "gan/joint_critic", "gan/generator", "gan/autoencode",
        ]  # fmt: skip
        assert all(p.name.startswith("warmup") for p in trainer.schedule if p.due(0))

    def test_the_prior_is_fitted_on_beside_the_autoencoder(self) -> None:
        kept = make_gan_trainer(mapping_learning_rate=0.04)
        assert next(p.name for p in kept.schedule if p.due(3)) == "gan/mapping"
        assert kept.optimizers["mapping"].param_groups[0]["lr"] == 0.04
        alone = make_gan_trainer(mapping_learning_rate=0.04, reconstruct_weight=0.0)  # no new codes to follow
        assert "gan/mapping" not in [p.name for p in alone.schedule]
        kept.run()
        assert "gan/mapping" in kept.state.output

    def test_the_papers_training_has_no_encoder(self) -> None:
        trainer = make_gan_trainer(encoder=None, warmup_iterations=0, reconstruct_weight=0.0, path_length_weight=0)
        names = [p.name for p in trainer.schedule]
        assert names == [
            "gan/image_critic",
            "gan/joint_critic",
            "gan/r1_image",
            "gan/r1_joint",
            "gan/generator",
        ]
        trainer.run()
        assert "gan/generator/image" in trainer.state.output

    def test_an_encoder_is_asked_for_where_it_is_needed(self) -> None:
        with pytest.raises(ValueError, match="need an encoder"):
            make_gan_trainer(encoder=None)

    def test_lazy_terms_carry_their_interval(self) -> None:
        values = []
        for every in (2, 8):
            trainer = make_gan_trainer(critic_regularise_every=every, path_length_every=every)
            torch.manual_seed(1)
            parts = [trainer.r1_image, trainer.r1_joint, trainer.path_length]
            values.append(torch.stack([whole_terms(part(make_batch()))[""].detach() for part in parts]))
        torch.testing.assert_close(values[1], 4 * values[0])

    def test_optimisers_are_corrected_for_lazy_steps(self) -> None:
        trainer = make_gan_trainer(
            learning_rate=0.002, critic_regularise_every=16, path_length_every=4, warmup_iterations=0
        )
        generator = trainer.optimizers["generator"].param_groups[0]
        critic = trainer.optimizers["joint_critic"].param_groups[0]
        assert generator["lr"] == pytest.approx(0.002 * 4 / 5)
        assert generator["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))
        assert critic["lr"] == pytest.approx(0.002 * 16 / 17)
        assert critic["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))

    def test_both_critics_see_the_same_fakes(self) -> None:
        trainer = make_gan_trainer()
        batch = make_batch()
        assert trainer.fake(batch)[0] is trainer.fake(batch)[0]

    @pytest.mark.parametrize("classes", [2, 4])
    def test_all_phases_run_and_move_their_players(self, classes: int) -> None:
        trainer = make_gan_trainer(generator_options={"label_channels": 1 if classes == 2 else classes})
        before = {k: [p.detach().clone() for p in v.parameters()] for k, v in trainer.networks.items()}
        seen: set[str] = set()
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.update(e.state.output))
        trainer.run()
        phases = {p.name for p in trainer.schedule}
        assert all(any(k == p or k.startswith(p + "/") for k in seen) for p in phases)
        for name, network in trainer.networks.items():
            assert any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True))
        assert trainer.state.images_seen == 12
        assert trainer.skipped_steps == 0

    def test_labelled_slices_alone_are_enough(self) -> None:
        batch = {"labelled": make_batch()["labelled"]}
        trainer = make_gan_trainer(train_data_loader=[batch] * 3)
        trainer.run()
        assert trainer.state.iteration == 6

    @pytest.mark.parametrize(("labelled", "unlabelled"), [(1, 3), (3, 1)])
    def test_batches_of_different_sizes(self, labelled: int, unlabelled: int) -> None:
        batch = {
            "labelled": make_batch(labelled)["labelled"],
            "unlabelled": make_batch(unlabelled)["unlabelled"],
        }
        trainer = make_gan_trainer(train_data_loader=[batch] * 3)
        trainer.run()
        assert trainer.skipped_steps == 0

    def test_a_bad_step_leaves_no_trace_in_running_values(self) -> None:
        trainer = make_gan_trainer()
        trainer.mean_path_length = torch.tensor(0.5)
        trainer.remember(torch.full((2, 8), float("nan")))
        assert torch.isfinite(trainer.memory).all()
        with torch.no_grad():
            trainer.generator.constant.fill_(float("nan"))
        whole_terms(trainer.path_length(make_batch()))
        assert trainer.mean_path_length.item() == 0.5


class TestSlicesAtOnce:
    """Parts of a batch give the step of the whole batch, to rounding."""

    @pytest.mark.parametrize("phase", ["image_critic_step", "r1_image", "generator_step", "path_length"])
    def test_gradients_are_those_of_the_whole_batch(self, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
        batch = make_batch(16 if phase == "path_length" else 8)  # path length looks at half of a batch
        draws = torch.randn(8, 8, generator=torch.Generator().manual_seed(3))
        monkeypatch.setattr(torch, "randn_like", torch.ones_like)  # the direction in which lengths are taken
        found = []
        for at_once, count in ((None, 1), (4, 2)):
            trainer = make_gan_trainer(slices_at_once=at_once)
            if at_once and phase == "path_length":
                trainer.slices_at_once = 8  # of sixteen
            parts, generator = trainer.parts(8 if phase != "path_length" else 16), trainer.generator
            assert len(parts) == count
            maps = generator.make_noise(8, "fixed")
            monkeypatch.setattr(generator, "make_noise", lambda *_, maps=maps: maps)
            trainer.shared["fake"] = tuple(made.detach() for made in generator(generator.mapping(draws)))
            waiting = iter(parts)  # each call gets the latents of its rows
            monkeypatch.setattr(
                generator, "sample_latents",
                lambda size, mixing, g=generator, rows=waiting: g._as_wplus(g.mapping(draws[next(rows)])),
            )  # fmt: skip
            terms = whole_terms(getattr(trainer, phase)(batch))
            sum(terms.values()).backward()
            gradients = {
                f"{player}.{name}": p.grad
                for player, network in trainer.networks.items()
                for name, p in network.named_parameters() if p.grad is not None
            }  # fmt: skip
            found.append(({k: v.detach() for k, v in terms.items()}, gradients, trainer.mean_path_length))
        (terms, gradients, mean), (other_terms, other_gradients, other_mean) = found
        assert len(gradients) > 4
        torch.testing.assert_close(other_terms, terms, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other_gradients, gradients, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(other_mean, mean)

    def test_less_is_kept_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        trainer = make_gan_trainer(slices_at_once=1, train_data_loader=[make_batch(3)] * 3)
        trainer.image_critic.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        trainer.run()
        assert set(seen) == {1}
        assert trainer.skipped_steps == 0

    def test_a_number_below_one_is_refused(self) -> None:
        with pytest.raises(InputError, match="slices_at_once"):
            make_gan_trainer(slices_at_once=0)


class TestAverage:
    def test_follows_the_generator(self) -> None:
        trainer = make_gan_trainer()
        trainer.run()
        for average, weight in zip(trainer.ema.average.parameters(), trainer.generator.parameters(), strict=True):
            torch.testing.assert_close(average, weight, atol=0.05, rtol=0.1)  # ramp-up: a short memory

    def test_results_are_the_average(self, tmp_path: Path) -> None:
        trainer = make_gan_trainer(tmp_path, network_settings={"image_size": 16})
        trainer.run()
        result = load_checkpoint(tmp_path / "generator.pt")
        assert set(result) == {"generator", "image_critic", "encoder"}
        for name, value in trainer.ema.average.state_dict().items():
            assert torch.equal(result["generator"][name], value)
        assert (tmp_path / "generator.json").is_file()


@pytest.mark.parametrize("seen_by", ["image", "joint"])
def test_real_and_made_pass_apart_with_the_gradient_of_both(seen_by: str) -> None:
    trainer = make_gan_trainer(warmup_iterations=0)
    critic = trainer.image_critic if seen_by == "image" else trainer.joint_critic.eval()
    phase = next(p for p in trainer.schedule if p.name == f"gan/{seen_by}_critic")
    batch, made = make_batch(4), []
    for apart in (True, False):
        trainer.shared = {}
        critic.zero_grad()
        torch.manual_seed(0)
        if apart:
            critic.requires_grad_(True)
            trainer._backward(phase, batch)
        else:
            sum(whole_terms(phase.loss(batch)).values()).backward()
        made.append({name: p.grad.clone() for name, p in critic.named_parameters()})
    torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-7)
    assert any(g.abs().max() > 1e-4 for g in made[0].values())


@pytest.mark.parametrize("seen_by", ["image", "joint"])
def test_critics_learn_to_tell_real_from_made(seen_by: str) -> None:
    """Twenty steps on fixed pictures: the loss falls below that of a critic that cannot tell."""
    torch.manual_seed(0)
    image, joint = make_image_critic(), make_joint_critic()
    trainer = make_gan_trainer(image_critic=image, joint_critic=joint, learning_rate=0.01)
    step = trainer.image_critic_step if seen_by == "image" else trainer.joint_critic_step
    optimizer = trainer.optimizers[f"{seen_by}_critic"]
    batch, losses = make_batch(4), []
    for _ in range(20):
        optimizer.zero_grad()
        (loss,) = whole_terms(step(batch)).values()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_augmented_training_runs_on_deformed_slices() -> None:
    trainer = make_gan_trainer(augment=JointDiffAugment(), warp=RandSliceAffine())
    trainer.run()
    assert trainer.skipped_steps == 0
