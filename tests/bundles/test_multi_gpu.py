"""The overlays for several processes: they fit their bundles, and start the processes before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_semgan.apps import check_configuration
from monai_semgan.utils import process_device, process_part, start_processes
from monai_semgan.utils.errors import InputError
from monai_semgan.utils.processes import require_started

ROOT = Path(__file__).resolve().parents[2] / "bundles"
BUNDLES = sorted(path.parent.parent.name for path in ROOT.glob("*/configs/multi_gpu_train.json"))
CONFIGS = {
    "train": "multi_gpu_train", "inference": "multi_gpu_inference", "evaluate": "multi_gpu_inference",
}  # fmt: skip


def test_the_bundles_have_one() -> None:
    """Every bundle, for training and for the rest."""
    for name in ("train", *CONFIGS.values()):
        found = {path.parent.parent.name for path in ROOT.glob(f"*/configs/{name}.json")}
        assert found == {path.name for path in ROOT.iterdir() if (path / "configs").is_dir()}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_it_fits_its_bundle(bundle: str, config: str) -> None:
    folder = ROOT / bundle / "configs"
    files = [str(folder / f"{config}.json"), str(folder / f"{CONFIGS[config]}.json")]
    check_configuration(["monai.bundle", "run", "--config_file", str(files)])
    merged = ConfigParser.load_config_files(files)
    assert merged["initialize"][-1] == "$semgan_utils.start_processes(@device)"
    assert merged["initialize"][:-1] == json.loads(Path(files[0]).read_text(encoding="utf-8"))["initialize"]
    assert "$import monai_semgan.utils as semgan_utils" in merged["imports"]
    # what has a part of the work must not be built before: each finds out about the others when it is made
    assert not any("@banks" in line or "dataloader" in line for line in merged["initialize"])


def test_alone_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    start_processes("cpu")
    require_started()
    assert process_part() == (0, 1)
    assert not torch.distributed.is_initialized()
    assert process_device() == torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def test_processes_that_do_not_work_together_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would train on its own and write over the others' files."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"multi_gpu_train\.json"):
        require_started()
