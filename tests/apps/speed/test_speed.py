"""The speed benchmark: what it counts, how it puts an iteration together, its table, its comparison, its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from monai_semgan.__main__ import main
from monai_semgan.apps.speed.cases import WIDTHS, make_nets, training_parts
from monai_semgan.apps.speed.measure import iteration_figures, measure_speed
from monai_semgan.apps.speed.report import compare, table
from monai_semgan.apps.speed.timing import Clock, Sample, count_flops
from monai_semgan.utils import InputError


def test_multiply_and_add_are_two_operations_in_both_directions() -> None:
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    w = torch.randn(4, 3, 3, 3, requires_grad=True)
    forward = 2.0 * 2 * 4 * 8 * 8 * 3 * 9
    assert count_flops(lambda: F.conv2d(x, w, padding=1)) == forward
    assert count_flops(lambda: F.conv2d(x, w, padding=1).sum().backward()) == 3 * forward
    assert count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4)) == 2 * 2 * 3 * 4


def test_a_gradient_of_a_gradient_for_an_input_is_counted() -> None:
    """Torch's own counter stops there."""
    x, w = torch.randn(2, 3, requires_grad=True), torch.randn(3, 3, requires_grad=True)

    def penalty() -> None:
        (gradient,) = torch.autograd.grad((x @ w).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()

    assert count_flops(penalty) > 4 * 2 * 2 * 3 * 3


def test_figures_are_medians_for_one_of_many() -> None:
    sample = Sample([4.0, 2.0, 12.0], [5.0, 3.0, 13.0], flops=8e9, per="slice", amount=2)
    figures = sample.figures(peak=4e9)
    assert (figures["seconds"], figures["least"], figures["most"], figures["rounds"]) == (2.0, 1.0, 6.0, 3)
    assert figures["wall_seconds"] == 2.5
    assert (figures["gflop"], figures["gflop_per_second"], figures["share_of_peak"]) == (4.0, 2.0, 0.5)


def test_lazy_phases_count_as_often_as_they_are_due() -> None:
    samples = {"often": Sample([1.0, 3.0], [1.0, 3.0], 2e9), "lazy": Sample([8.0, 16.0], [8.0, 16.0], 16e9)}
    figures = iteration_figures(samples, {"often": 1.0, "lazy": 16.0})
    assert figures["gflop"] == 3.0
    assert (figures["least"], figures["most"]) == (1.5, 4.0)


def test_work_that_takes_long_is_done_once() -> None:
    calls: list[int] = []
    assert len(Clock(enough=60.0).sample(lambda: calls.append(1), 3, "x").seconds) == 3
    assert len(calls) == 4
    assert len(Clock(enough=-1.0).sample(lambda: calls.append(1), 3, "x").seconds) == 1
    assert len(calls) == 5


def test_the_parts_are_the_phases_of_the_trainer() -> None:
    trainer, parts = training_parts(make_nets(32, "tiny", "cpu"), 4)
    names = {name: every for name, _, every in parts}
    assert names == {**{p.name.removeprefix("gan/"): p.every for p in trainer.schedule}, "moving average": 1}
    assert names["r1_image"] == 16
    assert names["path_length"] == 4
    before = trainer.generator.constant.detach().clone()
    for _, work, _ in parts:
        work()
    assert not torch.equal(trainer.generator.constant, before)


def test_parts_of_a_batch_are_measured_as_trained() -> None:
    trainer, _ = training_parts(make_nets(32, "tiny", "cpu"), 4, 2)
    assert trainer.slices_at_once == 2
    result = measure_speed(
        [32], "tiny", batch_size=4, rounds=1, parts=["training", "memory"], slices_at_once=2, say=lambda text: None
    )
    assert result["settings"]["slices_at_once"] == 2
    assert "2 slices at once" in table(result)
    assert next(row["name"] for row in result["rows"] if row["group"] == "memory") == "iteration"


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return measure_speed([32], "tiny", batch_size=4, rounds=1, parts=["training", "data"], say=lambda text: None)


def test_everything_is_plain_and_positive(figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures)) == figures
    names = [row["name"] for row in figures["rows"] if row["group"] == "training"]
    assert names[0] == "iteration"
    assert all(row["seconds"] > 0 for row in figures["rows"] if row["name"] != "moving average")
    assert 0 < figures["rows"][0]["share_of_peak"] < 1
    assert figures["machine"]["threads"] == 1


def test_the_table_holds_figures_against_earlier_ones(figures: dict[str, Any]) -> None:
    slower = json.loads(json.dumps(figures))
    for row in slower["rows"]:
        row["seconds"] *= 2
    ratios = compare(slower, figures)
    assert len(ratios) == len(figures["rows"])
    assert all(ratio == pytest.approx(2.0) for ratio in ratios.values())
    text = table(figures, slower)
    assert "earlier / now" in text
    assert text.count("| 2.00 |") == len(figures["rows"])
    assert "earlier" not in table(figures)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("machine", "threads", 2), ("settings", "width", "w128"), ("settings", "compile", "default")],
)
def test_figures_of_another_kind_are_not_compared(figures: dict[str, Any], part: str, key: str, value: Any) -> None:
    other = json.loads(json.dumps(figures))
    other[part][key] = value
    assert compare(other, figures) == {}


def test_the_command_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "now.json"
    options = ["--width", "tiny", "--sizes", "32", "--rounds", "1", "--parts", "data"]
    assert main(["benchmark", "speed", *options, "--output", str(out)]) == 0
    assert main(["benchmark", "speed", *options, "--compare", str(out)]) == 0
    assert "earlier / now" in capsys.readouterr().out
    assert out.with_suffix(".md").read_text(encoding="utf-8").count("| 32 px |") == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--width", "w999"], ", ".join(WIDTHS)), (["--rounds", "0"], "1 or more"), (["--parts", "nothing"], "training"),
     (["--compile", "fast"], "reduce-overhead"), (["--compile", "default", "--parts", "memory"], "training, networks")],
)  # fmt: skip
def test_wrong_options_are_explained(options: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["benchmark", "speed", *options]) == 2
    assert said in capsys.readouterr().err


def test_figures_of_before_compiled_passes_are_compared_with_plain_ones(figures: dict[str, Any]) -> None:
    old = json.loads(json.dumps(figures))
    assert old["settings"].pop("compile") is None
    assert len(compare(old, figures)) == len(figures["rows"])


def test_compiled_passes_are_measured_with_their_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the compiler: what matters is who is asked, and what is said of it."""
    asked: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.append((function, options)) or function)
    result = measure_speed([32], "tiny", 4, rounds=1, say=lambda text: None, compile_mode="default")
    assert result["settings"]["compile"] == "default"
    assert {row["group"] for row in result["rows"]} == {"training", "networks"}
    assert {type(function).__name__ for function, _ in asked} == {
        "SemanticStyleGenerator", "ResidualStyleCritic", "JointPatchCritic", "StyleEncoder",
    }  # fmt: skip
    assert all(options["mode"] == "default" for _, options in asked)
    assert all(row["gflop"] is None for row in result["rows"])
    assert all(row["first_seconds"] > 0 for row in result["rows"] if row["name"] != "iteration")
    text = table(result)
    assert "passes compiled (`default`)" in text
    assert "| first round |" in text


def test_a_file_that_is_no_result_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]", encoding="utf-8")
    assert main(["benchmark", "speed", "--compare", str(wrong)]) == 2
    assert "--output has written" in capsys.readouterr().err


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(InputError, match="training, networks"):
        measure_speed([32], "tiny", parts=["trainings"])
