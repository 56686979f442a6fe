"""How the training went: curves by stage, and its pictures over time."""

from __future__ import annotations

from typing import Any

from ..tracked_runs.tracked_run import TrackedRun, format_duration
from .charts import compact, curve_panel
from .markup import tag
from .pictures import Pictures

__all__ = ["curves", "more_pictures", "reconstructions", "samples"]

_SHOWN = 6  # pictures of a series
_NOT_TRAINING = ("test", "transfer")
# Of interest when something is wrong.
_SIDE = ("/lr/", "/grad_norm/", "images_per_second", "memory", "seconds")
_SIDE_STAGES = ("system", "tracking")
_GENERATED = ("sample", "latent", "generat", "walk")


def curves(run: TrackedRun) -> list[Any]:
    """Every metric with more than one value, by stage in the order of training."""
    stages: dict[str, list[tuple[str, list[tuple[int, float, int]]]]] = {}
    for name in sorted(run.metrics):
        stage, _, rest = name.partition("/")
        if stage in _NOT_TRAINING:
            continue
        history = run.history(name)
        if len(history) > 1:
            stages.setdefault(stage if rest else "", []).append((rest or name, history))
    unit = "labelled scans" if run.is_benchmark else "images"
    order = sorted(stages, key=lambda stage: (stage in _SIDE_STAGES, _begin(stages[stage])))
    return [part for stage in order for part in _stage(stage, stages[stage], unit)]


def samples(pictures: Pictures) -> list[Any]:
    """Series of generated pictures, the latents the same in every one, and what moves."""
    parts = _series(pictures, generated=True)
    moving = [pictures.figure(path, _title(path), _title(path)) for path in pictures.named(*_GENERATED)]
    if any(moving):
        parts.append(tag("div", *moving, class_="figures"))
    return parts


def reconstructions(pictures: Pictures) -> list[Any]:
    """Series of real slices with what the network makes of them: reconstructions, outlines."""
    return _series(pictures, generated=False)


def more_pictures(pictures: Pictures) -> list[Any]:
    """Whatever pictures the run has besides."""
    figures = [pictures.figure(path, _title(path), path) for path in pictures.named()]
    figures = [figure for figure in figures if figure is not None]
    return [tag("div", *figures, class_="figures")] if figures else []


def _stage(stage: str, found: list[tuple[str, list[tuple[int, float, int]]]], unit: str) -> list[Any]:
    seconds = (max(h[-1][2] for _, h in found) - min(h[0][2] for _, h in found)) / 1000
    last = max(history[-1][0] for _, history in found)
    system = stage in _SIDE_STAGES
    unit = "s" if system else unit
    lead = f"up to {compact(last)} {unit}, {format_duration(seconds)}" if not system else format_duration(seconds)
    first, side = [], []
    for name, history in sorted(found, key=lambda pair: _rank(pair[0])):
        aside = system or any(word in f"/{name}" for word in _SIDE)
        panel = curve_panel(name, [(step, value) for step, value, _ in history], unit)
        (side if aside else first).append(panel)
    parts: list[Any] = [tag("h3", stage or "metrics", " ", tag("small", lead))]
    if first:
        parts.append(tag("div", *first, class_="curves"))
    if side:
        title = f"Machine: {len(side)} curves" if system else f"Learning rates, gradients, speed: {len(side)} curves"
        parts.append(tag("details", tag("summary", title), tag("div", *side, class_="curves")))
    return parts


def _title(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0].replace("_", " ")


def _rank(name: str) -> tuple[int, str]:
    """Validation first, then the loss, then the rest."""
    return (0 if name.startswith("validation") else 1 if name == "loss" else 2, name)


def _begin(found: list[tuple[str, list[tuple[int, float, int]]]]) -> int:
    return min(history[0][2] for _, history in found)


def _series(pictures: Pictures, generated: bool) -> list[Any]:
    parts: list[Any] = []
    for key, series in pictures.series.items():
        if any(word in key.lower() for word in _GENERATED) is not generated:
            continue
        chosen = series.spread(_SHOWN if generated else 2)
        figures = [
            pictures.figure(path, f"after {step:,} images", f"{key} after {step} images") for step, path in chosen
        ]
        figures = [figure for figure in figures if figure is not None]
        if figures:
            count = f"{len(figures)} of {len(series.steps)} pictures" if len(series.steps) > 1 else None
            parts.append(tag("h3", key.replace("_", " "), " ", tag("small", count) if count else None))
            parts.append(tag("div", *figures, class_="figures"))
    return parts
