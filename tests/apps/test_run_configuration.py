"""The configuration as it was run."""

from __future__ import annotations

import json

from monai_semgan.apps import resolved_configuration

PROGRAM = "/somewhere/site-packages/monai/bundle/__main__.py"


def test_overlays_command_line_and_plain_expressions(tmp_path):
    base = {
        "imports": ["$import os", "$import torch"], "root": "$os.path.join('a', 'b')", "size": 64,
        "output_dir": "$@root + '/' + str(@size)", "device": "$torch.device('cpu')", "again": "@size",
        "network": {"_target_": "torch.nn.Linear", "in_features": "@size", "out_features": 2},
        "width": "$@network.in_features", "deep": "@width", "table": {"seed": 0}, "run": ["$@network"],
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(base))
    (tmp_path / "b.json").write_text(json.dumps({"table#seed": 1}))
    files = f"['{tmp_path}/a.json', '{tmp_path}/b.json']"
    config = resolved_configuration([PROGRAM, "run", "--config_file", files, "--size", "32"])
    assert config["output_dir"] == "a/b/32"
    assert (config["size"], config["again"], config["table"]) == (32, 32, {"seed": 1})
    assert config["device"] == "cpu"
    # components are not built for a record, and what needs one stays as it is written
    assert config["width"] == "$@network.in_features"
    assert config["deep"] == "@width"
    assert config["network"] == base["network"]
    json.dumps(config)


def test_outside_of_a_bundle_command_there_is_none():
    assert resolved_configuration(["/bin/pytest", "tests"]) == {}
