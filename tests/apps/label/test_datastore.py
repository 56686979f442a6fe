"""The studies folder: whole after a kill, the same for several processes, and nothing outside of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monai_semgan.utils import InputError

pytestmark = pytest.mark.label


def write(path: Path, value: int = 0, shape: tuple[int, ...] = (4, 4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full(shape, value, np.uint8), np.eye(4)), path)
    return path


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write(tmp_path / "studies" / f"{name}.nii.gz", 9)
    return tmp_path / "studies"


def open_store(studies: Path) -> Any:
    from monai_semgan.apps.label.stand_ins import prepare_monailabel

    prepare_monailabel()
    from monai_semgan.apps.label.datastore import StudiesDatastore

    return StudiesDatastore(str(studies))


def test_two_processes_see_and_keep_each_others_changes(studies: Path, tmp_path: Path) -> None:
    server, other = open_store(studies), open_store(studies)
    server.save_label("a", str(write(tmp_path / "m.nii.gz", 1)), "final", {"by": "server"})
    other.update_image_info("b", {"quality": 1})
    server.update_image_info("a", {"dice": 2})
    assert other.get_labeled_images() == server.get_labeled_images() == ["a"]
    assert server.get_image_info("b")["quality"] == 1
    assert server.get_label_info("a", "final")["by"] == "server"
    write(studies / "c.nii", 3)
    assert sorted(server.list_images()) == sorted(other.list_images()) == ["a", "b", "c"]
    (studies / "c.nii").unlink()
    assert "c" not in server.list_images()


def test_a_damaged_index_is_made_again_from_the_files(studies: Path, tmp_path: Path) -> None:
    store = open_store(studies)
    store.save_label("a", str(write(tmp_path / "m.nii.gz", 1)), "final", {})
    (studies / "datastore_v2.json").write_text('{"objects": {')
    again = open_store(studies)
    assert sorted(again.list_images()) == ["a", "b"]
    assert again.get_labeled_images() == ["a"]
    assert len(list(studies.glob("*.damaged-*"))) == 1


def test_names_and_tags_stay_inside(studies: Path, tmp_path: Path) -> None:
    store = open_store(studies)
    mask = str(write(tmp_path / "m.nii.gz", 1))
    for name in ("../evil", "/etc/evil", "", "..", ".hidden", "a/b"):
        with pytest.raises(InputError):
            store.save_label("a", mask, name, {})
        if name:
            with pytest.raises(InputError):
                store.add_image(name, mask, {})
    assert not list(tmp_path.glob("evil*"))
    assert store.add_image("fine", mask, {}) == "fine"
    with pytest.raises(InputError, match="one of that name"):
        store.add_image("fine", mask, {})


def test_a_label_has_to_be_a_mask_of_its_image(studies: Path, tmp_path: Path) -> None:
    store = open_store(studies)
    (tmp_path / "words.nii.gz").write_bytes(b"words")
    for path in (tmp_path / "words.nii.gz", write(tmp_path / "other.nii.gz", 1, (5, 4, 3))):
        with pytest.raises(InputError, match="label of a"):
            store.save_label("a", str(path), "final", {})
    assert store.get_labeled_images() == []
    store.save_label("a", str(write(tmp_path / "m.nii.gz", 1)), "final", {})
    store.save_label("a", str(write(tmp_path / "m.nii", 2)), "final", {})
    assert [path.name for path in (studies / "labels" / "final").iterdir()] == ["a.nii"]


def test_the_number_of_a_scan_chooses_and_scans_without_come_last(studies: Path) -> None:
    store = open_store(studies)
    from monai_semgan.apps.label.strategies import HighestScore

    strategy = HighestScore("uncertainty", ["x"])
    assert strategy({}, store) == {"id": "a", "weight": 0.0, "scored": False}
    store.update_image_info("b", {"quality": {"x": {"uncertainty": 0.25}}})
    assert strategy({}, store) == {"id": "b", "weight": 0.25, "scored": True}


def test_tokens_are_read_with_a_signature_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_semgan.apps.label.stand_ins import prepare_monailabel

    prepare_monailabel()
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from monailabel.endpoints.user import auth

    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    claims = {"preferred_username": "ann", "realm_access": {"roles": ["monailabel-user"]}}
    monkeypatch.setattr(auth.settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(auth, "get_public_key", lambda realm: public.decode())
    user = auth.from_token(jwt.encode(claims, key, "RS256"))
    assert (user.username, user.roles) == ("ann", ["monailabel-user"])
    with pytest.raises(jwt.InvalidTokenError):
        auth.from_token(jwt.encode(claims, "guess" * 10, "HS256"))
    with pytest.raises(jwt.InvalidTokenError):
        auth.from_token(jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256"))
