"""Ignite handlers: MLflow tracking of a whole experiment, progress lines and sample pictures."""

from __future__ import annotations

from .critic_monitor import CriticMonitor, GeneratorMonitor
from .experiment_run import ExperimentRun
from .metrics_csv import MetricsCsv, read_metrics
from .model_registry import RegisteredVersion, fetch_model_files, find_version, parse_model_address
from .previews import GeneratorPreview, LatentWalk, ReconstructionPreview
from .progress_report import ProgressReport, format_duration
from .record_sender import send_unsent
from .run_environment import datalist_hash, describe_device, environment_tags, flatten_params
from .sample_grid_saver import SampleGridSaver
from .segmentation_report import SegmentationReport, flag_slices
from .segmentation_writer import SegmentationWriter
from .selection_monitor import SelectionMonitor
from .slice_validation import SliceValidation
from .track_training import TrackTraining, TrackValidation

__all__ = [
    "CriticMonitor",
    "ExperimentRun",
    "GeneratorMonitor",
    "GeneratorPreview",
    "LatentWalk",
    "MetricsCsv",
    "ProgressReport",
    "RegisteredVersion",
    "ReconstructionPreview",
    "SampleGridSaver",
    "SegmentationReport",
    "SegmentationWriter",
    "SelectionMonitor",
    "SliceValidation",
    "TrackTraining",
    "TrackValidation",
    "datalist_hash",
    "describe_device",
    "environment_tags",
    "fetch_model_files",
    "find_version",
    "flag_slices",
    "flatten_params",
    "format_duration",
    "parse_model_address",
    "read_metrics",
    "send_unsent",
]
