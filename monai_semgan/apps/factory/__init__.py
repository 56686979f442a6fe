"""The factory: image and mask pairs from a generative model, filtered, checked for memorisation, written to files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .anatomy import AnatomyRules, learn_rules, measure_mask
    from .code_distribution import CodeDistribution
    from .filters import Filters
    from .memorisation import NearestSlices
    from .runner import PairFactory
    from .semantic_gan_source import SemanticGANSource, load_image_critic
    from .source import Latents, PairSource, sample_generator, sample_seed

__all__ = [
    "AnatomyRules",
    "CodeDistribution",
    "Filters",
    "Latents",
    "NearestSlices",
    "PairFactory",
    "PairSource",
    "SemanticGANSource",
    "learn_rules",
    "load_image_critic",
    "measure_mask",
    "sample_generator",
    "sample_seed",
]

_HOME = {
    "AnatomyRules": "anatomy",
    "CodeDistribution": "code_distribution",
    "Filters": "filters",
    "Latents": "source",
    "NearestSlices": "memorisation",
    "PairFactory": "runner",
    "PairSource": "source",
    "SemanticGANSource": "semantic_gan_source",
    "learn_rules": "anatomy",
    "load_image_critic": "semantic_gan_source",
    "measure_mask": "anatomy",
    "sample_generator": "source",
    "sample_seed": "source",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan generate --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
