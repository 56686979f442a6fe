"""Weights to start a training from: of the same network, or of a U-Net that becomes the inside of a finer one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from .checkpoint import load_weights

__all__ = ["load_start"]

_INSIDE = "model.1.submodule."


def load_start(network: nn.Module, weights: Mapping[str, torch.Tensor], what: str) -> bool:
    """Start a network from a trained one's weights: of the same shape, or of a U-Net with one level less.

    A U-Net that has learned at 64 px knows the organ; at 128 px only the finer level is new. The smaller network
    becomes the inside of the larger one. The new level's first channel begins as the image itself, blurred and thinned
    out, and the inside reads little else, so that what it has learned stays of use (as ProGAN, 1710.10196, grows a
    generator: from coarse to fine, nothing learned twice).

    Args:
        network: a MONAI ``UNet`` (or any network for weights of its own shape); changed.
        weights: state dict.
        what: name of the weights for messages.

    Returns:
        Whether the network was grown (False: weights of its own shape).

    Raises:
        InputError: the weights fit neither way.
    """
    own = network.state_dict()
    if any(_inside(name) not in own for name in weights) or _same_shape(own, weights):
        load_weights(network, dict(weights), what)
        return False
    fresh = {_inside(name) for name, value in weights.items() if own[_inside(name)].shape != value.shape}
    # only what touches the new level may differ: the inside's first convolutions and its last ones
    if any(not name.startswith((_INSIDE + "0.", _INSIDE + "2.")) for name in fresh):
        load_weights(network, dict(weights), what)  # tells what does not fit
    grown = {name: value.clone() for name, value in own.items()}
    for name, value in weights.items():
        inner = _inside(name)
        if inner not in fresh:
            grown[inner] = value
        elif name.startswith("model.0.") and value.ndim == own[inner].ndim and value.shape[0] == own[inner].shape[0]:
            grown[inner] = 0.1 * own[inner]
            grown[inner][:, : value.shape[1]] = value
    _pass_image(grown)
    load_weights(network, grown, what)
    return True


def _inside(name: str) -> str:
    return name.replace("model.", _INSIDE, 1)


def _same_shape(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> bool:
    return own.keys() == weights.keys()


def _pass_image(grown: dict[str, torch.Tensor]) -> None:
    """The new level's first channel: the image through a small blur, in both paths of a residual unit."""
    for name in ("model.0.residual", "model.0.conv.unit0.conv", "model.0.conv"):
        weight = grown.get(name + ".weight")
        if weight is not None and weight.shape[1] == 1:
            weight[0, 0] = _binomial(weight.shape[2:])
            if name + ".bias" in grown:
                grown[name + ".bias"][0] = 0
    second = grown.get("model.0.conv.unit1.conv.weight")
    if second is not None:
        second[0] = 0
        second[(0, 0, *(size // 2 for size in second.shape[2:]))] = 1


def _binomial(shape: torch.Size) -> torch.Tensor:
    """Weights 1-2-1 in the plane, sum 1; across slices (third axis) the middle one alone."""
    kernel = torch.zeros(*shape)
    line = torch.tensor([1.0, 2.0, 1.0]) if shape[0] == 3 else torch.ones(shape[0])
    plane = torch.outer(line, line) / line.sum() ** 2
    if len(shape) == 3:
        kernel[:, :, shape[2] // 2] = plane
    else:
        kernel[:] = plane
    return kernel
