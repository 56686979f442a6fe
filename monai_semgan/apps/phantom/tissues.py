"""What the phantom is made of: every structure with its mask label, CT number and magnetic properties.

CT numbers are those of the portal-venous phase (HU). Magnetic properties are rounded values for 1.5 T of the
size that relaxometry studies report, adjusted until the grey values came in the order seen in the clinic. They are
not measurements and no source for any single number.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

__all__ = [
    "BOWEL",
    "INDEX",
    "LABELS",
    "STOMACH",
    "STRUCTURES",
    "Structure",
    "TissueValues",
    "draw_tissue_values",
]

LABELS: dict[str, int] = {
    "liver": 1,
    "right_kidney": 2,
    "left_kidney": 3,
    "spleen": 4,
    "gallbladder": 5,
    "esophagus": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior_vena_cava": 9,
    "portal_and_splenic_veins": 10,
    "pancreas": 11,
    "right_adrenal": 12,
    "left_adrenal": 13,
}
"""Numbering of the masks, as in the public abdomen sets."""


@dataclass(frozen=True)
class Structure:
    """One kind of voxel.

    Args:
        name: unique name.
        label: number in the mask, 0 where the mask does not know it.
        hu: mean CT number (HU).
        hu_spread: standard deviation of the mean from subject to subject (HU).
        hu_texture: standard deviation of the texture inside one subject (HU).
        pd: proton density, water = 1.
        t1: of the water protons (ms).
        t2: of the water protons (ms).
        t2_star: of the water protons (ms).
        fat: fraction of the protons that belong to fat, 0 to 1.
        spin_echo_flow: share of the spin-echo signal that flow leaves, 0 to 1.
        mr_texture: relative standard deviation of the texture in MRI.
    """

    name: str
    label: int = 0
    hu: float = 0.0
    hu_spread: float = 0.0
    hu_texture: float = 0.0
    pd: float = 0.0
    t1: float = 1000.0
    t2: float = 50.0
    t2_star: float = 30.0
    fat: float = 0.0
    spin_echo_flow: float = 1.0
    mr_texture: float = 0.05


STRUCTURES: tuple[Structure, ...] = (
    Structure("air", 0, -1000),
    Structure("table", 0, -130, 60, 0),
    Structure("skin", 0, 10, 10, 5, 0.6, 600, 30, 20, 0.15),
    Structure("subcutaneous_fat", 0, -106, 5, 9, 0.95, 500, 60, 30, 0.93, mr_texture=0.07),
    Structure("visceral_fat", 0, -98, 6, 13, 0.9, 600, 60, 30, 0.86, mr_texture=0.10),
    Structure("muscle", 0, 60, 6, 11, 0.8, 880, 40, 28, 0.04, mr_texture=0.10),
    Structure("cortical_bone", 0, 520, 80, 60, 0.12, 500, 10, 2, 0.1),
    Structure("marrow", 0, 190, 45, 45, 0.7, 800, 60, 14, 0.40, mr_texture=0.12),
    Structure("cartilage", 0, 105, 15, 15, 0.6, 900, 36, 18, 0.03),
    Structure("disc", 0, 85, 10, 12, 0.8, 1100, 70, 35, 0.02, mr_texture=0.15),
    Structure("spinal_fluid", 0, 14, 5, 3, 1.0, 3000, 600, 200),
    Structure("spinal_cord", 0, 38, 4, 3, 0.75, 900, 80, 50),
    Structure("lung", 0, -855, 25, 22, 0.16, 1100, 40, 1.5, mr_texture=0.25),
    Structure("lung_vessel", 0, 90, 20, 20, 0.5, 1300, 120, 15, 0.0, 0.3),
    Structure("myocardium", 0, 112, 12, 9, 0.8, 1000, 50, 33, 0.03, 0.7, 0.2),
    Structure("heart_blood", 0, 158, 16, 6, 0.9, 1400, 200, 90, 0.0, 0.25, 0.3),
    Structure("liver", 1, 112, 9, 6, 0.82, 600, 45, 27, 0.03, mr_texture=0.05),
    Structure("liver_vessel", 1, 150, 12, 4, 0.9, 1350, 190, 80, 0.0, 0.62, 0.05),
    Structure("liver_lesion", 1, 55, 25, 10, 0.9, 1200, 110, 60),
    Structure("right_kidney_cortex", 2, 182, 16, 9, 0.88, 960, 92, 55, mr_texture=0.06),
    Structure("right_kidney_medulla", 2, 148, 20, 9, 0.9, 1350, 112, 60, mr_texture=0.06),
    Structure("left_kidney_cortex", 3, 182, 16, 9, 0.88, 960, 92, 55, mr_texture=0.06),
    Structure("left_kidney_medulla", 3, 148, 20, 9, 0.9, 1350, 112, 60, mr_texture=0.06),
    Structure("kidney_pelvis", 0, 12, 8, 5, 1.0, 2500, 500, 200),
    Structure("spleen", 4, 118, 9, 6, 0.86, 1050, 84, 50, mr_texture=0.05),
    Structure("bile", 5, 10, 6, 3, 1.0, 1500, 450, 200, mr_texture=0.03),
    Structure("gallbladder_wall", 5, 70, 10, 5, 0.8, 900, 60, 35),
    Structure("esophagus", 6, 55, 8, 12, 0.8, 900, 60, 35, mr_texture=0.15),
    Structure("stomach_wall", 7, 82, 10, 12, 0.8, 850, 65, 35),
    Structure("stomach_fluid", 7, 22, 12, 8, 1.0, 2400, 350, 100, mr_texture=0.18),
    Structure("stomach_food", 7, 45, 25, 45, 0.8, 900, 90, 25, 0.08, mr_texture=0.35),
    Structure("stomach_gas", 7, -960, 20, 10, 0.0),
    Structure("aorta_blood", 8, 165, 15, 4, 0.9, 1450, 230, 120, 0.0, 0.18, 0.15),
    Structure("caval_blood", 9, 138, 15, 6, 0.9, 1450, 200, 100, 0.0, 0.30, 0.15),
    Structure("portal_blood", 10, 172, 14, 4, 0.9, 1400, 190, 90, 0.0, 0.60, 0.08),
    Structure("mesenteric_vessel", 0, 145, 15, 5, 0.9, 1400, 190, 80, 0.0, 0.55, 0.1),
    Structure("pancreas", 11, 98, 12, 16, 0.82, 620, 58, 33, 0.07, mr_texture=0.12),
    Structure("right_adrenal", 12, 75, 12, 8, 0.82, 700, 70, 35, 0.05),
    Structure("left_adrenal", 13, 75, 12, 8, 0.82, 700, 70, 35, 0.05),
    Structure("bowel_wall", 0, 92, 12, 14, 0.8, 850, 62, 35),
    Structure("bowel_fluid", 0, 25, 10, 16, 0.95, 1800, 210, 90, mr_texture=0.18),
    Structure("bowel_contrast", 0, 240, 60, 20, 0.95, 1500, 180, 80, mr_texture=0.15),
    Structure("bowel_stool", 0, -20, 25, 45, 0.55, 700, 70, 12, 0.1, mr_texture=0.3),
    Structure("bowel_gas", 0, -940, 20, 10, 0.0),
)
INDEX: dict[str, int] = {structure.name: number for number, structure in enumerate(STRUCTURES)}
"""Number of a structure in the volumes that :func:`draw_subject` makes."""
BOWEL = tuple(number for name, number in INDEX.items() if name.startswith("bowel_"))
STOMACH = tuple(number for name, number in INDEX.items() if name.startswith("stomach_"))


@dataclass
class TissueValues:
    """Properties of all structures in one subject, one float32 array of ``len(STRUCTURES)`` each."""

    label: np.ndarray
    hu: np.ndarray
    hu_texture: np.ndarray
    pd: np.ndarray
    t1: np.ndarray
    t2: np.ndarray
    t2_star: np.ndarray
    fat: np.ndarray
    spin_echo_flow: np.ndarray
    mr_texture: np.ndarray


def draw_tissue_values(rng: np.random.Generator) -> TissueValues:
    """Draw one subject's tissue properties.

    One liver in four is fatty: its CT number falls below the spleen's and its out-of-phase signal drops.
    Both kidneys share their values.
    """
    columns = {
        f.name: np.array([getattr(s, f.name) for s in STRUCTURES], dtype=np.float32) for f in fields(TissueValues)
    }
    values = TissueValues(**columns)
    values.label = values.label.astype(np.uint8)
    spread = np.array([s.hu_spread for s in STRUCTURES], dtype=np.float32)
    values.hu += spread * np.clip(rng.standard_normal(len(STRUCTURES)), -2, 2).astype(np.float32)
    for name, scale in (("t1", 0.07), ("t2", 0.06), ("t2_star", 0.12), ("pd", 0.03), ("spin_echo_flow", 0.2)):
        factor = np.exp(scale * np.clip(rng.standard_normal(len(STRUCTURES)), -2, 2))
        setattr(values, name, getattr(values, name) * factor.astype(np.float32))
    liver = INDEX["liver"]
    values.fat[liver] = rng.uniform(0.12, 0.30) if rng.random() < 0.25 else rng.uniform(0.005, 0.06)
    values.hu[liver] -= 190 * values.fat[liver]
    marrow = INDEX["marrow"]
    values.fat[marrow] = rng.uniform(0.3, 0.6)
    if rng.random() < 0.2:  # positive oral contrast
        values.hu[INDEX["stomach_fluid"]] = rng.uniform(150, 300)
    for part in ("cortex", "medulla"):
        right, left = INDEX[f"right_kidney_{part}"], INDEX[f"left_kidney_{part}"]
        for name in columns:
            if name != "label":
                getattr(values, name)[left] = getattr(values, name)[right]
    return values
