"""Latent inversion: per slice, never worse than the encoder, no trace in the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_semgan.inferers import LatentInversionInferer
from monai_semgan.losses import GreyCurveLoss
from monai_semgan.losses.similarity import LocalNCCLoss
from monai_semgan.networks.nets import SemanticGANSegmenter
from tests.tiny import SIZE, make_image_critic, make_segmenter


@pytest.fixture
def network() -> SemanticGANSegmenter:
    torch.manual_seed(0)
    return make_segmenter(spatial_resolution=8).eval()


@pytest.fixture
def images(network: SemanticGANSegmenter) -> torch.Tensor:
    """Four images that the generator can make, but that the (untrained) encoder does not find."""
    torch.manual_seed(1)
    with torch.no_grad():
        made, _ = network.generator(2 * network.generator.sample_latents(4), noise="zero")
    return made.clamp(-1, 1)


def objective(network: nn.Module, image: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """The default loss without its trust term."""
    return LocalNCCLoss(reduction="none")(reconstruction, image) + GreyCurveLoss(reduction="none")(
        reconstruction, image
    )


@pytest.mark.parametrize("spatial", [0, 8])
@pytest.mark.parametrize("label_channels", [1, 3])
def test_no_steps_is_the_networks_own_answer(spatial: int, label_channels: int) -> None:
    network = make_segmenter(spatial_resolution=spatial, label_channels=label_channels)
    image = torch.randn(3, 1, SIZE, SIZE)
    inferer = LatentInversionInferer(steps=0)
    made = inferer(image, network)
    assert torch.equal(made, network(image))
    assert made.shape == (3, max(2, label_channels), SIZE, SIZE)
    assert inferer.report["steps"] == 0
    assert len(inferer.report["reconstruction_error"]) == 3


@pytest.mark.parametrize("contrast", [1.0, -1.0])
def test_it_explains_the_image_better_whatever_the_contrast(network, images, contrast: float) -> None:
    target = contrast * images
    before, after = (LatentInversionInferer(steps=s, trust_weight=0.0) for s in (0, 25))
    before(target, network)
    after(target, network)
    old = torch.tensor(before.report["reconstruction_error"])
    new = torch.tensor(after.report["reconstruction_error"])
    assert (new < old + 1e-5).all()
    assert new.mean() < 0.8 * old.mean()


def test_contrast_inversion_changes_nothing_but_the_start(images) -> None:
    """From the same start, an image and its negative are the same problem."""
    network = make_segmenter()
    with torch.no_grad():
        network.encoder.to_latents.weight.zero_()  # an encoder that answers alike for both
        network.encoder.to_latents.bias.normal_()
    inferer = LatentInversionInferer(steps=6)
    a, b = inferer(images, network), inferer(-images, network)
    torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("learning_rate", [0.05, 50.0])
def test_the_best_answer_is_kept_never_worse_than_the_encoders(network, images, learning_rate: float) -> None:
    """Also when every step leads astray."""
    inferer = LatentInversionInferer(
        steps=5, learning_rate=learning_rate, spatial_learning_rate=learning_rate, trust_weight=0.0
    )
    target = images.flip(0)

    def record(image: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        hook = network.generator.register_forward_hook(lambda m, args, out: seen.append(out[0].detach()))
        inferer(image, network)
        hook.remove()
        return torch.stack([objective(network, image, s) for s in seen])  # steps + 1, and the last pass

    losses = record(target)
    assert losses.shape == (7, 4)
    final, tried = losses[-1], losses[:-1]
    torch.testing.assert_close(final, tried.min(dim=0).values, atol=1e-5, rtol=1e-5)
    assert (final <= tried[0] + 1e-5).all()


def test_optimised_noise_must_beat_the_encoders_answer_without_noise(network, images) -> None:
    """The regulariser of the noise is no quality of the answer: it must not decide which answer is kept."""
    target = images.flip(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(1.0)
    before, astray, well = (
        LatentInversionInferer(steps=s, optimise_noise=True, trust_weight=0.0, curve_weight=0.0, learning_rate=r)
        for s, r in ((0, 0.05), (4, 50.0), (25, 0.05))
    )
    for inferer in (before, astray, well):
        inferer(target, network)
    old, kept, new = (torch.tensor(i.report["reconstruction_error"]) for i in (before, astray, well))
    assert (kept <= old + 1e-5).all()
    assert (new <= old + 1e-5).all()
    assert new.mean() < 0.8 * old.mean()


def test_hopeless_images_get_the_encoders_answer(network) -> None:
    image = torch.full((1, 1, SIZE, SIZE), float("nan"))
    inferer = LatentInversionInferer(steps=2)
    inferer(image, network)  # no exception
    good = torch.randn(1, 1, SIZE, SIZE)
    pair = inferer(torch.cat([image, good]), network)
    torch.testing.assert_close(pair[1:], inferer(good, network), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimise_noise": True},
        {"consistency_weight": 0.1, "consistency_every": 1},
        {"mse_weight": 1.0, "perceptual_weight": 1.0, "critic": "make"},
    ],
)
def test_slices_do_not_depend_on_their_company(network, images, options: dict[str, Any]) -> None:
    if options.get("critic") == "make":
        options = {**options, "critic": make_image_critic()}
    together = LatentInversionInferer(steps=4, **options)
    alone = LatentInversionInferer(steps=4, slice_batch=1, **options)
    pairs = LatentInversionInferer(steps=4, slice_batch=3, **options)
    want = together(images, network)
    for other in (alone, pairs):
        torch.testing.assert_close(other(images, network), want, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(
            torch.tensor(other.report["reconstruction_error"]),
            torch.tensor(together.report["reconstruction_error"]),
            atol=1e-3,
            rtol=1e-3,
        )


@pytest.mark.parametrize("trainable", [True, False])
def test_the_network_is_left_as_it_was(network, images, trainable: bool) -> None:
    network.requires_grad_(trainable)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    LatentInversionInferer(steps=2, optimise_noise=True, consistency_weight=0.1)(images, network)
    assert all(p.grad is None for p in network.parameters())
    assert all(p.requires_grad is trainable for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_it_works_inside_no_grad_and_leaves_no_graph(network, images) -> None:
    inferer = LatentInversionInferer(steps=3)
    with torch.no_grad():
        inside = inferer(images, network)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(inside, inferer(images, network))
    assert not inside.requires_grad


def test_it_is_deterministic_and_leaves_the_random_state_alone(network, images) -> None:
    inferer = LatentInversionInferer(steps=2, optimise_noise=True)
    state = torch.get_rng_state()
    first = inferer(images, network)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, inferer(images, network))


class TestVolumes:
    def test_slices_of_volumes_come_back_in_their_places(self, network, images) -> None:
        volume = images.view(2, 2, SIZE, SIZE)[:, None].permute(0, 1, 3, 4, 2)  # (B, 1, H, W, D)
        inferer = LatentInversionInferer(steps=2, slice_batch=3)
        made = inferer(volume, network)
        assert made.shape == (2, 2, SIZE, SIZE, 2)
        flat = inferer(images, network)
        for b in range(2):
            for d in range(2):
                torch.testing.assert_close(made[b, ..., d], flat[2 * b + d], atol=1e-3, rtol=1e-3)
        assert len(inferer.report["reconstruction_error"]) == 4

    @pytest.mark.parametrize("steps", [0, 1])
    def test_meta_data_are_kept(self, network, images, steps: int) -> None:
        affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
        volume = MetaTensor(images[:, 0].permute(1, 2, 0)[None, None], affine=affine, meta={"name": "a"})
        made = LatentInversionInferer(steps=steps)(volume, network)
        assert isinstance(made, MetaTensor)
        assert made.shape == (1, 2, SIZE, SIZE, 4)
        assert made.meta["name"] == "a"
        torch.testing.assert_close(made.affine, affine)
        assert made.dtype == torch.float32

    def test_plain_tensors_stay_plain(self, network, images) -> None:
        assert type(LatentInversionInferer(steps=0)(images, network)) is torch.Tensor

    @pytest.mark.parametrize("shape", [(SIZE, SIZE), (1, SIZE, SIZE), (1, 1, 1, 1, SIZE, SIZE)])
    def test_other_shapes_are_refused(self, network, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"inputs: got shape .* wanted \(B, C, H, W\) or"):
            LatentInversionInferer(steps=0)(torch.zeros(shape), network)


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"optimise_noise": True},
            {"consistency_weight": 1.0},
            {"spatial_learning_rate": 0.0},
            {"ncc_weight": 0.0, "curve_weight": 0.0, "mse_weight": 1.0},
            {"ramp_up": 0.0, "ramp_down": 0.0},
            {"optimise_noise": True, "spatial_learning_rate": 0.0, "trust_weight": 1.0},
        ],
    )
    @pytest.mark.parametrize("spatial", [0, 8])
    def test_they_run_and_improve(self, images, options: dict[str, Any], spatial: int) -> None:
        torch.manual_seed(0)
        network = make_segmenter(spatial_resolution=spatial)
        inferer = LatentInversionInferer(steps=3, **options)
        made = inferer(images, network)
        assert torch.isfinite(made).all()
        assert not torch.equal(made, network(images))

    def test_spatial_features_can_be_held(self, network, images) -> None:
        inferer = LatentInversionInferer(steps=3, spatial_learning_rate=0.0)
        used = []
        hook = network.generator.register_forward_pre_hook(
            lambda m, args, kwargs: used.append(kwargs["spatial"]), with_kwargs=True
        )
        inferer(images, network)
        hook.remove()
        assert all(torch.equal(u, used[0]) for u in used)

    def test_trust_holds_the_latents(self, network, images) -> None:
        def distance(weight: float) -> float:
            used = []
            hook = network.generator.register_forward_pre_hook(lambda m, args: used.append(args[0].detach().clone()))
            LatentInversionInferer(steps=10, trust_weight=weight)(images, network)
            hook.remove()
            return (used[-1] - used[0]).square().mean().item()

        assert distance(100.0) < 0.5 * distance(0.0)

    def test_a_callable_may_be_the_perceptual_distance(self, network, images) -> None:
        seen = []

        def features(x: torch.Tensor) -> list[torch.Tensor]:
            seen.append(x.requires_grad)
            return [x.repeat(1, 2, 1, 1)]

        LatentInversionInferer(steps=2, perceptual_weight=1.0, features=features)(images, network)
        assert seen.count(False) == 1  # of the target: once, not once a step
        assert seen.count(True) == 3

    def test_a_critic_is_frozen_and_collects_nothing(self, network, images) -> None:
        critic = make_image_critic()
        LatentInversionInferer(steps=1, perceptual_weight=1.0, critic=critic)(images, network)
        assert all(p.grad is None for p in critic.parameters())

    def test_wrong_options_are_refused(self) -> None:
        with pytest.raises(ValueError, match="neither features nor critic is given"):
            LatentInversionInferer(perceptual_weight=1.0)
        with pytest.raises(ValueError, match="steps=-1"):
            LatentInversionInferer(steps=-1)
        with pytest.raises(ValueError, match="slice_batch=0"):
            LatentInversionInferer(slice_batch=0)

    def test_learning_rate_rises_and_falls(self) -> None:
        inferer = LatentInversionInferer(steps=100)
        rates = [inferer._schedule((i + 1) / 100) for i in range(100)]
        assert rates[0] == pytest.approx(0.2)
        assert rates[4:75] == [1.0] * 71
        assert rates[75:] == sorted(rates[75:], reverse=True)
        assert 0 < rates[-1] < 0.02


def test_images_of_another_size_are_named(network) -> None:
    with pytest.raises(ValueError, match="encoder: got an image of shape"):
        LatentInversionInferer(steps=1)(torch.zeros(1, 1, 32, 32), network)
