"""The written result of a benchmark: ``results.md``, ``summary.json`` and figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.files import write_json_atomic, write_text_atomic
from ...utils.names import safe_name
from .collect import collect_costs, finished_cells
from .compare import compare_rows, summarise_rows
from .figures import draw_figures
from .rows import row_order

__all__ = ["write_report"]

_NOTES = """\
"±" is the standard deviation over seeds of the mean over patients. Scores are per patient, in three dimensions, on the
grid of the scan's own file. A failure is a patient with a Dice below 0.3 or without a result; the numbers are those of
the seeds in order. HD95 is the mean over the patients for which it is defined: neither mask is empty. Cost is that of a
whole training with its evaluation, mean over seeds; rows of one training share it.
"""
_DIFFERENCE_NOTES = """\
Row minus reference, on the same patients. "t": 95 % interval of the paired t-test over the patients' means over seeds;
it speaks of other patients. "Bootstrap": 95 % interval over patients and seeds; it speaks of other trainings too, and
is too narrow for few patients or seeds. Neither is corrected for the number of comparisons.
"""
_SETTINGS_NOTES = "Given to the bundles beside data, labels and seed; all others are their defaults."


def write_report(
    output_dir: Path,
    results: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    reference: str,
    failures: Mapping[str, str],
    missing: Sequence[str] = (),
) -> tuple[dict[str, Any], list[Path]]:
    """Write everything that the results of the finished cells say.

    Args:
        output_dir: the benchmark's folder.
        results: as ``collect_results`` gives them.
        about: what was asked for (preset, data set, command ...): head of the page and of the summary.
        reference: name of the row that the others are compared with.
        failures: cells that gave no result -> why.
        missing: methods that were left out because their bundle is not there.

    Returns:
        what is in ``summary.json``, and the files written.
    """
    summaries = sorted(summarise_rows(results), key=lambda s: (s["labelled"], *row_order(s["method"], s["row"])))
    summary: dict[str, Any] = {
        "about": dict(about),
        "rows": summaries,
        "differences": compare_rows(results, reference),
        "costs": collect_costs(output_dir),
        "settings": _settings(output_dir),
        "failed_cells": dict(failures),
        "methods_without_bundle": list(missing),
    }
    order = {(s["labelled"], s["row"]): number for number, s in enumerate(summaries)}
    summary["differences"].sort(key=lambda d: order[d["labelled"], d["row"]])
    figures = draw_figures(output_dir, results, summaries)
    write_json_atomic(output_dir / "summary.json", summary)
    write_text_atomic(output_dir / "results.md", _page(summary, figures, reference, _overlays(output_dir)))
    written = [output_dir / name for name in ("results.csv", "summary.json", "results.md")]
    return summary, [path for path in [*written, *figures] if path.is_file()]


def _page(summary: Mapping[str, Any], figures: Sequence[Path], reference: str, overlays: Mapping[str, str]) -> str:
    parts = ["# Results", "", *(f"- {name}: {value}" for name, value in summary["about"].items()), ""]
    if summary["failed_cells"]:
        parts += ["**Without a result:**", ""]
        parts += [f"- `{key}`: {why}" for key, why in summary["failed_cells"].items()] + [""]
    if summary["methods_without_bundle"]:
        parts += [f"Left out, no bundle: {', '.join(summary['methods_without_bundle'])}.", ""]
    if not summary["rows"]:
        return "\n".join([*parts, "No training has finished yet.", ""])
    parts += [_NOTES]
    costs = _mean_costs(summary["costs"])
    for labelled, organ in dict.fromkeys((s["labelled"], s["organ"]) for s in summary["rows"]):
        own = [s for s in summary["rows"] if (s["labelled"], s["organ"]) == (labelled, organ)]
        parts += [f"## {organ.capitalize()}, {labelled} labelled", "", *_main_table(own, costs), ""]
        parts += ["Each seed, Dice:", "", *_seed_table(own), ""]
        parts += [*_failures(own)]
    parts += ["## Differences in Dice", "", *_differences(summary["differences"], reference), ""]
    if figures:
        parts += ["## Figures", "", *(f"![{path.stem}](figures/{path.name})" for path in figures), ""]
    if overlays:
        parts += ["Best, median and worst patient of the first seed, reference green, prediction red:", ""]
        parts += [f"- {name}: {links}" for name, links in overlays.items()] + [""]
    parts += ["## Settings", "", _SETTINGS_NOTES, ""]
    parts += _table(("method", "settings"), [(name, _words(given)) for name, given in summary["settings"].items()])
    return "\n".join([*parts, ""])


def _main_table(rows: Sequence[Mapping[str, Any]], costs: Mapping[tuple[str, int], tuple[str, str]]) -> list[str]:
    domains = list(dict.fromkeys(row["domain"] for row in rows))
    head = ["method", *(f"{d} Dice" for d in domains), *(f"{d} HD95, mm" for d in domains)]
    head += [f"failures {', '.join(domains)}", "CPU s", "wall s"]
    lines = []
    for name in dict.fromkeys(row["row"] for row in rows):
        by_domain = {row["domain"]: row for row in rows if row["row"] == name}
        first = next(iter(by_domain.values()))
        found = [by_domain.get(domain) for domain in domains]
        line = [first["title"], *(_spread(row, "dice", 3) for row in found)]
        line += [_spread(row, "hd95_mm", 1) for row in found]
        counts = (", ".join(str(len(names)) for names in row["failures"].values()) if row else "-" for row in found)
        lines.append([*line, "; ".join(counts), *costs.get((first["method"], first["labelled"]), ("-", "-"))])
    return _table(head, lines)


def _seed_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    domains = list(dict.fromkeys(row["domain"] for row in rows))
    seeds = sorted({seed for row in rows for seed in row["dice"]["by_seed"]})
    by_place = {(row["row"], row["domain"]): row for row in rows}
    titles = {row["row"]: row["title"] for row in rows}
    head = ["method", "seed", *domains]
    lines = []
    for name, title in titles.items():
        for seed in seeds:
            means = [by_place.get((name, d), {}).get("dice", {}).get("by_seed", {}).get(seed) for d in domains]
            if any(mean is not None for mean in means):
                lines.append([title, str(seed), *(_number(mean, 3) for mean in means)])
    return _table(head, lines)


def _failures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        seeds: dict[str, list[str]] = {}
        for seed, names in row["failures"].items():
            for name in names:
                seeds.setdefault(name, []).append(f"{seed}{', no result' if name in row['no_result'][seed] else ''}")
        if seeds:
            named = "; ".join(f"{name} (seed {', '.join(found)})" for name, found in sorted(seeds.items()))
            lines.append(f"- {row['title']}, {row['domain']}: {named}")
    return ["Failures by name:", "", *lines, ""] if lines else ["No failures.", ""]


def _differences(differences: Sequence[Mapping[str, Any]], reference: str) -> list[str]:
    if not differences:
        return [f"Nothing to compare: the reference is `{reference}`, and another row is needed."]
    several = len({entry["organ"] for entry in differences}) > 1
    head = ("method", "labelled", "domain", "difference", "t", "bootstrap", "patients", "seeds")
    lines = [
        (
            entry["title"], str(entry["labelled"]),
            f"{entry['domain']}, {entry['organ']}" if several else entry["domain"], _signed(entry["mean"]),
            _interval(entry["t_low"], entry["t_high"]), _interval(entry["bootstrap_low"], entry["bootstrap_high"]),
            str(entry["patients"]), " and ".join(str(count) for count in entry["seeds"]),
        )
        for entry in differences
    ]  # fmt: skip
    left_out = sorted({name for entry in differences for name in entry["left_out"]})
    notes = [f"Patients without a score in some seed are not in a pair: {', '.join(left_out)}.", ""] if left_out else []
    return [f"Reference: `{reference}`.\n{_DIFFERENCE_NOTES}", *notes, *_table(head, lines)]


def _overlays(output_dir: Path) -> dict[str, str]:
    """Method and number of labels -> links to the overlays of the first seed that has finished."""
    found: dict[str, str] = {}
    for folder, marker in finished_cells(output_dir):
        pictures = sorted((folder / "run" / "eval").glob("overlays_*.png"))
        name = f"{marker['title']}, {marker['labelled']} labelled"
        if pictures and name not in found:
            links = (
                f"[{picture.stem.removeprefix('overlays_')}]({picture.relative_to(output_dir).as_posix()})"
                for picture in pictures
                if safe_name(picture.name) == picture.name and " " not in picture.name
            )
            found[name] = ", ".join(links)
    return found


def _settings(output_dir: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for _, marker in finished_cells(output_dir):
        settings.setdefault(marker["title"], marker["given"])
    return settings


def _mean_costs(costs: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], tuple[str, str]]:
    means = {}
    for method, labelled in dict.fromkeys((cost["method"], cost["labelled"]) for cost in costs):
        own = [cost for cost in costs if (cost["method"], cost["labelled"]) == (method, labelled)]
        cpu, wall = ([cost[name] for cost in own] for name in ("cpu_seconds", "wall_seconds"))
        means[method, labelled] = tuple(
            f"{statistics.fmean(values):.0f}" if None not in values else "-" for values in (cpu, wall)
        )
    return means


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *lines]
    return [f"| {' | '.join(str(cell).replace('|', ' ') for cell in row)} |" for row in rows]


def _spread(row: Mapping[str, Any] | None, score: str, digits: int) -> str:
    if row is None or row[score]["mean"] is None:
        return "-"
    text = _number(row[score]["mean"], digits)
    return text if row[score]["sd"] is None else f"{text} ± {_number(row[score]['sd'], digits)}"


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if digits == 3 and text.startswith(("0.", "-0.")) else text


def _signed(value: float | None) -> str:
    return "-" if value is None else ("+" if value >= 0 else "") + _number(value, 3)


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"{_signed(low)} to {_signed(high)}"


def _words(given: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name} {value}`" for name, value in given.items())
