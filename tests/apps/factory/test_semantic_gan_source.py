"""SemanticGAN as a source: a tiny network with random weights."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.apps.factory import Latents, PairSource, SemanticGANSource, load_image_critic, sample_generator
from monai_semgan.networks.nets import (
    HiddenFeatureProjector,
    OneShotGenerator,
    OneShotHead,
    OneShotSegmenter,
    ResidualStyleCritic,
    SemanticGANSegmenter,
    SemanticStyleGenerator,
    StyleEncoder,
)
from monai_semgan.utils import InputError, save_checkpoint


def segmenter(label_channels: int = 1, spatial: int = 8) -> SemanticGANSegmenter:
    torch.manual_seed(0)
    generator = SemanticStyleGenerator(
        32, label_channels=label_channels, latent_dim=16, num_mapping_layers=2, channel_base=128, channel_max=8,
        spatial_resolution=spatial,
    )  # fmt: skip
    encoder = StyleEncoder(32, 1, 16, (8, 8), generator.spatial_channels, spatial)
    for parameter in encoder.parameters():  # an encoder that starts at zero says the same of all slices
        torch.nn.init.normal_(parameter, std=0.1)
    return SemanticGANSegmenter(encoder, generator)


@pytest.fixture
def scans() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(9, 1, 32, 32, generator=generator) * 2 - 1 for _ in range(3)]


def make(source: SemanticGANSource, seed: int = 5, truncation: float = 1.0, depth: int = 1):
    latents = source.sample_latents(sample_generator(seed, 0), truncation, depth)
    return latents, *source.synthesise(latents, sample_generator(seed, 1))


@pytest.mark.parametrize("channels", [1, 4])
def test_pairs_from_the_prior(channels):
    source = SemanticGANSource(segmenter(channels), 352.0)
    assert isinstance(source, PairSource)
    latents, image, probability = make(source)
    assert source.name == "prior"
    assert latents.spatial is None
    assert image.shape == (1, 1, 32, 32)
    assert image.abs().max() <= 1
    assert probability.shape == (1, max(2, channels), 32, 32)
    assert torch.allclose(probability.sum(dim=1), torch.ones(1, 32, 32), atol=1e-5)


@pytest.mark.parametrize("depth", [1, 4])
def test_pairs_from_codes(scans, depth):
    source = SemanticGANSource(segmenter(), 352.0, components=6)
    source.learn(scans, depth)
    latents, image, probability = make(source, depth=depth)
    assert source.name == "codes"
    assert latents.styles.shape == (depth, 8, 16)
    assert latents.spatial.shape == (depth, 8, 8, 8)
    assert image.shape == (depth, 1, 32, 32)
    assert probability.shape == (depth, 2, 32, 32)
    assert source.features(scans[0]).shape == (9, 6)


@pytest.mark.parametrize("depth", [1, 3])
def test_one_shot_segmentation_is_a_source_too(scans, depth):
    plain = segmenter()
    projector = HiddenFeatureProjector(plain.generator.feature_channels, plain.generator.feature_resolutions, 8)
    generator = OneShotGenerator(plain.generator, projector, OneShotHead(8, 4))
    source = SemanticGANSource(OneShotSegmenter(plain.encoder, generator), 352.0, components=6, noise="fixed")
    source.learn(scans, depth)
    latents, image, probability = make(source, depth=depth)
    assert image.shape == (depth, 1, 32, 32)
    assert probability.shape == (depth, 4, 32, 32)
    expected = generator(latents.styles, noise="fixed", spatial=latents.spatial)[1].softmax(dim=1)
    assert torch.allclose(probability, expected, atol=1e-5)


def test_the_mean_code_is_what_truncation_zero_would_give(scans):
    source = SemanticGANSource(segmenter(), 352.0, components=6)
    source.learn(scans, 1)
    latents = source.sample_latents(sample_generator(1, 0), 1e-6, 1)
    styles = torch.cat([source.encoder(scan)[0] for scan in scans])
    assert torch.allclose(latents.styles, styles.mean(dim=0, keepdim=True), atol=1e-4)
    assert latents.norm < 1e-4


def test_a_sample_depends_on_its_seed_alone(scans):
    source = SemanticGANSource(segmenter(), 352.0, components=6)
    source.learn(scans, 1)
    first = make(source, 5)
    make(source, 6)
    torch.manual_seed(99)
    again = make(source, 5)
    assert torch.equal(first[1], again[1])
    assert torch.equal(first[2], again[2])
    assert not torch.equal(first[1], make(source, 6)[1])


def test_style_noise_moves_the_finer_half_only(monkeypatch):
    source = SemanticGANSource(segmenter(), 352.0)
    latents = source.sample_latents(sample_generator(5, 0), 1.0, 1)
    seen = []
    forward = source.generator.forward
    monkeypatch.setattr(
        source.generator, "forward", lambda styles, **more: (seen.append(styles), forward(styles, **more))[1]
    )
    source.synthesise(latents, sample_generator(5, 2), 1.0)
    moved = (seen[0] - latents.styles).abs().amax(dim=(0, 2))
    assert moved[:4].max() == 0
    assert moved[4:].min() > 0


def test_slices_of_a_stack_share_their_noise():
    source = SemanticGANSource(segmenter(spatial=0), 352.0)
    styles = source.sample_latents(sample_generator(5, 0), 1.0, 1).styles
    image, _ = source.synthesise(Latents(styles.repeat(3, 1, 1), 0.0), sample_generator(5, 1))
    assert torch.allclose(image[0], image[2], atol=1e-5)


def test_critic_and_reconstruction(tmp_path):
    network = segmenter()
    critic = ResidualStyleCritic(32, channel_base=128, channel_max=8)
    path = tmp_path / "generator.pt"
    save_checkpoint({"image_critic": critic.state_dict()}, path)
    loaded = load_image_critic(ResidualStyleCritic(32, channel_base=128, channel_max=8), path)
    source = SemanticGANSource(network, 352.0, critic=loaded)
    images = torch.rand(3, 1, 32, 32)
    assert source.critic_score(images[:1]) == pytest.approx(float(critic(images[:1]).detach()), abs=1e-5)
    assert source.reconstruct(images).shape == images.shape
    assert load_image_critic(critic, tmp_path / "nothing.pt") is None
    save_checkpoint({"generator": {}}, path)
    with pytest.raises(InputError, match="no entry image_critic"):
        load_image_critic(critic, path)


def test_errors():
    with pytest.raises(InputError, match="latents"):
        SemanticGANSource(segmenter(), 352.0, latents="posterior")
    with pytest.raises(InputError, match="noise"):
        SemanticGANSource(segmenter(), 352.0, noise="white")
    with pytest.raises(InputError, match="the prior knows no neighbours"):
        make(SemanticGANSource(segmenter(), 352.0), depth=4)
    with pytest.raises(InputError, match="--dataset_dir"):
        make(SemanticGANSource(segmenter(), 352.0, latents="codes"))
