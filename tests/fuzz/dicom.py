"""Write DICOM files byte by byte, so that everything in them can be wrong (PS3.5: data elements; PS3.10: files)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BIG", "EXPLICIT", "IMPLICIT", "slice_tags", "write_dicom"]

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
_LONG = ("OB", "OW", "SQ", "UN", "UT")
_VR = {
    0x00080005: "CS", 0x00080008: "CS", 0x00080016: "UI", 0x00080018: "UI", 0x00080020: "DA", 0x00080050: "SH",
    0x00080060: "CS", 0x00080080: "LO", 0x00080090: "PN", 0x0008103E: "LO", 0x00100010: "PN", 0x00100020: "LO",
    0x00100030: "DA", 0x00101040: "LO", 0x00180050: "DS", 0x00180088: "DS", 0x00181120: "DS", 0x00185100: "CS",
    0x0020000D: "UI", 0x0020000E: "UI", 0x00200010: "SH", 0x00200011: "IS", 0x00200013: "IS", 0x00200032: "DS",
    0x00200037: "DS", 0x00200052: "UI", 0x00280002: "US", 0x00280004: "CS", 0x00280008: "IS", 0x00280010: "US",
    0x00280011: "US", 0x00280030: "DS", 0x00280100: "US", 0x00280101: "US", 0x00280102: "US", 0x00280103: "US",
    0x00281052: "DS", 0x00281053: "DS", 0x7FE00010: "OW",
}  # fmt: skip


def slice_tags(
    number: int, position: tuple[float, float, float], spacing: tuple[float, float, float], series: str = "1.2.3.4"
) -> dict[int, Any]:
    """The tags of one axial CT slice, without its pixels."""
    return {
        0x00080008: "ORIGINAL\\PRIMARY\\AXIAL", 0x00080016: CT, 0x00080018: f"{series}.{number + 1}", 0x00080060: "CT",
        0x00100010: "A^B", 0x00100020: "1", 0x00180050: f"{spacing[2]:g}", 0x00185100: "HFS", 0x0020000D: "1.2.3",
        0x0020000E: series, 0x00200011: "1", 0x00200013: str(number + 1),
        0x00200032: "\\".join(f"{p:.4f}" for p in position), 0x00200037: "1\\0\\0\\0\\1\\0", 0x00200052: "1.2.3.9",
        0x00280002: 1, 0x00280004: "MONOCHROME2", 0x00280030: f"{spacing[1]:g}\\{spacing[0]:g}", 0x00280100: 16,
        0x00280101: 16, 0x00280102: 15, 0x00280103: 1, 0x00281052: "0", 0x00281053: "1",
    }  # fmt: skip


def write_dicom(
    path: Path, tags: Mapping[int, Any], pixels: np.ndarray | None, syntax: str = EXPLICIT, named: str | None = None
) -> Path:
    """Write one file; ``pixels`` ``(rows, columns)`` or ``(frames, rows, columns)`` int16.

    Args:
        path: the file.
        tags: (group, element) as one number -> text, or a number for US.
        pixels: None leaves them out.
        syntax: how it is written.
        named: the transfer syntax that the file claims, when it is another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = dict(tags)
    if pixels is not None:
        tags.setdefault(0x00280010, pixels.shape[-2])
        tags.setdefault(0x00280011, pixels.shape[-1])
        tags[0x7FE00010] = pixels.astype(">i2" if syntax == BIG else "<i2").tobytes()
    body = b"".join(_element(tag, tags[tag], syntax) for tag in sorted(tags))
    meta = b"".join(
        _element(tag, value, EXPLICIT)
        for tag, value in (
            (0x00020001, b"\0\1"), (0x00020002, tags.get(0x00080016, CT)), (0x00020003, tags.get(0x00080018, "1.2")),
            (0x00020010, named or syntax), (0x00020012, "1.2.3.8"),
        )
    )  # fmt: skip
    head = b"\0" * 128 + b"DICM" + _element(0x00020000, struct.pack("<I", len(meta)), EXPLICIT)
    path.write_bytes(head + meta + body)
    return path


def _element(tag: int, value: Any, syntax: str) -> bytes:
    order = ">" if syntax == BIG else "<"
    vr = {0x00020000: "UL", 0x00020001: "OB"}.get(tag) or _VR.get(tag, "UI")
    if isinstance(value, int):
        data = struct.pack(f"{order}H", value)
    elif isinstance(value, bytes):
        data = value
    else:
        data = str(value).encode("utf-8")
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", len(data)) + data
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}I", len(data)) + data
    return head + vr.encode() + struct.pack(f"{order}H", len(data)) + data
