"""Ignite handler that keeps pictures of how a training looks: PNG files, an animation, and a series in MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events

from monai_semgan.utils.processes import is_first_process
from monai_semgan.visualize import write_gif, write_png

from .experiment_run import ExperimentRun
from .track_training import images_seen

__all__ = ["SampleGridSaver"]


class SampleGridSaver:
    """Writes ``<output_dir>/samples/<name>_<images seen>.png`` at the start, regularly, and at the end.

    At the end the pictures of each name, those of earlier processes included, become the animation ``<name>.gif``.

    Args:
        run: the experiment to log to as well, or None.
        make_images: called without arguments; gives name -> uint8 picture ``(H, W, 3)``, for example from
            ``monai_semgan.visualize.sample_grid``. It must not draw from the global random state: a training
            with and without pictures is to be the same. Names become parts of file names.
        every: iterations between two pictures.
        output_dir: the experiment's folder.
        at_start: take pictures of the untrained (or resumed) state too.
        make_walk: called at the end; gives the frames of ``latent_walk.gif``, see ``LatentWalk``; its first frames are
            logged as a picture too.
    """

    def __init__(
        self,
        run: ExperimentRun | None,
        make_images: Callable[[], Mapping[str, np.ndarray]],
        every: int,
        output_dir: str | os.PathLike,
        at_start: bool = True,
        make_walk: Callable[[], Sequence[np.ndarray]] | None = None,
    ) -> None:
        self.run = run
        self.make_images = make_images
        self.every = every
        self.folder = Path(output_dir) / "samples"
        self.at_start = at_start
        self.make_walk = make_walk
        self.names: set[str] = set()
        self._last: int | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        if self.at_start:
            engine.add_event_handler(Events.STARTED, self.save)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.animate)

    def save(self, engine: Engine) -> None:
        """Take the pictures now, unless that was done for this very step."""
        step = images_seen(engine)
        if step == self._last or not is_first_process():
            return
        self._last = step
        for name, picture in self.make_images().items():
            self.names.add(name)
            write_png(self.folder / f"{name}_{step:08d}.png", picture)
            if self.run is not None:
                self.run.log_image(picture, name, step)

    def animate(self, engine: Engine) -> None:
        """Write the animations."""
        if not is_first_process():
            return
        from PIL import Image

        for name in self.names:
            frames = []
            for path in sorted(self.folder.glob(f"{name}_{'[0-9]' * 8}.png")):
                with Image.open(path) as opened:
                    frames.append(np.asarray(opened.convert("RGB")))
            # a series that was begun with other settings has pictures of another size
            self._write(name, [frame for frame in frames if frame.shape == frames[-1].shape])
        if self.make_walk is not None:
            frames = list(self.make_walk())
            self._write("latent_walk", frames, seconds=0.15)
            if self.run is not None:
                still = np.concatenate(frames[:: max(1, len(frames) // 6)][:6], axis=0)
                self.run.log_image(still, "latent_walk", images_seen(engine))

    def _write(self, name: str, frames: Sequence[np.ndarray], seconds: float = 0.5) -> None:
        if len(frames) > 1:
            path = self.folder / f"{name}.gif"
            write_gif(path, frames, seconds)
            if self.run is not None:
                self.run.log_artifact(path, "animations")
