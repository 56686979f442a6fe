"""Draws of codes: where they differ the answer is unsure."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from torch import nn

from monai_semgan.inferers import CodeSamplingInferer
from monai_semgan.utils import InputError
from tests.tiny_generative import CLASSES, SIZE, make_segmenter


class HalfSure(nn.Module):
    """Class 1 on the left in every draw; on the right in about half of them."""

    def sample(self, image: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
        coin = torch.rand(image.shape, generator=generator) < 0.5
        coin[..., : image.shape[-1] // 2] = True
        return torch.cat([~coin, coin], dim=1) * 40.0 - 20.0


def slices(samples: int, **options: float) -> CodeSamplingInferer:
    return CodeSamplingInferer(SliceInferer(spatial_dim=2, roi_size=[SIZE, SIZE], sw_batch_size=3), samples, **options)


def test_where_the_draws_differ_it_is_unsure() -> None:
    inferer = slices(64)
    volume = MetaTensor(torch.zeros(1, 1, SIZE, SIZE, 2), affine=torch.diag(torch.tensor([1.0, 2, 3, 1])))
    logits = inferer(volume, HalfSure())
    assert torch.equal(logits.affine, volume.affine)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(1, SIZE, SIZE, 2), check_stride=False)
    sure, unsure = inferer.uncertainty[:, :, :, : SIZE // 2], inferer.uncertainty[:, :, :, SIZE // 2 :]
    assert float(sure.max()) < 1e-3
    assert float(unsure.mean()) > 0.9
    assert float(inferer.uncertainty.max()) <= 1.0 + 1e-6
    assert 0.5 < inferer.report["agreement"][0][0] < 0.9
    assert len(inferer.report["predicted_dice"][0]) == 1


def test_with_a_generative_segmenter() -> None:
    network = make_segmenter().eval()
    volume = torch.randn(1, 1, SIZE, SIZE, 3)
    first, second = (slices(2)(volume, network) for _ in range(2))
    assert first.shape == (1, CLASSES, SIZE, SIZE, 3)
    assert torch.equal(first, second)
    with torch.no_grad():
        alone = torch.stack([network(volume[..., k]).log_softmax(1) for k in range(3)], dim=-1)
    torch.testing.assert_close(slices(1, temperature=1e-6)(volume, network), alone, atol=1e-4, rtol=1e-4)


def test_settings_that_make_no_sense() -> None:
    for options in ({"samples": 0}, {"samples": 1, "temperature": 0.0}):
        with pytest.raises(InputError, match="sampled codes: got samples"):
            slices(**options)
