"""Lists of scans, slices in memory and the paired labelled and unlabelled batches."""

from __future__ import annotations

from .datalist import DOMAINS, load_datalist
from .find_scans import find_scans
from .paired_loader import PairedSliceLoader
from .slice_bank import SliceBank, build_slice_bank
from .tolerant_dataset import TolerantDataset

__all__ = [
    "DOMAINS",
    "PairedSliceLoader",
    "SliceBank",
    "TolerantDataset",
    "build_slice_bank",
    "find_scans",
    "load_datalist",
]
