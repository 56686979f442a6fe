"""Figures of a benchmark."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.names import safe_name
from .compare import patient_means

__all__ = ["draw_figures"]

logger = logging.getLogger(__name__)


def draw_figures(
    output_dir: Path, results: Sequence[Mapping[str, Any]], summaries: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Draw Dice against the number of labels, and every patient at the largest number; returns what was drawn.

    A figure that cannot be drawn is a warning: the numbers are on disk already.
    """
    from ...visualize import box_plot, spread_plot  # matplotlib is slow to import

    written: list[Path] = []

    def draw(name: str, function: Any, *args: Any, **kwargs: Any) -> None:
        path = output_dir / "figures" / name
        try:
            function(*args, path=path, **kwargs)
            written.append(path)
        except Exception:
            logger.warning("%s could not be drawn", path.name, exc_info=True)

    organs = list(dict.fromkeys(summary["organ"] for summary in summaries))
    for organ in organs:
        own = [summary for summary in summaries if summary["organ"] == organ]
        if all(mean is None for summary in own for mean in summary["dice"]["by_seed"].values()):
            continue
        ending = f"_{safe_name(organ)}" if len(organs) > 1 else ""
        seeds = [
            {**summary, "seed": seed, "dice": mean}
            for summary in own
            for seed, mean in summary["dice"]["by_seed"].items()
        ]
        draw(
            f"dice_by_labels{ending}.png", spread_plot, seeds,
            title=f"{organ}: mean over patients; bars are standard deviations over seeds",
        )  # fmt: skip
        most = max(summary["labelled"] for summary in own)
        for domain in dict.fromkeys(summary["domain"] for summary in own):
            patients = [
                {**row, "domain": domain}
                for row in patient_means(results)
                if (row["organ"], row["labelled"], row["domain"]) == (organ, most, domain)
            ]
            draw(
                f"patients_{safe_name(domain)}{ending}.png", box_plot, patients, "dice", group="title",
                title=f"{organ}, {most} labelled: each patient, mean over seeds",
            )  # fmt: skip
    return written
