"""Odd, damaged or hostile NIfTI files, masks, paths and other files; each says what has to become of it."""

from __future__ import annotations

import gzip
import os
import random
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from tests.scans import AFFINES, make_scan

READ, REFUSE, EITHER = "read", "refuse", "either"
SHAPE = (24, 20, 6)


# ---- NIfTI ----------------------------------------------------------------------------------------------------------
def _scan(draw: random.Random) -> tuple[np.ndarray, np.ndarray]:
    affine = AFFINES[draw.choice(list(AFFINES))]
    volume = make_scan(affine, SHAPE)[0]
    return volume + np.random.default_rng(draw.getrandbits(32)).integers(-20, 20, SHAPE).astype(np.int16), affine


def _save(array: np.ndarray, affine: np.ndarray, path: Path, kind: type = nib.Nifti1Image) -> Path:
    image = kind(array, affine, dtype=array.dtype)  # nibabel asks to be sure of 64 bits
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return path


def _nifti(draw: random.Random, place: Path, dtype: str = "<i2", name: str = "scan.nii.gz") -> Path:
    volume, affine = _scan(draw)
    return _save(volume.astype(dtype), affine, place / name)


def _poke(path: Path, offset: int, data: bytes) -> None:
    """Replace bytes of the (compressed) file's content."""
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rb") as stream:
        content = bytearray(stream.read())
    content[offset : offset + len(data)] = data
    with opened(path, "wb") as stream:
        stream.write(bytes(content))


def header_bytes(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Some bytes of the header are others."""
    path = _nifti(draw, place)
    for _ in range(draw.randint(1, 6)):
        _poke(path, draw.randrange(348), bytes([draw.randrange(256)]))
    return path, EITHER


def header_dims(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Dimensions that are negative, zero, too many or more than the file holds."""
    path = _nifti(draw, place)
    dims = draw.choice([
        (3, -24, 20, 6), (3, 24, 0, 6), (0, 24, 20, 6), (8, 24, 20, 6), (3, 24, 20, 7), (3, 32000, 20, 6),
        (-1, 24, 20, 6),
    ])  # fmt: skip
    _poke(path, 40, struct.pack("<4h", *dims))
    return path, REFUSE


def header_huge(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Terabytes are promised by a file of some kilobytes."""
    path = _nifti(draw, place, name=draw.choice(["scan.nii", "scan.nii.gz"]))
    _poke(path, 40, struct.pack("<8h", 3, *(draw.randint(3000, 32767) for _ in range(3)), 1, 1, 1, 1))
    return path, REFUSE


def header_offset(draw: random.Random, place: Path) -> tuple[Path, str]:
    """The data begin somewhere else."""
    path = _nifti(draw, place)
    _poke(
        path, 108, struct.pack("<f", draw.choice([0.0, 1e9, -352.0, 1e30, float("nan"), float("inf"), 351.0, 100000.0]))
    )
    return path, EITHER


def header_type(draw: random.Random, place: Path) -> tuple[Path, str]:
    """A data type that does not exist or does not fit."""
    path = _nifti(draw, place)
    _poke(
        path, 70, struct.pack("<hh", draw.choice([0, 1, 3, 5, 999, 64, 1792, 128, 2304]), draw.choice([16, 0, 8, 64]))
    )
    return path, EITHER


def header_affine(draw: random.Random, place: Path) -> tuple[Path, str]:
    """No usable voxel size or direction."""
    path = _nifti(draw, place)
    row = draw.choice(
        [(float("nan"),) * 12, (0.0,) * 12, (1.0, 0, 0, 0) * 3, (float("inf"), 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)]
    )
    _poke(path, 280, struct.pack("<12f", *row))
    return path, REFUSE


def header_spacing(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Voxels of a nanometre, of a kilometre, or with a minus; position by the quaternion alone."""
    path = _nifti(draw, place)
    _poke(path, 252, struct.pack("<2h", 1, 0))
    _poke(path, 80, struct.pack("<3f", *(draw.choice([1e-6, -2.0, 1e6, 0.0, 5.0]) for _ in range(3))))
    return path, EITHER


def slope(draw: random.Random, place: Path) -> tuple[Path, str]:
    """scl_slope and scl_inter: zero means none, and there are others that mean nothing."""
    path = _nifti(draw, place)
    nan, inf = float("nan"), float("inf")
    pair = draw.choice(
        [(0.0, 5.0), (2.0, -1024.0), (-1.0, 0.0), (nan, 0.0), (inf, 0.0), (1.0, nan), (1e-3, 0.0), (1e38, 0.0)]
    )
    _poke(path, 112, struct.pack("<2f", *pair))
    return path, EITHER


def numbers(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Every kind of number, in both byte orders."""
    order = draw.choice("<>")
    kind = draw.choice(["i2", "i4", "f4", "f8", "i8", "u2", "u4", "u8", "i1"])
    volume, affine = _scan(draw)
    small = volume.clip(-120, 120) if kind == "i1" else volume.clip(0) if kind[0] == "u" else volume
    image = nib.Nifti1Image(small.astype(kind), affine, nib.Nifti1Header(endianness=order), dtype=np.dtype(kind))
    image.set_data_dtype(np.dtype(order + kind))
    nib.save(image, place / "scan.nii.gz")
    return place / "scan.nii.gz", READ


def numbers_bad(draw: random.Random, place: Path) -> tuple[Path, str]:
    """NaN, infinity, numbers beyond float32, complex and colour."""
    volume, affine = _scan(draw)
    what = draw.choice(["nan", "inf", "large", "complex", "colour", "constant"])
    array = volume.astype(np.float64)
    if what in ("nan", "inf", "large"):
        array[tuple(draw.randrange(n) for n in SHAPE)] = {"nan": np.nan, "inf": np.inf, "large": 1e300}[what]
    elif what == "complex":
        array = array.astype(np.complex64)
    elif what == "colour":
        array = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    else:
        array[:] = 7
    return _save(array, affine, place / "scan.nii.gz"), REFUSE


def axes(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Two axes, four with one entry, time series, an axis of one voxel."""
    volume, affine = _scan(draw)
    array, must = draw.choice([
        (volume[..., 0], READ), (volume[..., None], READ), (np.stack([volume, volume], -1), REFUSE),
        (volume[..., None, None, :3], REFUSE), (volume[:1], EITHER), (volume[:, :, :1], READ), (volume[0, 0], EITHER),
    ])  # fmt: skip
    return _save(np.ascontiguousarray(array), affine, place / "scan.nii.gz"), must


def cut(draw: random.Random, place: Path) -> tuple[Path, str]:
    """A file that ends too soon."""
    path = _nifti(draw, place, name=draw.choice(["scan.nii", "scan.nii.gz"]))
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data) - 10)])
    return path, REFUSE


def gzip_bytes(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Compressed data with other bytes in it; its check sum must tell."""
    path = _nifti(draw, place)
    data = bytearray(path.read_bytes())
    for _ in range(draw.randint(1, 4)):
        data[draw.randrange(20, len(data) - 8)] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    return path, EITHER


def gzip_traps(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Not compressed but called so, compressed twice, in two parts, with something behind, or called plain."""
    path = _nifti(draw, place)
    plain = gzip.decompress(path.read_bytes())
    half = len(plain) // 2
    data, must = draw.choice([
        (plain, EITHER), (gzip.compress(path.read_bytes()), REFUSE),
        (gzip.compress(plain[:half]) + gzip.compress(plain[half:]), READ), (path.read_bytes() + b"behind" * 50, EITHER),
        (gzip.compress(plain + b"\0" * 50_000_000), READ),
    ])  # fmt: skip
    path.write_bytes(data)
    return path, must


def nifti2(draw: random.Random, place: Path) -> tuple[Path, str]:
    """NIfTI-2."""
    volume, affine = _scan(draw)
    return _save(volume, affine, place / "scan.nii.gz", nib.Nifti2Image), READ


# ---- masks ----------------------------------------------------------------------------------------------------------
def label_numbers(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Masks as float, as int64, with fractions, below 0, above 255, or empty."""
    mask, affine = make_scan(AFFINES["LAS"], SHAPE)[1], AFFINES["LAS"]
    array, must = draw.choice([
        (mask.astype(np.float32), READ), (mask.astype(np.float64), READ), (mask.astype(np.int64), READ),
        (mask * np.float32(0.5), REFUSE), (mask.astype(np.int16) * -1, REFUSE), (mask.astype(np.int16) * 256, REFUSE),
        (mask * 0, READ), (np.where(mask > 0, np.nan, 0).astype(np.float32), REFUSE),
        (mask.astype(np.float32) + np.float32(1e-3), REFUSE),
    ])  # fmt: skip
    return _save(array, affine, place / "mask.nii.gz"), must


# ---- paths ----------------------------------------------------------------------------------------------------------
def paths(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Names of every script, long ones, ones with line breaks and shell signs."""
    name = draw.choice(
        ["肝臓", "печень", "كبد", "e\u0301", "a b", "; rm -rf x", "$(x)", "new\nline", "%s", "x" * 200, "..", "\u202e"]
    )
    folder = place / name if name != ".." else place / "a" / ".."
    folder.mkdir(parents=True, exist_ok=True)
    return _nifti(draw, folder, name=f"{name.strip('.') or 'dots'}.nii.gz"[-240:]), READ


def paths_bad(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Links in a circle, to nothing, names beyond the system's limit, folders and pipes called like a scan."""
    what = draw.choice(["loop", "circle", "nothing", "long", "deep", "folder", "pipe", "ending", "null"])
    path = place / "scan.nii.gz"
    if what == "loop":
        path.symlink_to(path)
    elif what == "circle":
        (place / "other.nii.gz").symlink_to(path)
        path.symlink_to(place / "other.nii.gz")
    elif what == "nothing":
        path.symlink_to(place / "gone.nii.gz")
    elif what == "long":
        path = place / f"{'x' * 300}.nii.gz"
    elif what == "deep":
        path = place.joinpath(*["y" * 200] * 30, "scan.nii.gz")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "ending":
        path = _nifti(draw, place).rename(place / draw.choice(["scan.txt", "scan", "scan.nii.gz.exe"]))
    else:
        path = place / "a\0b.nii.gz"
    return path, REFUSE


def other_files(draw: random.Random, place: Path) -> tuple[Path, str]:
    """Files of other kinds: by their content no scan, or one that ITK reads."""
    volume, _ = _scan(draw)
    what = draw.choice(["mha", "nrrd", "text", "empty", "zeros", "folder"])
    if what in ("mha", "nrrd"):
        path = place / f"scan.{what}"
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.transpose()))
        image.SetSpacing((6.0, 6.0, 8.0))
        SimpleITK.WriteImage(image, str(path))
        return path, READ
    path = place / draw.choice(["scan.nii.gz", "scan.nii", "scan.mha", "scan.nrrd", "scan.dcm", "series"])
    if what == "folder" or path.name == "series":
        path.mkdir()
        return path, REFUSE
    path.write_bytes({"text": b"hello\n", "empty": b"", "zeros": b"\0" * 5000}[what])
    return path, REFUSE
