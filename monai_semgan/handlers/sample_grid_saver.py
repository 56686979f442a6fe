"""Ignite handler that keeps pictures of how a training looks: PNG files, and a series in MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events

from monai_semgan.visualize import write_png

from .experiment_run import ExperimentRun
from .track_training import images_seen

__all__ = ["SampleGridSaver"]


class SampleGridSaver:
    """Writes ``<output_dir>/samples/<name>_<images seen>.png`` at the start, regularly, and at the end.

    Args:
        run: the experiment to log to as well, or None.
        make_images: called without arguments; gives name -> uint8 picture ``(H, W, 3)``, for example from
            ``monai_semgan.visualize.sample_grid``. It must not draw from the global random state: a training
            with and without pictures is to be the same. Names become parts of file names.
        every: iterations between two pictures.
        output_dir: the experiment's folder.
        at_start: take pictures of the untrained (or resumed) state too.
    """

    def __init__(
        self,
        run: ExperimentRun | None,
        make_images: Callable[[], Mapping[str, np.ndarray]],
        every: int,
        output_dir: str | os.PathLike,
        at_start: bool = True,
    ) -> None:
        self.run = run
        self.make_images = make_images
        self.every = every
        self.folder = Path(output_dir) / "samples"
        self.at_start = at_start
        self._last: int | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        if self.at_start:
            engine.add_event_handler(Events.STARTED, self.save)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Take the pictures now, unless that was done for this very step."""
        step = images_seen(engine)
        if step == self._last:
            return
        self._last = step
        for name, picture in self.make_images().items():
            write_png(self.folder / f"{name}_{step:08d}.png", picture)
            if self.run is not None:
                self.run.log_image(picture, name, step)
