"""Training and evaluation engines; networks and losses are given to them."""

from .ema import EmaByImages
from .phase_trainer import Phase, PhaseTrainer, TrainingDiverged
from .scan_evaluator import ScanEvaluator
from .schedule import warmup_cosine
from .semantic_gan import SemanticGANTrainer
from .style_encoder import StyleEncoderTrainer
from .supervised import SupervisedSliceTrainer

__all__ = [
    "EmaByImages",
    "Phase",
    "PhaseTrainer",
    "ScanEvaluator",
    "SemanticGANTrainer",
    "StyleEncoderTrainer",
    "SupervisedSliceTrainer",
    "TrainingDiverged",
    "warmup_cosine",
]
