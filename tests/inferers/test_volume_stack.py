"""Stacks of slices at the network's spacing, and logits back on the scan's own slices."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, Spacingd

from monai_semgan.inferers import VolumeStackInferer
from monai_semgan.inferers.volume_stack import slice_spacing
from monai_semgan.utils import InputError


class Threshold(torch.nn.Module):
    """Two logits of every voxel's grey value; keeps the shapes it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.shown: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.shown.append(tuple(image.shape))
        return torch.cat([torch.zeros_like(image), self.weight * image], dim=1)


def scan(slices: int = 12, spacing: float = 6.0, size: int = 8) -> MetaTensor:
    """(1, 1, size, size, slices), smooth along the slices."""
    torch.manual_seed(0)
    ramp = torch.sin(torch.arange(slices) * spacing / 30.0)
    image = 0.5 * torch.rand(1, 1, size, size, 1) + 0.4 * ramp
    return MetaTensor(image, affine=torch.diag(torch.tensor([1.5, 1.5, spacing, 1.0])))


def test_at_the_networks_spacing_it_is_the_network() -> None:
    image, network = scan(12, 6.0), Threshold()
    logits = VolumeStackInferer(spacing_mm=6.0, depth=12)(image, network)
    assert network.shown == [(1, 1, 8, 8, 12)]
    assert logits.shape == (1, 2, 8, 8, 12)
    assert not logits.requires_grad
    torch.testing.assert_close(logits[:, 1].as_tensor(), 2 * image[:, 0].as_tensor(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("slices", "spacing", "seen"), [(24, 3.0, 12), (6, 12.0, 12), (30, 1.0, 5), (7, 5.0, 6), (1, 2.0, 1)]
)
def test_slices_are_resampled_to_the_networks_spacing_and_back(slices: int, spacing: float, seen: int) -> None:
    image, network = scan(slices, spacing), Threshold()
    logits = VolumeStackInferer(spacing_mm=6.0, depth=seen)(image, network)
    assert network.shown == [(1, 1, 8, 8, seen)]
    assert logits.shape == (1, 2, 8, 8, slices)
    # ends are held, so a smooth scan comes back up to what lies between its slices
    assert (logits[:, 1] - 2 * image[:, 0]).abs().mean() < 0.15


def test_deep_stacks_are_seen_through_overlapping_windows() -> None:
    image, network = scan(30, 6.0), Threshold()
    logits = VolumeStackInferer(6.0, depth=8, overlap=0.5)(image, network)
    assert {shape[-1] for shape in network.shown} == {8}
    assert len(network.shown) >= 7
    torch.testing.assert_close(logits[:, 1].as_tensor(), 2 * image[:, 0].as_tensor(), atol=1e-4, rtol=0)
    several = Threshold()
    VolumeStackInferer(6.0, depth=8, overlap=0.5, window_batch=3)(image, several)
    assert several.shown[0][0] == 3
    assert sum(shape[0] for shape in several.shown) == len(network.shown)
    apart = Threshold()
    VolumeStackInferer(6.0, depth=8, overlap=0.0)(image, apart)
    assert len(apart.shown) == 4


def test_shallow_stacks_are_completed_with_air() -> None:
    class Both(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shown.append(x.clone())
            return torch.cat([x, -x], dim=1)

    shown: list[torch.Tensor] = []
    image = scan(3, 6.0)
    logits = VolumeStackInferer(6.0, depth=8)(image, Both())
    assert logits.shape == (1, 2, 8, 8, 3)
    air = (shown[0] == -1).flatten(1, 3).all(dim=1)[0]
    assert air.tolist() == [True] * 2 + [False] * 3 + [True] * 3
    torch.testing.assert_close(logits[:, 0].as_tensor(), image[:, 0].as_tensor(), atol=1e-5, rtol=0)


def test_input_and_affine_stay_and_the_answer_keeps_the_meta_data() -> None:
    image = scan(12, 3.0)
    before, affine = image.clone(), image.affine.clone()
    logits = VolumeStackInferer()(image, Threshold())
    assert torch.equal(image, before)
    assert torch.equal(image.affine, affine)
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, affine)
    assert logits.dtype == torch.float32


def test_predictions_can_be_inverted_to_the_scanners_grid() -> None:
    """What ``Invertd`` needs is kept: a mask of the resampled scan returns to the scan's own slices."""
    preprocessing = Compose([EnsureChannelFirstd("image", channel_dim=0), Spacingd("image", pixdim=(3.0, 3.0, 4.0))])
    data = preprocessing({"image": scan(18, 4.0)[0]})
    assert data["image"].shape[1:3] != (8, 8)
    data["pred"] = VolumeStackInferer(depth=8)(data["image"][None], Threshold())[0]
    inverted = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False)(data)
    assert inverted["pred"].shape == (2, 8, 8, 18)


def test_a_network_of_its_own() -> None:
    own, other = Threshold(), Threshold()
    VolumeStackInferer(network=own)(scan(), other)
    assert own.shown
    assert not other.shown


def test_mixed_precision_gives_float32_logits() -> None:
    class Convolution(torch.nn.Conv3d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = super().forward(x)
            kinds.append(made.dtype)
            return made

    kinds: list[torch.dtype] = []
    torch.manual_seed(0)
    network = Convolution(1, 2, 3, padding=1)
    plain = VolumeStackInferer()(scan(), network)
    mixed = VolumeStackInferer(mixed_precision=True)(scan(), network)
    assert kinds == [torch.float32, torch.bfloat16]
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.as_tensor(), plain.as_tensor(), atol=0.05, rtol=0)


def test_the_spacing_is_read_off_a_turned_affine_and_a_batch() -> None:
    turn = torch.tensor([[0.0, 0.0, -2.5, 7.0], [0.7, 0.0, 0.0, 1.0], [0.0, 0.9, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
    assert slice_spacing(MetaTensor(torch.zeros(1, 1, 2, 2, 2), affine=turn)) == pytest.approx(2.5)
    batched = MetaTensor(torch.zeros(1, 1, 2, 2, 2))
    batched.meta["affine"] = turn[None]
    assert slice_spacing(batched) == pytest.approx(2.5)


def test_a_scan_without_spacing_is_refused() -> None:
    with pytest.raises(InputError, match="slice spacing is not known: got Tensor; wanted a MetaTensor") as error:
        VolumeStackInferer()(torch.zeros(1, 1, 8, 8, 4), Threshold())
    assert "LoadScand" in str(error.value)
    assert VolumeStackInferer.needs_affine


@pytest.mark.parametrize(
    "options",
    [
        {"spacing_mm": 0.0},
        {"spacing_mm": float("nan")},
        {"depth": 0},
        {"overlap": 1.0},
        {"overlap": -0.1},
        {"window_batch": 0},
    ],
)
def test_wrong_options(options: dict[str, float]) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"volume inference: got .*{name} {value}.*; wanted spacing_mm above 0"):
        VolumeStackInferer(**options)
