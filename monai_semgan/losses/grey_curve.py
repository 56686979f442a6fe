"""Distance after the best grey-value curve: reconstruction error that does not depend on contrast."""

from __future__ import annotations

import torch


class GreyCurveLoss(torch.nn.Module):
    """Mean squared error between a target and the prediction under the best-fitting grey-value curve.

    For each sample a piecewise linear curve with ``num_knots`` knots, not necessarily monotone, is fitted
    in closed form (ridge least squares) so that ``curve(prediction)`` is nearest to the target. The loss is
    the residual over the target's variance: 0 for any image that is a function of the prediction's grey
    values, so a CT-like reconstruction can explain an MRI. At the optimum the curve is a constant for the
    gradient (envelope theorem), so nothing is differentiated through the solve.

    Args:
        num_knots: knots over [-1, 1].
        ridge: pull of the curve's values towards the target's mean, relative to the number of pixels.
        reduction: ``"none"`` for (B,), or ``"mean"``.

    Shape: ``prediction, target (B, 1, H, W)`` to ``(B,)`` or a scalar.
    """

    def __init__(self, num_knots: int = 12, ridge: float = 1e-3, reduction: str = "mean") -> None:
        super().__init__()
        self.num_knots = num_knots
        self.ridge = ridge
        self.reduction = reduction

    def basis(self, image: torch.Tensor) -> torch.Tensor:
        """Hat functions at every pixel, ``(B, num_knots, H W)``; constant beyond the outer knots."""
        knots = torch.linspace(-1, 1, self.num_knots, device=image.device)
        position = image.flatten(1).clamp(-1, 1)[:, None]
        width = 2.0 / (self.num_knots - 1)
        return (1.0 - (position - knots[None, :, None]).abs() / width).clamp(min=0.0)

    def fit(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Values of the best curve at the knots, ``(B, num_knots)``, relative to the target's mean."""
        with torch.no_grad():
            basis = self.basis(prediction)
            wanted = target.flatten(1) - target.flatten(1).mean(dim=1, keepdim=True)
            normal = basis @ basis.transpose(1, 2)
            eye = torch.eye(self.num_knots, device=basis.device) * (self.ridge * basis.shape[-1])
            return torch.linalg.solve(normal + eye, (basis @ wanted[..., None])).squeeze(-1)

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        prediction, target = prediction.float(), target.detach().float()
        curve = self.fit(prediction, target)
        made = (curve[:, None] @ self.basis(prediction)).squeeze(1)
        wanted = target.flatten(1) - target.flatten(1).mean(dim=1, keepdim=True)
        variance = wanted.square().mean(dim=1).clamp(min=1e-4)
        values = (made - wanted).square().mean(dim=1) / variance
        return values.mean() if self.reduction == "mean" else values
