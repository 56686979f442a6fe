"""The registry of methods: one row each. The contract tests read it; a new method is added here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """What a method consists of.

    Args:
        name: stem of its files in every room.
        title: for people.
        paper: arXiv number ("" for a baseline).
        bundle: folder under ``bundles/``.
        stages: trainers in order, as dotted names; each hands over to the next by file.
        network: the deployable network, image to logits.
        inferer: how it is used on a volume.
    """

    name: str
    title: str
    paper: str
    bundle: str
    stages: tuple[str, ...]
    network: str
    inferer: str


METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            name="semantic_gan",
            title="SemanticGAN",
            paper="2104.05833",
            bundle="ct_liver",
            stages=(
                "monai_semgan.engines.SemanticGANTrainer",
                "monai_semgan.engines.StyleEncoderTrainer",
                "monai_semgan.engines.StudentTrainer",
            ),
            network="monai.networks.nets.UNet",
            inferer="monai_semgan.inferers.VolumeStackInferer",
        ),
        Method(
            name="adversarial_semi",
            title="AdvSemiSeg",
            paper="1802.07934",
            bundle="ct_liver_adversarial_semi",
            stages=("monai_semgan.engines.AdversarialSemiTrainer",),
            network="monai.networks.nets.UNet",
            inferer="monai.inferers.SliceInferer",
        ),
        Method(
            name="transfer",
            title="Transferable segmentation",
            paper="1711.06828",
            bundle="ct_abdomen_transfer",
            stages=(
                "monai_semgan.engines.ClassAgnosticTrainer",
                "monai_semgan.engines.TagTrainer",
                "monai_semgan.engines.PredictionTransferTrainer",
            ),
            network="monai.networks.nets.UNet",
            inferer="monai.inferers.SliceInferer",
        ),
        Method(
            name="one_shot",
            title="One-shot segmentation",
            paper="2303.05639",
            bundle="ct_liver_one_shot",
            stages=(
                "monai_semgan.engines.SemanticGANTrainer",
                "monai_semgan.engines.StyleEncoderTrainer",
                "monai_semgan.engines.FeatureProjectorTrainer",
                "monai_semgan.engines.OneShotHeadTrainer",
            ),
            network="monai_semgan.networks.nets.OneShotSegmenter",
            inferer="monai_semgan.inferers.LatentInversionInferer",
        ),
        Method(
            name="generative_segmentation",
            title="Generative segmentation (GSS)",
            paper="2303.11316",
            bundle="ct_liver_generative_segmentation",
            stages=(
                "monai_semgan.engines.MaskTokenizerTrainer",
                "monai_semgan.engines.CodePriorTrainer",
                "monai_semgan.engines.MaskigeInverseTrainer",
            ),
            network="monai_semgan.networks.nets.GenerativeSegmenter",
            inferer="monai.inferers.SliceInferer",
        ),
        Method(
            name="mean_teacher",
            title="Mean teacher",
            paper="1703.01780",
            bundle="ct_liver_mean_teacher",
            stages=("monai_semgan.engines.StudentTrainer",),
            network="monai.networks.nets.UNet",
            inferer="monai.inferers.SliceInferer",
        ),
        Method(
            name="supervised",
            title="U-Net baseline",
            paper="",
            bundle="ct_liver_supervised",
            stages=("monai_semgan.engines.SupervisedSliceTrainer",),
            network="monai.networks.nets.UNet",
            inferer="monai.inferers.SliceInferer",
        ),
    )
}
"""Method name to row."""
