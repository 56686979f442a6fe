"""Lists of scans, slices in memory and the paired labelled and unlabelled batches."""

from __future__ import annotations

from .datalist import DOMAINS, load_datalist
from .find_scans import find_scans
from .hidden_masks import find_hidden_masks
from .paired_loader import PairedSliceLoader
from .real_mask_loader import RealMaskSliceLoader
from .slice_bank import SliceBank, build_slice_bank
from .tolerant_dataset import TolerantDataset

__all__ = [
    "DOMAINS",
    "PairedSliceLoader",
    "RealMaskSliceLoader",
    "SliceBank",
    "TolerantDataset",
    "build_slice_bank",
    "find_hidden_masks",
    "find_scans",
    "load_datalist",
]
