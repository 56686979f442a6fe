"""Image critic and joint critic: shapes, features, any batch."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.nets import JointPatchCritic, ResidualStyleCritic
from tests.tiny import SIZE, make_image_critic, make_joint_critic


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_critic_scores_any_batch(batch: int, channels: int) -> None:
    critic = make_image_critic(in_channels=channels)
    assert critic(torch.randn(batch, channels, SIZE, SIZE)).shape == (batch, 1)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_image_critic_has_the_generators_channels(size: int) -> None:
    with torch.device("meta"):
        critic = ResidualStyleCritic(size, channel_base=16384)
        maps = critic.features(torch.zeros(1, 1, size, size))
    table = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64}
    assert [(m.shape[1], m.shape[2]) for m in maps] == [(table[r], r) for r in (128, 64, 32, 16, 8, 4) if r < size]


def test_image_critic_of_one_image_does_not_see_the_others_without_groups() -> None:
    critic = make_image_critic(group_size=1)
    x = torch.randn(4, 1, SIZE, SIZE)
    torch.testing.assert_close(critic(x)[2:3], critic(x[2:3]))


def test_features_do_not_see_the_batch() -> None:
    """They are a perceptual distance for slices one by one: the minibatch statistic comes after them."""
    critic = make_image_critic()
    x = torch.randn(4, 1, SIZE, SIZE)
    for a, b in zip(critic.features(x), critic.features(x[1:2]), strict=True):
        torch.testing.assert_close(a[1:2], b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "maps"), [(256, [35, 19, 11]), (128, [19, 11, 7]), (64, [11, 7, 5])])
def test_joint_critic_logit_maps_of_the_specification(size: int, maps: list[int]) -> None:
    critic, x = JointPatchCritic(channels=1), torch.zeros(1, 1, size, size)
    assert [logits.shape[-1] for logits in critic.logits(critic(x, x))] == maps


@pytest.mark.parametrize("label_channels", [1, 4])
def test_joint_critic_gives_features_and_logits_a_scale(label_channels: int) -> None:
    critic = make_joint_critic(label_channels=label_channels, num_scales=3, num_layers=3)
    outputs = critic(torch.randn(2, 1, SIZE, SIZE), torch.randn(2, label_channels, SIZE, SIZE))
    assert len(outputs) == 3
    assert all(len(scale) == 5 for scale in outputs)
    logits = critic.logits(outputs)
    assert all(x.shape[:2] == (2, 1) for x in logits)
    assert logits[0].shape[-1] > logits[1].shape[-1] >= logits[2].shape[-1]


def test_joint_critic_judges_the_pair() -> None:
    critic = make_joint_critic()
    image = torch.randn(1, 1, SIZE, SIZE)
    a = critic.logits(critic(image, torch.ones_like(image)))[0]
    b = critic.logits(critic(image, -torch.ones_like(image)))[0]
    assert not torch.allclose(a, b)


def test_joint_critic_layers_have_spectral_norm_but_the_ends() -> None:
    patch = make_joint_critic(num_layers=3).critics[0]
    normed = [hasattr(stage[0], "parametrizations") for stage in patch.stages]
    assert normed == [False, True, True, True, False]
    assert [stage[0].stride[0] for stage in patch.stages] == [2, 2, 2, 1, 1]
