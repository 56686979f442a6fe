"""Odd, damaged and hostile scans: read right or refused in words, by loading, training and inference alike."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_semgan.data import find_scans
from monai_semgan.transforms import LoadScan
from monai_semgan.transforms.scan_size import LIMIT_VARIABLE, check_scan_size
from monai_semgan.utils import InputError
from tests.fuzz.dicom import slice_tags, write_dicom
from tests.fuzz.judge import judge_all
from tests.fuzz.mutations import KINDS, make_case
from tests.scans import AFFINES, make_scan, write_scan

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def test_each_kind_once(tmp_path: Path) -> None:
    verdicts = judge_all(len(KINDS), 7, tmp_path)
    assert [f"{v.kind}: {v.problems}" for v in verdicts if v.problems] == []
    assert {v.outcome for v in verdicts} == {"read", "refused"}
    assert sum(v.opinion == "same" for v in verdicts) >= 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_hundred(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdicts = judge_all(319, 11, tmp_path)
    assert [f"{v.kind} {v.number}: {v.problems}" for v in verdicts if v.problems] == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20 < 1.5  # GiB


def test_the_same_seed_makes_the_same_inputs(tmp_path: Path) -> None:
    for kind in ("header_bytes", "dicom_bytes", "numbers"):
        one, other = (make_case(kind, 3, 5, tmp_path / name / kind) for name in ("one", "other"))
        files = [[p for p in sorted(case.path.parent.rglob("*")) if p.is_file()] for case in (one, other)]
        contents = [[_content(path) for path in paths] for paths in files]
        assert contents[0] == contents[1]


def _content(path: Path) -> bytes:
    import gzip

    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


class TestLimits:
    def test_a_scan_above_the_limit_is_refused_before_it_is_read(self, tmp_path: Path, monkeypatch) -> None:
        path = write_scan(tmp_path / "a.nii.gz", make_scan(AFFINES["LAS"])[0], AFFINES["LAS"])
        monkeypatch.setenv(LIMIT_VARIABLE, "0.00001")
        with pytest.raises(InputError, match=rf"too large: got 32 x 28 x 8 voxels.*set {LIMIT_VARIABLE}"):
            LoadScan()(path)
        monkeypatch.setenv(LIMIT_VARIABLE, "1")
        assert LoadScan()(path).shape == (1, 32, 28, 8)

    @pytest.mark.parametrize("value", ["much", "0", "-1", "nan"])
    def test_a_limit_that_is_none_is_told(self, value: str, monkeypatch) -> None:
        monkeypatch.setenv(LIMIT_VARIABLE, value)
        with pytest.raises(InputError, match=f"environment variable {LIMIT_VARIABLE}"):
            check_scan_size((1, 1, 1), "x")

    def test_four_gib_are_the_default(self, monkeypatch) -> None:
        monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
        check_scan_size((1024, 1024, 1024), "x")
        with pytest.raises(InputError, match="at most 4 GiB"):
            check_scan_size((1024, 1024, 1025), "x")


class TestSeries:
    """What would be put together wrongly without a word."""

    def write(self, folder: Path, change: Callable[[int, dict], None] = lambda k, tags: None) -> np.ndarray:
        pixels = np.random.default_rng(0).integers(-500, 500, (4, 6, 5)).astype(np.int16)
        for k in range(4):
            tags = slice_tags(k, (1.0, 2.0, 3.0 + 2 * k), (1.0, 1.5, 2.0))
            change(k, tags)
            write_dicom(folder / f"{9 - k}.dcm", tags, pixels[k])
        return pixels

    def test_the_order_is_that_of_the_positions(self, tmp_path: Path) -> None:
        pixels = self.write(tmp_path)
        loaded = LoadScan()(tmp_path)
        assert torch.equal(loaded[0], torch.from_numpy(pixels.transpose(2, 1, 0).astype(np.float32)))
        assert loaded.affine.diagonal().tolist() == [-1.0, -1.5, 2.0, 1.0]

    def test_each_slice_has_its_own_slope(self, tmp_path: Path) -> None:
        """The first one's number type, a whole number, must not be that of all."""
        pixels = self.write(tmp_path, lambda k, tags: tags.update({0x00281053: ["1", "0.5", "0.25", "2"][k]}))
        loaded = LoadScan()(tmp_path)[0].numpy()
        for k, slope in enumerate((1, 0.5, 0.25, 2)):
            assert np.array_equal(loaded[..., k], pixels[k].T * np.float32(slope))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda k, t: t.update({0x00200032: f"1\\{2 + k}\\{3 + 2 * k}"}),
                "gantry tilt.*got up to 1.00 mm.*dcm2niix",
            ),
            (lambda k, t: t.update({0x00200032: f"1\\2\\{3 + 2 * k + (k > 1)}"}), "missing or unevenly spaced"),
            (lambda k, t: t.pop(0x00200032), "without a position"),
            (lambda k, t: t.update({0x00280030: f"{1 + (k == 2)}\\1"}), "slices of different kinds: got pixel size"),
        ],
    )
    def test_what_would_be_put_together_wrongly_is_refused(self, change, message: str, tmp_path: Path) -> None:
        self.write(tmp_path, change)
        with pytest.raises(InputError, match=message):
            LoadScan()(tmp_path)


def test_links_in_a_circle_are_not_followed(tmp_path: Path) -> None:
    write_scan(tmp_path / "a" / "scan.nii.gz", make_scan(AFFINES["LAS"])[0], AFFINES["LAS"])
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "round.nii.gz").symlink_to(tmp_path / "round.nii.gz")
    names = [scan["name"] for scan in find_scans(tmp_path)]
    assert names == ["scan", "round"] or sorted(names) == ["round", "scan"]
    with pytest.raises(InputError, match="is missing"):
        LoadScan()(tmp_path / "round.nii.gz")
