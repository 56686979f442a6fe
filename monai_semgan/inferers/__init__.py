"""Inferers: how a trained network is used on slices and volumes."""

from .latent_inversion import LatentInversionInferer

__all__ = ["LatentInversionInferer"]
