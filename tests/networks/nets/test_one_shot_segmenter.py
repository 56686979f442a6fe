"""The labelling generator stands in for one with mask heads."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.inferers import LatentInversionInferer
from monai_semgan.networks.nets import HiddenFeatureProjector, OneShotGenerator, OneShotHead
from monai_semgan.utils import InputError
from tests.tiny import LATENT, SIZE, make_generator
from tests.tiny_one_shot import DIM, make_one_shot


def test_a_generator_of_images_alone() -> None:
    with_masks, without = make_generator(), make_generator(label_channels=0)
    image, label = without(without.sample_latents(2))
    assert image.shape == (2, 1, SIZE, SIZE)
    assert label.shape == (2, 0, SIZE, SIZE)
    assert not any("label" in name for name in without.state_dict())
    shared = {k: v for k, v in with_masks.state_dict().items() if "label" not in k}
    without.load_state_dict(shared)  # the image branch is the same
    w = torch.randn(2, LATENT)
    assert torch.equal(without(w, "fixed")[0], with_masks(w, "fixed")[0])


def test_it_has_the_attributes_of_a_generator_with_mask_heads() -> None:
    network = make_one_shot(num_classes=3, spatial_resolution=8).generator
    plain = network.generator
    for name in ("image_size", "image_channels", "latent_dim", "num_latents", "spatial_channels", "spatial_resolution"):
        assert getattr(network, name) == getattr(plain, name)
    assert network.label_channels == 3
    assert network.constant is plain.constant
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(network.sample_latents(2, generator=draws[0]), plain.sample_latents(2, generator=draws[1]))
    assert torch.equal(network.mean_latent(16), plain.mean_latent(16))
    z = torch.randn(2, LATENT)
    assert torch.equal(network.mapping(z), plain.mapping(z))
    assert len(network.make_noise(1, "zero")) == len(plain.noise_sizes)


def test_the_image_is_the_generators_and_the_mask_the_heads() -> None:
    network = make_one_shot().generator
    latents = network.sample_latents(2)
    image, logits = network(latents, "fixed")
    assert torch.equal(image, network.generator(latents, "fixed")[0])
    assert torch.equal(logits, network.head(network.project(latents)[1]))


def test_samples_depend_on_the_seed_alone() -> None:
    network = make_one_shot(num_classes=4).generator
    image, probability = network.sample(3, seed=7)
    assert image.shape == (3, 1, SIZE, SIZE)
    assert probability.shape == (3, 4, SIZE, SIZE)
    assert float(image.abs().max()) <= 1
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(3, SIZE, SIZE))
    torch.manual_seed(99)
    assert torch.equal(network.sample(3, seed=7)[1], probability)
    assert not torch.equal(network.sample(3, seed=8)[0], image)
    latents = network.sample_latents(3, truncation=0.7, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(network.sample(latents=latents)[0], image)


def test_a_projector_of_other_sizes_is_refused() -> None:
    other = make_generator(image_size=32)
    projector = HiddenFeatureProjector(other.feature_channels, other.feature_resolutions, DIM)
    with pytest.raises(InputError, match="generator and projector are of different sizes"):
        OneShotGenerator(make_generator(), projector, OneShotHead(DIM))


@pytest.mark.parametrize("spatial", [0, 8])
def test_inversion_reads_scans_with_it(spatial: int) -> None:
    network = make_one_shot(num_classes=3, spatial_resolution=spatial)
    image = torch.rand(2, 1, SIZE, SIZE) * 2 - 1
    read = LatentInversionInferer(steps=0)(image, network)
    torch.testing.assert_close(read, network(image))
    assert read.shape == (2, 3, SIZE, SIZE)
    optimised = LatentInversionInferer(steps=2)
    optimised(image, network)
    assert len(optimised.report["reconstruction_error"]) == 2
    assert all(p.grad is None for p in network.parameters())
