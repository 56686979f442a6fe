"""The figures as a table for people, and held against earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["compare", "table"]

Figures = Mapping[str, Any]
_KEY = ("group", "name", "size")


def table(result: Figures, earlier: Figures | None = None) -> str:
    """Markdown: a line on the machine, then one row a figure; with ``earlier``, the ratio earlier / now."""
    machine, peak = result["machine"], result["peak"]
    where = f"{machine['device']}" + (f", {machine['threads']} thread(s)" if machine["threads"] else "")
    ratios = compare(earlier, result) if earlier else {}
    mode = result["settings"].get("compile")
    head = ["size", "what", "of", "time", "least - most", "GFLOP", "GFLOP/s", "of peak", "MiB"]
    at_once = result["settings"].get("slices_at_once")
    rows = [head + (["first round"] if mode else []) + (["earlier / now"] if earlier else [])]
    for row in result["rows"]:
        cells = [
            f"{row['size']} px" if row["size"] else "",
            row["name"] if row["group"] != "memory" else f"peak memory: {row['name']}",
            row.get("per", ""),
            _seconds(row.get("seconds")),
            f"{_seconds(row['least'])} - {_seconds(row['most'])}" if row.get("least") is not None else "",
            _number(row.get("gflop")),
            _number(row.get("gflop_per_second")),
            "" if row.get("share_of_peak") is None else f"{100 * row['share_of_peak']:.0f} %",
            _number(row.get("mib")),
        ]
        if mode:
            cells.append(_seconds(row.get("first_seconds")))
        ratio = ratios.get(_key(row))
        rows.append(cells + ([f"{ratio:.2f}" if ratio else ""] if earlier else []))
    lines = [
        f"{where}; torch {machine['torch']}, Python {machine['python']}, {machine['date']}, load {machine['load']}; "
        f"times are {machine['clock']}, medians of {result['settings']['rounds']}; networks "
        f"`{result['settings']['width']}`, batch {result['settings']['batch_size']}, float32"
        + (f", {at_once} slices at once in a training" if at_once else "")
        + (f"; passes compiled (`{mode}`), the first round, in time passed, includes the compiling." if mode else "."),
        "",
        f"Peak in the same process: convolution {peak['conv_gflops']:.0f} GFLOP/s, matrix product "
        f"{peak['matmul_gflops']:.0f} GFLOP/s, copy {peak['copy_gb_per_second']:.1f} GB/s.",
        "",
        _line(rows[0]),
        _line(["---"] * len(rows[0])),
        *(_line(row) for row in rows[1:]),
    ]
    return "\n".join(lines) + "\n"


def compare(before: Figures, after: Figures) -> dict[tuple[Any, ...], float]:
    """``(group, name, size)`` to earlier / now, of times or MiB: above 1 is an improvement.

    Times of other clocks, numbers of threads or modes of compiling are not compared.
    """
    same = all(before["machine"][k] == after["machine"][k] for k in ("device", "threads", "clock"))
    same = same and before["settings"]["width"] == after["settings"]["width"]
    same = same and before["settings"]["batch_size"] == after["settings"]["batch_size"]
    # files of before there were compiled passes do not say so
    same = same and before["settings"].get("compile") == after["settings"].get("compile")
    if not same:
        return {}
    old = {_key(row): row for row in before["rows"]}
    ratios = {}
    for row in after["rows"]:
        figure = "seconds" if "seconds" in row else "mib"
        past = old.get(_key(row), {}).get(figure)
        if past and row.get(figure):
            ratios[_key(row)] = past / row[figure]
    return ratios


def _key(row: Figures) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1e3 * value:.3g} ms"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
