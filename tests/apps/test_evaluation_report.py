"""The printed table holds undefined values, and a kept mask comes back as it was."""

from __future__ import annotations

import numpy as np

from monai_semgan.apps.evaluation_report import KeptMask, format_table
from monai_semgan.metrics import summarise_scores


def test_a_kept_mask_comes_back():
    mask = np.random.default_rng(0).integers(0, 3, (5, 4, 3)).astype(np.uint8)
    kept = KeptMask.of(mask.transpose(2, 0, 1), "i", "l", np.eye(4))
    assert np.array_equal(kept.mask(), mask.transpose(2, 0, 1))


def test_the_table_has_a_line_per_domain_and_stage_and_names_failures():
    row = {
        "name": "p1",
        "dice": 0.0,
        "hd95_mm": float("nan"),
        "assd_mm": float("nan"),
        "volume_error_percent": -100.0,
    }
    summary = {"domains": {"ct": summarise_scores([row])}, "encoder": {}}
    lines = format_table(summary, ["optimised", "encoder"], [("ct/p2", "unreadable")]).splitlines()
    assert lines[0].split()[:3] == ["domain", "stage", "n"]
    assert lines[2].split()[:3] == ["ct", "optimised", "1"]
    assert " - " in lines[2]
    assert lines[3:] == ["Dice below .3, ct, optimised: p1", "no result, ct/p2: unreadable"]
