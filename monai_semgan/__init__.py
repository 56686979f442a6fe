"""monai_semgan: semi-supervised segmentation with generative adversarial networks, for MONAI."""

__version__ = "0.1.0"

__all__ = ["__version__"]
