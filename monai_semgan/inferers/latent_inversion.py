"""Test-time optimisation: find the latents whose image explains a scan, and read the mask off them.

SemanticGAN (Li et al. 2021, 2104.05833), batched over slices, with losses that do not care about contrast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import nn

from ..losses import GreyCurveLoss, feature_distance
from ..losses.similarity import LocalNCCLoss
from ..utils import InputError
from .noise_maps import noise_regularisation, standardise_noise
from .slice_chain import SliceChain

Features = Callable[[torch.Tensor], Sequence[torch.Tensor]]


@dataclass
class _Latents:
    """What is optimised, one row a slice; ``trained`` are the leaves."""

    wplus: torch.Tensor
    spatial: torch.Tensor | None
    noise: list[torch.Tensor] = field(default_factory=list)

    def parts(self) -> list[torch.Tensor]:
        return [self.wplus, *([] if self.spatial is None else [self.spatial]), *self.noise]

    def copy(self) -> _Latents:
        return _Latents(
            self.wplus.detach().clone(),
            None if self.spatial is None else self.spatial.detach().clone(),
            [n.detach().clone() for n in self.noise],
        )


class LatentInversionInferer(Inferer):
    """Segment slices or volumes with a ``SemanticGANSegmenter``: encoder first, then optimise its latents.

    Every slice has latents and losses of its own, so the answer does not depend on which slices share a
    batch, unless ``neighbour_weight`` ties those of a volume together. The best latents seen (the encoder's
    included) are kept, by the loss without the noise maps' regulariser. The generator's weights never collect
    gradients. With ``steps=0`` the answer is the encoder's.

    Args:
        steps: optimisation steps (Adam).
        slice_batch: slices optimised at once.
        learning_rate: peak for w+; ``spatial_learning_rate`` for the encoder's spatial features (0: kept).
        ncc_weight: local normalised cross-correlation, squared (contrast does not matter).
        curve_weight: squared error under the best grey-value curve of each slice (nor here).
        mse_weight: plain squared error (same modality only).
        perceptual_weight: distance of ``features`` (same modality only).
        features: perceptual features; by default those of ``critic`` if given. LPIPS or any other network
            can be put here: a callable from ``(B, C, H, W)`` to a list of maps.
        critic: a ``ResidualStyleCritic``.
        trust_weight: squared distance of the latents from the encoder's.
        consistency_weight: squared distance of w+ from ``E(G(w+))``, evaluated every ``consistency_every``.
        optimise_noise: also optimise noise maps, kept noise by StyleGAN2's regulariser.
        noise_weight: its weight.
        ramp_up, ramp_down: fractions of the steps in which the learning rate rises and falls.
        neighbour_weight: squared distance of the w+ of neighbouring slices, measured as for ``trust_weight``;
            for volumes ``(B, C, H, W, D)`` alone. Then the slices of a volume in one batch are kept from the
            same step, by the sum of their losses, and the first slice of a batch follows the last of the
            batch before.

    ``__call__``: ``inputs (B, C, H, W)`` or ``(B, C, H, W, D)`` in [-1, 1] to logits ``(B, K, H, W[, D])``.
    Afterwards ``report`` holds ``reconstruction_error`` (one number a slice, 1 - local NCC: 0 is perfect)
    and the number of ``steps``.
    """

    def __init__(
        self,
        steps: int = 30,
        slice_batch: int = 32,
        learning_rate: float = 0.05,
        spatial_learning_rate: float = 0.05,
        ncc_weight: float = 1.0,
        curve_weight: float = 1.0,
        mse_weight: float = 0.0,
        perceptual_weight: float = 0.0,
        features: Features | None = None,
        critic: nn.Module | None = None,
        trust_weight: float = 0.1,
        consistency_weight: float = 0.0,
        consistency_every: int = 4,
        optimise_noise: bool = False,
        noise_weight: float = 100.0,
        ramp_up: float = 0.05,
        ramp_down: float = 0.25,
        neighbour_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if steps < 0 or slice_batch < 1:
            raise InputError(
                "inversion", got=f"steps={steps}, slice_batch={slice_batch}", wanted="steps >= 0 and slice_batch >= 1"
            )
        if not neighbour_weight >= 0:
            raise InputError("option neighbour_weight", got=neighbour_weight, wanted="0 or more")
        if features is None and critic is not None:
            critic.eval().requires_grad_(False)
            features = critic.features
        if perceptual_weight and features is None:
            raise ValueError(
                "perceptual_weight is set, but neither features nor critic is given; give one or set it to 0"
            )
        self.steps, self.slice_batch = steps, slice_batch
        self.learning_rate, self.spatial_learning_rate = learning_rate, spatial_learning_rate
        self.ncc_weight, self.curve_weight, self.mse_weight = ncc_weight, curve_weight, mse_weight
        self.perceptual_weight, self.features = perceptual_weight, features
        self.trust_weight = trust_weight
        self.consistency_weight, self.consistency_every = consistency_weight, consistency_every
        self.optimise_noise, self.noise_weight = optimise_noise, noise_weight
        self.ramp_up, self.ramp_down = ramp_up, ramp_down
        self.neighbour_weight = neighbour_weight
        self.ncc = LocalNCCLoss(reduction="none")
        self.curve = GreyCurveLoss(reduction="none")
        self.report: dict[str, Any] = {}

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        slices, depth = self._to_slices(inputs)
        logits, errors = [], []
        chain = SliceChain(depth) if depth is not None and self.neighbour_weight else None
        for start in range(0, len(slices), self.slice_batch):
            out, error = self.invert(slices[start : start + self.slice_batch], network, chain)
            logits.append(out)
            errors += error.tolist()
        self.report = {"reconstruction_error": errors, "steps": self.steps}
        result = torch.cat(logits)
        if depth is not None:
            result = result.view(-1, depth, *result.shape[1:]).permute(0, 2, 3, 4, 1).contiguous()
        # keeps the meta data of a MetaTensor: without them Invertd would skip the prediction
        return convert_to_dst_type(result, inputs, dtype=result.dtype)[0]

    @staticmethod
    def _to_slices(inputs: torch.Tensor) -> tuple[torch.Tensor, int | None]:
        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        if plain.ndim == 4:
            return plain, None
        if plain.ndim == 5:
            depth = plain.shape[-1]
            return plain.permute(0, 4, 1, 2, 3).reshape(-1, *plain.shape[1:4]).contiguous(), depth
        raise ValueError(f"inputs: got shape {tuple(plain.shape)}; wanted (B, C, H, W) or (B, C, H, W, D)")

    def invert(
        self, image: torch.Tensor, network: nn.Module, chain: SliceChain | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(B, K, H, W)`` and reconstruction errors ``(B,)`` of slices ``(B, C, H, W)``.

        ``chain`` ties them together and to the slices it has seen before.
        """
        with torch.no_grad():
            latents = _Latents(*network.encoder(image))
        if self.steps:
            if chain is not None:
                chain.begin(latents.wplus)
            latents = self._optimise(latents, image, network, chain)
            if chain is not None:
                chain.end(latents.wplus)
        with torch.no_grad():
            made, raw = network.generator(latents.wplus, noise=latents.noise or "zero", spatial=latents.spatial)
            return network.logits(raw), self.ncc(made, image)

    def _optimise(
        self, start: _Latents, image: torch.Tensor, network: nn.Module, chain: SliceChain | None = None
    ) -> _Latents:
        current = start.copy()
        if self.optimise_noise:
            current.noise = [n.repeat(len(image), 1, 1, 1) for n in network.generator.make_noise(1, "fixed")]
        rates = [self.learning_rate] + ([self.spatial_learning_rate] if current.spatial is not None else [])
        rates += [self.learning_rate] * len(current.noise)
        trained = [(p.requires_grad_(), r) for p, r in zip(current.parts(), rates, strict=True) if r > 0]
        optimizer = torch.optim.Adam([{"params": [p], "lr": r} for p, r in trained])
        target = self._target_features(image)
        best, best_loss = start.copy(), torch.full((len(image),), float("inf"), device=image.device)
        if current.noise:  # the encoder's answer has none
            best.noise = [torch.zeros_like(n) for n in current.noise]
            with torch.no_grad():
                made, _ = network.generator(start.wplus, noise="zero", spatial=start.spatial)
                best_loss = self._loss(made, image, target, start, start, self._encoded(made, network), chain)
                best_loss = best_loss if chain is None else chain.total(best_loss)
        encoded: torch.Tensor | None = None
        with torch.enable_grad():
            for step in range(self.steps + 1):
                made, _ = network.generator(current.wplus, noise=current.noise or "zero", spatial=current.spatial)
                if step % self.consistency_every == 0:
                    encoded = self._encoded(made, network)
                loss = self._loss(made, image, target, current, start, encoded, chain)
                judged = loss.detach() if chain is None else chain.total(loss.detach())
                self._keep_best(best, best_loss, current, judged)
                if step == self.steps:
                    break
                total = loss.sum()
                if current.noise:
                    total = total + self.noise_weight * noise_regularisation(current.noise).sum()
                gradients = torch.autograd.grad(total, [p for p, _ in trained])
                for (parameter, rate), gradient, group in zip(trained, gradients, optimizer.param_groups, strict=True):
                    parameter.grad = gradient
                    group["lr"] = rate * self._schedule((step + 1) / self.steps)
                optimizer.step()
                with torch.no_grad():
                    for noise in current.noise:
                        standardise_noise(noise)
        return best

    def _loss(
        self,
        made: torch.Tensor,
        image: torch.Tensor,
        target: Sequence[torch.Tensor],
        current: _Latents,
        start: _Latents,
        encoded: torch.Tensor | None,
        chain: SliceChain | None = None,
    ) -> torch.Tensor:
        """How good an answer is for each slice, ``(B,)``; the noise maps' regulariser does not count."""
        total = torch.zeros(len(image), device=image.device)
        if self.ncc_weight:
            total = total + self.ncc_weight * self.ncc(made, image)
        if self.curve_weight:
            total = total + self.curve_weight * self.curve(made, image)
        if self.mse_weight:
            total = total + self.mse_weight * (made - image).square().flatten(1).mean(dim=1)
        if self.perceptual_weight and self.features is not None:
            total = total + self.perceptual_weight * feature_distance(self.features(made), target, "none")
        if self.trust_weight:
            for part, origin in zip(current.parts()[:2], start.parts()[:2], strict=False):
                if part.shape == origin.shape:
                    total = total + self.trust_weight * (part - origin).square().flatten(1).mean(dim=1)
        if encoded is not None:
            distance = (current.wplus - encoded).square().flatten(1).mean(dim=1)
            total = total + self.consistency_weight * distance
        if chain is not None:
            total = total + self.neighbour_weight * chain.distance(current.wplus)
        return total

    def _encoded(self, made: torch.Tensor, network: nn.Module) -> torch.Tensor | None:
        if not self.consistency_weight:
            return None
        with torch.no_grad():
            return network.encoder(made.clamp(-1, 1))[0]

    def _target_features(self, image: torch.Tensor) -> Sequence[torch.Tensor]:
        if not self.perceptual_weight or self.features is None:
            return []
        with torch.no_grad():  # once per slice, not once per step
            return self.features(image)

    @staticmethod
    def _keep_best(best: _Latents, best_loss: torch.Tensor, current: _Latents, loss: torch.Tensor) -> None:
        better = loss < best_loss
        best_loss[better] = loss[better]
        for kept, part in zip(best.parts(), current.parts(), strict=True):
            kept[better] = part.detach()[better]

    def _schedule(self, t: float) -> float:
        """Learning-rate factor at fraction ``t`` in (0, 1] of the steps."""
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / self.ramp_down)) if self.ramp_down else 1.0
        up = min(1.0, t / self.ramp_up) if self.ramp_up else 1.0
        return max(up * down, 0.01)
