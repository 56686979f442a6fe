"""The classifier of tags: its maps are class activation maps as MONAI has them."""

from __future__ import annotations

import pytest
import torch
from monai.visualize import CAM

from monai_semgan.networks.nets import TagClassifier
from monai_semgan.utils import InputError


@pytest.fixture
def network() -> TagClassifier:
    torch.manual_seed(0)
    return TagClassifier(num_tags=3, channels=(4, 8), strides=(2, 2)).eval()


def test_shapes(network: TagClassifier) -> None:
    image = torch.rand(2, 1, 32, 24)
    assert network.class_maps(image).shape == (2, 3, 8, 6)
    assert network(image).shape == network(image, torch.rand(2, 1, 32, 24)).shape == (2, 3)
    assert network(image, torch.rand(2, 3, 32, 24)).shape == (2, 3)
    volume = torch.rand(1, 1, 16, 16, 16)
    assert TagClassifier(3, 1, 2, (4, 4), (2, 2))(volume, volume).shape == (1, 2)


@torch.no_grad()
def test_the_maps_are_those_of_monai(network: TagClassifier) -> None:
    image = torch.rand(2, 1, 16, 16)
    cam = CAM(network, target_layers="features", fc_layers="head", postprocessing=lambda v: v)
    for index in range(3):
        theirs = cam.compute_map(image, class_idx=[index, index])
        torch.testing.assert_close(network.class_maps(image)[:, index : index + 1], theirs)


@torch.no_grad()
def test_the_logit_is_the_pooled_map(network: TagClassifier) -> None:
    image, gate = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    small = torch.nn.functional.avg_pool2d(gate, 4)
    torch.testing.assert_close(network(image, gate), network.pool(network.class_maps(image), small))


def test_strides_for_each_layer() -> None:
    with pytest.raises(InputError, match="got 2 channels and 1 strides"):
        TagClassifier(channels=(4, 8), strides=(2,))
