"""A device that this machine lacks is told before any work is done."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.utils import InputError, require_device


def test_what_is_here_is_given_back() -> None:
    assert require_device("cpu") == require_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:77", "warp drive"])
def test_what_is_not_here_is_told(device: str) -> None:
    with pytest.raises(InputError, match=rf"device {device} cannot be used here: got .*wanted one of cpu"):
        require_device(device)
