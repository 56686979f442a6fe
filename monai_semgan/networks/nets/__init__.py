"""Whole networks: generator, critics, encoders and the deployable segmenter."""

from .confidence_discriminator import ConfidenceDiscriminator
from .joint_patch_critic import JointPatchCritic
from .residual_style_critic import ResidualStyleCritic
from .semantic_gan_segmenter import SemanticGANSegmenter
from .semantic_style_generator import SemanticStyleGenerator, num_latents, style_channels
from .style_encoder import StyleEncoder
from .style_pyramid_encoder import StylePyramidEncoder
from .tag_classifier import TagClassifier

__all__ = [
    "ConfidenceDiscriminator",
    "JointPatchCritic",
    "ResidualStyleCritic",
    "SemanticGANSegmenter",
    "SemanticStyleGenerator",
    "StyleEncoder",
    "StylePyramidEncoder",
    "TagClassifier",
    "num_latents",
    "style_channels",
]
