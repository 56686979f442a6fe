"""What the stages of one-shot segmentation hand to each other, and that it belongs together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from ..utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from ..utils.errors import InputError

__all__ = ["load_projector", "load_reader", "save_projector", "weights_fingerprint"]


def weights_fingerprint(module: nn.Module) -> str:
    """Sixteen characters that tell one set of weights from another."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_reader(network: nn.Module, path: str | Path) -> None:
    """Encoder and generator of the stage before into a ``OneShotSegmenter``.

    Raises:
        InputError: an unreadable file, or networks of other sizes.
    """
    state = load_checkpoint(path)
    where = f"Result of the encoder's stage {path}"
    for name, module in (("encoder", network.encoder), ("generator", network.generator.generator)):
        part = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        load_weights(module, part, f"{where}, {name}")


def save_projector(network: nn.Module, prototypes: nn.Module, path: str | Path, **more: Any) -> None:
    """Write the projector, its prototypes, and for which generator they are."""
    projector = network.generator.projector
    state = {
        "projector": projector.state_dict(),
        "prototypes": prototypes.state_dict(),
        "channels": projector.channels,
        "resolutions": projector.resolutions,
        "generator": weights_fingerprint(network.generator.generator),
        **more,
    }
    save_checkpoint(state, path)


def load_projector(network: nn.Module, path: str | Path) -> dict[str, Any]:
    """Read a projector into a ``OneShotSegmenter`` whose generator has been loaded; returns all of the file.

    Raises:
        InputError: an unreadable file, a projector for a generator of other sizes, or for other weights of one of
            the same sizes.
    """
    state = load_checkpoint(path)
    if not isinstance(state, dict) or not {"projector", "channels", "resolutions", "generator"} <= set(state):
        raise InputError(
            f"Projector {path}", got="another file", wanted="projector.pt of the self-supervised stage",
            fix="train the projector again",
        )  # fmt: skip
    projector, generator = network.generator.projector, network.generator.generator
    own = (list(generator.feature_channels), list(generator.feature_resolutions))
    if (state["channels"], state["resolutions"]) != own:
        raise InputError(
            f"Generator and projector {path} are of different sizes",
            got=f"a generator with hidden maps of {own[0]} channels at {own[1]} px",
            wanted=f"one with {state['channels']} channels at {state['resolutions']} px",
            fix="use the generator that the projector was trained on, or train a projector for this one",
        )
    load_weights(projector, state["projector"], f"Projector {path}")
    check_generator(generator, state["generator"], f"Projector {path}")
    return state


def check_generator(generator: nn.Module, fingerprint: str, what: str) -> None:
    """Refuse what was made with other weights of the generator, to which its hidden features mean nothing.

    Raises:
        InputError: as said.
    """
    if weights_fingerprint(generator) != fingerprint:
        raise InputError(
            what, got="one that was made with another generator's weights", wanted="one of this training's generator",
            fix="delete the later stages' folders and run the training again, or give the right files",
        )  # fmt: skip
