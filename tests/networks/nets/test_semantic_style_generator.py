"""The generator: latents, channels, shapes, noise, mixing, truncation, spatial features."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.nets import SemanticStyleGenerator, num_latents, style_channels
from tests.tiny import LATENT, SIZE, make_generator


@pytest.mark.parametrize(("size", "count"), [(32, 8), (64, 10), (128, 12), (256, 14)])
def test_latents_channels_and_shapes(size: int, count: int) -> None:
    assert num_latents(size) == count
    channels = style_channels(size, 16384, 512)
    table = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64}
    assert channels == {r: c for r, c in table.items() if r <= size}
    wide = style_channels(size, 32768, 512)
    assert wide[size] == {32: 512, 64: 512, 128: 256, 256: 128}[size]
    with torch.device("meta"):
        generator = SemanticStyleGenerator(size, channel_base=16384)
    assert generator.num_latents == count
    assert len(generator.noise_sizes) == count - 1
    assert [b.conv.conv.weight.shape[0] for b in generator.blocks] == list(channels.values())[1:]


@pytest.mark.parametrize("size", [8, 32, 64, 256])
def test_output_shapes(size: int) -> None:
    generator = make_generator(image_size=size, channel_base=4 * size, channel_max=4)
    image, label = generator(torch.randn(1, LATENT))
    assert image.shape == label.shape == (1, 1, size, size)


@pytest.mark.parametrize("image_channels", [1, 2, 3])
@pytest.mark.parametrize("label_channels", [1, 4])
@pytest.mark.parametrize("latent_input", [False, True])
def test_channels_of_image_and_mask(image_channels: int, label_channels: int, latent_input: bool) -> None:
    generator = make_generator(image_channels=image_channels, label_channels=label_channels, latent_input=latent_input)
    image, label, features = generator.synthesise(generator.sample_latents(3))
    assert image.shape == (3, image_channels, SIZE, SIZE)
    assert label.shape == (3, label_channels, SIZE, SIZE)
    assert [tuple(f.shape) for f in features] == [(3, c, r, r) for r, c in generator.channels.items()]


def test_every_latent_and_every_parameter_matters() -> None:
    generator = make_generator()
    latents = generator.sample_latents(2).detach().requires_grad_()
    image, label = generator(latents)
    (image.square().sum() + label.square().sum()).backward()
    assert (latents.grad.abs().sum(dim=(0, 2)) > 0).all()
    unused = [n for n, p in generator.named_parameters() if p.grad is None and not n.startswith("mapping")]
    assert not unused


def test_one_latent_serves_all_layers() -> None:
    generator = make_generator()
    w = torch.randn(2, LATENT)
    wplus = w[:, None].repeat(1, generator.num_latents, 1)
    torch.testing.assert_close(generator(w, "fixed"), generator(wplus, "fixed"))


@pytest.mark.parametrize("shape", [(2, LATENT + 1), (2, 3, LATENT), (2, 1, 1, LATENT)])
def test_wrong_latents_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latents: got shape .* wanted \(B, 8\) or \(B, 6, 8\)"):
        make_generator()(torch.randn(shape))


@pytest.mark.parametrize("size", [0, 4, 48, 100])
def test_wrong_sizes_are_named(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size: got {size}; wanted a power of two"):
        SemanticStyleGenerator(size)


def test_wrong_spatial_resolution_is_named() -> None:
    with pytest.raises(ValueError, match="spatial_resolution: got 12"):
        make_generator(spatial_resolution=12)


class TestNoise:
    def test_random_is_fresh_and_seeded(self) -> None:
        generator, w = make_generator(), torch.randn(2, LATENT)
        first, second = generator(w)[0], generator(w)[0]
        assert not torch.equal(first, second)
        a = generator(w, generator=torch.Generator().manual_seed(3))[0]
        b = generator(w, generator=torch.Generator().manual_seed(3))[0]
        assert torch.equal(a, b)

    def test_random_differs_within_a_batch(self) -> None:
        maps = make_generator().make_noise(2, "random")
        assert all(m.shape[0] == 2 and not torch.equal(m[0], m[1]) for m in maps)

    def test_fixed_is_stored_and_equal_across_networks(self) -> None:
        generator, w = make_generator(), torch.randn(1, LATENT)
        assert torch.equal(generator(w, "fixed")[0], generator(w, "fixed")[0])
        assert not torch.equal(generator(w, "fixed")[0], generator(w, "zero")[0])
        other = make_generator()
        assert all(
            torch.equal(a, b)
            for a, b in zip(generator.make_noise(1, "fixed"), other.make_noise(1, "fixed"), strict=True)
        )
        assert "noise_0" in generator.state_dict()

    def test_a_list_is_used_as_given(self) -> None:
        generator, w = make_generator(), torch.randn(2, LATENT)
        maps = generator.make_noise(2, "random")
        assert [m.shape[-1] for m in maps] == generator.noise_sizes == [4, 8, 8, 16, 16]
        torch.testing.assert_close(generator(w, maps), generator(w, maps))
        torch.testing.assert_close(generator(w, [m * 0 for m in maps]), generator(w, "zero"))

    def test_wrong_lists_and_names_are_refused(self) -> None:
        generator, w = make_generator(), torch.randn(2, LATENT)
        with pytest.raises(ValueError, match=r"noise: got maps .* wanted one"):
            generator(w, generator.make_noise(2)[:-1])
        with pytest.raises(ValueError, match=r"noise: got maps .* wanted one"):
            generator(w, [m[:, 0] for m in generator.make_noise(2)])
        with pytest.raises(ValueError, match=r"noise: got maps .* wanted one"):
            generator(w, generator.make_noise(3))
        with pytest.raises(ValueError, match="noise: got 'loud'; wanted 'random', 'fixed', 'zero'"):
            generator(w, "loud")


class TestPrior:
    def test_mapping_ignores_the_length_of_z(self) -> None:
        generator, z = make_generator(), torch.randn(3, LATENT)
        torch.testing.assert_close(generator.mapping(z), generator.mapping(7 * z), atol=1e-5, rtol=1e-5)

    def test_without_mixing_all_layers_share_one_latent(self) -> None:
        latents = make_generator().sample_latents(4, mixing_probability=0.0)
        assert latents.shape == (4, 6, LATENT)
        assert torch.equal(latents, latents[:, :1].expand_as(latents))

    def test_mixing_joins_two_latents_at_one_crossover(self) -> None:
        latents = make_generator().sample_latents(64, mixing_probability=1.0)
        changes = (latents[:, 1:] != latents[:, :-1]).any(dim=2)
        assert (changes.sum(dim=1) == 1).all()
        assert changes.any(dim=0).all()  # every crossover 1..L-1 occurs

    def test_mixing_probability(self) -> None:
        latents = make_generator().sample_latents(400, mixing_probability=0.25)
        share = (latents[:, 0] != latents[:, -1]).any(dim=1).float().mean().item()
        assert share == pytest.approx(0.25, abs=0.08)

    def test_truncation_moves_towards_the_mean(self) -> None:
        generator = make_generator()
        mean = generator.mean_latent()
        assert torch.equal(mean, generator.mean_latent())

        def draw(psi: float) -> torch.Tensor:
            seed = torch.Generator().manual_seed(1)
            return generator.sample_latents(3, truncation=psi, mean_latent=mean, generator=seed)

        torch.testing.assert_close(draw(0.0), mean.expand(3, 6, -1))
        torch.testing.assert_close(draw(0.5) - mean, 0.5 * (draw(1.0) - mean))

    def test_the_default_mean_leaves_the_random_state_alone(self) -> None:
        generator = make_generator()
        before = torch.get_rng_state()
        generator.mean_latent()
        assert torch.equal(torch.get_rng_state(), before)

    def test_samples_are_reproducible(self) -> None:
        generator = make_generator()
        a, b = (generator.sample_latents(2, 0.5, generator=torch.Generator().manual_seed(5)) for _ in range(2))
        assert torch.equal(a, b)


class TestSpatial:
    def test_features_are_added_at_their_resolution(self) -> None:
        generator = make_generator(spatial_resolution=8)
        assert generator.spatial_channels == generator.channels[8]
        w = torch.randn(2, LATENT)
        zero = torch.zeros(2, generator.spatial_channels, 8, 8)
        plain = generator.synthesise(w, "zero")
        torch.testing.assert_close(generator.synthesise(w, "zero", zero)[0], plain[0])
        made = generator.synthesise(w, "zero", zero + 1)
        torch.testing.assert_close(made[2][0], plain[2][0])  # 4x4: before
        torch.testing.assert_close(made[2][1], plain[2][1] + 1)
        assert not torch.allclose(made[0], plain[0])

    def test_a_generator_without_takes_none(self) -> None:
        assert make_generator().spatial_channels == 0


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_label_trunk_gradient_scales_the_trunk_only(scale: float) -> None:
    torch.manual_seed(0)
    reference = make_generator()
    scaled = make_generator(label_trunk_gradient=scale)
    scaled.load_state_dict(reference.state_dict())
    w = torch.randn(2, LATENT)
    for generator in (reference, scaled):
        generator(w, "zero")[1].square().sum().backward()
    want, got = dict(reference.named_parameters()), dict(scaled.named_parameters())
    for name in ("conv.conv.weight", "blocks.0.conv_up.conv.weight", "blocks.1.conv.conv.weight", "constant"):
        grad = got[name].grad if got[name].grad is not None else torch.zeros_like(got[name])
        torch.testing.assert_close(grad, scale * want[name].grad)
    torch.testing.assert_close(got["blocks.1.heads.to_label.weight"].grad, want["blocks.1.heads.to_label.weight"].grad)
