"""The folder that MONAI Label calls an app: what it serves, the versions of its models, and its logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...utils import InputError, write_json_atomic, write_text_atomic

__all__ = [
    "AppSettings",
    "BundleSource",
    "find_bundles",
    "is_model_address",
    "prepare_app_folder",
    "read_app_settings",
]

SETTINGS = "label_app.json"
MAIN = '''"""What MONAI Label loads; written by `monai-semgan label-app`."""

from monai_semgan.apps.label.app import SemganLabelApp  # noqa: F401
'''


@dataclass(frozen=True)
class BundleSource:
    """A bundle to serve.

    Args:
        name: under which its model is served.
        root: its folder.
        weights: other weights than its own ``models/model.pt``, with ``model.json`` beside them; empty for its own.
        registered: the version in MLflow's registry that these weights are, e.g. ``models:/ct_liver/3``.
    """

    name: str
    root: str
    weights: str = ""
    registered: str = ""


@dataclass(frozen=True)
class AppSettings:
    """What the app was asked to serve.

    Args:
        bundles: in the order they are shown.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        time_limit: seconds for one careful answer.
        largest_upload_mb: of one request's body.
        score_at_start: whether the unlabelled scans are scored as soon as the server is there.
    """

    bundles: tuple[BundleSource, ...]
    device: str = "cpu"
    time_limit: float = 60.0
    largest_upload_mb: int = 1024
    score_at_start: bool = True


def find_bundles(wanted: Sequence[str] = ()) -> tuple[BundleSource, ...]:
    """The bundles named, or all of the project.

    Args:
        wanted: names or folders, each optionally with weights of one's own: ``NAME=PATH/model.pt``, or with an address
            in MLflow's registry, which is left as it is (see ``registered``): ``NAME=models:/ct_liver@champion``.

    Raises:
        InputError: one of them is nowhere, or two have the same name.
    """
    places = [Path("bundles"), Path(__file__).resolve().parents[3] / "bundles"]
    if not wanted:
        place = next((place for place in places if place.is_dir()), None)
        roots = sorted(place.glob("*/configs/inference.json")) if place is not None else []
        if not roots:
            raise InputError(
                "no bundles", wanted="a folder bundles/ here", fix="start in the checkout, or --bundle DIR"
            )
        return tuple(BundleSource(path.parents[1].name, str(path.parents[1].resolve())) for path in roots)
    found = []
    for word in wanted:
        text, _, weights = word.partition("=")
        candidates = [Path(text), *(place / text for place in places)]
        root = next((path for path in candidates if (path / "configs" / "inference.json").is_file()), None)
        if root is None:
            raise InputError(
                f"bundle {text}",
                got="no configs/inference.json there",
                wanted="a name in bundles/, or a bundle's folder",
            )
        if weights and not is_model_address(weights):
            weights = str(Path(weights).resolve())
        found.append(BundleSource(root.resolve().name, str(root.resolve()), weights))
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        raise InputError("option bundle", got=f"{', '.join(names)}", wanted="each name once")
    return tuple(found)


def is_model_address(weights: str) -> bool:
    """Whether it names a model in MLflow's registry, not a file."""
    return weights.startswith("models:/")


def prepare_app_folder(folder: Path, settings: AppSettings) -> Path:
    """Write what MONAI Label needs; versions of models that are there stay."""
    for name in ("model", "logs", "lib", "bin", "sessions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "main.py", MAIN)
    write_json_atomic(folder / SETTINGS, asdict(settings))
    return folder


def read_app_settings(folder: str | Path) -> AppSettings:
    """What :func:`prepare_app_folder` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = Path(folder) / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        bundles = tuple(BundleSource(**source) for source in found.pop("bundles"))
        return AppSettings(bundles=bundles, **found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read", got=str(error), fix="start with monai-semgan label-app") from error
