"""A vector quantiser whose codes stay in use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers import EMAQuantizer

from ...utils.processes import copy_from_first, gather_batch, sum_over_processes

__all__ = ["RestartingQuantizer"]


class RestartingQuantizer(EMAQuantizer):
    """MONAI's ``EMAQuantizer`` with sizes of clusters that start at one instead of zero, and codes that can restart.

    Why a class of its own: with sizes of zero the first step divides every code that was not hit by next to nothing,
    and throws it where no feature will ever be (norms around 10^5 after one step).

    Args:
        spatial_dims, num_embeddings, embedding_dim, commitment_cost: as there.
        decay: of the moving averages; MONAI's ``VQVAE`` takes 0.5, with which a code follows a single batch.

    Shape: features ``(B, C, ...)`` to quantised features ``(B, C, ...)``, commitment loss, code indices ``(B, ...)``.
    In training mode a call updates the codebook; :meth:`codes` never does. With several processes, each of which has
    its part of the batch, the codebook follows the features of all, and is the same in each.
    """

    def __init__(
        self,
        spatial_dims: int,
        num_embeddings: int,
        embedding_dim: int,
        commitment_cost: float = 0.25,
        decay: float = 0.97,
    ) -> None:
        super().__init__(
            spatial_dims, num_embeddings, embedding_dim, commitment_cost=commitment_cost, decay=decay, ddp_sync=True
        )
        self.ema_cluster_size.fill_(1.0)

    def distributed_synchronization(self, encodings_sum: torch.Tensor, dw: torch.Tensor) -> None:
        """Make the hits of each code, and the sums of what hit it, those of all processes."""
        if not torch.jit.is_scripting():  # TorchScript cannot read calls of ``torch.distributed``
            sum_over_processes([encodings_sum, dw])

    @torch.jit.unused
    def codes(self, features: torch.Tensor) -> torch.Tensor:
        """Index of the nearest code, ``(B, ...)``; MONAI's ``VQVAE.index_quantize`` would train the codebook by it."""
        return self.quantize(features)[2]

    @torch.jit.unused
    def similarity(self, features: torch.Tensor) -> torch.Tensor:
        """Minus the squared distance to every code, ``(B, N, ...)``."""
        flat, book = features.movedim(1, -1), self.embedding.weight
        distance = (flat * flat).sum(-1, keepdim=True) - 2 * flat @ book.t() + (book * book).sum(-1)
        return -distance.movedim(-1, 1)

    @torch.jit.unused
    @torch.no_grad()
    def initialise(self, features: torch.Tensor) -> None:
        """Take codes from features ``(B, C, ...)``, each drawn by its squared distance from those before (k-means++).

        Masks are mostly background: codes drawn evenly would nearly all be the same.
        """
        vectors = gather_batch(features).movedim(1, -1).flatten(0, -2).float()
        index = torch.randint(len(vectors), (1,), device=vectors.device)
        distance = (vectors - vectors[index]).square().sum(1)
        for number in range(self.num_embeddings):
            self._place(number, vectors[index[0]])
            index = torch.multinomial(distance.clamp(min=1e-12), 1)
            distance = torch.minimum(distance, (vectors - vectors[index]).square().sum(1))
        copy_from_first([self])  # each process draws for itself

    @torch.jit.unused
    @torch.no_grad()
    def restart(self, features: torch.Tensor, weight: torch.Tensor, threshold: float = 0.1) -> int:
        """Move codes that are hit less than ``threshold`` times a step to features drawn by ``weight``.

        Returns how many were moved.

        Args:
            features: ``(B, C, ...)``.
            weight: ``(B, ...)``, 0 or more, e.g. how badly each place is reconstructed.
            threshold: moving average of hits.
        """
        dead = torch.nonzero(self.ema_cluster_size < threshold).flatten()
        vectors, weight = gather_batch(features).movedim(1, -1).flatten(0, -2).float(), gather_batch(weight)
        count = min(len(dead), len(vectors))
        if count:
            chosen = torch.multinomial(weight.flatten().float().clamp(min=1e-8), count)
            for number, index in zip(dead[:count].tolist(), chosen, strict=True):
                self._place(number, vectors[index])
            copy_from_first([self])
        return count

    def _place(self, number: int, vector: torch.Tensor) -> None:
        # a little beside it: two codes at one place would never part
        noise = 0.01 * F.normalize(torch.randn_like(vector), dim=0) * vector.norm()
        self.embedding.weight.data[number] = vector + noise
        self.ema_w[number] = vector + noise
        self.ema_cluster_size[number] = 1.0
