"""Flat parameters, split hashes and tags."""

from __future__ import annotations

import getpass
import json
import socket
import sys

from monai_semgan.handlers import datalist_hash, describe_device, environment_tags, flatten_params
from monai_semgan.handlers.run_environment import describe_datasets, hash_files, parent_tags


def test_nested_settings_become_flat_and_short():
    flat = flatten_params({"gan": {"lr": 0.002, "betas": [0, 0.99]}, "name": "x" * 900, "a#b": None, "empty": {}})
    assert flat["gan.lr"] == "0.002"
    assert flat["gan.betas"] == "[0, 0.99]"
    assert len(flat["name"]) == 500
    assert flat["a_b"] == "null"
    assert flat["empty"] == "{}"
    assert flatten_params({}) == {}


def test_the_hash_depends_on_who_is_where_and_on_nothing_else():
    split = {
        "labelled": [{"name": "ct01", "image": "/a/ct01.nii.gz"}, {"name": "ct02"}],
        "test": {"ct": [{"name": "x"}]},
    }
    moved = {
        "test": {"ct": ["x"]},
        "labelled": [{"name": "ct02"}, {"name": "ct01", "image": "/b/ct01.nii.gz"}],
    }
    assert datalist_hash(split) == datalist_hash(moved)
    assert len(datalist_hash(split)) == 64
    assert datalist_hash(split) != datalist_hash({**split, "labelled": ["ct01"]})
    assert datalist_hash({"a": ["ct01"]}) != datalist_hash({"b": ["ct01"]})
    assert datalist_hash({"a": [{"image": "/x/ct01.nii.gz"}]}) == datalist_hash({"a": [{"image": "ct01.nii.gz"}]})


def test_tags_name_versions_and_command_but_no_machine(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["/home/somebody/bin/monai", "run", "--config_file", "bundles/ct_liver/train.json"]
    )
    tags = environment_tags()
    assert tags["mlflow.source.name"] == "bundles/ct_liver/train.json"
    assert tags["version.torch"]
    assert not {"mlflow.user", "user", "host"} & tags.keys()
    assert socket.gethostname() not in tags.values()
    assert getpass.getuser() not in tags.values()
    monkeypatch.setattr(sys, "argv", ["/home/somebody/bin/monai-semgan", "train"])
    assert environment_tags()["mlflow.source.name"] == "monai-semgan"


def test_device_in_words():
    assert describe_device("cpu").startswith("cpu, ")


def test_files_are_hashed_by_content_and_names_are_not_told(tmp_path):
    (tmp_path / "secret.nii").write_bytes(b"a" * 3_000_000)
    item = {"name": "patient-7", "image": str(tmp_path / "secret.nii")}
    split = {"labelled": [item], "test": {"ct": [{"name": "patient-8", "image": str(tmp_path / "none.nii")}]}}
    first = hash_files(split)
    assert set(first) == {"labelled", "test/ct"}
    assert "patient" not in json.dumps(first)
    assert "image" not in first["test/ct"][0]
    (tmp_path / "secret.nii").write_bytes(b"a" * 2_999_999 + b"b")
    second = hash_files(split)
    assert second["labelled"][0]["scan"] == first["labelled"][0]["scan"]
    assert second["labelled"][0]["image"] != first["labelled"][0]["image"]


def test_parts_of_the_split_as_data_sets():
    split = {"labelled": ["a"], "validation": ["b"], "test": {"ct": ["c", "d"], "mr": []}}
    whole, *parts = describe_datasets(split, "ct_liver")
    assert (whole["name"], whole["digest"]) == ("ct_liver", datalist_hash(split))
    assert whole["profile"] == {"labelled": 1, "validation": 1, "test": {"ct": 2, "mr": 0}}
    assert [(part["name"], part["context"]) for part in parts] == [
        ("ct_liver labelled", "training"), ("ct_liver validation", "validation"),
        ("ct_liver test/ct", "testing"), ("ct_liver test/mr", "testing"),
    ]  # fmt: skip
    assert len({part["digest"] for part in parts}) == 4


def test_an_evaluation_knows_its_training(tmp_path):
    assert parent_tags(tmp_path, "ct_liver", "sqlite:///a.db") == {}
    stored = {"run_id": "abc", "experiment": "ct_liver", "tracking_uri": "sqlite:///a.db"}
    (tmp_path / "mlflow_run.json").write_text(json.dumps(stored))
    here = parent_tags(tmp_path, "ct_liver", "sqlite:///a.db")
    assert here == {"training.run_id": "abc", "mlflow.parentRunId": "abc"}
    assert parent_tags(tmp_path, "ct_liver", "sqlite:///b.db") == {"training.run_id": "abc"}
