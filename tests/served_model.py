"""What MONAI Label's server holds behind its pages: a bundle with small untrained weights."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.bundle import ConfigParser

from monai_semgan.apps.label.model import ServedModel
from monai_semgan.apps.label.versions import ModelVersions
from monai_semgan.utils import save_checkpoint, write_model_settings
from tests.bundle_command import BUNDLES

__all__ = ["make_served"]


def make_served(folder: Path, bundle: str = "ct_liver_supervised", classes: int = 2) -> ServedModel:
    """The bundle with 32 px, two layers and ``classes`` classes, background included."""
    settings = {
        "image_size": 32, "fov_mm": 352.0, "num_classes": classes, "unet_channels": [4, 8], "unet_strides": [2],
        "unet_res_units": 1, "unet_norm": "INSTANCE",
    }  # fmt: skip
    config = ConfigParser.load_config_file(str(BUNDLES / bundle / "configs" / "inference.json"))
    torch.manual_seed(0)
    network = ConfigParser({**config, "network_settings": settings}).get_parsed_content("network_def")
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network.state_dict(), folder / "model.pt")
    write_model_settings(settings, folder / "model.pt")
    return ServedModel(BUNDLES / bundle, "inference.json", ModelVersions(folder / "app", folder / "model.pt"))
