"""The student's generated pairs: of the right form, near real images, and of one piece in volumes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_semgan.engines import StudentTrainer
from monai_semgan.engines.student import as_images, as_slices, resize
from monai_semgan.transforms import decode_label
from tests.tiny import make_segmenter
from tests.tiny_student import both_dims, make_trainer


def catch_latents(trainer: StudentTrainer) -> list[dict[str, Any]]:
    """What the generator is asked for."""
    seen: list[dict[str, Any]] = []
    forward = trainer.segmenter.generator.forward

    def watched(latents: torch.Tensor, **options: Any) -> Any:
        seen.append({"latents": latents, **options})
        return forward(latents, **options)

    trainer.segmenter.generator.forward = watched
    return seen


class TestPairs:
    @both_dims
    @pytest.mark.parametrize("size", [16, 32, 12])
    @pytest.mark.parametrize("classes", [2, 3])
    def test_form(self, dims: int, size: int, classes: int) -> None:
        trainer = make_trainer(dims=dims, size=size, classes=classes)
        batch = trainer.data_loader.batch(0)
        image, label = trainer.generated(batch)
        assert image.shape == label.shape == batch["labelled"]["image"].shape
        assert image.dtype == torch.float32
        assert label.dtype == torch.uint8
        assert image.abs().max() <= 1
        assert set(label.unique().tolist()) <= set(range(classes))
        assert not image.requires_grad

    @both_dims
    @pytest.mark.parametrize("options", [{}, {"spatial_resolution": 8}, {"label_channels": 3}], ids=str)
    def test_without_a_mixture_real_images_come_back(self, dims: int, options: dict[str, int]) -> None:
        """In volumes, so, neighbours stay neighbours: slice by slice it is the reconstruction."""
        segmenter = make_segmenter(**options)
        for name, parameter in segmenter.generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.zero_()
        trainer = make_trainer(dims=dims, segmenter=segmenter, mixture=0.0, prior_fraction=0.0)
        batch = trainer.data_loader.batch(0)
        image, label = trainer.generated(batch)
        for volume, made, made_label in zip(batch["unlabelled"]["image"], image, label, strict=True):
            slices = volume[None] if dims == 2 else volume.permute(3, 0, 1, 2)
            for number, single in enumerate(slices):
                with torch.no_grad():
                    latents, spatial = segmenter.encoder(single[None])
                    want, raw = segmenter.generator(latents, noise="zero", spatial=spatial)
                part = (made, made_label) if dims == 2 else (made[..., number], made_label[..., number])
                torch.testing.assert_close(part[0], want[0].clamp(-1, 1), rtol=1e-4, atol=1e-4)
                assert (part[1] != decode_label(raw)[0]).float().mean() < 0.01

    def test_all_slices_of_a_volume_take_the_same_step(self) -> None:
        trainer = make_trainer(dims=3, mixture=1.0)
        seen = catch_latents(trainer)
        batch = trainer.data_loader.batch(0)
        trainer.generated(batch)
        with torch.no_grad():
            start, _ = trainer.segmenter.encoder(as_slices(batch["unlabelled"]["image"]))
        first, second = (seen[0]["latents"] - start).split(4)
        for step in (first, second):
            torch.testing.assert_close(step, step[:1].expand_as(step), rtol=0, atol=1e-5)
            assert step.abs().max() > 1e-2
        assert not torch.allclose(first, second, atol=1e-3)
        assert not any(map_.any() for map_ in seen[0]["noise"])  # fresh noise would flicker from slice to slice

    def test_slices_are_mixed_two_by_two(self) -> None:
        trainer = make_trainer(mixture=0.5, prior_fraction=0.0)
        seen = catch_latents(trainer)
        batch = trainer.data_loader.batch(0)
        with torch.no_grad():
            start, _ = trainer.segmenter.encoder(batch["unlabelled"]["image"])
        shares = []
        for seed in range(50):
            torch.manual_seed(seed)
            trainer.generated(batch)
            way, full = seen[-1]["latents"] - start, start.roll(1, dims=0) - start
            share = (way * full).sum(dim=(1, 2)) / full.square().sum(dim=(1, 2))
            torch.testing.assert_close(way, share[:, None, None] * full, rtol=1e-3, atol=1e-4)
            shares += share.tolist()
        assert min(shares) >= -1e-4
        assert max(shares) <= 0.5 + 1e-4
        assert max(shares) - min(shares) > 0.3

    @pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
    def test_a_fraction_comes_from_the_prior_and_knows_no_real_slice(self, fraction: float) -> None:
        trainer = make_trainer(segmenter=make_segmenter(spatial_resolution=8), prior_fraction=fraction, mixture=0.0)
        seen = catch_latents(trainer)
        slices = torch.rand(400, 1, 16, 16) * 2 - 1
        torch.manual_seed(0)
        trainer.generated({"labelled": {"image": slices}})
        with torch.no_grad():
            start, spatial = trainer.segmenter.encoder(slices)
        drawn = (seen[0]["latents"] - start).abs().amax(dim=(1, 2)) > 1e-4
        assert drawn.float().mean().item() == pytest.approx(fraction, abs=0.07)
        assert not seen[0]["spatial"][drawn].any()
        assert torch.equal(seen[0]["spatial"][~drawn], spatial[~drawn])

    def test_labelled_slices_serve_where_there_are_no_others(self) -> None:
        trainer = make_trainer(mixture=0.0, prior_fraction=0.0)
        seen = catch_latents(trainer)
        labelled = trainer.data_loader.batch(0)["labelled"]
        trainer.generated({"labelled": labelled})
        with torch.no_grad():
            assert torch.equal(seen[0]["latents"], trainer.segmenter.encoder(labelled["image"])[0])


def test_slices_and_volumes_go_over_into_each_other() -> None:
    volume = torch.rand(2, 3, 4, 5, 6)
    slices = as_slices(volume)
    assert slices.shape == (12, 3, 4, 5)
    assert torch.equal(slices[7], volume[1, ..., 1])
    assert torch.equal(as_images(slices, volume), volume)
    flat = torch.rand(2, 3, 4, 5)
    assert as_slices(flat) is flat
    assert as_images(flat, flat) is flat


def test_resize_keeps_means_and_leaves_the_right_size_alone() -> None:
    slices = torch.rand(2, 1, 16, 16)
    assert resize(slices, 16) is slices
    for size in (4, 8, 32):
        changed = resize(slices, size)
        assert changed.shape == (2, 1, size, size)
        torch.testing.assert_close(changed.mean(), slices.mean(), rtol=0, atol=0.02)
