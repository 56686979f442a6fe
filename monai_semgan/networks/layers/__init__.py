"""Building pieces of style networks: equalised, modulated and filtering layers."""

from .equalized import EqualizedConv2d, EqualizedLinear
from .fir import FirBlur2d, FirDownsample2d, FirUpsample2d
from .gated_pooling import GatedLSEPool
from .gradient_scale import scale_gradient
from .minibatch_std import MinibatchStd
from .modulated_conv import ModulatedConv2d

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "FirBlur2d",
    "FirDownsample2d",
    "FirUpsample2d",
    "GatedLSEPool",
    "MinibatchStd",
    "ModulatedConv2d",
    "scale_gradient",
]
