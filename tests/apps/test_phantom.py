"""The phantom: anatomy in its place, physics in its order, files complete and repeatable."""

from __future__ import annotations

import argparse
import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_semgan.apps.phantom import (
    LABELS,
    SEQUENCES,
    command,
    draw_subject,
    make_phantom,
    prepare_phantom,
    scan_ct,
    scan_mri,
    split_subjects,
)
from monai_semgan.apps.phantom.tissues import INDEX
from monai_semgan.utils import InputError


@pytest.fixture(scope="module")
def subjects():
    return [draw_subject(5, number) for number in range(2)]


@pytest.fixture(scope="module")
def ct_scans(subjects):
    return [scan_ct(subject, np.random.default_rng([5, number])) for number, subject in enumerate(subjects)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "data", subjects=3, seed=7, dicom=True, progress=False)


def _centre(scan, name):
    """Centre of an organ in NIfTI millimetres: x to the right, y to the front, z to the head."""
    voxel = ndimage.center_of_mass(scan.label == LABELS[name])
    return nib.affines.apply_affine(scan.affine, voxel)


def _litres(scan, name):
    return (scan.label == LABELS[name]).sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1e6


def test_organs_are_where_they_belong(ct_scans):
    for scan in ct_scans:
        liver, spleen, stomach = (_centre(scan, n) for n in ("liver", "spleen", "stomach"))
        right, left = _centre(scan, "right_kidney"), _centre(scan, "left_kidney")
        aorta, cava = _centre(scan, "aorta"), _centre(scan, "inferior_vena_cava")
        assert liver[0] > aorta[0] + 20  # the liver lies on the patient's right
        assert spleen[0] < aorta[0] - 30
        assert stomach[0] < aorta[0]
        assert right[0] > cava[0] > aorta[0] > left[0]
        assert right[2] < left[2]  # the liver pushes the right kidney down
        assert right[2] < liver[2]
        assert spleen[1] < stomach[1]  # the spleen lies behind the stomach


def test_organ_sizes_are_human_and_vary(ct_scans):
    livers = [_litres(scan, "liver") for scan in ct_scans]
    assert all(0.9 < size < 2.4 for size in livers)
    assert np.ptp(livers) > 0.02
    for scan in ct_scans:
        assert 0.06 < _litres(scan, "spleen") < 0.45
        assert 0.06 < _litres(scan, "right_kidney") < 0.3
        assert 0.06 < _litres(scan, "left_kidney") < 0.3


def test_liver_is_one_piece_with_vessels(subjects, ct_scans):
    for subject, scan in zip(subjects, ct_scans, strict=True):
        pieces, count = ndimage.label(scan.label == LABELS["liver"])
        sizes = ndimage.sum_labels(np.ones_like(pieces), pieces, range(1, count + 1))
        assert max(sizes) > 0.97 * sum(sizes)
        assert (subject.body == INDEX["liver_vessel"]).sum() > 1000


def test_body_is_closed_and_fits_the_picture(ct_scans):
    for scan in ct_scans:
        body = scan.image > -300
        assert not body[[0, -1]].any()
        assert not body[:, -1].any()
        assert scan.image.min() >= -1024
        assert scan.image.max() <= 1500
        assert nib.aff2axcodes(scan.affine) == ("L", "A", "S")


def test_ct_numbers_are_those_of_the_tissues(subjects, ct_scans):
    for subject, scan in zip(subjects, ct_scans, strict=True):
        inside = ndimage.binary_erosion(scan.label == LABELS["liver"], iterations=2)
        assert abs(np.median(scan.image[inside]) - subject.tissue.hu[INDEX["liver"]]) < 12
        assert scan.image[scan.label == LABELS["right_kidney"]].mean() > 100


def test_ct_noise_falls_with_dose(subjects):
    def spread(dose):
        scan = scan_ct(subjects[0], np.random.default_rng(1), dose=dose)
        return scan.image[ndimage.binary_erosion(scan.label == LABELS["liver"], iterations=3)].std()

    assert spread(0.3) > 1.6 * spread(3.0)


def test_mri_contrasts_follow_the_physics(subjects):
    subject = subjects[0]
    scans = {domain: scan_mri(subject, domain, (5, 0)) for domain in SEQUENCES}

    def mean(domain, name):
        scan = scans[domain]
        inside = ndimage.binary_erosion(scan.label == LABELS[name], np.ones((3, 3, 1)))
        return scan.image[inside].mean()

    assert mean("mr_t1in", "liver") > 1.2 * mean("mr_t1in", "spleen")  # short T1 of the liver
    assert mean("mr_t2spir", "spleen") > 1.3 * mean("mr_t2spir", "liver")  # short T2 of the liver
    # In and out of phase share the grid and the mask; the fatty liver alone tells its echoes apart.
    assert np.array_equal(scans["mr_t1in"].label, scans["mr_t1out"].label)
    assert scans["mr_t1in"].image.min() >= 0


def test_fatty_liver_is_dark_in_ct_and_out_of_phase(subjects):
    subject, liver = subjects[1], INDEX["liver"]
    ratios = {}
    before = subject.tissue.fat[liver]
    for fat in (0.02, 0.3):
        subject.tissue.fat[liver] = fat
        means = []
        for domain in ("mr_t1out", "mr_t1in"):
            scan = scan_mri(subject, domain, (5, 1))
            means.append(scan.image[scan.label == LABELS["liver"]].mean())
        ratios[fat] = means[0] / means[1]
    subject.tissue.fat[liver] = before
    assert ratios[0.3] < 0.7 * ratios[0.02]


def test_fat_is_suppressed_in_spir(subjects):
    subject = subjects[0]
    fat = subject.body == INDEX["subcutaneous_fat"]
    middle = subject.body.shape[2] // 2
    assert fat[:, :, middle].any()
    rows = {}
    for domain in ("mr_t1in", "mr_t2spir"):
        scan = scan_mri(subject, domain, (5, 0))
        step, z = abs(scan.affine[2, 2]), scan.image.shape[2] // 2
        outline = ndimage.binary_fill_holes(scan.image[:, :, z] > 0.1 * scan.image[:, :, z].max())
        rim = outline & ~ndimage.binary_erosion(outline, iterations=max(1, int(step / 3)))
        rows[domain] = scan.image[:, :, z][rim].mean() / scan.image[scan.label == LABELS["spleen"]].mean()
    assert rows["mr_t2spir"] < 0.6 * rows["mr_t1in"]


def test_same_seed_same_voxels_other_seed_others(subjects):
    again, other = draw_subject(5, 0), draw_subject(6, 0)
    assert np.array_equal(again.body, subjects[0].body)
    assert np.array_equal(again.tissue.t1, subjects[0].tissue.t1)
    assert again.body.shape != other.body.shape or not np.array_equal(again.body, other.body)
    a = scan_mri(again, "mr_t1out", (5, 0))
    assert np.array_equal(a.image, scan_mri(subjects[0], "mr_t1out", (5, 0)).image)


def test_folder_holds_what_the_splits_promise(folder):
    splits = json.loads((folder / "splits.json").read_text())
    assert splits["ct_train"] == ["ph000"]
    assert splits["labelled"] == {"1": ["ph000"]}
    for name in ("ph000", "ph001", "ph002"):
        image = nib.load(folder / "ct" / "images" / f"{name}.nii.gz")
        label = nib.load(folder / "ct" / "labels" / f"{name}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert image.shape == label.shape
        assert np.allclose(image.affine, label.affine)
        assert set(np.unique(np.asarray(label.dataobj))) <= {0, *LABELS.values()}
        assert image.header.get_zooms()[2] == pytest.approx(6.5, abs=0.6)
    for domain in SEQUENCES:
        assert splits[f"{domain}_test"] == splits["ct_test"] == ["ph002"]
        assert [p.name for p in (folder / domain / "images").iterdir()] == ["ph002.nii.gz"]
    assert not list(folder.rglob(".tmp-*"))


def test_dicom_series_holds_the_same_scan(folder):
    import SimpleITK as sitk  # noqa: N813

    for domain, modality in (("ct", "CT"), ("mr_t2spir", "MR")):
        series = folder / domain / "dicom" / "ph002"
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))
        nifti = nib.load(folder / domain / "images" / "ph002.nii.gz")
        assert len(names) == nifti.shape[2]
        read = sitk.ReadImage(names)
        values = np.asarray(nifti.dataobj)
        assert np.array_equal(sitk.GetArrayFromImage(read).transpose(2, 1, 0)[:, ::-1], values)
        # The same voxel lies at the same place: DICOM's LPS against NIfTI's RAS.
        place = read.TransformIndexToPhysicalPoint((10, values.shape[1] - 1 - 20, 3))
        assert nib.affines.apply_affine(nifti.affine, (10, 20, 3)) == pytest.approx(
            (-place[0], -place[1], place[2]), abs=1e-3
        )
        one = sitk.ReadImage(names[0])
        assert one.GetMetaData("0008|0060").strip() == modality
        if modality == "CT":
            assert float(one.GetMetaData("0028|1052")) == -1024


def test_complete_folder_is_reused_and_a_gap_is_filled(folder):
    scan = folder / "mr_t1out" / "images" / "ph002.nii.gz"
    before = scan.read_bytes()
    make_phantom(folder, subjects=3, seed=7, dicom=True, progress=False)
    assert scan.read_bytes() == before
    scan.unlink()
    make_phantom(folder, subjects=3, seed=7, dicom=True, progress=False)
    assert scan.read_bytes() == before
    with pytest.raises(InputError, match="another phantom"):
        make_phantom(folder, subjects=3, seed=8, dicom=True, progress=False)


def test_prepare_leaves_the_users_data_alone(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "scan.txt").write_text("mine")
    assert prepare_phantom(str(own)) == str(own)
    assert [p.name for p in own.iterdir()] == ["scan.txt"]
    with pytest.raises(InputError, match="a file"):
        prepare_phantom(own / "scan.txt")


@pytest.mark.parametrize("subjects", [3, 4, 10, 36])
def test_split_adds_up_and_lists_are_nested(subjects):
    splits = split_subjects(subjects)
    parts = [splits["ct_train"], splits["ct_val"], splits["ct_test"]]
    assert all(parts)
    assert len(set().union(*parts)) == subjects == sum(map(len, parts))
    lists = list(splits["labelled"].values())
    for small, large in itertools.pairwise(lists):
        assert large[: len(small)] == small
    assert set(lists[-1]) <= set(splits["ct_train"])


def test_default_split():
    assert [len(split_subjects(36)[f"ct_{part}"]) for part in ("train", "val", "test")] == [24, 4, 8]


def test_wrong_requests_are_told(tmp_path):
    with pytest.raises(InputError, match="3 or more"):
        make_phantom(tmp_path / "x", subjects=2)
    with pytest.raises(InputError, match="add up"):
        split_subjects(10, train=8, val=1, test=3)
    with pytest.raises(InputError, match="modalities"):
        make_phantom(tmp_path / "x", subjects=3, modalities="pet")
    assert not (tmp_path / "x").exists()


def test_command_line(tmp_path, capsys, monkeypatch):
    asked = {}
    monkeypatch.setattr(command, "make_phantom", lambda out, **options: asked.update(options) or out)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    out = tmp_path / "cli"
    args = parser.parse_args(["phantom", "--out", str(out), "--subjects", "3", "--seed", "1"])
    assert command.run(args) == 0
    assert str(out) in capsys.readouterr().out
    assert asked["subjects"] == 3
    assert asked["seed"] == 1
    assert asked["modalities"] == "default"
