"""Building pieces of style networks: equalised, modulated and filtering layers."""

from .equalized import EqualizedConv2d, EqualizedLinear
from .fir import FirBlur2d, FirDownsample2d, FirUpsample2d
from .gated_pooling import GatedLSEPool
from .gradient_scale import scale_gradient
from .maskige import Maskige
from .maskige_palette import arrange_colours, class_adjacency, maskige_palette, mixing_margin
from .minibatch_std import MinibatchStd
from .modulated_conv import ModulatedConv2d
from .restarting_quantizer import RestartingQuantizer

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "FirBlur2d",
    "FirDownsample2d",
    "FirUpsample2d",
    "GatedLSEPool",
    "Maskige",
    "MinibatchStd",
    "ModulatedConv2d",
    "RestartingQuantizer",
    "arrange_colours",
    "class_adjacency",
    "maskige_palette",
    "mixing_margin",
    "scale_gradient",
]
