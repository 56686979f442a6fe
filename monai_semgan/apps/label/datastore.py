"""The studies folder as a MONAI Label datastore that survives a kill and stays inside its folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
from filelock import FileLock
from monailabel.datastore.local import DataModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from ...utils import InputError, atomic_path, write_json_atomic
from ...utils.names import safe_name

__all__ = ["EXTENSIONS", "StudiesDatastore", "check_id"]

logger = logging.getLogger(__name__)
EXTENSIONS = ("*.nii.gz", "*.nii")


def check_id(name: str, what: str = "image") -> str:
    """A name that can be a file's name in the studies folder.

    Raises:
        InputError: it is empty, hidden, or could lead out of the folder.
    """
    if not name or name != safe_name(name, "") or name in {".", ".."}:
        raise InputError(
            f"{what} {name!r}", got="a name that cannot be that of a file here",
            wanted="letters, digits, '_', '-', '.' and spaces, with no folders", fix="give another name",
        )  # fmt: skip
    return name


class StudiesDatastore(LocalDatastore):
    """``LocalDatastore`` with these differences:

    - files and the index ``datastore_v2.json`` are replaced as a whole, so that a kill leaves the old or the new ones;
      an index that cannot be read is put aside and made again from the files;
    - several processes (server, training, scoring) may write: every change is made on the index as it is on the disk;
    - changes of the folder are seen at the next question, without a watcher whose events meet half-made lists;
    - names and tags cannot lead out of the folder, and a label has to be a readable mask on the grid of its image.
    """

    def __init__(self, folder: str, read_only: bool = False) -> None:
        self._guard = threading.RLock()
        self._process_lock = FileLock(os.path.join(folder, ".changes.lock"))
        self._seen: tuple[Any, ...] = ()
        _put_aside_if_damaged(Path(folder) / "datastore_v2.json")
        super().__init__(folder, extensions=EXTENSIONS, auto_reload=False, read_only=read_only)
        self._read_only = read_only
        self._seen = self._signature()

    # ---- reading -------------------------------------------------------------------------------
    def get_image_uri(self, image_id: str) -> str:
        self.refresh_if_changed()
        return super().get_image_uri(image_id)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        self.refresh_if_changed()
        return super().get_label_uri(label_id, label_tag)

    def list_images(self) -> list[str]:
        self.refresh_if_changed()
        return super().list_images()

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        self.refresh_if_changed()
        return super().get_labeled_images(label_tag, labels)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        self.refresh_if_changed()
        return super().get_unlabeled_images(label_tag, labels)

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        self.refresh_if_changed()
        return super().datalist(full_path)

    def json(self) -> dict[str, Any]:
        self.refresh_if_changed()
        return super().json()

    def refresh_if_changed(self) -> None:
        """Take up what has come into the folder, or gone, since the last look."""
        if self._seen and self._signature() != self._seen:
            with self._change():
                if not self._read_only:
                    self._reconcile_datastore()

    # ---- writing -------------------------------------------------------------------------------
    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        name, extension = self._to_id(os.path.basename(image_filename))
        image_id = check_id(image_id or name)
        with self._change():
            if image_id in self._datastore.objects:
                raise InputError(f"image {image_id}", got="one of that name is here", fix="give another name")
            path = Path(self._datastore.image_path()) / f"{image_id}{extension}"
            with atomic_path(path) as temporary:
                shutil.copyfile(image_filename, temporary)
            self._reconcile_datastore()
            self._datastore.objects[image_id].image.info.update(image_info or {})
            self._update_datastore_file()
        return image_id

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        check_id(label_tag, "tag")
        _, extension = self._to_id(os.path.basename(label_filename))
        with self._change():
            image = self._datastore.objects.get(image_id)
            if image is None:
                raise ImageNotFoundException(f"Image {image_id} not found")
            self._check_label(image_id, label_filename)
            path = Path(self._datastore.label_path(label_tag)) / f"{image_id}{extension}"
            with atomic_path(path) as temporary:
                shutil.copyfile(label_filename, temporary)
            for other in (e.replace("*", "") for e in EXTENSIONS):
                if other != extension:  # one mask a tag: an older one of the other ending would come back
                    path.with_name(f"{image_id}{other}").unlink(missing_ok=True)
            info = {**(label_info or {}), "ts": int(time.time()), "name": path.name}
            image.labels[label_tag] = DataModel(info=info, ext=extension)
            self._update_datastore_file()
        return image_id

    def remove_image(self, image_id: str) -> None:
        with self._change():
            super().remove_image(image_id)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        with self._change():
            super().remove_label(label_id, label_tag)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        with self._change():
            super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        with self._change():
            super().update_label_info(label_id, label_tag, info)

    # ---- inside --------------------------------------------------------------------------------
    @contextmanager
    def _change(self) -> Iterator[None]:
        """Alone among threads and processes, on the index as it is on the disk now."""
        with self._guard, self._process_lock:
            self._config_ts = 0
            self._init_from_datastore_file()
            yield
            self._seen = self._signature()

    def _signature(self) -> tuple[Any, ...]:
        folder = Path(self._datastore_path)
        tags = folder / "labels"
        paths = [folder / "datastore_v2.json", folder, *(p for p in sorted(tags.glob("*")) if p.is_dir())]
        return tuple((str(p), p.stat().st_mtime_ns) for p in paths if p.exists())

    def _remove_non_existing(self) -> int:
        # As MONAI Label has it, but the list is replaced, never empty in between: another thread may be reading it.
        gone = 0
        objects = {}
        for image_id, item in self._datastore.objects.items():
            if not os.path.exists(os.path.join(self._datastore.image_path(), image_id + item.image.ext)):
                gone += 1
                continue
            labels = {
                tag: label
                for tag, label in item.labels.items()
                if os.path.exists(os.path.join(self._datastore.label_path(tag), image_id + label.ext))
            }
            gone += len(item.labels) - len(labels)
            item.labels = labels
            objects[image_id] = item
        self._datastore.objects = objects
        return gone

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        return {name: name for name in super()._list_files(path, patterns) if not name.startswith(".")}

    def _update_datastore_file(self, lock: bool = True) -> None:
        content = self._datastore.model_dump(exclude={"base_path"})
        write_json_atomic(self._datastore_config_path, json.loads(json.dumps(content, default=str)))
        self._config_ts = os.stat(self._datastore_config_path).st_mtime

    def _check_label(self, image_id: str, path: str) -> None:
        try:
            label = nib.load(path)
            label_shape = tuple(n for n in label.shape if n != 1)
            label.dataobj[..., 0]  # a file that was cut off fails here
        except Exception as error:
            raise InputError(
                f"label of {image_id}", got="a file that cannot be read as NIfTI", wanted=".nii.gz or .nii"
            ) from error
        image = nib.load(super().get_image_uri(image_id))
        if label_shape != tuple(n for n in image.shape if n != 1):
            raise InputError(
                f"label of {image_id}", got=f"shape {label.shape}", wanted=f"{image.shape}, the grid of its image",
                fix="export the label on the grid of the image",
            )  # fmt: skip


def _put_aside_if_damaged(index: Path) -> None:
    if not index.is_file():
        return
    try:
        json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        aside = index.with_name(f"{index.stem}.damaged-{int(time.time())}.json")
        logger.warning("%s cannot be read; it is kept as %s and made again from the files", index, aside.name)
        index.replace(aside)
