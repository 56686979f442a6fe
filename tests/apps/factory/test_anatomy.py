"""Measures of made-up organs, and rules that are learned from them."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.apps.factory import AnatomyRules, learn_rules, measure_mask

SIZE, FOV = 64, 352.0


def pair(row: float = 32, column: float = 20, radius: float = 8, second: bool = False):
    """Slice and mask ``(1, 1, 64, 64)``: an oval body, a round organ, and another small one on request."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    body = ((rows - 31.5) / 22) ** 2 + ((columns - 31.5) / 28) ** 2 < 1
    organ = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    if second:
        organ |= (rows - 32) ** 2 + (columns - 48) ** 2 < 9
    image = torch.full((SIZE, SIZE), -1.0)
    image[body] = -0.2
    image[body & organ] = 0.3
    return image[None, None], organ[None, None].to(torch.uint8)


def test_measures_of_a_disc():
    image, label = pair()
    measures = measure_mask(image, label, FOV)
    organ = measures["organs"][1]
    assert organ["area_share"] == pytest.approx(float(label.float().mean()))
    assert organ["height_mm"] == organ["width_mm"] == pytest.approx(15 * 5.5)
    assert (organ["row"], organ["column"]) == pytest.approx((32.5 / 64, 20.5 / 64))
    assert (organ["pieces"], organ["touches_border"], organ["inside_body"]) == (1, False, 1.0)
    assert measures["body_share"] == pytest.approx(float((image > -1).float().mean()), abs=0.02)


def test_no_organ_and_no_body():
    image, label = pair()
    assert measure_mask(image, label * 0, FOV)["organs"] == {}
    assert measure_mask(image * 0 - 1, label * 0, FOV)["body_share"] == 0


def test_a_stack_is_measured_where_the_organ_is_largest_and_in_three_dimensions():
    parts = [pair(radius=5), pair(radius=9), pair(radius=1, second=True)]
    image, label = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    organ = measure_mask(image, label, FOV)["organs"][1]
    assert organ["area_share"] == pytest.approx(float(parts[1][1].float().mean()))
    assert organ["pieces"] == 2  # the discs above each other are one


@pytest.mark.parametrize(
    ("options", "word"),
    [({"radius": 30}, "area_share"), ({"second": True, "radius": 8}, None), ({"column": 2}, "touches the border"),
     ({"row": 58, "column": 58, "radius": 4}, "in the body"), ({"radius": 1}, "area_share")],
)  # fmt: skip
def test_fixed_rules(options, word):
    broken = AnatomyRules.fixed(2).broken(measure_mask(*pair(**options), FOV))
    assert (broken == []) if word is None else any(word in text for text in broken), broken


@pytest.fixture(scope="module")
def learned():
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(150, 3, generator=generator)
    pairs = [pair(28 + 8 * float(a), 18 + 4 * float(b), 3 + 6 * float(c)) for a, b, c in places]
    images, labels = (torch.cat([part[i] for part in pairs]) for i in (0, 1))
    return images, labels, learn_rules(images, labels, 3, FOV)


def test_learned_rules_accept_what_they_were_learned_from(learned):
    images, labels, rules = learned
    refused = [bool(rules.broken(measure_mask(images[i : i + 1], labels[i : i + 1], FOV))) for i in range(len(images))]
    assert sum(refused) <= 3
    assert rules.learned_from == 150
    assert rules.border == ()


@pytest.mark.parametrize("options", [{"radius": 14}, {"column": 44}, {"row": 45}, {"second": True}, {"column": 10}])
def test_learned_rules_refuse_what_no_patient_has(learned, options):
    assert learned[2].broken(measure_mask(*pair(**options), FOV))


def test_a_class_that_masks_do_not_show_keeps_the_fixed_rules(learned):
    assert learned[2].organs[2] == AnatomyRules.fixed(3).organs[2]
    image, label = pair(column=44)
    assert learned[2].broken(measure_mask(image, label * 2, FOV)) == []
