"""A folder of many small scans through the inference of ``ct_liver``, watched from outside: memory, speed, open files.

From the repository's root:

    python -m tests.faults.long_folder --scans 1000 --out folder

The scans are copies of eight kinds (size, orientation, number of slices) under names of their own, the network has
random weights; preprocessing, network, postprocessing, writer and tables are those of the bundle. ``long_folder.json``
in the folder holds a row for each look; the first tenth is taken for warming up.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import UNet

from monai_semgan.utils import write_json_atomic, write_model_settings
from tests.bundle_command import words
from tests.faults.forked import child_of, run_bundle_here
from tests.scans import AFFINES, make_scan, write_scan

__all__ = ["Look", "drift", "watch"]

KINDS = [(orientation, size) for orientation in ("LAS", "RAS", "LPI", "oblique") for size in ((32, 32, 4), (28, 32, 6))]
SETTINGS = {
    "image_size": 32, "fov_mm": 352.0, "num_classes": 2, "student_channels": [4, 8], "student_strides": [2],
    "student_res_units": 1, "student_norm": "INSTANCE", "slice_spacing_mm": 6.0, "stack_depth": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What was seen of the process: masks written, its CPU seconds, MiB, and open files."""

    masks: int
    cpu_seconds: float
    memory_mib: float
    files: int


def write_folder(folder: Path, scans: int) -> Path:
    """``scans`` files of eight contents."""
    made = []
    for number, (orientation, size) in enumerate(KINDS):
        volume, _ = make_scan(AFFINES[orientation], size)
        path = folder / "kinds" / f"{number}.nii.gz"
        write_scan(path, volume, AFFINES[orientation])
        made.append(path.read_bytes())
    (folder / "scans").mkdir()
    for number in range(scans):
        (folder / "scans" / f"scan{number:05d}.nii.gz").write_bytes(made[number % len(made)])
    return folder / "scans"


def write_weights(path: Path) -> Path:
    """A network of a few hundred random weights, with its settings."""
    torch.manual_seed(0)
    network = UNet(3, 1, 2, SETTINGS["student_channels"], SETTINGS["student_strides"], num_res_units=1, norm="INSTANCE")
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    write_model_settings(SETTINGS, path)
    return path


def watch(folder: Path, scans: int, every: float = 2.0) -> list[Look]:
    """Segment the folder and look every ``every`` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "masks"
    options = {
        "dataset_dir": write_folder(folder, scans), "checkpoint": write_weights(folder / "weights" / "model.pt"),
        "output_dir": out, "modality": "ct", "device": "$torch.device('cpu')", "mixed_precision": False,
    }  # fmt: skip
    command = words("ct_liver/configs/inference.json", options)
    child, looks = child_of(lambda: run_bundle_here(command), folder / "log.txt"), []
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            if code or len(list(out.glob("*.nii.gz"))) != scans:
                raise RuntimeError(f"exit code {code}, see {folder / 'log.txt'}")
            return looks
        look = _look(child, out)
        if look is not None and (not looks or look.masks > looks[-1].masks):
            looks.append(look)
        time.sleep(every)


def _look(process: int, out: Path) -> Look | None:
    try:
        memory = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        spent = sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return Look(
            sum(name.endswith(".nii.gz") for name in os.listdir(out)), spent / os.sysconf("SC_CLK_TCK"),
            round(memory, 1), len(os.listdir(f"/proc/{process}/fd")),
        )  # fmt: skip
    except OSError:
        return None


def drift(looks: list[Look]) -> dict[str, Any]:
    """How it went after the first tenth: memory at both ends and its growth, and the speed of both halves."""
    last = looks[-1]
    kept = [look for look in looks if look.masks >= last.masks / 10] or looks
    first, middle = kept[0], kept[len(kept) // 2]

    def rate(a: Look, b: Look) -> float:
        return 1000 * (b.cpu_seconds - a.cpu_seconds) / max(1, b.masks - a.masks)

    return {
        "masks": [first.masks, last.masks],
        "memory_mib": [first.memory_mib, middle.memory_mib, last.memory_mib],
        "most_mib": max(look.memory_mib for look in kept),
        "memory_mib_a_thousand": round(
            1000 * (last.memory_mib - first.memory_mib) / max(1, last.masks - first.masks), 3
        ),
        "files": sorted({look.files for look in kept}),
        "cpu_ms_a_scan": [round(rate(first, middle), 1), round(rate(middle, last), 1)],
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    looks = watch(args.out.absolute(), args.scans)
    found = drift(looks)
    write_json_atomic(args.out / "long_folder.json", {**found, "looks": [asdict(look) for look in looks]})
    print(found)
    return 0


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    raise SystemExit(main())
