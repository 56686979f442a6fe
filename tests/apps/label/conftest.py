"""Phantom studies, and a server for the tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monai_semgan.apps.label.requirements import missing_for_label
from monai_semgan.apps.phantom import make_phantom

MISSING = missing_for_label()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if MISSING and item.get_closest_marker("label"):
            item.add_marker(pytest.mark.skip(reason=f"needs the extra 'label': {', '.join(MISSING[:3])} missing"))


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine CT subjects for training, one test subject in CT and MRI; livers alone in ``livers``."""
    folder = make_phantom(
        tmp_path_factory.mktemp("phantom") / "p", subjects=10, seed=3, train=8, val=1, test=1, progress=False
    )
    (folder / "livers").mkdir()
    for path in sorted((folder / "ct" / "labels").glob("*.nii.gz")):
        label = nib.load(path)
        liver = (np.asanyarray(label.dataobj) == 1).astype(np.uint8)
        nib.save(nib.Nifti1Image(liver, label.affine), folder / "livers" / path.name)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle ``tiny_liver`` with small untrained networks."""
    from tests.apps.label.tiny_bundle import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny_liver")


@pytest.fixture(scope="session")
def make_studies(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a folder of two subjects to be labelled, six others, an MRI, and a DICOM series."""

    def make(name: str, series: bool = False) -> Path:
        studies = tmp_path_factory.mktemp(name) / "studies"
        studies.mkdir()
        for number in range(8):
            source = phantom / "ct" / "images" / f"ph{number:03d}.nii.gz"
            (studies / f"ct{number}.nii.gz").write_bytes(source.read_bytes())
        mri = phantom / "mr_t2spir" / "images" / "ph009.nii.gz"
        (studies / "mr9.nii.gz").write_bytes(mri.read_bytes())
        if series:
            _write_series(studies / "from_scanner" / "ct9d")
        return studies

    return make


def _write_series(folder: Path) -> None:
    from monai_semgan.apps.phantom.dataset import scan_subject
    from monai_semgan.apps.phantom.write import write_dicom_series

    ((_, scan),) = scan_subject(3, 9, ["ct"])
    folder.parent.mkdir(parents=True)
    write_dicom_series(scan, folder, "ph009", "CT")


@pytest.fixture(scope="session")
def server(make_studies: Any, tiny_bundle: Path) -> Iterator[Any]:
    """Serves the real ``ct_liver``, ``tiny_liver``, and a bundle that cannot be loaded."""
    from tests.apps.label.server_process import LabelServer

    broken = tiny_bundle.parent / "broken_liver"
    (broken / "configs").mkdir(parents=True)
    (broken / "configs" / "inference.json").write_text('{"network": {"_target_": "no.such.Network"}}')
    (broken / "models").mkdir()
    (broken / "models" / "model.pt").write_bytes(b"no weights")
    running = LabelServer(make_studies("server", series=True), "--bundle", "ct_liver", str(tiny_bundle), str(broken))
    running.start()
    yield running
    running.stop()
