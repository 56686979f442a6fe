"""The folder of a factory: files of the pairs, and a log of all samples that a stopped run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from ...utils.errors import InputError
from ...utils.files import atomic_path, make_output_folder, write_json_atomic
from .hounsfield import to_hounsfield

if TYPE_CHECKING:
    from .runner import MadePair

__all__ = ["PairStore", "folder_lock"]

SETTINGS = "factory.json"
LOG = "samples.jsonl"


class PairStore:
    """What a factory has made so far.

    A sample's files are written first, whole or not at all, then its line in the log. Who kills the process loses
    the samples without a line; they are made again, the same, under the same names.

    Args:
        folder: made when it is missing.
        settings: all that the samples depend on; another run must have the same.
        spacing: of the files, mm a voxel along rows, columns and slices.
        label_values: class index -> value in the mask files; without an entry a class keeps its index.

    Attributes:
        records: the log: a mapping for each sample, in order.

    Raises:
        InputError: the folder holds samples of other settings, other files, or a log that cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        spacing: tuple[float, float, float],
        label_values: Mapping[int, int] | None = None,
    ) -> None:
        self.folder = make_output_folder(folder)
        self.spacing, self.label_values = spacing, dict(label_values or {})
        settings = json.loads(json.dumps(settings))
        path = self.folder / SETTINGS
        if path.is_file():
            differs = _differences(path, settings)
            if differs and (self.folder / LOG).is_file():
                raise InputError(f"output folder {folder} holds samples of other settings", **differs)
            if differs:  # of a first try that ended before it made anything
                write_json_atomic(path, {"settings": settings})
        elif any(name.name != "factory.lock" for name in self.folder.iterdir()):
            raise InputError(
                f"output folder {folder}", got="files of something else", wanted="a new folder, or one of a factory",
                fix="give another --out",
            )  # fmt: skip
        else:
            write_json_atomic(path, {"settings": settings})
        self.records = self._read()

    @property
    def kept(self) -> list[dict[str, Any]]:
        """Records of the pairs."""
        return [record for record in self.records if record["kept"]]

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """Records of the samples that were refused."""
        return [record for record in self.records if not record["kept"]]

    def note(self, name: str, value: Any = None) -> Any:
        """A value that was found once for all samples, such as a threshold; given a value, it is written down."""
        path = self.folder / SETTINGS
        content = json.loads(path.read_text(encoding="utf-8"))
        if value is not None:
            content[name] = value
            write_json_atomic(path, content)
        return content.get(name)

    def add(self, pairs: Sequence[MadePair]) -> None:
        """Write the files of the pairs that are kept, then the lines of all."""
        lines = []
        for pair in pairs:
            if pair.record["kept"]:
                self._write(pair)
            lines.append(json.dumps(pair.record) + "\n")
        with (self.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        self.records += [json.loads(line) for line in lines]

    def _write(self, pair: MadePair) -> None:
        image = to_hounsfield(pair.image)[:, 0].transpose(1, 2, 0)
        label = pair.label[:, 0].numpy().transpose(1, 2, 0)
        values = np.arange(256, dtype=np.uint8)
        for index, value in self.label_values.items():
            values[index] = value
        affine = slice_affine(image.shape, self.spacing)
        for array, part in ((image, "images"), (values[label], "labels")):
            picture = nib.Nifti1Image(array, affine)
            picture.header.set_xyzt_units("mm")
            picture.set_qform(affine, code=1)
            picture.set_sform(affine, code=1)
            with atomic_path(self.folder / file_name(pair.record, part)) as temporary:
                nib.save(picture, temporary)

    def _read(self) -> list[dict[str, Any]]:
        path = self.folder / LOG
        if not path.is_file():
            return []
        content = path.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        try:
            records = [json.loads(line) for line in whole.splitlines()]
            if [record["index"] for record in records] != list(range(len(records))):
                raise ValueError("samples are not numbered 0, 1, 2 ...")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"log {path} cannot be read", got=f"{type(error).__name__}: {error}", wanted="one line a sample",
                fix=f"delete the folder {self.folder} and start again",
            ) from error  # fmt: skip
        if torn:  # killed in the middle of a line
            with atomic_path(path) as temporary:
                temporary.write_bytes(whole + newline)
        for record in records:
            for part in ("images", "labels"):
                if record["kept"] and not (self.folder / file_name(record, part)).is_file():
                    raise InputError(
                        f"{self.folder / file_name(record, part)} is missing", wanted="every file in the log",
                        fix=f"delete the folder {self.folder} and start again: the same seed makes the same pairs",
                    )  # fmt: skip
        return records


def file_name(record: Mapping[str, Any], part: str) -> str:
    """Path of a sample's file in the folder; ``part`` is ``images`` or ``labels``."""
    return f"{part}/{sample_name(record)}.nii.gz"


def sample_name(record: Mapping[str, Any]) -> str:
    """``made000012``: by the sample's number, so that it stays the same whatever is kept."""
    return f"made{record['index']:06d}"


def slice_affine(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Affine of a volume of network slices (rows to the back, columns to the left, slices up), centred on 0."""
    rows, columns, height = spacing
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -rows, -columns, height, 1.0
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape[:3]) - 1) / 2)
    return affine


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold a folder for one factory; where the system has no such lock there is none.

    Raises:
        InputError: another process holds it.
    """
    folder = make_output_folder(folder)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / "factory.lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"output folder {folder}",
                got="another factory is at work there",
                fix="wait for it, or give another --out",
            ) from error
        yield


def _differences(path: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """What an error says about settings other than those in the file; empty when there are none."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
        other = [key for key in sorted({*before, *settings}) if before.get(key) != settings.get(key)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read", got=str(error), fix="give another --out") from error
    if not other:
        return {}
    return {
        "got": ", ".join(f"{key} {settings.get(key)}" for key in other),
        "wanted": ", ".join(f"{key} {before.get(key)}" for key in other),
        "fix": "give the settings of the first run, or another --out",
    }
