"""Blocks that the style networks are stacked from."""

from .residual_critic_block import ResidualCriticBlock
from .residual_group_norm_block import ResidualGroupNormBlock
from .style_block import StyledConv2d, StyleHeads, SynthesisBlock

__all__ = ["ResidualCriticBlock", "ResidualGroupNormBlock", "StyleHeads", "StyledConv2d", "SynthesisBlock"]
