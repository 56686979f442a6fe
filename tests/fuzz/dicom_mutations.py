"""DICOM series that are odd, damaged or hostile; each says what has to become of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK

from tests.fuzz.dicom import BIG, EXPLICIT, IMPLICIT, slice_tags, write_dicom
from tests.fuzz.nifti_mutations import EITHER, READ, REFUSE

# ---- DICOM ----------------------------------------------------------------------------------------------------------
SLICES, ROWS, COLUMNS, SPACING = 5, 18, 16, (6.0, 6.5, 8.0)


def _pixels(draw: random.Random, count: int = SLICES) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    body = np.where(x**2 + y**2 < 0.7, 50, -1000) + 100 * (x**2 + (y - 0.2) ** 2 < 0.1)
    noise = np.random.default_rng(draw.getrandbits(32)).integers(-20, 20, (count, ROWS, COLUMNS))
    return (body + noise).astype(np.int16)


def _position(k: float, tilt: float = 0.0) -> tuple[float, float, float]:
    return (-45.0, -55.0 + tilt * k, 30.0 + SPACING[2] * k)


def _series(draw: random.Random, folder: Path, syntax: str = EXPLICIT, **changes: Callable) -> list[Path]:
    """A series in shuffled files; ``tags(k, tags)``, ``pixels(k, pixels)`` change a slice, ``position(k)`` moves it."""
    pixels, files = _pixels(draw), []
    names = [f"{draw.getrandbits(32):08x}.dcm" for _ in range(SLICES)]
    place = changes.get("position", _position)
    for k in range(SLICES):
        tags = slice_tags(k, place(k), SPACING)
        changes.get("tags", lambda k, tags: None)(k, tags)
        data = changes.get("pixels", lambda k, data: data)(k, pixels[k])
        files.append(write_dicom(folder / names[k], tags, data, syntax))
    return files


def dicom(draw: random.Random, place: Path) -> tuple[Path, str]:
    """A series that is right, in each plain way of writing."""
    _series(draw, place / "series", draw.choice([IMPLICIT, EXPLICIT, BIG]))
    return place / "series", READ


def dicom_slices(draw: random.Random, place: Path) -> tuple[Path, str]:
    """A slice is missing, there twice, or moved."""
    files = _series(draw, place / "series")
    k = draw.randrange(1, SLICES - 1)
    what = draw.choice(["missing", "twice", "moved"])
    if what == "missing":
        files[k].unlink()
        return place / "series", REFUSE
    tags = slice_tags(k, _position(k), SPACING)
    if what == "twice":
        tags[0x00080018] = "1.2.3.4.99"
        write_dicom(place / "series" / "again.dcm", tags, _pixels(draw)[k])
    else:
        tags[0x00200032] = "\\".join(f"{p:.3f}" for p in _position(k + 0.6))
        write_dicom(files[k], tags, _pixels(draw)[k])
    return place / "series", REFUSE


def dicom_mixed(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Slices of another size, direction, series or voxel size among them."""
    odd = draw.randrange(SLICES)
    what = draw.choice(["size", "direction", "series", "spacing"])

    def tags(k: int, tags: dict) -> None:
        if k == odd:
            tags.update({
                "size": {}, "direction": {0x00200037: "0\\1\\0\\1\\0\\0"}, "series": {0x0020000E: "9.9.9"},
                "spacing": {0x00280030: "4\\4"},
            }[what])  # fmt: skip

    _series(draw, place / "series", tags=tags, pixels=lambda k, d: d[:-2] if what == "size" and k == odd else d)
    return place / "series", REFUSE


def dicom_tilt(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Gantry tilt: each slice is shifted against the one below."""
    shift = draw.uniform(0.4, 2.0)
    _series(draw, place / "series", position=lambda k: _position(k, shift))
    return place / "series", REFUSE


def dicom_rescale(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Slope and intercept, of all slices or of each its own; also those that are no numbers."""
    what = draw.choice(["one", "each", "each"])
    slopes = [draw.choice(["1", "1.5", "0.75"]) for _ in range(SLICES)]

    def tags(k: int, tags: dict) -> None:
        tags.update({0x00281052: "-24", 0x00281053: slopes[0 if what == "one" else k]})

    _series(draw, place / "series", tags=tags)
    return place / "series", READ


def dicom_tags(draw: random.Random, place: Path) -> tuple[Path, str]:
    """A tag is missing or holds nonsense in one or all slices."""
    tag = draw.choice([0x00200032, 0x00200037, 0x00280030, 0x00280100, 0x0020000E, 0x00280010, 0x00280101])
    new = draw.choice([None, "", "x\\y\\z", "1e400\\0\\0", 0])
    every = draw.random() < 0.5

    def tags(k: int, tags: dict) -> None:
        if every or k == 2:
            if new is None:
                tags.pop(tag, None)
            else:
                tags[tag] = new

    _series(draw, place / "series", tags=tags)
    return place / "series", EITHER


def dicom_frames(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Several frames in one file, as a file and in a folder, with and without as many as it says."""
    frames = _pixels(draw)
    tags = slice_tags(0, _position(0), SPACING) | {0x00280008: str(draw.choice([SLICES, SLICES, 1000, 0]))}
    path = write_dicom(place / "series" / "frames.dcm", tags, frames)
    return draw.choice([path, path.parent]), EITHER


def dicom_huge(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Gigabytes are promised by each of some small files."""
    size = {0x00280010: 65535, 0x00280011: 65535, 0x00280008: str(draw.choice([1, 60000]))}
    _series(draw, place / "series", tags=lambda k, tags: tags.update(size))
    return place / "series", REFUSE


def dicom_bytes(draw: random.Random, place: Path) -> tuple[Path, str]:
    """One file is cut off, has other bytes, or is written in another way than it says."""
    files = _series(draw, place / "series")
    path = draw.choice(files)
    data = bytearray(path.read_bytes())
    what = draw.choice(["cut", "bytes", "syntax"])
    if what == "cut":
        data = data[: draw.randrange(140, len(data))]
    elif what == "bytes":
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(132, len(data))] = draw.randrange(256)
    else:
        data = data.replace(EXPLICIT.encode() + b"\0", b"1.2.840.10008.1.2.9\0"[: len(EXPLICIT) + 1])
    path.write_bytes(bytes(data))
    return place / "series", EITHER


def dicom_compressed(draw: random.Random, place: Path) -> tuple[Path, str]:
    """JPEG and JPEG 2000, without loss, as SimpleITK writes them."""
    compressor, pixels = draw.choice(["JPEG", "JPEG2000"]), _pixels(draw)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    (place / "series").mkdir()
    for k in range(SLICES):
        image = SimpleITK.GetImageFromArray(pixels[k][None])
        image.SetSpacing(SPACING)
        for tag, value in slice_tags(k, _position(k), SPACING).items():
            if isinstance(value, str):
                image.SetMetaData(f"{tag >> 16:04x}|{tag & 0xFFFF:04x}", value)
        writer.SetFileName(str(place / "series" / f"{k}.dcm"))
        writer.Execute(image)
    return place / "series", READ
