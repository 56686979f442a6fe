"""What an evaluation sends to MLflow."""

from __future__ import annotations

from typing import Any

from monai_semgan.apps.evaluation_tracking import log_evaluation, worst_first
from monai_semgan.metrics import summarise_scores


class Run:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, args))

    def called(self, name: str) -> list[Any]:
        return [args for called, args in self.calls if called == name]


def row(name: str, dice: float, stage: str = "student") -> dict[str, Any]:
    scores = {"dice": dice, "hd95_mm": 10.123456, "assd_mm": 1.0, "volume_error_percent": 0.0}
    return {
        "domain": "ct", "name": name, "stage": stage, "organ": "liver", **scores, "volume_ml": 1.0, "reference_ml": 1.0,
    }  # fmt: skip


ROWS = [row("a", 0.9), row("b", 0.123456), row("a", 0.5, "encoder"), row("b", 0.6, "encoder")]
FAILED = {"domain": "ct", "name": "c", "message": "damaged"}


def test_worst_first_begins_with_what_gave_no_result():
    assert [entry["name"] for entry in worst_first([*ROWS, FAILED], "student")] == ["c", "b", "a"]


def test_metrics_tables_and_summary(tmp_path):
    summary = {
        "domains": {"ct": summarise_scores(ROWS[:2])}, "encoder": {"ct": summarise_scores(ROWS[2:])},
        "not_scored": {"ct/c": "damaged"},
    }  # fmt: skip
    run = Run()
    log_evaluation(run, summary, [*ROWS, FAILED], ["student", "encoder"], [tmp_path / "box_plot.png"], 500)
    ((values, step),) = run.called("log_metrics")
    assert step == 500
    assert abs(values["test/student/ct/dice"] - 0.511728) < 1e-9
    assert values["test/student/ct/failures"] == 1.0
    assert values["test/encoder/ct/failures"] == 0.0
    tables = {name: rows for rows, name in run.called("log_table")}
    assert set(tables) == {"evaluation/per_case.json", "evaluation/worst_first.json", "evaluation/domains.json"}
    assert tables["evaluation/per_case.json"][1]["dice"] == 0.1235
    assert [entry["stage"] for entry in tables["evaluation/domains.json"]] == ["student", "encoder"]
    ((text,),) = run.called("describe")
    assert "| ct | 2 | 0.5117 | 10.1235 | 1 |" in text
    assert "1 test scans gave no result" in text
    assert "encoder" not in text
    assert run.calls[-1] == ("finish_stage", ("evaluation",))
