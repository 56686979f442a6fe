"""AdvSemiSeg's trainer with other networks, unknown pixels, bad input, and each stabiliser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import nn

from monai_semgan.data import PairedSliceLoader
from monai_semgan.networks.nets import ConfidenceDiscriminator
from monai_semgan.utils import InputError
from tests.tiny import make_bank
from tests.tiny_adversarial import AT_ONCE, BATCH, SIZE, equal, make_trainer, outputs, weights


# ---- any network ---------------------------------------------------------------------------------------------
def segmenters(dims: int) -> dict[str, nn.Module]:
    return {
        "UNet": UNet(dims, 1, 3, [4, 8], [2], num_res_units=1, norm="INSTANCE"),
        "SegResNet": SegResNet(dims, 4, 1, 3, 0.0, norm=("INSTANCE", {}), blocks_down=(1, 1), blocks_up=(1,)),
        "DynUNet": DynUNet(dims, 1, 3, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 8], deep_supervision=False),
    }


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["UNet", "SegResNet", "DynUNet"])
def test_segmenters_are_swapped_freely(name: str, dims: int) -> None:
    size = (16,) * dims
    torch.manual_seed(0)
    image = torch.rand(2, 1, *size) * 2 - 1
    label = torch.randint(0, 3, (2, 1, *size), dtype=torch.uint8)
    part = {"image": image, "label": label}
    batches = [{"labelled": part, "unlabelled": {"image": -image}, "real": part}] * 2
    trainer = make_trainer(
        2, loader=batches, network=segmenters(dims)[name], **AT_ONCE,
        discriminator=ConfidenceDiscriminator(dims, 3, (4, 4)), randomise=lambda image, label: -image,
    )  # fmt: skip
    before = weights(trainer.network)
    rows = outputs(trainer)
    assert all(torch.isfinite(torch.tensor(value)) for row in rows for value in row.values())
    assert trainer.skipped_steps == 0
    assert not equal(weights(trainer.network), before)


def test_a_network_with_several_outputs_is_refused() -> None:
    deep = DynUNet(2, 1, 2, [3] * 4, [1, 2, 2, 2], [2] * 3, filters=[4] * 4, deep_supervision=True, deep_supr_num=2)
    with pytest.raises(InputError, match=r"network DynUNet: got an output of \(4, 3, 2, 16, 16\).*supervision off"):
        make_trainer(1, network=deep).run()

    class Lists(nn.Conv2d):
        def forward(self, image: torch.Tensor) -> Any:
            return [super().forward(image)]

    with pytest.raises(InputError, match="network Lists: got an output of list"):
        make_trainer(1, network=Lists(1, 2, 1)).run()


def test_batches_without_masks_for_the_discriminator_are_refused() -> None:
    loader = PairedSliceLoader(make_bank(8, size=SIZE), None, BATCH, 1)
    with pytest.raises(InputError, match=r"the parts labelled, unlabelled; .*use RealMaskSliceLoader"):
        make_trainer(1, loader=loader).run()


@pytest.mark.parametrize(
    ("option", "value"),
    [("adversarial_weight", -1), ("self_training_start", 1.5), ("background_cap", 2), ("discriminator_every", 0)],
)
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"option {option}: got {value}"):
        make_trainer(1, **{option: value})


# ---- pixels without a class ----------------------------------------------------------------------------------
def test_pixels_without_a_class_are_nowhere() -> None:
    trainer = make_trainer(1, clean_fraction=1.0)
    batch = trainer.data_loader.batch(0)
    for part in ("labelled", "real"):
        batch[part]["label"] = batch[part]["label"].clone()
        batch[part]["label"][:, :, :8] = 255
    trainer.state.iteration = 1
    trainer.segment(batch)
    assert trainer.shared["fake"][0][2][:, :, 8:].all()
    assert not trainer.shared["fake"][0][2][:, :, :8].any()
    maps, _, valid = trainer.real(batch, 2)
    assert not valid[:, :, :8].any()
    assert (maps[:, :, :8] == 0).all()
    assert (maps[:, :, 8:].sum(1) == 1).all()
    torch.manual_seed(0)
    value = trainer.segment(batch)["label"]
    torch.testing.assert_close(
        value, F.cross_entropy(trainer.network(batch["labelled"]["image"]), batch["labelled"]["label"][:, 0].long(),
                               ignore_index=255),
    )  # fmt: skip


# ---- stabilisers ---------------------------------------------------------------------------------------------
def test_they_are_off_by_default() -> None:
    trainer, given = make_trainer(3), make_trainer(
        3, discriminator_every=1, real_target=1.0, instance_noise=0.0, r1_gamma=0.0, background_cap=1.0
    )  # fmt: skip
    trainer.run()
    given.run()
    assert equal(trainer.discriminator.state_dict(), given.discriminator.state_dict())
    assert [p.name for p in trainer.schedule] == ["adversarial_semi/segmenter", "adversarial_semi/discriminator"]


def test_the_discriminator_may_step_less_often() -> None:
    rows = outputs(make_trainer(4, discriminator_every=2))
    assert ["adversarial_semi/discriminator/real" in row for row in rows] == [True, False, True, False]


def test_the_gradient_penalty_is_lazy_and_moves_the_discriminator() -> None:
    rows = outputs(make_trainer(4, r1_gamma=1.0, r1_every=3))
    penalties = [row.get("adversarial_semi/r1") for row in rows]
    assert [p is not None for p in penalties] == [True, False, False, True]
    assert penalties[0] > 0


def test_instance_noise_fades() -> None:
    trainer, seen = make_trainer(4, instance_noise=0.2), []
    trainer.discriminator.register_forward_pre_hook(lambda m, args: seen.append(args[0].detach()))
    spread = []
    for iteration in (1, 3):
        trainer.state.iteration = iteration
        trainer.judge(torch.zeros(4, 2, SIZE, SIZE), torch.zeros(4, 1, SIZE, SIZE))
        spread.append(float(seen[-1].std()))
    assert spread == [pytest.approx(0.2, rel=0.1), pytest.approx(0.1, rel=0.1)]


def test_a_discriminator_that_sees_the_image_gets_the_clean_one() -> None:
    trainer, seen = make_trainer(1, image_channels=1, randomise=lambda image, label: image + 9, clean_fraction=0.0), []
    trainer.discriminator.register_forward_pre_hook(lambda m, args: seen.append(args[1]))
    trainer.run()
    assert len(seen) == 4
    assert all(image.max() < 2 for image in seen)


def test_the_teachers_answer_is_that_to_the_clean_slice() -> None:
    trainer = make_trainer(
        1, **AT_ONCE, ema_teacher=True, confidence_threshold=0.0, clean_fraction=0.0,
        randomise=lambda image, label: -image,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in trainer.ema.average.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    batch = trainer.data_loader.batch(0)
    trainer.state.iteration, trainer.shared = 1, {}
    terms = trainer.segment(batch)
    image = batch["unlabelled"]["image"]
    wanted = 0.1 * F.cross_entropy(trainer.network(-image), trainer.ema.average(image).argmax(1))
    torch.testing.assert_close(terms["self_training"], wanted)


def test_background_is_capped_in_self_training() -> None:
    trainer = make_trainer(1, **AT_ONCE, confidence_threshold=0.0, background_cap=0.0, clean_fraction=1.0)
    batch = trainer.data_loader.batch(0)
    trainer.state.iteration, trainer.shared = 1, {}
    found = trainer.segment(batch)["self_training"]
    logits = trainer.network(batch["unlabelled"]["image"])
    organ = logits.argmax(1) == 1
    wanted = 0.1 * F.cross_entropy(logits, logits.argmax(1), reduction="none")[organ].mean()
    torch.testing.assert_close(found, wanted)


def test_the_discriminator_works_in_full_precision() -> None:
    trainer, kinds = make_trainer(1, mixed_precision=True, **AT_ONCE), set()
    trainer.discriminator.register_forward_hook(lambda m, args, out: kinds.add((args[0].dtype, out.dtype)))
    seen = set()
    trainer.network.register_forward_hook(lambda m, args, out: seen.add(out.dtype))
    trainer.run()
    assert kinds == {(torch.float32, torch.float32)}
    assert seen == {torch.bfloat16}
