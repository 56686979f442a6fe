"""`python -m monai.bundle run ...` in this process or in one of its own, and tiny options for the bundles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import pytest
from ignite.engine import Engine, Events

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = REPOSITORY / "bundles"
TINY: dict[str, Any] = {
    "image_size": 32,
    "latent_dim": 16,
    "channel_base": 128,
    "channel_max": 8,
    "spatial_resolution": 8,
    "encoder_channels": "[8,8]",
    "critic_channel_base": 128,
    "critic_channel_max": 8,
    "joint_critic_channels": 4,
    "batch_size": 2,
    "warmup_iterations": 2,
    "gan_iterations": 2,
    "encoder_iterations": 2,
    "student_iterations": 2,
    "student_channels": "[4,8]",
    "student_strides": "[2]",
    "stack_depth": 8,
    "steps": 1,
    "device": "$torch.device('cpu')",
    "mixed_precision": False,
}


@dataclass(frozen=True)
class Finished:
    """How a command ended: its exit code, and what it wrote to standard error."""

    code: int
    errors: str

    @property
    def message(self) -> str:
        """What stands after the last `ERROR: `, which is the end of it all."""
        return self.errors.rpartition("\nERROR: ")[2].strip()


def words(config: str | list[str], options: dict[str, Any]) -> list[str]:
    files = [str(BUNDLES / name) for name in ([config] if isinstance(config, str) else config)]
    given = ["run", "--config_file", files[0] if len(files) == 1 else str(files)]
    for name, value in options.items():
        given += [f"--{name}", str(value)]
    return given


class BundleCommand:
    """Runs the command in this process: what a new one would print last, and its exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, config: str | list[str], *more: str, **options: Any) -> Finished:
        program = Path(monai.bundle.__file__).with_name("__main__.py")
        command = [*words(config, options), "--logging_file", "False", *more]
        with self.monkeypatch.context() as patch:
            patch.chdir(REPOSITORY)
            patch.setattr(sys, "argv", [str(program), *command])
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(sys, "excepthook", sys.__excepthook__)
            patch.delenv("MONAI_SEMGAN_TRACEBACK", raising=False)
            self.capsys.readouterr()
            try:
                fire.Fire({"run": monai.bundle.run}, command=command, name="monai.bundle")
            except Exception as error:
                sys.excepthook(type(error), error, error.__traceback__)
                return Finished(1, self.capsys.readouterr().err)
        return Finished(0, self.capsys.readouterr().err)


def start_bundle(config: str, *more: str, cwd: Path = REPOSITORY, **options: Any) -> subprocess.Popen:
    """The same in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    for name in ("MONAI_SEMGAN_TRACEBACK", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", *words(config, options), *more],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run_bundle(config: str, *more: str, cwd: Path = REPOSITORY, **options: Any) -> Finished:
    process = start_bundle(config, *more, cwd=cwd, **options)
    _, errors = process.communicate(timeout=280)
    return Finished(process.returncode, errors)


class KillAt:
    """Handler that ends its process as `kill -9` does, after an iteration and its checkpoint."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self)

    def __call__(self, engine: Engine) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
