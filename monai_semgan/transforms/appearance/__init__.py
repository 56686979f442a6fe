"""Appearance randomisation: changes of the grey values that leave the geometry alone."""

from __future__ import annotations

from .batch import RandBatchAppearance
from .bias_field import (
    RandBiasFieldAppearance,
    RandBiasFieldAppearanceD,
    RandBiasFieldAppearanced,
    RandBiasFieldAppearanceDict,
    random_bias_field,
)
from .blur_noise import RandBlurNoise, RandBlurNoiseD, RandBlurNoised, RandBlurNoiseDict, random_blur_noise
from .gray_curve import RandGrayCurve, RandGrayCurveD, RandGrayCurved, RandGrayCurveDict, random_gray_curve
from .mr_contrast import RandMRContrast, RandMRContrastD, RandMRContrastd, RandMRContrastDict, random_mr_contrast
from .random_convolution import (
    RandConvAppearance,
    RandConvAppearanceD,
    RandConvAppearanced,
    RandConvAppearanceDict,
    random_convolution,
)
from .randomise import (
    APPEARANCE_PROBABILITIES,
    RandAppearance,
    RandAppearanceD,
    RandAppearanced,
    RandAppearanceDict,
    randomise_appearance,
)
from .region_contrast import (
    RandRegionContrast,
    RandRegionContrastD,
    RandRegionContrastd,
    RandRegionContrastDict,
    random_region_contrast,
)
from .texture import RandTexture, RandTextureD, RandTextured, RandTextureDict, random_texture
from .tissue_shift import (
    RandTissueShift,
    RandTissueShiftD,
    RandTissueShiftd,
    RandTissueShiftDict,
    random_tissue_shift,
)

__all__ = [
    "APPEARANCE_PROBABILITIES",
    "RandAppearance",
    "RandAppearanced",
    "RandAppearanceD",
    "RandAppearanceDict",
    "RandBatchAppearance",
    "RandBiasFieldAppearance",
    "RandBiasFieldAppearanced",
    "RandBiasFieldAppearanceD",
    "RandBiasFieldAppearanceDict",
    "RandBlurNoise",
    "RandBlurNoised",
    "RandBlurNoiseD",
    "RandBlurNoiseDict",
    "RandConvAppearance",
    "RandConvAppearanced",
    "RandConvAppearanceD",
    "RandConvAppearanceDict",
    "RandGrayCurve",
    "RandGrayCurved",
    "RandGrayCurveD",
    "RandGrayCurveDict",
    "RandMRContrast",
    "RandMRContrastD",
    "RandMRContrastDict",
    "RandMRContrastd",
    "RandRegionContrast",
    "RandRegionContrastd",
    "RandRegionContrastD",
    "RandRegionContrastDict",
    "RandTexture",
    "RandTextureD",
    "RandTextureDict",
    "RandTextured",
    "RandTissueShift",
    "RandTissueShiftD",
    "RandTissueShiftDict",
    "RandTissueShiftd",
    "random_bias_field",
    "random_blur_noise",
    "random_convolution",
    "random_gray_curve",
    "random_mr_contrast",
    "random_region_contrast",
    "random_texture",
    "random_tissue_shift",
    "randomise_appearance",
]
