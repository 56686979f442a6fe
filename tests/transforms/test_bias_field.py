"""N4 evens out a drift of brightness and leaves CT alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_semgan.transforms import BiasFieldCorrection, BiasFieldCorrectiond
from monai_semgan.utils import InputError


def test_drift_is_evened_out() -> None:
    rng = np.random.default_rng(0)
    i, j = np.meshgrid(np.arange(48), np.arange(48), indexing="ij")
    body = ((i - 24) ** 2 + (j - 24) ** 2 < 20**2)[..., None].repeat(6, axis=2)
    clean = np.where(body, 200.0, 0.0) + np.abs(rng.normal(0, 3, body.shape))
    drift = np.linspace(0.6, 1.6, 48)[:, None, None]
    image = MetaTensor(torch.from_numpy((clean * drift).astype(np.float32))[None], meta={"name": "a"})
    out = BiasFieldCorrectiond("image", shrink=2, iterations=(15, 10))({"image": image})["image"]
    before, after = image[0].numpy()[body], out[0].numpy()[body]
    assert after.std() / after.mean() < 0.5 * before.std() / before.mean()
    assert np.median(after) == pytest.approx(np.median(before), rel=0.05)
    assert out.meta["name"] == "a"


def test_ct_is_left_alone() -> None:
    ct = torch.linspace(-1000, 300, 64).reshape(1, 4, 4, 4)
    assert BiasFieldCorrection()(ct) is ct
    with pytest.raises(InputError, match="shrink"):
        BiasFieldCorrection(shrink=0)
