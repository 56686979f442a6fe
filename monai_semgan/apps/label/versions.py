"""Earlier and later weights of a served model: nothing is overwritten, one small file says which counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ...utils import InputError, write_json_atomic

__all__ = ["ModelVersions"]


class ModelVersions:
    """Weights that trainings on the server have made, beside the bundle's own, which are version 0.

    ``folder/versions/0001/model.pt`` with ``model.json`` and ``training.json``; ``folder/served.json`` holds
    ``{"version": 1}`` and is replaced as a whole. The bundle itself is never written to. To go back to an earlier
    version, write its number there: it counts from the next request on.

    Args:
        folder: of this model in the app.
        shipped: the bundle's weights.
        registered: the version in MLflow's registry that ``shipped`` is, or empty.
    """

    def __init__(self, folder: Path, shipped: Path, registered: str = "") -> None:
        self.folder, self.shipped, self.registered = folder, shipped, registered

    def served(self) -> tuple[int, Path]:
        """Number and weights of the version that answers.

        Raises:
            InputError: ``served.json`` is damaged or names a version that is not there.
        """
        path = self.folder / "served.json"
        if not path.is_file():
            return 0, self.shipped
        try:
            number = int(json.loads(path.read_text(encoding="utf-8"))["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged", wanted='{"version": 0}', fix="write the number again") from error
        weights = self.weights(number)
        if not weights.is_file():
            raise InputError(f"{path}: version {number}", got="no such weights", wanted=f"one of {self.numbers()}")
        return number, weights

    def number(self) -> int | None:
        """Number of the version that answers; None while ``served.json`` is of no use, which a request will be told."""
        try:
            return self.served()[0]
        except InputError:
            return None

    def weights(self, number: int) -> Path:
        """Where the weights of a version lie."""
        return self.shipped if number == 0 else self.folder / "versions" / f"{number:04d}" / "model.pt"

    def numbers(self) -> list[int]:
        """Versions with weights, 0 first."""
        return [0, *sorted(int(path.parent.name) for path in self.folder.glob("versions/[0-9]*/model.pt"))]

    def start(self) -> tuple[int, Path]:
        """Number and empty folder of the next version; it is no version before its ``model.pt`` is there."""
        made = [int(path.name) for path in self.folder.glob("versions/[0-9]*")]
        number = max(made, default=0) + 1
        folder = self.weights(number).parent
        folder.mkdir(parents=True)
        return number, folder

    def publish(self, number: int, training: dict[str, Any], serve: bool = True) -> None:
        """Note what a training gave, and let the server answer with it."""
        write_json_atomic(self.weights(number).with_name("training.json"), training)
        if serve:
            write_json_atomic(self.folder / "served.json", {"version": number})

    def discard(self, number: int) -> None:
        """Forget a version whose training has failed."""
        shutil.rmtree(self.weights(number).parent, ignore_errors=True)

    def history(self) -> list[dict[str, Any]]:
        """What each training noted, oldest first."""
        found = []
        for number in self.numbers()[1:]:
            path = self.weights(number).with_name("training.json")
            if path.is_file():
                found.append({"version": number, **json.loads(path.read_text(encoding="utf-8"))})
        return found
