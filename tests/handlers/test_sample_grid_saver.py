"""Sample pictures: when they are taken, and where they go."""

from __future__ import annotations

import numpy as np
from ignite.engine import Engine
from matplotlib.image import imread

from monai_semgan.handlers import SampleGridSaver


class Recorder:
    def __init__(self) -> None:
        self.images: list[tuple[str, int]] = []

    def log_image(self, array, key, step):
        self.images.append((key, step))


def trainer() -> Engine:
    def update(engine, _):
        engine.state.images_seen += 8

    engine = Engine(update)
    engine.state.images_seen = 0
    return engine


def test_files_and_series(tmp_path):
    run, engine = Recorder(), trainer()
    picture = np.full((6, 9, 3), 200, np.uint8)
    SampleGridSaver(run, lambda: {"samples": picture}, every=4, output_dir=tmp_path).attach(engine)
    engine.run([0] * 8, max_epochs=1)
    # 64 is both a fourth iteration and the end: one picture.
    assert run.images == [("samples", 0), ("samples", 32), ("samples", 64)]
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["samples_00000000.png", "samples_00000032.png", "samples_00000064.png"]
    assert imread(tmp_path / "samples" / names[0]).shape == (6, 9, 3)


def test_without_a_run_and_without_the_first_picture(tmp_path):
    engine = trainer()
    SampleGridSaver(
        None, lambda: {"a": np.zeros((2, 2), np.uint8)}, every=100, output_dir=tmp_path, at_start=False
    ).attach(engine)
    engine.run([0] * 3, max_epochs=1)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["a_00000024.png"]
