"""CT windows and MRI percentiles to [-1, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_semgan.transforms import ScaleScanIntensity, ScaleScanIntensityd
from monai_semgan.utils import InputError


def _raw_ct() -> torch.Tensor:
    rng = np.random.default_rng(0)
    hu = np.concatenate([np.full(5000, -1024.0), rng.normal(-100, 15, 2000), rng.normal(60, 25, 4000)]).round()
    return torch.from_numpy(hu.astype(np.float32)).reshape(1, 100, 110, 1)


def test_window_is_linear_and_clipped() -> None:
    hu = torch.tensor([-1000.0, -125, 75, 275, 2000]).reshape(1, 5, 1, 1)
    assert ScaleScanIntensity()(hu).flatten().tolist() == pytest.approx([-1, -1, 0, 1, 1])


def test_ct_without_rescale_gives_the_same_image() -> None:
    hu = _raw_ct()
    torch.testing.assert_close(ScaleScanIntensity()(hu), ScaleScanIntensity()(hu + 1024))
    torch.testing.assert_close(ScaleScanIntensity(modality="ct")(hu), ScaleScanIntensity()(hu + 1024))


def test_mri_does_not_depend_on_scanner_units() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.abs(rng.normal(0, 4, 4000)), np.abs(rng.normal(300, 100, 5999)), [90000.0]])
    mr = torch.from_numpy(values.astype(np.float32)).reshape(1, 100, 100, 1)
    out = ScaleScanIntensity()(mr)
    assert float(out.min()) == -1
    assert float(out.max()) == 1
    assert float((out.flatten()[:4000] == -1).float().mean()) > 0.97  # noise and air
    assert abs(float(out.flatten()[4000:].median())) < 0.3  # one hot voxel does not press the rest down
    torch.testing.assert_close(out, ScaleScanIntensity()(mr * 0.01), atol=1e-3, rtol=0)


def test_modality_is_kept_and_the_input_left_alone() -> None:
    image = MetaTensor(_raw_ct(), meta={"name": "a"})
    out = ScaleScanIntensityd("image")({"image": image})["image"]
    assert out.meta["modality"] == "ct"
    assert out.meta["name"] == "a"
    assert "modality" not in image.meta
    assert float(image.min()) == -1024


def test_bad_options_and_empty_scans() -> None:
    with pytest.raises(InputError, match="modality"):
        ScaleScanIntensity("pet")
    with pytest.raises(InputError, match="ct_window"):
        ScaleScanIntensity(ct_window=(100, -100))
    with pytest.raises(InputError, match="mr_percentiles"):
        ScaleScanIntensity(mr_percentiles=(50, 101))
    with pytest.raises(InputError, match="no contrast"):
        ScaleScanIntensity()(torch.zeros(1, 4, 4, 2))


def test_mr_median_brings_the_body_to_its_place_and_keeps_the_order() -> None:
    torch.manual_seed(0)
    volume = torch.zeros(1, 24, 24, 4)
    volume[:, 4:20, 4:20] = 60 + 40 * torch.rand(1, 16, 16, 4)  # dark tissue
    volume[:, 8:10, 8:10] = 400.0  # fluid
    plain = ScaleScanIntensity("mr", mr_percentiles=(0.0, 100.0))(volume)
    moved = ScaleScanIntensity("mr", mr_percentiles=(0.0, 100.0), mr_median=0.45)(volume)
    body = (plain > -0.89) & (volume > 0)
    assert moved[body].median() > plain[body].median()
    order = plain.flatten().argsort()
    assert bool((moved.flatten()[order].diff() >= 0).all())
    assert moved.min() >= -1
    assert moved.max() <= 1


def test_mr_median_leaves_ct_alone_and_is_checked() -> None:
    volume = torch.linspace(-1000, 400, 1000).reshape(1, 10, 10, 10)
    assert torch.equal(ScaleScanIntensity("ct", mr_median=0.45)(volume), ScaleScanIntensity("ct")(volume))
    with pytest.raises(InputError, match="mr_median"):
        ScaleScanIntensity("mr", mr_median=1.5)
