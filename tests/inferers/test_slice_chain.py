"""Neighbouring slices are tied together: within a batch, across batches, never across volumes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_semgan.inferers import LatentInversionInferer
from monai_semgan.inferers.slice_chain import SliceChain
from monai_semgan.networks.nets import SemanticGANSegmenter
from monai_semgan.utils import InputError
from tests.tiny import SIZE, make_segmenter

DEPTH = 5


@pytest.fixture
def network() -> SemanticGANSegmenter:
    torch.manual_seed(0)
    return make_segmenter(spatial_resolution=8).eval()


@pytest.fixture
def volumes() -> torch.Tensor:
    """Two volumes whose slices have nothing in common."""
    torch.manual_seed(1)
    return torch.rand(2, 1, SIZE, SIZE, DEPTH) * 2 - 1


def invert(network: SemanticGANSegmenter, image: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the w+ they were made of ``(B, D, L, W)``."""
    inferer = LatentInversionInferer(**{"steps": 12, "trust_weight": 0.0, **options})
    used: list[torch.Tensor] = []
    hook = network.generator.register_forward_pre_hook(lambda m, args: used.append(args[0].detach().clone()))
    logits = inferer(image, network)
    hook.remove()
    passes = inferer.steps + 2 if inferer.steps else 1
    wplus = torch.cat(used[passes - 1 :: passes])  # the last pass of each batch is the answer
    return logits, wplus.reshape(len(image), -1, *wplus.shape[1:])


def roughness(wplus: torch.Tensor) -> float:
    return wplus.diff(dim=1).square().mean().item()


class TestChain:
    def test_shares_add_up_to_the_pairs(self) -> None:
        wplus = torch.randn(7, 3, 4)
        chain = SliceChain(depth=4)  # slices 0..3 and 4..6
        chain.begin(wplus)
        shares = chain.distance(wplus)
        pairs = wplus.diff(dim=0).square().mean(dim=(1, 2))
        pairs[3] = 0.0
        assert shares.sum().item() == pytest.approx(pairs.sum().item(), rel=1e-6)
        torch.testing.assert_close(shares[1], (pairs[0] + pairs[1]) / 2)
        torch.testing.assert_close(shares[4], pairs[4] / 2)

    def test_batches_follow_each_other(self) -> None:
        wplus = torch.randn(6, 3, 4)
        chain, found = SliceChain(depth=6), torch.zeros(())
        for batch in wplus.split(2):
            chain.begin(batch)
            found = found + chain.distance(batch).sum()
            chain.end(batch)
        torch.testing.assert_close(found, wplus.diff(dim=0).square().mean(dim=(1, 2)).sum())

    def test_a_new_volume_starts_afresh(self) -> None:
        chain, wplus = SliceChain(depth=2), torch.randn(2, 3, 4)
        chain.begin(wplus)
        chain.end(wplus)
        chain.begin(wplus[:1])
        assert chain.distance(wplus[:1]).tolist() == [0.0]

    def test_broken_slices_are_left_out(self) -> None:
        wplus = torch.randn(5, 3, 4)
        wplus[2] = float("nan")
        chain = SliceChain(depth=5)
        chain.begin(wplus)
        wplus.requires_grad_()
        shares = chain.distance(wplus)
        assert shares[2] == 0
        (gradient,) = torch.autograd.grad(shares.sum(), wplus)
        assert torch.isfinite(gradient).all()
        loss = torch.tensor([1.0, 2.0, float("nan"), 4.0, 8.0])
        assert chain.total(loss).nan_to_num(-1.0).tolist() == [3.0, 3.0, -1.0, 12.0, 12.0]
        chain.end(torch.full((1, 3, 4), float("nan")))
        chain.begin(torch.randn(1, 3, 4))
        assert chain.distance(torch.randn(1, 3, 4)).tolist() == [0.0]


class TestInversion:
    @pytest.mark.parametrize("slice_batch", [32, 3, 1])
    def test_neighbours_come_closer(self, network, volumes, slice_batch: int) -> None:
        options = {"slice_batch": slice_batch, "learning_rate": 0.2}
        _, free = invert(network, volumes, **options)
        _, tied = invert(network, volumes, neighbour_weight=0.1, **options)
        _, firmly = invert(network, volumes, neighbour_weight=10.0, **options)
        assert roughness(tied) < 0.98 * roughness(free)
        assert roughness(firmly) < 0.9 * roughness(tied)

    def test_across_batches_too(self, network, volumes) -> None:
        """The pair that two batches share, with batches of one slice: nothing else ties them."""
        volume = volumes[:1, ..., :2]
        _, free = invert(network, volume, slice_batch=1)
        _, tied = invert(network, volume, slice_batch=1, neighbour_weight=10.0)
        assert torch.equal(free[:, 0], tied[:, 0])
        assert roughness(tied) < 0.98 * roughness(free)

    @pytest.mark.parametrize("options", [{}, {"optimise_noise": True}, {"consistency_weight": 0.1}])
    def test_no_weight_is_no_change_to_the_last_bit(self, network, volumes, options: dict[str, Any]) -> None:
        volume = volumes[:1]
        slices = volume[0].movedim(-1, 0).contiguous()
        want, _ = invert(network, slices, steps=4, **options)  # single images have no neighbours
        got, _ = invert(network, volume, steps=4, neighbour_weight=0.0, **options)
        assert torch.equal(got[0].movedim(-1, 0), want)

    def test_images_that_are_no_volume_are_not_tied(self, network, volumes) -> None:
        slices = volumes[0].movedim(-1, 0).contiguous()
        assert torch.equal(invert(network, slices, neighbour_weight=9.0)[0], invert(network, slices)[0])

    def test_volumes_are_not_tied_to_each_other(self, network, volumes) -> None:
        together, _ = invert(network, volumes, neighbour_weight=3.0)
        alone = torch.cat([invert(network, v[None], neighbour_weight=3.0)[0] for v in volumes])
        torch.testing.assert_close(together, alone, atol=2e-3, rtol=2e-3)

    @pytest.mark.parametrize("options", [{}, {"optimise_noise": True}])
    def test_a_single_slice_is_what_it_was(self, network, volumes, options: dict[str, Any]) -> None:
        volume = volumes[..., :1]
        got, _ = invert(network, volume, neighbour_weight=3.0, **options)
        assert got.shape == (2, 2, SIZE, SIZE, 1)
        assert torch.equal(got, invert(network, volume, **options)[0])

    def test_no_steps_is_the_encoders_answer(self, network, volumes) -> None:
        got, _ = invert(network, volumes, steps=0, neighbour_weight=3.0)
        assert torch.equal(got, invert(network, volumes, steps=0)[0])

    @pytest.mark.parametrize("learning_rate", [0.05, 50.0])
    def test_the_best_sum_is_kept_never_worse_than_the_encoders(self, network, volumes, learning_rate: float) -> None:
        """Also when every step leads astray."""
        image, weight = volumes[0].movedim(-1, 0), 3.0
        inferer = LatentInversionInferer(
            steps=6, learning_rate=learning_rate, spatial_learning_rate=learning_rate, trust_weight=0.0,
            neighbour_weight=weight,
        )  # fmt: skip
        sums: list[float] = []

        def record(module: Any, args: tuple, out: tuple) -> None:
            wplus, made = args[0].detach(), out[0].detach()
            own = inferer.ncc(made, image) + inferer.curve(made, image)
            sums.append(float(own.sum() + weight * wplus.diff(dim=0).square().mean(dim=(1, 2)).sum()))

        hook = network.generator.register_forward_hook(record)
        inferer(volumes[:1], network)
        hook.remove()
        *tried, kept = sums
        assert len(tried) == 7
        assert kept == pytest.approx(min(tried), rel=1e-5)
        assert (min(tried) == tried[0]) is (learning_rate > 1)

    def test_a_broken_slice_does_not_spoil_the_others(self, network, volumes) -> None:
        volume = volumes[:1].clone()
        volume[..., 2] = float("nan")
        got, _ = invert(network, volume, neighbour_weight=3.0)
        want = torch.cat([invert(network, part, neighbour_weight=3.0)[0] for part in
                          (volume[..., :2], volume[..., 3:])], dim=-1)  # fmt: skip
        torch.testing.assert_close(got[..., [0, 1, 3, 4]], want, atol=2e-3, rtol=2e-3)

    def test_a_negative_weight_is_refused(self) -> None:
        with pytest.raises(InputError, match="neighbour_weight"):
            LatentInversionInferer(neighbour_weight=-1.0)
