"""Which places of the grid count, and how much."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from monai_semgan.losses import labelled_cells, token_cross_entropy


def test_a_place_counts_if_any_of_its_pixels_is_known() -> None:
    known = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    known[0, 0, 3, 3] = known[0, 0, 4:, 4:] = True
    assert labelled_cells(known, 4)[0, 0].tolist() == [[True, False], [False, True]]
    assert labelled_cells(torch.ones(1, 1, 8, 8, 8, dtype=torch.bool), 4).shape == (1, 1, 2, 2, 2)


def test_cross_entropy_of_codes() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3, 3, requires_grad=True)
    codes = torch.randint(0, 5, (2, 3, 3))
    torch.testing.assert_close(token_cross_entropy(logits, codes), F.cross_entropy(logits, codes))
    known = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    known[0, 0, 1] = True
    wanted = F.cross_entropy(logits[:1, :, 1:2], codes[:1, 1:2])
    torch.testing.assert_close(token_cross_entropy(logits, codes, known), wanted)
    nothing = token_cross_entropy(logits, codes, known & False)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not logits.grad.any()
