"""One-shot segmentation, self-supervised stage: a projection of hidden features (Manerikar and Kak, 2303.05639)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..transforms import rotated_pixels
from ..utils.errors import InputError
from ..utils.model_settings import write_model_settings
from .larc import LARC
from .one_shot_files import load_reader, save_projector
from .phase_trainer import Phase, PhaseTrainer, Terms

__all__ = ["FeatureProjectorTrainer"]


class FeatureProjectorTrainer(PhaseTrainer):
    """Trains projector and prototypes so that a pixel keeps its cluster when the image's style is changed.

    Generator and encoder are frozen, noise maps fixed, and no mask is used. Each iteration draws some images, makes two
    views of each by :class:`StylePerturbation`, reads their hidden features at the same random pixels, and predicts the
    clusters of one view from the other. Where a pixel is, no style ever changes, and clusters of places would serve
    best; so the second view is also of the image moved and read again, and features are compared of the same tissue
    at two places. The bundle's defaults mend the released code (docs/methods/one_shot.md); the options named
    "released" undo that.

    Args:
        network: a ``OneShotSegmenter``.
        prototypes: a ``PrototypeHead``.
        perturbation: ``(latents (B, L, D), fresh (B, 2, D)) -> latents``.
        loss: of two ``(N, P)`` scores.
        reader_checkpoint: ``model.pt`` of the encoder's stage, read when the training starts (None: as they are).
        images: images an iteration; ``pixels``: pixels an iteration, of all images together.
        real_fraction: share of images that are not drawn but read by the encoder from the batch, so that the features
            of scans are known too (0: released).
        truncation: psi of drawn latents; ``truncate_twice``: fresh latents are drawn whole and everything is truncated
            at the end, the unchanged rows thereby twice (released).
        warp: moves the second view's image, e.g. ``RandSliceAffine``, ``(image, None) -> (image, None)`` for any number
            of channels, less than 0 beyond the frame; None: no view is moved (released).
        independent_geometry: each view is flipped and rotated on its own, and pixels of different places are compared
            (released).
        standardise: every channel to mean 0 and deviation 1 over ``statistics_images`` images (released: not).
        optimizer: ``"adam"`` or ``"larc"``; ``learning_rate``: Adam .001, LARC about 1 (released: LARC .01).
        network_settings: what the generator was built with, written beside the result.
        options: see :class:`PhaseTrainer`.

    Batches: ``{"unlabelled": {"image" (B, 1, S, S)}}``. On finishing, ``projector.pt`` and ``projector.json`` are
    written. ``weight_change`` is ``|W - W0| / |W0|``: a projector that hardly moved is a random one.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        prototypes: nn.Module,
        perturbation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        reader_checkpoint: str | Path | None = None,
        images: int = 4,
        pixels: int = 768,
        real_fraction: float = 1.0,
        truncation: float = 0.7,
        truncate_twice: bool = False,
        warp: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] | None = None,
        independent_geometry: bool = False,
        standardise: bool = True,
        statistics_images: int = 64,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        network_settings: dict[str, Any] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        for name, value in {"real_fraction": real_fraction, "truncation": truncation}.items():
            if not 0 <= value <= 1:
                raise InputError(f"option {name}", got=value, wanted="0..1")
        if optimizer not in ("adam", "larc"):
            raise InputError("option projector_optimizer", got=repr(optimizer), wanted="'adam' or 'larc'")
        if images < 1 or pixels < images or statistics_images < 1:
            raise InputError(
                "feature projector", got=f"images {images}, pixels {pixels}, statistics_images {statistics_images}",
                wanted="at least 1 image, 1 pixel of each and 1 image for statistics",
            )  # fmt: skip
        if warp is not None and independent_geometry:
            raise InputError(
                "feature projector", got="moved_views and independent_geometry", wanted="one of them at most",
                fix="leave independent_geometry false",
            )  # fmt: skip
        self.network, self.prototypes, self.warp = network, prototypes, warp
        self.perturbation, self.loss = perturbation, loss
        self.reader_checkpoint = Path(reader_checkpoint) if reader_checkpoint else None
        self.images, self.pixels = int(images), int(pixels)
        self.real_fraction, self.truncation, self.truncate_twice = real_fraction, truncation, truncate_twice
        self.independent_geometry = independent_geometry
        self.standardise, self.statistics_images = standardise, int(statistics_images)
        self.network_settings = network_settings
        projector = network.generator.projector
        self.initial = projector.weight.detach().clone()
        self.mean_latent: torch.Tensor | None = None
        parameters = [*projector.parameters(), *prototypes.parameters()]
        kind = torch.optim.Adam if optimizer == "adam" else LARC
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            # the network is frozen first, then its projector is freed again: the order matters
            networks={"network": network, "projector": projector, "prototypes": prototypes},
            optimizers={"projector": kind(parameters, lr=learning_rate)},
            output_dir=output_dir,
            **options,
        )

    def phases(self) -> Sequence[Phase]:
        return (Phase("projector", ("projector", "prototypes"), "projector", self.swapped_prediction),)

    def run(self) -> None:
        path = self.checkpoint_path
        if not (path is not None and path.is_file()):
            if self.reader_checkpoint is not None:
                load_reader(self.network, self.reader_checkpoint)
            if self.standardise:
                self.network.generator.projector.fit_statistics(self.statistics_maps())
        self.network.eval()
        super().run()

    # ---- the phase -----------------------------------------------------------------------------
    def swapped_prediction(self, batch: Any) -> Terms:
        """Loss of the cluster assignments of two views of the same pixels."""
        latents, spatial = self.base(batch)
        views = [(latents, spatial)] * 2
        size = self.network.generator.image_size
        per_image = min(self.pixels // len(latents), size * size)
        chance = torch.rand(len(latents), size * size, device=latents.device)
        if self.warp is not None:
            views[1], origin = self.moved(batch, latents, spatial)
            chance = chance - (origin < 0).float()  # what has come in from beyond the frame has no partner: last
        # without replacement in each image
        pixels = chance.topk(per_image, dim=1).indices
        places = [pixels if self.warp is None else origin.clamp(min=0).gather(1, pixels), pixels]
        scores = []
        for (w, s), place in zip(views, places, strict=True):
            with torch.no_grad():
                _, features = self.network.generator.generator.hidden_features(self.perturb(w), "fixed", s)
            place = rotated_pixels(place, size) if self.independent_geometry else place
            projected = self.network.generator.projector.gather(features, place)
            scores.append(self.prototypes(projected.flatten(0, 1)))
        return {"": self.loss(*scores)}

    @torch.no_grad()
    def moved(
        self, batch: Any, latents: torch.Tensor, spatial: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor | None], torch.Tensor]:
        """This iteration's images moved and read by the encoder: ``(latents, spatial)``.

        And ``(B, S * S)``, where each of their pixels was before, row * S + column, -1 for beyond the frame.
        """
        assert self.warp is not None
        image = self.network.generator.generator(latents, "fixed", spatial)[0].float().clamp(-1, 1)
        if self.real_fraction > 0:
            drawn = self.shared["drawn"][:, None, None, None]
            image = torch.where(drawn, image, batch["unlabelled"]["image"][: len(image)])
        size = image.shape[-1]
        ramp = torch.linspace(0, 1, size, device=image.device)
        where = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij"))[None].expand(len(image), -1, -1, -1)
        # pictures of row and column move along and tell where things came from
        together, _ = self.warp(torch.cat([image, where], dim=1), None)
        row, column = (together[:, -2:] * (size - 1)).round().long().unbind(dim=1)
        inside = (together[:, -2:] >= 0).all(dim=1)
        origin = torch.where(inside, row * size + column, torch.full_like(row, -1))
        return self.network.encoder(together[:, :-2]), origin.flatten(1)

    @torch.no_grad()
    def base(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Latents, and spatial features if the generator takes any, of this iteration's images."""
        generator = self.network.generator
        latents = self.truncated(generator.sample_latents(self.images))
        spatial = None
        if self.real_fraction > 0:
            image = batch["unlabelled"]["image"][: self.images]
            read, spatial = self.network.encoder(image)
            drawn = self.shared["drawn"] = torch.rand(len(read), device=read.device) >= self.real_fraction
            latents = torch.where(drawn[:, None, None], latents[: len(read)], read)
            if spatial is not None:
                spatial = torch.where(drawn[:, None, None, None], torch.zeros_like(spatial), spatial)
        return latents, spatial

    @torch.no_grad()
    def perturb(self, latents: torch.Tensor) -> torch.Tensor:
        """One view's latents."""
        generator = self.network.generator
        z = torch.randn(len(latents), 2, generator.latent_dim, device=latents.device)
        fresh = generator.mapping(z)
        if self.truncate_twice:
            return self.truncated(self.perturbation(latents, fresh))
        return self.perturbation(latents, self.truncated(fresh))

    def truncated(self, latents: torch.Tensor) -> torch.Tensor:
        if self.mean_latent is None:
            self.mean_latent = self.network.generator.mean_latent()
        return self.mean_latent + self.truncation * (latents - self.mean_latent)

    def statistics_maps(self) -> Iterator[list[torch.Tensor]]:
        """Hidden maps of drawn images, and of as many slices as ``real_fraction`` asks for."""
        generator = self.network.generator
        draw = torch.Generator().manual_seed(self.seed)
        real = round(self.statistics_images * self.real_fraction)
        with torch.no_grad():
            for count in _parts(self.statistics_images - real, 16):
                latents = self.truncated(generator.sample_latents(count, generator=draw))
                yield generator.generator.hidden_features(latents, "fixed")[1]
            number = 0
            while real > 0:
                image = self.data_loader.batch(number)["unlabelled"]["image"][:real].to(self.state.device)
                latents, spatial = self.network.encoder(image)
                yield generator.generator.hidden_features(latents, "fixed", spatial)[1]
                real, number = real - len(image), number + 1

    # ---- bookkeeping ---------------------------------------------------------------------------
    @property
    def weight_change(self) -> float:
        """How far the projector has moved from where it began, relative to its length."""
        weight = self.network.generator.projector.weight.detach()
        initial = self.initial.to(weight.device)
        return float((weight - initial).norm() / initial.norm())

    def batch_size(self, batch: Any) -> int:
        return self.images

    def before_iteration(self, iteration: int, batch: Any) -> None:
        self.prototypes.normalise()

    def after_iteration(self, iteration: int, batch: Any) -> None:
        self.state.metrics["weight_change"] = self.weight_change

    def extra_state(self) -> dict[str, Any]:
        return {"initial": self.initial.detach().cpu().clone()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.initial = state["initial"]

    def on_finished(self) -> None:
        """Hand the projector over by file."""
        if self.output_dir is None:
            return
        path = self.output_dir / "projector.pt"
        save_projector(self.network, self.prototypes, path, weight_change=self.weight_change)
        write_model_settings({**(self.network_settings or {}), "weight_change": round(self.weight_change, 4)}, path)


def _parts(total: int, largest: int) -> Iterator[int]:
    while total > 0:
        yield min(total, largest)
        total -= largest
