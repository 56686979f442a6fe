"""The baseline's trainer learns, ignores unlabelled slices, and goes on exactly where it was stopped."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from monai.networks.nets import UNet

from monai_semgan.data import PairedSliceLoader, SliceBank
from monai_semgan.engines import EmaByImages, StyleEncoderTrainer, SupervisedSliceTrainer
from monai_semgan.transforms import RandBatchAppearance, RandSliceAffine
from monai_semgan.utils import InputError, load_network, read_model_settings

SIZE = 32
SETTINGS = {"image_size": SIZE, "unet_channels": [8, 16, 16]}


def make_bank(count: int = 24, seed: int = 0) -> SliceBank:
    """Bright discs (the organ) beside dark ones on a grey body, with noise."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    places = torch.rand(count, 2, 2, generator=draw) * 10 + 11
    discs = [
        ((rows - places[:, k, 0, None, None]) ** 2 + (columns - places[:, k, 1, None, None]) ** 2) < 25
        for k in range(2)
    ]
    image = torch.randn(count, SIZE, SIZE, generator=draw) * 0.1
    image[discs[1]] = -0.5
    image[discs[0]] = 0.5
    label = discs[0].to(torch.uint8)
    return SliceBank(image[:, None].clamp(-1, 1), label[:, None], ["a"] * count, torch.zeros(count))


def make_trainer(iterations: int, output_dir=None, settings=None, unlabelled=None, randomise=None, **options):
    torch.manual_seed(1)
    network = UNet(2, 1, 2, SETTINGS["unet_channels"], [2, 2], num_res_units=1, norm="INSTANCE")
    return SupervisedSliceTrainer(
        "cpu",
        max_epochs=1,
        epoch_length=iterations,
        train_data_loader=PairedSliceLoader(make_bank(), unlabelled, batch_size=8, num_batches=iterations),
        network=network,
        randomise=randomise,
        warp=RandSliceAffine(label_mode="linear"),
        learning_rate=2e-2,
        ema=EmaByImages(network, half_life_images=50),
        output_dir=output_dir,
        network_settings=SETTINGS,
        checkpoint_every=4,
        settings=settings,
        **options,
    )


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_it_learns_and_writes_a_network_that_can_be_rebuilt(tmp_path):
    trainer = make_trainer(100, tmp_path)
    losses = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output))
    trainer.run()
    assert set(losses[0]) == {"loss", "supervised/label"}
    assert all(isinstance(value, float) for row in losses for value in row.values())
    assert trainer.state.images_seen == 100 * 8
    assert losses[-1]["loss"] < 0.3 * losses[0]["loss"]
    assert read_model_settings(tmp_path / "model.pt") == SETTINGS
    network = load_network(UNet(2, 1, 2, [8, 16, 16], [2, 2], num_res_units=1), tmp_path / "model.pt")
    unseen = make_bank(seed=1)
    with torch.no_grad():
        found = network(unseen.images).argmax(1, keepdim=True)
    dice = 2 * (found * unseen.labels).sum() / (found.sum() + unseen.labels.sum())
    assert dice > 0.9


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path):
    options = {"randomise": RandBatchAppearance(1.0)}
    whole = make_trainer(10, tmp_path / "whole", **options)
    whole.run()
    stopped = make_trainer(10, tmp_path / "stopped", **options)

    def stop(engine):
        raise RuntimeError("power cut")

    stopped.add_event_handler(Events.ITERATION_STARTED(once=7), stop)
    with pytest.raises(RuntimeError, match="power cut"):
        stopped.run()
    resumed = make_trainer(10, tmp_path / "stopped", **options)
    resumed.run()
    assert resumed.state.images_seen == whole.state.images_seen == 80
    assert equal(resumed.network.state_dict(), whole.network.state_dict())
    assert equal(resumed.ema.state_dict(), whole.ema.state_dict())
    written = [torch.load(tmp_path / k / "model.pt", weights_only=True) for k in ("whole", "stopped")]
    assert equal(*written)


def test_a_finished_training_returns_at_once_and_another_configuration_is_refused(tmp_path):
    make_trainer(2, tmp_path, settings={"randomise_strength": 0.0}).run()
    again = make_trainer(2, tmp_path, settings={"randomise_strength": 0.0})
    again.add_event_handler(Events.ITERATION_STARTED, lambda e: pytest.fail("it trained again"))
    again.run()
    with pytest.raises(InputError, match=r"randomise_strength was 0\.0 and is now 1\.0"):
        make_trainer(2, tmp_path, settings={"randomise_strength": 1.0}).run()
    assert json.loads((tmp_path / "model.json").read_text()) == SETTINGS


def test_unlabelled_slices_change_nothing():
    with_them, without = make_trainer(3, unlabelled=make_bank(seed=5)), make_trainer(3)
    with_them.run()
    without.run()
    assert equal(with_them.network.state_dict(), without.network.state_dict())


def test_a_fraction_of_the_slices_stays_clean():
    trainer = make_trainer(1, randomise=lambda image, label: image + 9, clean_fraction=0.25)
    torch.manual_seed(0)
    image = torch.zeros(400, 1, 2, 2)
    seen = trainer.disguise(image, image)
    clean = (seen == 0).flatten(1).all(dim=1)
    assert (clean | (seen == 9).flatten(1).all(dim=1)).all()
    assert 0.18 < clean.float().mean() < 0.32


def test_appearance_is_left_alone_at_first_and_then_changed_more_and_more():
    calls = []

    def randomise(image, label):
        calls.append(1)
        return image + 9

    options = {"clean_fraction": 0.2, "randomise_start": 0.25, "randomise_ramp": 0.5}
    trainer = make_trainer(100, randomise=randomise, **options)
    shares = {}
    for iteration in (1, 25, 26, 51, 76, 100):
        trainer.state.iteration = iteration
        shares[iteration] = trainer.clean_share()
    assert shares == pytest.approx({1: 1.0, 25: 1.0, 26: 1.0, 51: 0.6, 76: 0.2, 100: 0.2})
    trainer.state.iteration = 25
    image = torch.zeros(400, 1, 2, 2)
    assert torch.equal(trainer.disguise(image, image), image)
    assert not calls  # nothing is computed that nobody sees
    trainer.state.iteration = 51
    assert 0.5 < (trainer.disguise(image, image) == 0).float().mean() < 0.7
    trainer = make_trainer(100, randomise=randomise, clean_fraction=0.2, randomise_start=0.25)
    trainer.state.iteration = 26
    assert trainer.clean_share() == pytest.approx(0.2)  # without a ramp at once


@pytest.mark.parametrize("option", ["clean_fraction", "randomise_start", "randomise_ramp"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_outside_of_0_to_1_are_refused(option, value):
    with pytest.raises(InputError, match=f"option {option}.*0..1"):
        make_trainer(1, **{option: value})


def test_the_schedule_is_that_of_the_encoder():
    trainer = make_trainer(300)
    groups = [{"lr": 0.0}]
    other = SimpleNamespace(
        total_iterations=300,
        learning_rate=trainer.learning_rate,
        optimizers={"encoder": SimpleNamespace(param_groups=groups)},
    )
    for iteration in (0, 10, 49, 50, 150, 299):
        trainer.before_iteration(iteration, None)
        StyleEncoderTrainer.before_iteration(other, iteration, None)
        assert trainer.optimizers["network"].param_groups[0]["lr"] == groups[0]["lr"] > 0
