"""Training and evaluation engines; networks and losses are given to them."""

from .adversarial_semi import AdversarialSemiTrainer
from .ema import EmaByImages
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
    "EmaByImages",
    "LabelTransfer",
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
    "fuse_labels",
    "object_gate",
    "poly_decay",
    "strong_share",
    "warmup_cosine",
]
