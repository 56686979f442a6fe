"""Gaps are bridged, and nothing else changes: whatever the shapes, spacings and orientations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponent, Orientation

from monai_semgan.transforms import CloseBetweenSlices, CloseBetweenSlicesd
from monai_semgan.utils import InputError

METHODS = ("interpolate", "closing")
every_method = pytest.mark.parametrize("method", METHODS)


def disc(radius: float, centre: tuple[float, float] = (15, 15), size: int = 32) -> torch.Tensor:
    ticks = torch.arange(size)
    return (ticks[:, None] - centre[0]) ** 2 + (ticks[None] - centre[1]) ** 2 <= radius**2


def stack(*slices: torch.Tensor | None) -> torch.Tensor:
    """Index map ``(1, H, W, D)`` of label 1."""
    return torch.stack([torch.zeros(32, 32, dtype=torch.bool) if s is None else s for s in slices], dim=-1)[None].byte()


def random_map(seed: int, empty: float = 0.4) -> torch.Tensor:
    """Blobs of three labels that come and go from slice to slice."""
    rng = np.random.default_rng(seed)
    label = np.zeros((1, 20, 18, 12), dtype=np.uint8)
    rows, columns = np.mgrid[:20, :18]
    for value, k in itertools.product((1, 2, 3), range(12)):
        if rng.random() > empty:
            centre, radius = rng.uniform(4, 14, 2), rng.uniform(1, 5)
            label[0, ..., k][(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2] = value
    return torch.from_numpy(label)


def test_the_missing_slice_is_the_shape_in_between() -> None:
    filled = CloseBetweenSlices()(stack(disc(6), None, disc(10)))[0, ..., 1] > 0
    assert disc(7)[filled].sum() == disc(7).sum()  # holds it
    assert not (filled & ~disc(9)).any()  # and lies within that


def test_a_shape_that_moves_is_followed() -> None:
    filled = CloseBetweenSlices()(stack(disc(8, (12, 15)), None, disc(8, (18, 15))))[0, ..., 1] > 0
    rows = torch.nonzero(filled)[:, 0].double()
    assert rows.mean().item() == pytest.approx(15, abs=0.2)
    closed = CloseBetweenSlices("closing")(stack(disc(8, (12, 15)), None, disc(8, (18, 15))))[0, ..., 1] > 0
    assert torch.equal(closed, disc(8, (12, 15)) & disc(8, (18, 15)))


def test_the_nearer_slice_counts_more() -> None:
    label = stack(disc(4), None, None, None, disc(12))
    areas = CloseBetweenSlices(max_gap_mm=3)(label)[0].sum(dim=(0, 1)).tolist()
    assert areas == sorted(areas)
    assert len(set(areas)) == 5


def test_closing_also_mends_slices_that_are_there_in_part() -> None:
    label = stack(disc(8), disc(8) & (torch.arange(32) < 15), disc(8))
    assert torch.equal(CloseBetweenSlices("closing")(label), stack(disc(8), disc(8), disc(8)))
    assert CloseBetweenSlices()(label) is label


@every_method
@pytest.mark.parametrize("seed", range(6))
class TestWhateverTheMap:
    def test_only_background_within_the_extent_is_written_to(self, method: str, seed: int) -> None:
        label = random_map(seed)
        closed = CloseBetweenSlices(method, max_gap_mm=3)(label)
        assert closed.dtype == label.dtype
        assert torch.equal(closed[label > 0], label[label > 0])
        for value in (1, 2, 3):
            had = torch.nonzero((label[0] == value).any(dim=0).any(dim=0)).flatten()
            has = torch.nonzero((closed[0] == value).any(dim=0).any(dim=0)).flatten()
            if len(had):
                assert (has.min(), has.max()) == (had.min(), had.max())
            else:
                assert not len(has)

    def test_between_intersection_and_union_of_the_slices_around(self, method: str, seed: int) -> None:
        label = (random_map(seed) == 1).byte()
        inside, closed = label[0].bool(), CloseBetweenSlices(method, max_gap_mm=3)(label)[0].bool()
        present = torch.nonzero(inside.any(dim=0).any(dim=0)).flatten().tolist()
        for below, above in itertools.pairwise(present):
            for k in range(below + 1, above):
                if above - below > 4:
                    assert not closed[..., k].any()
                    continue
                low, high = inside[..., below], inside[..., above]
                assert not (low & high & ~closed[..., k]).any()
                assert method == "closing" or not (closed[..., k] & ~(low | high)).any()

    def test_mirrored_turned_and_renumbered(self, method: str, seed: int) -> None:
        label, close = random_map(seed), CloseBetweenSlices(method, max_gap_mm=3)
        for axis in (1, 2, 3):
            assert torch.equal(close(label.flip(axis)), close(label).flip(axis))
        assert torch.equal(close(label.transpose(1, 2)), close(label).transpose(1, 2))
        along_rows = CloseBetweenSlices(method, max_gap_mm=3, slice_axis=0)
        assert torch.equal(along_rows(label.movedim(3, 1)), close(label).movedim(3, 1))
        assert torch.equal(close(label * 5), close(label) * 5)

    def test_once_is_enough_and_the_input_is_left_alone(self, method: str, seed: int) -> None:
        label, close = (random_map(seed) == 2).byte(), CloseBetweenSlices(method, max_gap_mm=2)
        before = label.clone()
        closed = close(label)
        assert torch.equal(label, before)
        assert close(closed) is closed


@every_method
class TestWhatIsAGap:
    def test_single_slices_always_longer_ones_by_their_thickness(self, method: str) -> None:
        label = stack(disc(6), None, disc(6), None, None, disc(6))
        for gap, wanted in ((0.0, [1, 0, 0]), (1.9, [1, 0, 0]), (2.0, [1, 1, 1])):
            filled = CloseBetweenSlices(method, max_gap_mm=gap)(label)
            assert [int(filled[..., k].any()) for k in (1, 3, 4)] == wanted

    def test_millimetres_come_from_the_affine(self, method: str) -> None:
        label = stack(disc(6), None, None, disc(6))
        for thickness, bridged in ((5.0, True), (5.1, False)):
            affine = torch.diag(torch.tensor([0.7, 0.7, thickness, 1.0], dtype=torch.float64))
            image = MetaTensor(label, affine=affine, meta={"name": "a"})
            closed = CloseBetweenSlices(method, max_gap_mm=10.0)(image)
            assert bool(closed[..., 1].any()) is bridged
            assert isinstance(closed, MetaTensor)
            assert closed.meta["name"] == "a"
            assert torch.equal(closed.affine, affine)

    @pytest.mark.parametrize("axcodes", ["RAS", "SAL", "PIR"])
    def test_slices_run_from_feet_to_head_wherever_that_axis_is(self, method: str, axcodes: str) -> None:
        affine = torch.diag(torch.tensor([-1.0, 1.0, 4.0, 1.0], dtype=torch.float64))
        label = MetaTensor(stack(disc(6), None, disc(9), disc(9)), affine=affine)
        turn, back = Orientation(axcodes, labels=None), Orientation("LAS", labels=None)
        closed = back(CloseBetweenSlices(method)(turn(label)))
        assert torch.equal(closed.as_tensor(), CloseBetweenSlices(method)(label).as_tensor())
        assert closed[..., 1].any()


def test_in_plane_distances_are_in_millimetres() -> None:
    """A voxel twice as wide as high counts twice across."""
    wide = MetaTensor(stack(disc(5), None, disc(9)), affine=torch.diag(torch.tensor([1.0, 4.0, 2.0, 1.0])))
    square = CloseBetweenSlices()(stack(disc(5), None, disc(9)))[0, ..., 1]
    assert not torch.equal(CloseBetweenSlices()(wide)[0, ..., 1].as_tensor(), square)


@every_method
def test_nothing_to_fill(method: str) -> None:
    for label in (torch.zeros(1, 8, 8, 4), torch.ones(1, 8, 8, 4), stack(disc(4)), stack(None, disc(4), None)):
        assert CloseBetweenSlices(method)(label) is label


@every_method
def test_only_the_labels_asked_for(method: str) -> None:
    label = stack(disc(6), None, disc(6))
    label[:, :8, :8, ::2] = 2
    closed = CloseBetweenSlices(method, applied_labels=[2])(label)
    assert closed[..., 1].unique().tolist() == [0, 2]
    both = CloseBetweenSlices(method)(label)
    assert both[..., 1].unique().tolist() == [0, 1, 2]


@every_method
def test_at_the_edge_of_the_picture_and_over_all_of_it(method: str) -> None:
    full = torch.ones(32, 32, dtype=torch.bool)
    assert CloseBetweenSlices(method)(stack(full, None, full)).all()
    half = torch.arange(32).expand(32, 32) < 10
    assert torch.equal(CloseBetweenSlices(method)(stack(half, None, half)), stack(half, half, half))


def test_a_lost_slice_no_longer_costs_the_half_of_the_organ() -> None:
    label = stack(*[disc(8)] * 4, None, *[disc(8)] * 3)
    item = CloseBetweenSlicesd("pred")({"pred": label, "other": 1})
    kept = KeepLargestConnectedComponent(applied_labels=[1])(item["pred"])
    assert kept.any(dim=1).any(dim=1).all()
    assert item["other"] == 1


def test_bad_options_and_shapes() -> None:
    with pytest.raises(InputError, match="method"):
        CloseBetweenSlices("opening")
    for gap in (-1.0, float("nan")):
        with pytest.raises(InputError, match="max_gap_mm"):
            CloseBetweenSlices(max_gap_mm=gap)
    with pytest.raises(InputError, match="slice_axis"):
        CloseBetweenSlices(slice_axis=3)
    with pytest.raises(ValueError, match="index map"):
        CloseBetweenSlices()(torch.zeros(2, 4, 4, 4))
    assert CloseBetweenSlices(max_gap_mm=float("inf"))(stack(disc(4), None, None, None, disc(4))).any(1).any(1).all()
