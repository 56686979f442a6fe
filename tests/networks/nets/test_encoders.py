"""Both encoders: shapes at every size, independence of batch and mode, clear errors."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.nets import StyleEncoder, StylePyramidEncoder, num_latents
from tests.tiny import SIZE, make_encoder, make_generator


@pytest.mark.parametrize("size", [8, 32, 64, 256])
@pytest.mark.parametrize("spatial", [0, 8])
def test_light_encoder_shapes(size: int, spatial: int) -> None:
    encoder = StyleEncoder(size, 1, 6, (4, 8), spatial_channels=5 if spatial else 0, spatial_resolution=spatial)
    latents, features = encoder(torch.randn(1, 1, size, size))
    assert latents.shape == (1, num_latents(size), 6)
    assert (features is None) if not spatial else features.shape == (1, 5, 8, 8)


@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_spatial_features_fit_the_generator_and_start_at_zero(resolution: int) -> None:
    generator = make_generator(spatial_resolution=resolution)
    encoder = make_encoder(generator)
    latents, features = encoder(torch.randn(2, 1, SIZE, SIZE))
    assert features.shape == (2, generator.spatial_channels, resolution, resolution)
    assert not features.any()
    generator(latents, "zero", spatial=features)


def test_light_encoder_adds_the_mean_latent() -> None:
    encoder = make_encoder(make_generator())
    x = torch.randn(1, 1, SIZE, SIZE)
    before = encoder(x)[0]
    encoder.mean_latent.fill_(2.0)
    torch.testing.assert_close(encoder(x)[0], before + 2)
    assert "mean_latent" in encoder.state_dict()


def test_light_encoder_names_a_wrong_size() -> None:
    encoder = make_encoder(make_generator())
    with pytest.raises(ValueError, match=r"encoder: got an image of shape .* wanted \(B, C, 16, 16\)"):
        encoder(torch.randn(1, 1, 32, 32))


def test_light_encoder_knows_where_it_looks() -> None:
    """Coordinate channels: a shifted image gives other latents even without borders."""
    encoder = make_encoder(make_generator())
    x = torch.zeros(1, 1, SIZE, SIZE)
    x[..., 4, 4] = 1.0
    assert not torch.allclose(encoder(x)[0], encoder(x.roll((8, 8), (2, 3)))[0], atol=1e-6)


def small_pyramid(size: int) -> StylePyramidEncoder:
    return StylePyramidEncoder(size, 1, 6, channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1))


@pytest.mark.parametrize("size", [32, 64, 256])
def test_pyramid_shapes(size: int) -> None:
    latents, features = small_pyramid(size)(torch.randn(1, 1, size, size))
    assert latents.shape == (1, num_latents(size), 6)
    assert features is None


@pytest.mark.parametrize(("size", "count"), [(32, 8), (256, 14), (512, 16)])
def test_full_pyramid_can_be_built_and_run_at_any_size(size: int, count: int) -> None:
    with torch.device("meta"):
        encoder = StylePyramidEncoder(size)
        latents, _ = encoder(torch.zeros(2, 1, size, size))
    assert latents.shape == (2, count, 512)
    assert encoder.levels[:7] == [16] * 3 + [8] * 4
    # heads end at 1x1 without help of the mean, as the paper's at 256 with depths 4, 5 and 6
    assert [len(encoder.heads[i].convs) for i in (0, 3, 7)] == [
        {32: 1, 256: 4, 512: 5}[size],
        {32: 2, 256: 5, 512: 6}[size],
        {32: 3, 256: 6, 512: 7}[size],
    ]


@pytest.mark.parametrize("kind", ["light", "pyramid"])
def test_an_image_is_encoded_the_same_in_any_company_and_mode(kind: str) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(make_generator(spatial_resolution=8)) if kind == "light" else small_pyramid(32)
    size = SIZE if kind == "light" else 32
    x = torch.randn(3, 1, size, size)
    together, alone = encoder.train()(x)[0], encoder(x[1:2])[0]
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.eval()(x)[0], together)
    other = torch.cat([10 * torch.randn(2, 1, size, size), x[1:2]])
    torch.testing.assert_close(encoder(other)[0][2:], alone, atol=1e-5, rtol=1e-5)


def test_light_encoder_is_light() -> None:
    with torch.device("meta"):
        light = StyleEncoder(256, latent_dim=512)
        pyramid = StylePyramidEncoder(256)
    sizes = [sum(p.numel() for p in e.parameters()) for e in (light, pyramid)]
    assert sizes[0] * 10 < sizes[1]
