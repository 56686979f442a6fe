"""The command line of a bundle, read by the same rules as MONAI reads it."""

from __future__ import annotations

from pathlib import Path

import fire
import pytest

from monai_semgan.apps.command_line import BundleCommand, read_bundle_command

PROGRAM = "/somewhere/site-packages/monai/bundle/__main__.py"
CASES = [
    ["--config_file", "a.json", "--labelled", "4"],
    ["--config_file=a.json", "--labelled=4", "--device", "$torch.device('cpu')"],
    ["quick", "--config_file", "['a.json', 'b.json']", "--encoder_channels", "[8,8]", "--labels", "{liver: 1}"],
    ["--config_file", "a.json", "--train#trainer#max_epochs", "3", "--weight", "-1.5", "--switch"],
    ["--config_file", "a.json", "--dataset-dir", "x/y z", "--nocritic", "--flag", "--other", "None"],
    ["--config_file", "a.json", "--run_id", "one", "--tracking", "mlflow", "--run_name", "n", "--", "--trace"],
]


def taken_by_monai(words: list[str]) -> dict:
    """What `monai.bundle.run` is called with."""
    taken: dict = {}

    def run(run_id=None, init_id=None, final_id=None, meta_file=None, config_file=None, logging_file=None,
            tracking=None, args_file=None, **override):  # fmt: skip
        taken.update(override, config_file=config_file, run_id=run_id, tracking=tracking)

    fire.Fire({"run": run}, command=["run", *words[: words.index("--") if "--" in words else None]])
    return taken


@pytest.mark.parametrize("words", CASES)
def test_read_as_monai_reads_it(words: list[str]) -> None:
    taken = taken_by_monai(words)
    files, run_id, tracking = (taken.pop(name) for name in ("config_file", "run_id", "tracking"))
    if tracking:
        taken.pop("run_name")  # an option of the tracking then, not of the configuration
    command = read_bundle_command([PROGRAM, "run", *words])
    assert command is not None
    assert command.overrides == taken
    assert command.config_files == ([files] if isinstance(files, str) else files)
    assert command.entry_points == (run_id or "run", "initialize", "finalize")


def test_several_files_in_one_word() -> None:
    command = read_bundle_command([PROGRAM, "run", "--config_file", "x/a.json,x/b.json"])
    assert command == BundleCommand(["x/a.json", "x/b.json"])


def test_arguments_from_a_file(tmp_path: Path) -> None:
    args_file = tmp_path / "args.json"
    args_file.write_text('{"config_file": "a.json", "labelled": 2, "seed": 1}', encoding="utf-8")
    command = read_bundle_command([PROGRAM, "run", "--args_file", str(args_file), "--seed", "5"])
    assert command == BundleCommand(["a.json"], {"labelled": 2, "seed": 5})


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["pytest", "run", "--config_file", "a.json"],
        [PROGRAM, "ckpt_export", "--config_file", "a.json"],
        [PROGRAM, "run"],
        ["/x/monailabel/main.py", "start_server"],
    ],
)
def test_anything_else_is_no_command(argv: list[str]) -> None:
    assert read_bundle_command(argv) is None
