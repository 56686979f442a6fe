"""monai_semgan: semi-supervised segmentation with generative adversarial networks, for MONAI."""

__version__ = "0.2.0"

__all__ = ["__version__"]
