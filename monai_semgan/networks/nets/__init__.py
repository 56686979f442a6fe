"""Whole networks: generator, critics, encoders and the deployable segmenter."""

from .conditioning_net import ConditioningNet
from .confidence_discriminator import ConfidenceDiscriminator
from .generative_segmenter import GenerativeSegmenter
from .hidden_feature_projector import HiddenFeatureProjector
from .joint_patch_critic import JointPatchCritic
from .mask_tokenizer import MASKIGE_VARIANTS, MaskigeVariant, MaskTokenizer
from .one_shot_head import OneShotHead, PixelMLPEnsemble, PrototypeHead
from .one_shot_segmenter import OneShotGenerator, OneShotSegmenter
from .residual_style_critic import ResidualStyleCritic
from .semantic_gan_segmenter import SemanticGANSegmenter
from .semantic_style_generator import SemanticStyleGenerator, num_latents, style_channels
from .style_encoder import StyleEncoder
from .style_pyramid_encoder import StylePyramidEncoder
from .tag_classifier import TagClassifier

__all__ = [
    "ConditioningNet",
    "ConfidenceDiscriminator",
    "GenerativeSegmenter",
    "HiddenFeatureProjector",
    "JointPatchCritic",
    "OneShotGenerator",
    "OneShotHead",
    "OneShotSegmenter",
    "PixelMLPEnsemble",
    "PrototypeHead",
    "MASKIGE_VARIANTS",
    "MaskTokenizer",
    "MaskigeVariant",
    "ResidualStyleCritic",
    "SemanticGANSegmenter",
    "SemanticStyleGenerator",
    "StyleEncoder",
    "StylePyramidEncoder",
    "TagClassifier",
    "num_latents",
    "style_channels",
]
