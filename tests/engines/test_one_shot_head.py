"""The head learns from one image, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_semgan.engines import OneShotHeadTrainer
from monai_semgan.engines.one_shot_head import head_loss
from monai_semgan.transforms import RandSliceAffine
from monai_semgan.utils import InputError, load_network, read_model_settings
from tests.tiny_adversarial import equal, weights
from tests.tiny_one_shot import make_head_trainer, make_one_shot, make_projector_trainer, make_shots


def test_one_image_teaches_what_others_show(tmp_path: Path) -> None:
    network = make_one_shot()
    with torch.no_grad():  # samples that differ
        network.generator.generator.constant.mul_(3)
    network.generator.projector.fit_statistics(make_projector_trainer(network=network).statistics_maps())
    trainer = make_head_trainer(
        tmp_path, 150, network, learning_rate=0.01, output_dir=tmp_path / "head", network_settings={"a": 1},
        checkpoint_every=150,
    )  # fmt: skip
    before = weights(network.generator.generator), weights(network.generator.projector)
    trainer.run()
    assert equal(before[0], weights(network.generator.generator))
    assert equal(before[1], weights(network.generator.projector))
    others = make_shots(network, 9)
    shot = make_shots(network)
    with torch.no_grad():
        image, logits = network.generator(others.latents[1:], "fixed")
    # "organ": brighter than the annotated image's median
    wanted = image > shot.image.median()
    found = logits.argmax(1, keepdim=True).bool()
    dice = 2 * (wanted & found).sum() / (wanted.sum() + found.sum())
    chance = 2 * wanted.float().mean() * 0.5 / (wanted.float().mean() + 0.5)  # of a coin for every pixel
    assert float(dice) > float(chance) + 0.1
    with torch.no_grad():
        own = network.generator(shot.latents, "fixed")[1].argmax(1, keepdim=True) == shot.label
    assert float(own.float().mean()) > 0.9  # and what was annotated is known by heart
    again = load_network(make_one_shot(seed=4), tmp_path / "head" / "model.pt")
    torch.testing.assert_close(again(image), network(image))
    assert read_model_settings(tmp_path / "head" / "model.pt") == {"a": 1}


def test_versions_differ_in_noise_alone(tmp_path: Path) -> None:
    trainer = make_head_trainer(tmp_path, noise_draws=2)
    shot = {"latents": make_shots(trainer.network).latents}
    versions = trainer.versions(shot)
    assert versions.shape[:2] == (4, 1)
    torch.testing.assert_close(versions[0], trainer.network.generator.project(shot["latents"], "fixed")[1])
    assert not torch.equal(versions[2], versions[3])
    trainer.noise_draws = 0
    assert len(trainer.versions(shot)) == 1  # released: the stored noise


def test_moved_images_are_read_again_and_their_masks_move_along(tmp_path: Path) -> None:
    trainer = make_head_trainer(tmp_path, warp=RandSliceAffine(rotation=0.0, scale=(1.0, 1.0), shift=0.2))
    shots = make_shots(trainer.network)
    shot = {"image": shots.image, "label": shots.label, "latents": shots.latents}
    torch.manual_seed(0)
    maps, label = trainer.moved(shot)
    torch.manual_seed(0)
    image, wanted = trainer.warp(shots.image, shots.label)
    assert torch.equal(label, wanted)
    assert not torch.equal(label, shots.label)
    latents, spatial = trainer.network.encoder(image)
    torch.testing.assert_close(maps, trainer.network.generator.project(latents, "zero", spatial)[1])
    # released: no image is moved; and without a way to move it none can be
    assert make_head_trainer(tmp_path, warp=trainer.warp, warped_fraction=0.0).warped_fraction == 0
    assert make_head_trainer(tmp_path).warped_fraction == 0


@pytest.mark.parametrize(("fraction", "times"), [(0.0, 0), (1.0, 4)])
def test_share_of_moved_images(tmp_path: Path, fraction: float, times: int) -> None:
    calls = []

    def warp(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(image)
        return image, label

    make_head_trainer(tmp_path, 4, warp=warp, warped_fraction=fraction).run()
    assert len(calls) == times


def test_it_is_deterministic(tmp_path: Path) -> None:
    heads = []
    for _ in range(2):
        trainer = make_head_trainer(tmp_path, 4, warp=RandSliceAffine())
        trainer.run()
        heads.append(weights(trainer.network.generator.head))
    assert equal(*heads)


def test_losses_and_options() -> None:
    logits, label = torch.randn(1, 3, 8, 8), torch.randint(3, (1, 1, 8, 8))
    plain = torch.nn.functional.cross_entropy(logits, label[:, 0])
    torch.testing.assert_close(head_loss("cross_entropy")(logits, label), plain)
    with pytest.raises(InputError, match="head_loss: got 'dice'"):
        head_loss("dice")
    with pytest.raises(InputError, match="head_dropout: got 1"):
        OneShotHeadTrainer("cpu", 1, 1, [], make_one_shot(), dropout=1.0)
    with pytest.raises(InputError, match=r"warped_fraction: got 1\.5"):
        OneShotHeadTrainer("cpu", 1, 1, [], make_one_shot(), warped_fraction=1.5)
