"""Which samples are kept, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...utils.errors import InputError

__all__ = ["Filters"]


@dataclass(frozen=True)
class Filters:
    """Limits for the scores of a sample; None switches a filter off.

    Args:
        max_entropy: greatest entropy on the organs, 0..1 (see ``score_uncertainty``).
        min_agreement: least agreement of the disturbed views with the sample, 0..1.
        critic_worst: share of samples that the critic refuses: its threshold is this quantile of its scores of
            ``critic_samples`` samples that are made for that alone.
        critic_samples: see above.
        empty_fraction: greatest share of samples without any organ among those that are kept.
        anatomy: hold to the rules of anatomy.
        memorised: refuse samples that lie too near to a training slice (where training slices are given).

    Raises:
        InputError: a value out of range.
    """

    max_entropy: float | None = 0.75
    min_agreement: float | None = 0.8
    critic_worst: float | None = 0.1
    critic_samples: int = 200
    empty_fraction: float = 0.3
    anatomy: bool = True
    memorised: bool = True

    def __post_init__(self) -> None:
        for name in ("max_entropy", "min_agreement", "critic_worst", "empty_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"option {name}", got=value, wanted="0..1")

    def reasons(self, record: Mapping[str, Any], kept: int, kept_empty: int, critic_least: float | None) -> list[str]:
        """Why a sample is refused, ``"filter: words"`` each; empty when it is kept.

        Args:
            record: of ``PairFactory.make``.
            kept: samples kept before it.
            kept_empty: those of them without an organ.
            critic_least: threshold of the critic, or None.
        """
        scores = record["quality"]
        found = [f"unusable: {text}" for text in record["unusable"]]
        if self.max_entropy is not None and scores["entropy"] > self.max_entropy:
            found.append(f"uncertainty: entropy {scores['entropy']:.3f} above {self.max_entropy:g}")
        if self.min_agreement is not None and scores["agreement"] < self.min_agreement:
            found.append(f"uncertainty: agreement {scores['agreement']:.3f} below {self.min_agreement:g}")
        if critic_least is not None and scores["critic"] is not None and scores["critic"] < critic_least:
            found.append(f"critic: score {scores['critic']:.3f} below {critic_least:.3f}")
        if self.anatomy:
            found += [f"anatomy: {text}" for text in record["anatomy"]]
        nearest = record["nearest"]
        if self.memorised and nearest is not None and min(nearest["ratios"].values()) < 1:
            space = min(nearest["ratios"], key=lambda name: nearest["ratios"][name])
            found.append(
                f"memorised: {nearest['ratios'][space]:.2f} of the distance between patients ({space}) "
                f"from {nearest['scan']} slice {nearest['slice']}"
            )
        if not found and record["empty"] and kept_empty + 1 > self.empty_fraction * (kept + 1):
            found.append(f"empty: no organ, and {kept_empty} of {kept} kept have none")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
