"""Which scan a person should label next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

__all__ = ["HighestScore"]


class HighestScore(Strategy):
    """The unlabelled scan with the highest of one of ``QualityScore``'s numbers.

    Scans without the number come last, in the order of their names; so the first ones are handed out while the scores
    are still being made.

    Args:
        number: ``"uncertainty"`` or ``"reconstruction_error"``.
        models: whose numbers, the first that a scan has; a request may name one as ``model``.
    """

    def __init__(self, number: str, models: list[str]) -> None:
        super().__init__(f"The unlabelled scan with the highest {number.replace('_', ' ')}")
        self.number, self.models = number, models

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        asked = request.get("model")
        models = [asked] if asked in self.models else self.models
        scores = {image: self.score(datastore, image, models) for image in sorted(datastore.get_unlabeled_images())}
        if not scores:
            return None
        best = max(scores, key=lambda image: -1.0 if scores[image] is None else scores[image])
        weight = scores[best]
        return {"id": best, "weight": 0.0 if weight is None else weight, "scored": weight is not None}

    def score(self, datastore: Datastore, image: str, models: list[str]) -> float | None:
        """The number of one scan, None while it is not known."""
        quality = datastore.get_image_info(image).get("quality", {})
        found = [quality[model][self.number] for model in models if self.number in quality.get(model, {})]
        return float(found[0]) if found else None
