"""How many pixels were selected, and how many of them are right: the check on self-training."""

from __future__ import annotations

import torch


def score_selection(
    predicted: torch.Tensor, selected: torch.Tensor, label: torch.Tensor | None = None
) -> dict[str, float]:
    """Shares of selected and of right pixels, background and organs apart.

    Nearly all of a slice is background, so a selection of nothing but background looks perfect in ``accuracy`` alone.

    Args:
        predicted: classes of any shape, 0 is background.
        selected: bool of that shape.
        label: true classes of that shape; without them nothing is said about accuracy.

    Returns:
        ``ratio``: selected pixels; ``ratio_background`` and ``ratio_organ``: of the pixels predicted so. With a label
        also ``accuracy_all``: right pixels; ``accuracy``: of the selected ones; ``accuracy_background`` and
        ``accuracy_organ``: of the selected ones predicted so. What would be 0 / 0 is left out.
    """
    organ = predicted > 0
    groups = {"": torch.ones_like(organ), "_background": ~organ, "_organ": organ}
    scores = {f"ratio{name}": (selected & group, group) for name, group in groups.items()}
    if label is not None:
        right = predicted == label
        scores["accuracy_all"] = (right, groups[""])
        scores |= {f"accuracy{name}": (right & selected & group, selected & group) for name, group in groups.items()}
    counts = {name: (int(part.sum()), int(whole.sum())) for name, (part, whole) in scores.items()}
    return {name: part / whole for name, (part, whole) in counts.items() if whole}
