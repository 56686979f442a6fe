"""Heads for any number of classes, unit prototypes, and a vote of pixel networks."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.nets import OneShotHead, PixelMLPEnsemble, PrototypeHead
from monai_semgan.utils import InputError


@pytest.mark.parametrize("size", ["linear", "XXS", "XS", "S"])
@pytest.mark.parametrize("classes", [2, 15])
def test_any_number_of_classes(size: str, classes: int) -> None:
    head = OneShotHead(6, classes, size)
    assert head(torch.randn(2, 6, 8, 8)).shape == (2, classes, 8, 8)
    assert head.num_classes == classes
    assert len([m for m in head if isinstance(m, torch.nn.Conv2d)]) == {"linear": 1, "XXS": 1, "XS": 3, "S": 5}[size]


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="head_size: got 'XL'; wanted one of XXS, XS, S, linear"):
        OneShotHead(6, 2, "XL")
    with pytest.raises(InputError, match="num_classes"):
        OneShotHead(6, 1)
    with pytest.raises(InputError, match="prototypes"):
        PrototypeHead(6, 1)
    with pytest.raises(InputError, match="members"):
        PixelMLPEnsemble(6, 2, 0)


def test_prototypes_have_length_one_and_scores_are_cosines() -> None:
    head = PrototypeHead(6, 9)
    head.layer.weight.data.mul_(5)
    head.normalise()
    torch.testing.assert_close(head.layer.weight.detach().norm(dim=1), torch.ones(9))
    scores = head(100 * torch.randn(20, 6)).detach()
    assert float(scores.abs().max()) <= 1 + 1e-5
    assert PrototypeHead(6, 9, bias=True).layer.bias is not None


def test_a_vote_is_the_share_of_members() -> None:
    torch.manual_seed(0)
    ensemble = PixelMLPEnsemble(6, 3, members=4).eval()
    stack = torch.randn(2, 6, 4, 4)
    votes = ensemble.vote(stack)
    assert votes.shape == (2, 3, 4, 4)
    torch.testing.assert_close(votes.sum(dim=1), torch.ones(2, 4, 4))
    assert set(votes.unique().tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    first = ensemble.members[0](stack[1, :, 2, 3][None]).argmax()
    single = PixelMLPEnsemble(6, 3, members=1).eval()
    single.members[0].load_state_dict(ensemble.members[0].state_dict())
    assert int(single.vote(stack)[1, :, 2, 3].argmax()) == int(first)
