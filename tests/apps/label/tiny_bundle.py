"""A bundle that is trained in seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from monai_semgan.utils import save_checkpoint, write_model_settings
from tests.bundle_command import BUNDLES

STUDENT = {
    "image_size": 32, "fov_mm": 352.0, "num_classes": 2, "student_channels": [8, 16], "student_strides": [2],
    "student_res_units": 1, "student_norm": "INSTANCE", "slice_spacing_mm": 10.0, "stack_depth": 16,
}  # fmt: skip
GENERATOR = {
    "image_size": 32, "fov_mm": 352.0, "label_channels": 1, "latent_dim": 16, "num_mapping_layers": 2,
    "mapping_lr_multiplier": 0.3, "latent_input": True, "channel_base": 128, "channel_max": 8,
    "spatial_resolution": 8, "encoder_channels": [8, 8],
}  # fmt: skip


def make_tiny_bundle(folder: Path) -> Path:
    """``ct_liver``'s configurations with small untrained networks."""
    shutil.copytree(BUNDLES / "ct_liver" / "configs", folder / "configs")
    torch.manual_seed(0)
    for config, name, settings in (
        ("inference.json", "model.pt", STUDENT), ("inference_optimised.json", "semantic_gan.pt", GENERATOR)
    ):  # fmt: skip
        content = ConfigParser.load_config_file(str(folder / "configs" / config))
        parser = ConfigParser({**content, "network_settings": settings})
        save_checkpoint(parser.get_parsed_content("network_def").state_dict(), folder / "models" / name)
        write_model_settings(settings, folder / "models" / name)
    return folder
