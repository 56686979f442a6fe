"""Flat parameters, split hashes and tags."""

from __future__ import annotations

import getpass
import socket
import sys

from monai_semgan.handlers import datalist_hash, describe_device, environment_tags, flatten_params


def test_nested_settings_become_flat_and_short():
    flat = flatten_params(
        {"gan": {"lr": 0.002, "betas": [0, 0.99]}, "name": "x" * 900, "a#b": None, "empty": {}}
    )
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
    assert datalist_hash({"a": [{"image": "/x/ct01.nii.gz"}]}) == datalist_hash(
        {"a": [{"image": "ct01.nii.gz"}]}
    )


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
