"""Weights of the one-axis resampling."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.resample_matrix import resample_matrix, resample_plane


@pytest.mark.parametrize("kind", ["linear", "area", "nearest"])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 1.7, 4.0])
def test_inside_rows_sum_to_one_and_outside_ones_to_nothing(kind: str, ratio: float) -> None:
    weights = resample_matrix(40, torch.tensor([19.3, 12.0, -30.0, 90.0]), ratio, kind)
    assert weights.sum(1).tolist() == pytest.approx([1, 1, 0, 0], abs=1e-5)
    assert float(weights.min()) >= 0


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_a_ramp_stays_a_ramp(ratio: float) -> None:
    positions = torch.tensor([12.25, 15.0, 20.6])
    ramp = torch.arange(40.0)
    torch.testing.assert_close(resample_matrix(40, positions, ratio, "linear") @ ramp, positions, atol=2e-2, rtol=0)
    if ratio > 1:
        torch.testing.assert_close(resample_matrix(40, positions, ratio, "area") @ ramp, positions, atol=0.1, rtol=0)


def test_outermost_half_voxel_takes_the_outermost_value() -> None:
    weights = resample_matrix(4, torch.tensor([-0.4, 3.4]), 0.5, "linear")
    assert torch.allclose(weights, torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1]]))


def test_plane_is_filled_outside() -> None:
    volume = torch.rand(2, 8, 6, 3)
    rows = resample_matrix(8, torch.arange(-2.0, 10.0), 1.0, "linear")
    columns = resample_matrix(6, torch.arange(6.0), 1.0, "linear")
    out = resample_plane(volume, rows, columns, fill=-1.0)
    assert out.shape == (2, 12, 6, 3)
    torch.testing.assert_close(out[:, 2:10], volume)
    assert bool((out[:, :2] == -1).all())
    assert bool((out[:, 10:] == -1).all())


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="cubic"):
        resample_matrix(4, torch.zeros(1), 1.0, "cubic")
