"""An evaluation in MLflow: scores as metrics, patients as tables with the worst first, and a summary to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .quality import quality_metrics

__all__ = ["EVALUATION_STAGE", "log_evaluation", "worst_first"]

EVALUATION_STAGE = "evaluation"
_SCORES = ("dice", "hd95_mm", "assd_mm", "volume_error_percent")


def log_evaluation(
    run: Any,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    stages: Sequence[str],
    files: Sequence[Path],
    step: int,
) -> None:
    """Log an evaluation to an ``ExperimentRun`` and end its stage there.

    Metrics ``test/<stage>/<domain>/<score>``, the tables ``evaluation/per_case.json``,
    ``evaluation/worst_first.json`` and ``evaluation/domains.json``, the files, and the run's description.

    Args:
        run: the run.
        summary: of ``DomainEvaluation.summarise``.
        rows: of ``per_case.csv``.
        stages: the inferers, the main one first.
        files: what the evaluation has written.
        step: images the network has seen.
    """
    values, domains = {}, []
    for key, stage in zip(["domains", *stages[1:]], stages, strict=True):
        for domain, scores in summary[key].items():
            means = {score: scores[score]["mean"] for score in _SCORES if scores[score]["mean"] is not None}
            values |= {f"test/{stage}/{domain}/{score}": mean for score, mean in means.items()}
            values[f"test/{stage}/{domain}/failures"] = float(len(scores["failures"]))
            domains.append({
                "domain": domain, "stage": stage, "patients": scores["dice"]["n"],
                **{score: _short(mean) for score, mean in means.items()}, "failures": len(scores["failures"]),
            })  # fmt: skip
    values |= quality_metrics(summary.get("quality", {}))
    run.log_metrics(values, step)
    table = [{name: _short(value) for name, value in row.items()} for row in rows]
    run.log_table(table, "evaluation/per_case.json")
    run.log_table(worst_first(table, stages[0]), "evaluation/worst_first.json")
    run.log_table(domains, "evaluation/domains.json")
    for path in files:
        run.log_artifact(path, "evaluation")
    run.describe(_description(domains, stages[0], len(summary.get("not_scored", {}))))
    run.finish_stage(EVALUATION_STAGE)


def worst_first(rows: Sequence[Mapping[str, Any]], stage: str) -> list[dict[str, Any]]:
    """The main inferer's rows: patients without a result, then by Dice, the lowest first."""
    without = [dict(row) for row in rows if "stage" not in row]
    scored = [dict(row) for row in rows if row.get("stage") == stage]
    return without + sorted(scored, key=lambda row: row["dice"])


def _description(domains: Sequence[Mapping[str, Any]], main: str, without: int) -> str:
    """Markdown for the top of the run's page: the main inferer's scores by domain."""
    lines = ["| domain | patients | Dice | HD95 mm | Dice < .3 |", "|---|---|---|---|---|"]
    for row in domains:
        if row["stage"] == main:
            dice, hd95 = row.get("dice", "-"), row.get("hd95_mm", "-")
            lines.append(f"| {row['domain']} | {row['patients']} | {dice} | {hd95} | {row['failures']} |")
    lines += ["", f"Test patients, means, `{main}`. Failures first: `evaluation/worst_first.json`."]
    if without:
        lines.append(f"{without} test scans gave no result; they are in that table.")
    return "\n".join(lines)


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
