"""Sample pictures: when they are taken, and where they go."""

from __future__ import annotations

import numpy as np
from ignite.engine import Engine
from matplotlib.image import imread
from PIL import Image

from monai_semgan.handlers import SampleGridSaver


class Recorder:
    def __init__(self) -> None:
        self.images: list[tuple[str, int]] = []

        self.files: list[tuple[str, str]] = []

    def log_image(self, array, key, step):
        self.images.append((key, step))

    def log_artifact(self, path, folder):
        self.files.append((path.name, folder))


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
    assert names == ["samples.gif", "samples_00000000.png", "samples_00000032.png", "samples_00000064.png"]
    assert imread(tmp_path / "samples" / names[1]).shape == (6, 9, 3)
    assert run.files == [("samples.gif", "animations")]


def test_the_animation_has_the_pictures_of_earlier_processes_and_the_walk(tmp_path):
    for start in (0, 80):
        run, engine = Recorder(), trainer()
        picture = np.full((6, 9, 3), start, np.uint8)
        walk = [np.full((4, 4, 3), 10 * n, np.uint8) for n in range(12)]
        pictures = {"every": 5, "output_dir": tmp_path, "make_walk": lambda w=walk: w}
        SampleGridSaver(run, lambda p=picture: {"a": p}, **pictures).attach(engine)
        engine.state.images_seen = start
        engine.run([0] * 10, max_epochs=1)
    with Image.open(tmp_path / "samples" / "a.gif") as animation:
        assert animation.n_frames == 2  # equal neighbours are one frame, shown longer
    with Image.open(tmp_path / "samples" / "latent_walk.gif") as animation:
        assert animation.n_frames == 12
    assert run.images[-1] == ("latent_walk", 160)
    assert run.files == [("a.gif", "animations"), ("latent_walk.gif", "animations")]


def test_without_a_run_and_without_the_first_picture(tmp_path):
    engine = trainer()
    SampleGridSaver(
        None, lambda: {"a": np.zeros((2, 2), np.uint8)}, every=100, output_dir=tmp_path, at_start=False
    ).attach(engine)
    engine.run([0] * 3, max_epochs=1)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["a_00000024.png"]
