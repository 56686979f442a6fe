"""A digital abdominal phantom: CT and MRI of made-up subjects with masks, for tests and demonstrations."""

from __future__ import annotations

from .anatomy import Subject, draw_subject
from .ct import scan_ct
from .dataset import make_phantom, prepare_phantom, split_subjects
from .mri import SEQUENCES, scan_mri
from .scan import PhantomScan
from .tissues import LABELS

__all__ = [
    "LABELS",
    "PhantomScan",
    "SEQUENCES",
    "Subject",
    "draw_subject",
    "make_phantom",
    "prepare_phantom",
    "scan_ct",
    "scan_mri",
    "split_subjects",
]
