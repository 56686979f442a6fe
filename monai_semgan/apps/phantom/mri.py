"""MRI of a phantom subject: T1 gradient echo in and out of phase, fat-suppressed T2 spin echo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import Subject
from .canvas import smooth_noise
from .scan import PhantomScan, ScanGrid, resample_labels, resample_values

__all__ = ["SEQUENCES", "Sequence", "scan_mri"]


@dataclass(frozen=True)
class Sequence:
    """Settings of a pulse sequence at 1.5 T; times in ms, flip angle in degrees.

    Args:
        kind: "gradient_echo" (spoiled) or "spin_echo".
        tr: repetition time.
        te: echo time.
        flip: angle, for the gradient echo.
        fat_left: share of the fat signal that the fat suppression leaves; 1 without it.
        fat_shift: displacement of fat along the read-out (pixels).
    """

    kind: str
    tr: float
    te: float
    flip: float = 90.0
    fat_left: float = 1.0
    fat_shift: float = 1.0


SEQUENCES: dict[str, Sequence] = {
    "mr_t1in": Sequence("gradient_echo", 155.0, 4.6, 78.0),
    "mr_t1out": Sequence("gradient_echo", 155.0, 2.3, 78.0),
    "mr_t2spir": Sequence("spin_echo", 1900.0, 80.0, fat_left=0.05, fat_shift=1.6),
}
"""The three sequences of the public abdomen sets, by domain."""

FAT_T1, FAT_T2, FAT_T2_STAR = 290.0, 68.0, 42.0
FAT_OFFSET_KHZ = -0.217  # 3.4 ppm at 1.5 T


def scan_mri(subject: Subject, domain: str, seed: tuple[int, ...]) -> PhantomScan:
    """Scan ``subject`` with the sequence ``domain``.

    In-phase and out-of-phase images come from one dual-echo acquisition: same grid, same coil field and same
    receiver gain for the same ``seed``.

    Args:
        subject: see :func:`.anatomy.draw_subject`.
        domain: a key of :data:`SEQUENCES`.
        seed: numbers that determine grid, coil field, gain and noise.

    Returns:
        int16 scanner units >= 0, about 2 mm x 2 mm x 7.7 mm.
    """
    sequence = SEQUENCES[domain]
    session = np.random.default_rng([*seed, int(sequence.kind == "spin_echo")])
    rng = np.random.default_rng([*seed, *domain.encode()])
    grid = _draw_grid(subject, session)
    water, fat = _signals(subject, sequence)
    shift = sequence.fat_shift * grid.spacing[0] * (1 if session.random() < 0.5 else -1)
    water = resample_values(subject, water, grid)
    fat = resample_values(subject, fat, grid, shift=(shift, 0, 0))
    field = smooth_noise(session, grid.size, grid.spacing, 110)
    if sequence.kind == "spin_echo":
        signal = water + fat * _fat_left(sequence, field, subject, grid)
    else:
        # Water and fat add as phasors; off-resonance turns them against each other a little.
        phase = 2 * np.pi * FAT_OFFSET_KHZ * sequence.te * (1 + 0.03 * field)
        signal = np.abs(water + fat * np.exp(1j * phase))
    signal = signal * _coil(grid, subject, session, 0.38 if sequence.kind == "spin_echo" else 0.24)
    scale = float(np.mean(signal[signal > 0.25 * signal.max()]))
    gain = float(np.exp(session.uniform(np.log(180), np.log(700)))) / scale
    snr = session.uniform(18, 45)
    signal = _ghost(signal, session) * gain
    noise = gain * scale / snr * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    magnitude = np.hypot(signal + noise[0], noise[1])
    image = np.clip(np.rint(magnitude), 0, 32767).astype(np.int16)
    details = {"tr": sequence.tr, "te": sequence.te, "flip": sequence.flip, "snr": round(float(snr), 1)}
    return PhantomScan(image, resample_labels(subject, grid), grid.affine, "MR", details)


def _signals(subject: Subject, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Water and fat signal of every fine voxel, float32, from the signal equation of the sequence."""
    t, te = subject.tissue, sequence.te

    def weight(t1: np.ndarray | float, t2: np.ndarray | float, t2_star: np.ndarray | float) -> np.ndarray | float:
        e1 = np.exp(-sequence.tr / np.asarray(t1))
        if sequence.kind == "spin_echo":  # S = PD (1 - E1) exp(-TE / T2)
            return (1 - e1) * np.exp(-te / np.asarray(t2))
        # Spoiled gradient echo (Ernst): S = PD sin(a) (1 - E1) / (1 - E1 cos(a)) exp(-TE / T2*)
        a = np.deg2rad(sequence.flip)
        return np.sin(a) * (1 - e1) / (1 - e1 * np.cos(a)) * np.exp(-te / np.asarray(t2_star))

    flow = t.spin_echo_flow if sequence.kind == "spin_echo" else 1.0
    water = t.pd * (1 - t.fat) * weight(t.t1, t.t2, t.t2_star) * flow
    fat = t.pd * t.fat * weight(FAT_T1, FAT_T2, FAT_T2_STAR)
    modulation = 1 + t.mr_texture[subject.body] * subject.texture
    return water[subject.body].astype(np.float32) * modulation, fat[subject.body].astype(np.float32) * modulation


def _draw_grid(subject: Subject, rng: np.random.Generator) -> ScanGrid:
    half_x, half_y = subject.trunk.half_size
    step = max(1.9, (2 * half_x + 4) / 176, (2 * half_y + 4) / 144) * rng.uniform(1.0, 1.08)
    thickness = 7.7
    bottom = subject.trunk.bottom + rng.uniform(0, 14)
    slices = int((subject.trunk.top + 2 - bottom) / thickness)
    centre = rng.uniform((-8, -6), (8, 6))
    low = (centre[0] - 0.5 * 175 * step, centre[1] - 0.5 * 143 * step, bottom + 0.5 * thickness)
    return ScanGrid((176, 144, slices), (step, step, thickness), low, (0.0, 0.0, rng.uniform(20, 120)))


def _relative(grid: ScanGrid, subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates (X, 1, 1), (1, Y, 1), (1, 1, Z): the body's edges are at -1 and 1, head at 1."""
    half_x, half_y = subject.trunk.half_size
    x, y, z = np.ix_(*(o + s * np.arange(n) for o, s, n in zip(grid.low, grid.spacing, grid.size, strict=True)))
    return x / half_x, y / half_y, (z + 80) / 110


def _coil(grid: ScanGrid, subject: Subject, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Receive field: brighter near the surface coil's two halves, falling towards head and feet, uneven."""
    x, y, z = _relative(grid, subject)
    front, back = rng.uniform(0.2, 1.0, 2) * strength
    surface = 1 + front * np.exp(1.6 * (y - 1)) * 2 + back * np.exp(-1.6 * (y + 1)) * 2
    tilt = np.exp(strength * (rng.normal(0, 0.5) * x + rng.normal(0, 0.5) * y))
    ends = np.exp(-strength * rng.uniform(0.6, 1.6) * np.clip(np.abs(z - 0.1), 0, None) ** 2.5)
    uneven = np.exp(0.45 * strength * smooth_noise(rng, grid.size, grid.spacing, 130))
    return (surface * tilt * ends * uneven).astype(np.float32)


def _fat_left(sequence: Sequence, field: np.ndarray, subject: Subject, grid: ScanGrid) -> np.ndarray:
    """Share of fat that survives suppression: it fails where the main field is off, near the borders."""
    x, _, z = _relative(grid, subject)
    border = np.clip(np.abs(x) - 0.62, 0, None) * 0.6 + np.clip(np.abs(z) - 0.75, 0, None) * 0.5
    return np.clip(sequence.fat_left + border * np.clip(0.5 + 0.6 * field, 0, 2) + 0.03 * np.clip(field, 0, 3), 0, 0.9)


def _ghost(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Breathing: a faint blurred copy shifted along the phase encoding, and a little blur."""
    strength, offset = rng.uniform(0.0, 0.035), int(rng.integers(18, 60))
    copy = ndimage.gaussian_filter(np.roll(signal, offset, 1) + np.roll(signal, -offset, 1), (0.5, 2, 0))
    return ndimage.gaussian_filter(signal, (0, rng.uniform(0.0, 0.5), 0)) + strength * copy
