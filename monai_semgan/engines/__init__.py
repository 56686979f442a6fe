"""Training and evaluation engines; networks and losses are given to them."""

from .adversarial_semi import AdversarialSemiTrainer
from .ema import EmaByImages
from .generative_segmentation import CodePriorTrainer
from .generative_segmentation_inverse import MaskigeInverseTrainer
from .generative_segmentation_tokenizer import (
    MaskTokenizerTrainer,
    check_reconstruction,
    class_weights,
    reconstruction_dice,
)
from .label_rounds import UNSURE, LabelRounds
from .larc import LARC
from .one_shot import FeatureProjectorTrainer
from .one_shot_annotation import OneShotAnnotation, choose_medoids, draw_candidates
from .one_shot_files import load_projector, load_reader, weights_fingerprint
from .one_shot_head import OneShotHeadTrainer
from .phase_trainer import Phase, PhaseTrainer, TrainingDiverged
from .scan_evaluator import ScanEvaluator
from .schedule import poly_decay, warmup_cosine
from .semantic_gan import SemanticGANTrainer
from .student import StudentTrainer
from .style_encoder import StyleEncoderTrainer
from .supervised import SupervisedSliceTrainer
from .transfer import PredictionTransferTrainer
from .transfer_labels import LabelTransfer, fuse_labels
from .transfer_objects import ClassAgnosticTrainer
from .transfer_tags import TagTrainer, object_gate, strong_share

__all__ = [
    "AdversarialSemiTrainer",
    "ClassAgnosticTrainer",
    "CodePriorTrainer",
    "EmaByImages",
    "FeatureProjectorTrainer",
    "LARC",
    "LabelRounds",
    "LabelTransfer",
    "MaskTokenizerTrainer",
    "MaskigeInverseTrainer",
    "OneShotAnnotation",
    "OneShotHeadTrainer",
    "Phase",
    "PhaseTrainer",
    "PredictionTransferTrainer",
    "ScanEvaluator",
    "SemanticGANTrainer",
    "StudentTrainer",
    "StyleEncoderTrainer",
    "SupervisedSliceTrainer",
    "TagTrainer",
    "TrainingDiverged",
    "UNSURE",
    "check_reconstruction",
    "class_weights",
    "choose_medoids",
    "draw_candidates",
    "fuse_labels",
    "load_projector",
    "load_reader",
    "object_gate",
    "poly_decay",
    "reconstruction_dice",
    "strong_share",
    "warmup_cosine",
    "weights_fingerprint",
]
