"""Masks in colours: palettes that are far apart, the way back, and what the printed inverse would do."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.layers import (
    Maskige,
    arrange_colours,
    class_adjacency,
    maskige_palette,
    mixing_margin,
)
from monai_semgan.utils import InputError

# smallest distance of two colours, in 255ths, that the best simple lattice of the cube has
DISTANCES = {2: 441.6, 3: 360.6, 4: 360.6, 8: 255.0, 9: 220.8, 14: 180.3, 27: 127.5, 64: 85.0, 125: 63.7, 172: 60.1}


@pytest.mark.parametrize(("count", "wanted"), DISTANCES.items())
def test_lattice_colours_are_far_apart(count: int, wanted: float) -> None:
    palette = maskige_palette(count)
    assert palette.shape == (count, 3)
    assert 0 <= float(palette.min()) <= float(palette.max()) <= 1
    assert float(torch.pdist(palette).min()) * 255 > wanted - 0.1


def test_the_kinds_of_palettes() -> None:
    assert torch.equal(maskige_palette(5, "one_hot"), torch.eye(5))
    drawn = [maskige_palette(9, "random", seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(torch.pdist(drawn[0]).min()) < float(torch.pdist(maskige_palette(9)).min())
    assert maskige_palette(2, [[0, 0], [1, 0.5], [1, 1]]).tolist() == [[0.0, 0.0], [1.0, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "classes of a maskige: got 1; wanted 2 to 255"),
        ((3, "rainbow"), "option palette: got rainbow; wanted one of lattice, one_hot, random"),
        ((3, [[0, 0, 0], [1, 1, 1]]), "2 colours for 3 classes, background included; wanted a colour for each class"),
        ((2, [[0, 0, 0], [2, 0, 0]]), "wanted rows of as many numbers, within 0..1"),
        ((2, [[0, 0, 0], [1, 0]]), "wanted rows of as many numbers"),
        ((2, [[1, 0, 0], [1, 0, 0]]), "a colour twice"),
    ],
)
def test_palettes_that_make_no_sense(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        maskige_palette(*arguments)


@pytest.mark.parametrize("palette", ["lattice", "one_hot", "random"])
@pytest.mark.parametrize("shape", [(2, 1, 8, 6), (1, 1, 4, 4, 4)])
def test_there_and_back_every_class_is_found(palette: str, shape: tuple[int, ...]) -> None:
    maskige = Maskige(14, palette, seed=3)
    label = torch.randint(0, 14, shape, dtype=torch.uint8)
    colours = maskige.encode(label)
    assert colours.shape == (shape[0], maskige.channels, *shape[2:])
    assert torch.equal(maskige(colours).argmax(1, keepdim=True), label)


def test_scores_are_distances() -> None:
    maskige = Maskige(9, temperature=0.5)
    picture = torch.rand(2, 3, 4, 4)
    distance = (picture[:, None] - maskige.palette[None, :, :, None, None]).square().sum(2)
    wanted = (-distance / 0.5).log_softmax(1)
    torch.testing.assert_close(maskige(picture).log_softmax(1), wanted)


def test_the_printed_inverse_loses_classes() -> None:
    """Why the nearest colour stands in for ``beta^T (beta beta^T)^-1``, whose K x K matrix has rank 3 at most."""
    palette = maskige_palette(14)
    assert torch.linalg.matrix_rank(palette @ palette.T) <= 3
    found = (palette @ torch.linalg.pinv(palette)).argmax(1)
    assert int((found == torch.arange(14)).sum()) < 14


def test_unknown_pixels_have_a_colour_and_no_class() -> None:
    maskige = Maskige(4)
    label = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    colours = maskige.encode(label)
    torch.testing.assert_close(colours[0, :, 0, 1], maskige.palette.mean(0))
    assert maskige(colours).shape == (1, 4, 1, 2)


# ---- which class gets which colour ---------------------------------------------------------------------------
def test_adjacency_counts_edges_once_and_skips_what_is_unknown() -> None:
    label = torch.tensor([[[[0, 0, 1], [0, 2, 255]]]], dtype=torch.uint8)
    table = class_adjacency(label, 3)
    assert torch.equal(table, table.T)
    # 0|1 to the right; 0|2 to the right and below
    torch.testing.assert_close(table[0] * 3, torch.tensor([0.0, 0.5, 1.0]))
    assert float(table.sum()) == pytest.approx(1.0)


def test_mixing_margin() -> None:
    line = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0.5, 0.1, 0]])
    margin = mixing_margin(line)
    assert margin[0, 1] == pytest.approx(0.1)
    assert margin[0, 2] == pytest.approx(0.50990, abs=1e-4)  # beyond the end: the distance from the end
    assert torch.equal(mixing_margin(line[:2]), 1 - torch.eye(2))


def test_classes_that_touch_get_colours_that_do_not_mix() -> None:
    palette = maskige_palette(9)  # the corners of the cube and its centre, which every diagonal passes
    adjacency = torch.zeros(9, 9)
    adjacency[0, 1] = adjacency[1, 0] = 0.5
    arranged = arrange_colours(palette, adjacency)
    assert sorted(arranged.tolist()) == sorted(palette.tolist())
    assert float(mixing_margin(palette)[0, 1]) == 0.0
    assert float(mixing_margin(arranged)[0, 1]) == 0.5
    assert float((arranged[0] - arranged[1]).norm()) > 1.4
    assert torch.equal(arrange_colours(palette, adjacency), arranged)
