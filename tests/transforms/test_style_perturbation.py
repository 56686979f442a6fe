"""Two rows of w+ change, nothing coarser than them does, and where rotated pixels come from."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms import StylePerturbation, rotated_pixels
from monai_semgan.utils import InputError
from tests.tiny import LATENT, make_generator


def test_exactly_two_rows_change() -> None:
    torch.manual_seed(0)
    perturb = StylePerturbation(10)
    assert perturb.blocks == [2, 3]
    latents, fresh = torch.randn(64, 10, 4), torch.randn(64, 2, 4)
    changed = (perturb(latents, fresh) != latents).any(dim=2)
    rows = {tuple(torch.nonzero(row).flatten().tolist()) for row in changed}
    assert rows == {(4, 5), (6, 7)}
    moved = perturb(latents, fresh)
    assert torch.equal(moved[(moved != latents).any(dim=2)].view(64, 2, 4), fresh)
    half = StylePerturbation(10, [3], sigma=0.5)(latents, fresh)
    torch.testing.assert_close(half[:, 6:8], (latents[:, 6:8] + fresh) / 2)


@pytest.mark.parametrize(("latents", "blocks"), [(14, [2, 3, 4, 5]), (12, [2, 3, 4]), (8, [2]), (6, [1]), (4, [0])])
def test_blocks_by_default(latents: int, blocks: list[int]) -> None:
    assert StylePerturbation(latents).blocks == blocks


def test_coarser_maps_are_the_same_bits() -> None:
    generator = make_generator(image_size=32, channel_base=256)
    latents = generator.sample_latents(1).detach()
    moved = StylePerturbation(generator.num_latents, [2])(latents, torch.randn(1, 2, LATENT))
    before, after = (generator.hidden_features(w, "fixed")[1] for w in (latents, moved))
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    # maps 0..6: 4, 8, 8, 16, 16, 32, 32 px; rows 4 and 5 feed the second at 16 and the first at 32
    assert same == [True, True, True, True, False, False, False]


def test_blocks_that_are_not_there() -> None:
    with pytest.raises(InputError, match=r"perturbed_blocks: got \[5\]; wanted some of 0 to 4"):
        StylePerturbation(10, [5])
    with pytest.raises(InputError, match="perturbed_blocks"):
        StylePerturbation(10, [])


def test_rotated_pixels_are_flipped_or_turned() -> None:
    torch.manual_seed(0)
    pixels = torch.arange(64).expand(50, -1)
    still = rotated_pixels(pixels, 8, degrees=0.0)
    flipped = torch.arange(64).view(8, 8).flip(1).flatten()
    kinds = {bool(torch.equal(row, flipped)) for row in still}
    assert kinds == {True, False}
    assert all(torch.equal(row, flipped) or torch.equal(row, pixels[0]) for row in still)
    turned = rotated_pixels(pixels, 8, degrees=30.0)
    assert (turned == -1).any()  # corners come from beyond the frame
    assert int(turned.max()) < 64
