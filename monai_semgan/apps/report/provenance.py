"""Where the numbers come from: data, code, settings, files; and the model card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..tracked_runs.tracked_run import TrackedRun, format_duration
from .markdown import markdown_to_html
from .markup import Markup, table, tag

__all__ = ["find_card", "model_card", "provenance"]

_CARD_FILES = ("model_card.md", "readme.md")


def provenance(run: TrackedRun) -> list[Any]:
    """What was trained on what, as a table, and all settings."""
    tags, params = run.tags, run.params
    commit = tags.get("mlflow.source.git.commit", "")
    dirty = {"true": " with changes that were not committed", "false": ", nothing changed"}.get(
        tags.get("git.dirty", ""), ""
    )
    scans = {name.removeprefix("scans."): value for name, value in params.items() if name.startswith("scans.")}
    versions = {n.removeprefix("version."): value for n, value in sorted(tags.items()) if n.startswith("version.")}
    facts = [
        ("run", f"{run.name} ({run.id})"),
        ("state", run.status.lower()),
        ("method", run.method),
        ("bundle", run.bundle),
        ("configuration", re.sub(r"^.*/(?=bundles/)", "", tags.get("mlflow.source.name", ""))),
        ("data set", params.get("dataset_dir", "").rstrip("/").rpartition("/")[2]),
        ("scans", ", ".join(f"{name} {count}" for name, count in scans.items())),
        ("labelled scans", run.labelled),
        ("split, SHA-256", run.split),
        ("seed", run.seed),
        ("code", f"{commit}{dirty}" if commit else ""),
        ("device", tags.get("device", "")),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ("begun", f"{run.started:%Y-%m-%d %H:%M:%S}"),
        ("took", format_duration(run.seconds)),
        ("tracked in", run.store.title),
    ]
    rows = [(name, value or tag("span", "not recorded", class_="missing")) for name, value in facts]
    parts: list[Any] = [table(["what", "value"], rows, ["key"])]
    if len(run.members) > 1:
        nested = [(m.name, m.status.lower(), format_duration(m.seconds), m.id) for m in run.members[1:]]
        parts.append(table(["nested run", "state", "took", "id"], nested, ["", "", "number", "minor"]))
    resumed = {name: value for name, value in tags.items() if name.startswith("resumed.")}
    if resumed:
        parts.append(table(["changed on resuming", "new value"], sorted(resumed.items())))
    if params:
        title = tag("summary", f"All {len(params)} settings")
        parts.append(tag("details", title, table(["setting", "value"], sorted(params.items()))))
    if run.files:
        title = tag("summary", f"All {len(run.files)} files of the run")
        sizes = [(path, f"{size / 1000:,.0f}") for path, (_, size) in run.files.items()]
        parts.append(tag("details", title, table(["file", "kB"], sizes, ["", "number"])))
    return parts


def model_card(run: TrackedRun, bundles_dir: Path | None = None) -> list[Any]:
    """The bundle's card, and what its metadata says."""
    card, metadata, source = find_card(run, bundles_dir)
    parts: list[Any] = [_facts(run, metadata)]
    if card:
        note = (
            "This card was kept with the run."
            if source == "run"
            else f"The card of the bundle {run.bundle} as it is today. Its numbers are those of the weights that ship "
            "with the bundle, not of this run."
        )
        parts += [tag("p", note, class_="notice"), tag("div", markdown_to_html(card), class_="modelcard")]
    else:
        text = f"There is no card of the bundle {run.bundle} here; --bundles_dir says where the bundles are."
        parts.append(tag("p", text, class_="missing"))
    return parts


def find_card(run: TrackedRun, bundles_dir: Path | None = None) -> tuple[str, dict[str, Any], str]:
    """Markdown of the card, the bundle's metadata, and where the card is from: ``"run"``, ``"bundle"`` or ``""``."""
    metadata: dict[str, Any] = {}
    card = source = ""
    for path in run.files:
        name = path.rpartition("/")[2].lower()
        if name in _CARD_FILES and not card and not path.startswith("model/"):
            card, source = (run.read(path) or b"").decode("utf-8", errors="replace"), "run"
        elif name == "metadata.json" and not metadata:
            metadata = _object((run.read(path) or b"").decode("utf-8", errors="replace"))
    folder = _bundle_folder(run.bundle, bundles_dir)
    if folder is not None:
        if not card and (folder / "docs" / "README.md").is_file():
            card, source = (folder / "docs" / "README.md").read_text(encoding="utf-8"), "bundle"
        if not metadata and (folder / "configs" / "metadata.json").is_file():
            metadata = _object((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return card, metadata, source if card else ""


def _bundle_folder(bundle: str, bundles_dir: Path | None) -> Path | None:
    """The bundle in the folder given, in the current folder, or in the checkout that the package is run from."""
    if not re.fullmatch(r"\w[\w\-]*", bundle):  # a text from a store: it must not lead elsewhere
        return None
    places = [bundles_dir] if bundles_dir else [Path("bundles"), Path(__file__).resolve().parents[3] / "bundles"]
    return next((place / bundle for place in places if (place / bundle).is_dir()), None)


def _facts(run: TrackedRun, metadata: dict[str, Any]) -> Markup:
    names = {"name": "name", "version": "version of the bundle", "task": "task", "description": "what it is",
             "intended_use": "intended use", "data_source": "data", "image_classes": "input",
             "pred_classes": "output"}  # fmt: skip
    rows = [(title, metadata[name]) for name, title in names.items() if isinstance(metadata.get(name), str)]
    if "intended_use" not in metadata:
        rows.append(("intended use", "research only; not for diagnosis, treatment or any decision about a patient"))
    rows.append(("weights of this run", ", ".join(_weights(run)) or "not kept with the run"))
    return table(["what", "value"], rows, ["key"])


def _weights(run: TrackedRun) -> list[str]:
    models = [m.model_id for member in run.members for m in getattr(member.run.outputs, "model_outputs", None) or ()]
    files = [path for path in run.files if path.endswith((".pt", ".pt2", ".ts", ".onnx"))]
    return [f"MLflow model {name}" for name in dict.fromkeys(models)] + files


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
