"""The self-supervised stage: what moves, what stays, and that it can be stopped and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_semgan.engines import LARC, load_projector, weights_fingerprint
from monai_semgan.networks.nets import PrototypeHead
from monai_semgan.transforms import RandSliceAffine, StylePerturbation
from monai_semgan.utils import InputError, read_model_settings
from tests.tiny_adversarial import equal, weights
from tests.tiny_one_shot import DIM, make_one_shot, make_projector_trainer


def test_projector_and_prototypes_move_and_nothing_else() -> None:
    trainer = make_projector_trainer(2)
    network = trainer.network
    before = {name: weights(m) for name, m in (("g", network.generator.generator), ("e", network.encoder),
                                                ("h", network.generator.head), ("p", trainer.prototypes))}  # fmt: skip
    trainer.run()
    assert equal(before["g"], weights(network.generator.generator))
    assert equal(before["e"], weights(network.encoder))
    assert equal(before["h"], weights(network.generator.head))
    assert not equal(before["p"], weights(trainer.prototypes))
    assert trainer.weight_change > 0
    assert trainer.state.metrics["weight_change"] == trainer.weight_change


def test_it_learns_and_moves_far_from_a_random_projection(tmp_path: Path) -> None:
    losses: list[float] = []
    trainer = make_projector_trainer(60, tmp_path, learning_rate=0.01, checkpoint_every=60)
    first = trainer.loss

    def watched(*scores: torch.Tensor) -> torch.Tensor:
        losses.append(float((value := first(*scores)).detach()))
        return value

    trainer.loss = watched
    trainer.run()
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert trainer.weight_change > 0.2
    written = read_model_settings(tmp_path / "projector.pt")["weight_change"]
    assert written == pytest.approx(trainer.weight_change, abs=1e-3)


def test_the_released_optimiser_hardly_moves_it() -> None:
    released = make_projector_trainer(20, optimizer="larc", learning_rate=0.01)
    mended = make_projector_trainer(20, optimizer="larc", learning_rate=1.0)
    for trainer in (released, mended):
        trainer.run()
    # |step| <= lr * trust * |W| / (1 - momentum): 2 % at most in 20 steps
    assert released.weight_change < 0.021
    assert mended.weight_change > 5 * released.weight_change


def test_larc_steps_are_a_share_of_the_tensor() -> None:
    p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = LARC([p], lr=0.5, momentum=0.9, trust=0.02)
    p.grad = torch.tensor([0.0, 1000.0])
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([3.0, 4.0 - 0.5 * 0.02 * 5]))
    p.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([3.0, 3.95 - 0.9 * 0.05]))


def test_views_differ_in_style_alone() -> None:
    trainer = make_projector_trainer(real_fraction=0.0)
    latents, spatial = trainer.base({})
    torch.manual_seed(1)
    one = trainer.perturb(latents)
    assert spatial is None
    assert ((one != latents).any(dim=2).sum(dim=1) == 2).all()
    twice = make_projector_trainer(real_fraction=0.0, truncate_twice=True)
    torch.manual_seed(1)
    moved = twice.perturb(latents)
    assert ((moved != latents).any(dim=2).sum(dim=1) == latents.shape[1]).all()  # every row is truncated again


def test_real_slices_are_read_by_the_encoder() -> None:
    network = make_one_shot(spatial_resolution=8)
    trainer = make_projector_trainer(network=network, real_fraction=1.0)
    image = trainer.data_loader.batch(0)
    latents, spatial = trainer.base(image)
    wanted, features = network.encoder(image["unlabelled"]["image"])
    assert torch.equal(latents, wanted)
    assert torch.equal(spatial, features)
    none = make_projector_trainer(network=network, real_fraction=0.0)
    assert none.base(image)[1] is None


@pytest.mark.parametrize("real_fraction", [0.0, 1.0])
def test_moved_views_compare_the_same_tissue(real_fraction: float) -> None:
    """A shift by whole pixels: what the second view shows at a pixel, the image shows where it came from."""
    network = make_one_shot(spatial_resolution=8)

    def shift(image: torch.Tensor, label: None) -> tuple[torch.Tensor, None]:
        moved = torch.full_like(image, -1.0)
        moved[..., 2:, 3:] = image[..., :-2, :-3]
        return moved, label

    trainer = make_projector_trainer(network=network, real_fraction=real_fraction, warp=shift)
    batch = trainer.data_loader.batch(0)
    latents, spatial = trainer.base(batch)
    seen: list[torch.Tensor] = []
    network.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    (moved, moved_spatial), origin = trainer.moved(batch, latents, spatial)
    image = batch["unlabelled"]["image"]
    if not real_fraction:
        image = network.generator.generator(latents, "fixed", spatial)[0].detach().clamp(-1, 1)
    torch.testing.assert_close(seen[-1], shift(image, None)[0])
    assert moved.shape == latents.shape
    assert moved_spatial is not None
    size = image.shape[-1]
    inside = origin >= 0
    assert inside.view(-1, size, size)[:, 2:, 3:].all()
    assert int(inside.sum()) == len(image) * (size - 2) * (size - 3)
    flat = image.flatten(1).gather(1, origin.clamp(min=0))
    torch.testing.assert_close(seen[-1].flatten(1)[inside], flat[inside])


def test_moved_views_teach_the_projector() -> None:
    trainers = [make_projector_trainer(2, warp=warp) for warp in (None, RandSliceAffine(), RandSliceAffine())]
    for trainer in trainers:
        trainer.run()
        assert trainer.weight_change > 0
    plain, moved, again = (weights(trainer.network.generator.projector) for trainer in trainers)
    assert not equal(plain, moved)
    assert equal(moved, again)


@pytest.mark.parametrize("standardise", [True, False])
def test_statistics_are_folded_in(standardise: bool) -> None:
    trainer = make_projector_trainer(1, standardise=standardise)
    trainer.run()
    std = trainer.network.generator.projector.std
    still = torch.equal(std, torch.ones_like(std))
    assert still is not standardise


def test_faithful_switches_run() -> None:
    network = make_one_shot()
    trainer = make_projector_trainer(
        2, network=network, optimizer="larc", learning_rate=0.01, truncate_twice=True, independent_geometry=True,
        real_fraction=0.0, standardise=False, prototypes=PrototypeHead(DIM, 8, bias=True),
        perturbation=StylePerturbation(network.generator.num_latents, [0, 1]),
    )  # fmt: skip
    trainer.run()
    assert trainer.weight_change > 0


def test_stopped_and_gone_on_is_the_same(tmp_path: Path) -> None:
    whole = make_projector_trainer(4, tmp_path / "whole")
    whole.run()
    cut = make_projector_trainer(4, tmp_path / "cut")
    cut.after_iteration = lambda iteration, batch: (_ for _ in ()).throw(KeyboardInterrupt) if iteration == 2 else None
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make_projector_trainer(4, tmp_path / "cut")
    again.run()
    assert equal(weights(whole.network.generator.projector), weights(again.network.generator.projector))
    assert again.weight_change == pytest.approx(whole.weight_change)


# ---- files between stages --------------------------------------------------------------------------------------
def test_a_projector_belongs_to_its_generator(tmp_path: Path) -> None:
    trainer = make_projector_trainer(1, tmp_path)
    trainer.run()
    path = tmp_path / "projector.pt"
    same = make_one_shot()
    load_projector(same, path)
    assert torch.equal(same.generator.projector.weight, trainer.network.generator.projector.weight)
    with pytest.raises(InputError, match=r"of different sizes: got a generator .* at \[4, 8, 8, 16, 16, 32, 32\] px"):
        load_projector(make_one_shot(image_size=32), path)
    other = make_one_shot(seed=1)
    assert weights_fingerprint(other) != weights_fingerprint(same)
    with pytest.raises(InputError, match="another generator's weights"):
        load_projector(other, path)
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"got another file; wanted projector\.pt"):
        load_projector(same, path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"real_fraction": 1.5}, "option real_fraction: got 1.5"),
        ({"truncation": -0.1}, "option truncation"),
        ({"optimizer": "sgd"}, "option projector_optimizer: got 'sgd'"),
        ({"pixels": 2}, "pixels 2"),
        ({"warp": RandSliceAffine(), "independent_geometry": True}, "got moved_views and independent_geometry"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_projector_trainer(**options)
