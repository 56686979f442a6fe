"""Training and evaluation engines; networks and losses are given to them."""

from .adversarial_semi import AdversarialSemiTrainer
from .ema import EmaByImages
from .phase_trainer import Phase, PhaseTrainer, TrainingDiverged
from .scan_evaluator import ScanEvaluator
from .schedule import poly_decay, warmup_cosine
from .semantic_gan import SemanticGANTrainer
from .style_encoder import StyleEncoderTrainer
from .supervised import SupervisedSliceTrainer

__all__ = [
    "AdversarialSemiTrainer",
    "EmaByImages",
    "Phase",
    "PhaseTrainer",
    "ScanEvaluator",
    "SemanticGANTrainer",
    "StyleEncoderTrainer",
    "SupervisedSliceTrainer",
    "TrainingDiverged",
    "poly_decay",
    "warmup_cosine",
]
