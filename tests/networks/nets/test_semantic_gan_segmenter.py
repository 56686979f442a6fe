"""The deployable network: logits, classes, determinism."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.nets import SemanticGANSegmenter
from tests.tiny import SIZE, make_segmenter


@pytest.mark.parametrize(("label_channels", "classes"), [(1, 2), (4, 4)])
@pytest.mark.parametrize("spatial", [0, 8])
def test_logits_have_a_channel_a_class(label_channels: int, classes: int, spatial: int) -> None:
    network = make_segmenter(label_channels=label_channels, spatial_resolution=spatial)
    image = torch.randn(2, 1, SIZE, SIZE)
    made, logits = network.reconstruct(image)
    assert made.shape == (2, 1, SIZE, SIZE)
    assert logits.shape == (2, classes, SIZE, SIZE)
    assert torch.equal(network(image), logits)  # no random noise: the same answer each time


def test_one_channel_becomes_background_and_foreground() -> None:
    network = make_segmenter()
    raw = torch.tensor([-1.0, 0.5]).view(1, 1, 1, 2)
    probability = network.logits(raw).softmax(dim=1)
    torch.testing.assert_close(probability[:, 1:], torch.sigmoid(raw / 0.3))


def test_temperature() -> None:
    network = make_segmenter(label_channels=3)
    cold = SemanticGANSegmenter(network.encoder, network.generator, temperature=0.1)
    raw = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(cold.logits(raw), raw / 0.1)
