"""Lists of scans, slices in memory or on disk, and the paired labelled and unlabelled batches."""

from __future__ import annotations

from .datalist import DOMAINS, load_datalist
from .find_scans import find_scans
from .hidden_masks import find_hidden_masks
from .image_loader import ImageSliceLoader
from .organ_roles import OrganRoles
from .paired_loader import PairedSliceLoader
from .patch_loader import PairedPatchLoader
from .pseudo_labels import PseudoLabels
from .real_mask_loader import RealMaskSliceLoader
from .shots import ShotLoader, Shots, check_shot_label
from .slice_bank import SliceBank, build_slice_bank
from .tag_table import TagTable, load_tag_table
from .tagged_bank import UNKNOWN, TaggedSliceBank, build_tagged_slice_bank, tag_correlation, tag_slices
from .tolerant_dataset import TolerantDataset
from .transfer_loader import TransferSliceLoader

__all__ = [
    "DOMAINS",
    "ImageSliceLoader",
    "OrganRoles",
    "PairedPatchLoader",
    "PairedSliceLoader",
    "PseudoLabels",
    "RealMaskSliceLoader",
    "ShotLoader",
    "Shots",
    "SliceBank",
    "TagTable",
    "TaggedSliceBank",
    "TolerantDataset",
    "TransferSliceLoader",
    "UNKNOWN",
    "build_slice_bank",
    "check_shot_label",
    "build_tagged_slice_bank",
    "find_hidden_masks",
    "find_scans",
    "load_datalist",
    "load_tag_table",
    "tag_correlation",
    "tag_slices",
]
