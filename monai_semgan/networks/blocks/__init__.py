"""Blocks that the style networks are stacked from, and those of the generative segmenter."""

from .maskige_inverse import MaskigeCNN, MaskigeWindowTransformer
from .residual_critic_block import ResidualCriticBlock
from .residual_group_norm_block import ResidualGroupNormBlock
from .style_block import StyledConv2d, StyleHeads, SynthesisBlock
from .window_attention_block import WindowAttentionBlock

__all__ = [
    "MaskigeCNN",
    "MaskigeWindowTransformer",
    "ResidualCriticBlock",
    "ResidualGroupNormBlock",
    "StyleHeads",
    "StyledConv2d",
    "SynthesisBlock",
    "WindowAttentionBlock",
]
