"""Tokenizer, conditioning network, and the two in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_semgan.networks.nets import MASKIGE_VARIANTS, ConditioningNet, GenerativeSegmenter, MaskTokenizer
from monai_semgan.utils import InputError

CLASSES, CODES = 5, 16


def make_tokenizer(variant: str = "FF", dims: int = 2, **options: Any) -> MaskTokenizer:
    torch.manual_seed(0)
    return MaskTokenizer(
        CLASSES, dims, variant, channels=(4, 8), num_codes=CODES, code_channels=8, inverse_channels=8, **options
    )


def make_conditioning(codes: int = CODES, classes: int = CLASSES, dims: int = 2, **options: Any) -> ConditioningNet:
    torch.manual_seed(1)
    return ConditioningNet(
        codes, classes, dims, channels=(4, 8, 8), level_channels=4, grid_channels=8, heads=2, window=4, **options
    )


def make_segmenter(dims: int = 2, head: str = "codes", variant: str = "FT", **options: Any) -> GenerativeSegmenter:
    if head == "pixels":
        return GenerativeSegmenter(make_conditioning(CLASSES, 0, dims), head=head, **options).eval()
    return GenerativeSegmenter(make_conditioning(dims=dims), make_tokenizer(variant, dims), **options).eval()


@pytest.mark.parametrize("variant", MASKIGE_VARIANTS)
@pytest.mark.parametrize("dims", [2, 3])
def test_from_masks_to_codes_to_masks(variant: str, dims: int) -> None:
    tokenizer = make_tokenizer(variant, dims)
    label = torch.randint(0, CLASSES, (2, 1, *[16] * dims), dtype=torch.uint8)
    codes = tokenizer.tokenize(label)
    assert codes.shape == (2, *[4] * dims)
    assert tokenizer.decode(tokenizer.embed(codes)).shape == (2, 3, *[16] * dims)
    assert tokenizer(label).shape == (2, CLASSES, *[16] * dims)


def test_what_the_variants_learn() -> None:
    names = {name: (make_tokenizer(name).learns_palette, make_tokenizer(name).has_inverse) for name in MASKIGE_VARIANTS}
    assert names == {
        "FF": (False, False), "FF-R": (False, False), "FT": (False, True), "FT-W": (False, True),
        "TF": (True, False), "TT": (True, True),
    }  # fmt: skip
    fixed, random = (make_tokenizer(name).maskige.palette for name in ("FF", "FF-R"))
    assert not torch.equal(fixed, random)
    label = torch.randint(0, CLASSES, (1, 1, 16, 16))
    tokenizer = make_tokenizer("FF-R")
    tokenizer.arrange_colours(label)
    assert torch.equal(tokenizer.maskige.palette, random)  # the control stays as it was drawn


def test_tokenizing_changes_nothing() -> None:
    tokenizer = make_tokenizer().train()
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    for _ in range(3):
        codes = tokenizer.tokenize(torch.randint(0, CLASSES, (2, 1, 16, 16)))
    assert not codes.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())


def test_the_mean_code_of_certainty_is_that_code() -> None:
    tokenizer = make_tokenizer()
    codes = torch.randint(0, CODES, (2, 4, 4))
    certain = torch.nn.functional.one_hot(codes, CODES).movedim(-1, 1).float()
    torch.testing.assert_close(tokenizer.expect(certain), tokenizer.embed(codes))


def test_a_class_of_its_own_in_one_hot_colours() -> None:
    assert make_tokenizer(palette="one_hot").maskige.channels == CLASSES


def test_sizes_that_cannot_be_halved() -> None:
    with pytest.raises(InputError, match=r"tokenizer: got masks of \(18, 16\); wanted sizes that 4 divides"):
        make_tokenizer().tokenize(torch.zeros(1, 1, 18, 16))
    with pytest.raises(InputError, match="option variant: got XX; wanted one of FF, FF-R"):
        make_tokenizer("XX")
    with pytest.raises(InputError, match="conditioning network: got stride 16; wanted one of 2, 4, 8"):
        make_conditioning(stride=16)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_grid_of_the_image_is_that_of_the_mask(dims: int) -> None:
    codes, auxiliary = make_conditioning(dims=dims)(torch.randn(2, 1, *[16] * dims))
    assert codes.shape == (2, CODES, *[4] * dims)
    assert auxiliary.shape == (2, CLASSES, *[4] * dims)
    assert make_conditioning(classes=0, dims=dims)(torch.randn(1, 1, *[16] * dims))[1].shape[1] == 0


@pytest.mark.parametrize("options", [{}, {"decoding": "soft"}, {"head": "pixels"}, {"dims": 3}, {"variant": "FT-W"}])
def test_one_pass_from_image_to_logits(options: dict) -> None:
    network = make_segmenter(**options)
    image = torch.randn(2, 1, *[32] * options.get("dims", 2))
    with torch.no_grad():
        logits = network(image)
        assert logits.shape == (2, CLASSES, *image.shape[2:])
        assert torch.equal(network(image), logits)
        scripted = torch.jit.script(network)
        torch.testing.assert_close(scripted(image), logits)


def test_soft_decoding_of_sure_codes_is_the_other_one() -> None:
    sharp, soft = make_segmenter(), make_segmenter(decoding="soft")
    logits = 1e4 * torch.randn(1, CODES, 4, 4)
    torch.testing.assert_close(sharp.paint(logits), soft.paint(logits))


def test_drawn_codes() -> None:
    network = make_segmenter()
    image = torch.randn(2, 1, 16, 16)
    drawn = [network.sample(image, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0].shape == (2, CLASSES, 16, 16)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    with torch.no_grad():
        torch.testing.assert_close(network.sample(image, temperature=1e-6), network(image))
    with pytest.raises(InputError, match="sampled codes: got a network of head 'pixels'"):
        make_segmenter(head="pixels").sample(image)


def test_settings_that_make_no_sense() -> None:
    for options, message in (
        ({"head": "boxes"}, "option head: got boxes"),
        ({"decoding": "hard"}, "option decoding: got hard"),
        ({}, "got no tokenizer"),
    ):
        with pytest.raises(InputError, match=message):
            GenerativeSegmenter(make_conditioning(), **options)
