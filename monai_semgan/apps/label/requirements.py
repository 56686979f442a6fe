"""What the MONAI Label server needs, and what of it this environment lacks."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from ..doctor import DISTRIBUTION, Finding

__all__ = ["INSTALL_LABEL", "WITHOUT_DEPENDENCIES", "examine_label", "missing_for_label"]

EXTRA = "label"
# Their own requirements name numpy<2, torchvision and packages that have to be compiled; the server starts without.
WITHOUT_DEPENDENCIES = {"monailabel": "0.8.5", "pydicom-seg": "0.4.1"}
INSTALL_LABEL = (
    "pip install -c constraints.txt -e '.[label]' && "
    f"pip install -c constraints.txt --no-deps {' '.join(WITHOUT_DEPENDENCIES)}"
)
IN_THE_WAY = {
    "numpymaxflow": "built for numpy 1: uninstall it",
    "sam2": "not used here, and slow to load: uninstall it",
}


def examine_label() -> list[Finding]:
    """Every package that the server needs, then what is better not there."""
    findings = [_examine(requirement) for requirement in _of_extra()]
    findings += [_examine(Requirement(f"{name}=={version}")) for name, version in WITHOUT_DEPENDENCIES.items()]
    findings += [
        Finding("note", name, "installed", advice) for name, advice in IN_THE_WAY.items() if _version(name) is not None
    ]
    return findings


def missing_for_label() -> list[str]:
    """Names of the packages that are missing or of a version that does not work."""
    return [finding.what for finding in examine_label() if finding.level == "missing"]


def _of_extra() -> list[Requirement]:
    try:
        rows = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        rows = _of_checkout()
    named = [row for row in rows if row.marker is not None and row.marker.evaluate({"extra": EXTRA})]
    return [row for row in named if row.marker is not None and not row.marker.evaluate({"extra": ""})]


def _of_checkout() -> list[Requirement]:
    """The extra of a checkout that is used without being installed."""
    path = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if not path.is_file() or importlib.util.find_spec("tomllib") is None:
        return []
    import tomllib

    rows = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["optional-dependencies"].get(EXTRA, [])
    found = []
    for row in rows:
        plain, _, marker = row.partition(";")
        found.append(Requirement(f'{plain}; extra == "{EXTRA}"' + (f" and ({marker})" if marker else "")))
    return found


def _examine(requirement: Requirement) -> Finding:
    wanted = f"{requirement.name}{requirement.specifier}"
    version = _version(requirement.name)
    if version is None:
        return Finding("missing", requirement.name, f"not installed; wanted {wanted}", INSTALL_LABEL)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding("missing", requirement.name, f"{version}; wanted {wanted}", INSTALL_LABEL)
    return Finding("ok", requirement.name, version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
