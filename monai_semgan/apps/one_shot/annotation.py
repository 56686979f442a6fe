"""The image to annotate as NIfTI and PNG, and the mask back from either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image

from ...data import Shots, check_shot_label
from ...engines import choose_medoids, draw_candidates, weights_fingerprint
from ...utils import InputError, atomic_path, make_output_folder, write_json_atomic
from ...visualize import LABEL_COLOURS, sample_grid, write_png
from .networks import load_untaught

__all__ = ["export_annotation", "read_annotation"]

CT_WINDOW = (-125.0, 275.0)
"""HU that stand for -1 and 1, as in ``ScaleScanIntensity``."""
_PLANE = "PLS"  # rows run to the back, columns to the left


def export_annotation(
    run_dir: str | Path,
    out: str | Path,
    number: int = 1,
    candidates: int = 500,
    seed: int = 0,
    truncation: float = 0.7,
    scale: int = 8,
) -> list[Path]:
    """Choose generated images that stand for all others best and write them for somebody to draw on.

    Args:
        run_dir: folder of a training, with ``encoder/`` and ``projector/``.
        out: folder to write to: ``image_1.nii.gz`` (HU, in millimetres), ``image_1.png`` (enlarged), ``shots.pt``
            (latents, no mask yet), ``candidates.png`` (the chosen ones first), ``annotation.json``.
        number: how many; each next one stands for those that the ones before do not.
        candidates: images to choose from.
        scale: how often larger the PNG is than the image.

    Returns:
        The NIfTI files.

    Raises:
        InputError: files missing, numbers that make no sense, or an annotation is there already.
    """
    if scale < 1 or candidates < 1:
        raise InputError("export", got=f"scale {scale}, candidates {candidates}", wanted="1 or more of both")
    out = make_output_folder(out)
    if (out / "shots.pt").exists():
        raise InputError(f"folder {out}", got="an annotation", wanted="a folder without one", fix="give another --out")
    network, settings = load_untaught(run_dir)
    latents, points = draw_candidates(network.generator, candidates, truncation, seed)
    chosen = choose_medoids(points, number)
    with torch.no_grad():
        image = network.generator.project(latents[chosen], "fixed")[0].clamp(-1, 1)
        others = [i for i in range(min(len(latents), 24)) if i not in chosen]
        shown = torch.cat([image, network.generator.project(latents[others], "fixed")[0].clamp(-1, 1)])
    source = [f"generated image {i} of seed {seed}, truncation {truncation:g}" for i in chosen]
    shots = Shots(image, None, latents[chosen], None, source, weights_fingerprint(network.generator.generator),
                  {"png_scale": int(scale)})  # fmt: skip
    size, written = settings["image_size"], []
    affine = _affine(settings["fov_mm"] / size)
    low, high = CT_WINDOW
    for place, picture in enumerate(image[:, 0].numpy(), 1):
        written.append(out / f"image_{place}.nii.gz")
        units = np.rint((picture + 1) / 2 * (high - low) + low).astype(np.int16)
        with atomic_path(written[-1]) as temporary:
            nib.save(nib.Nifti1Image(units[:, :, None], affine), temporary)
        grey = Image.fromarray(np.rint((picture + 1) * 127.5).astype(np.uint8))
        enlarged = grey.resize((size * scale, size * scale), Image.Resampling.BICUBIC)
        write_png(out / f"image_{place}.png", np.asarray(enlarged))
    write_png(out / "candidates.png", sample_grid(shown, scale=3))
    write_json_atomic(out / "annotation.json", {
        "images": source, "image_size": size, "png_size": size * scale, "fov_mm": settings["fov_mm"],
        "mask": "one value a pixel: 0 background, 1, 2, ... the organs in the order of the bundle's organs; "
        "or a PNG in the colours below", "colours": dict(enumerate(LABEL_COLOURS.tolist())),
    })  # fmt: skip
    shots.save(out / "shots.pt")  # last: an export that was cut off is not taken for one
    return written


def read_annotation(annotation: str | Path, masks: Sequence[str | Path], organs: Sequence[str] = ("liver",)) -> Shots:
    """Read the masks that were drawn on the exported images, check them, and keep them in ``shots.pt``.

    Args:
        annotation: folder of :func:`export_annotation`.
        masks: one file an image, in their order: NIfTI, or PNG of the image's or the exported PNG's size.
        organs: names of classes 1, 2, ..., for messages and for what must be there.

    Raises:
        InputError: another number of masks, a wrong size, unknown values or colours, a class without a pixel.
    """
    folder = Path(annotation)
    shots = Shots.load(folder / "shots.pt")
    if len(masks) != len(shots):
        raise InputError(
            f"annotation {folder}", got=f"{len(masks)} masks", wanted=f"{len(shots)}: one for each exported image",
            fix="give --mask once for each image, in their order",
        )  # fmt: skip
    size = shots.image.shape[-1]
    names = dict(enumerate(organs, 1))
    maps = []
    for path in map(Path, masks):
        if not path.is_file():
            raise InputError(f"mask {path}", got="no such file", wanted="a mask as NIfTI or PNG")
        values = _read_png(path, size, len(names)) if path.suffix.lower() == ".png" else _read_nifti(path, size)
        maps.append(torch.from_numpy(values.astype(np.int64)))
    where = "mask " + ", ".join(str(path) for path in masks)
    label = check_shot_label(torch.stack(maps)[:, None], size, names, where)
    shots = Shots(**{**vars(shots), "label": label, "settings": {**shots.settings, "organs": list(organs)}})
    write_png(folder / "annotated.png", sample_grid(shots.image, label, scale=4))
    shots.save(folder / "shots.pt")
    return shots


def _affine(pixel_mm: float) -> np.ndarray:
    """Voxel to world for rows to the back and columns to the left; slices as thick as pixels are wide."""
    affine = np.zeros((4, 4))
    affine[1, 0] = affine[0, 1] = -pixel_mm
    affine[2, 2], affine[3, 3] = pixel_mm, 1.0
    return affine


def _read_nifti(path: Path, size: int) -> np.ndarray:
    try:
        file = nib.load(path)
        values = np.asarray(file.dataobj)
    except Exception as error:  # nibabel raises many kinds
        raise InputError(f"mask {path} cannot be read", got=" ".join(str(error).split())[:160],
                         wanted="a NIfTI or PNG file") from error  # fmt: skip
    values = values.reshape(values.shape[:2]) if values.ndim == 2 else values
    if values.ndim == 3:
        # a program may have turned the axes round on saving
        turn = ornt_transform(io_orientation(file.affine), axcodes2ornt(_PLANE))
        values = nib.orientations.apply_orientation(values, turn)
        if values.shape[2] != 1:
            raise InputError(f"mask {path}", got=f"{values.shape[2]} slices", wanted="1, as the image")
        values = values[:, :, 0]
    if values.shape != (size, size):
        raise _wrong_size(path, values.shape, (size,))
    if not np.array_equal(values, np.rint(values)):
        raise InputError(f"mask {path}", got="fractions", wanted="whole numbers", fix="save it without smoothing")
    return values


def _read_png(path: Path, size: int, organs: int) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            picture.load()
            indexed = picture.mode in ("L", "P", "I", "I;16", "1")
            values: Any = np.asarray(picture if indexed else picture.convert("RGB"))
            if picture.mode == "P" and values.max() > organs:  # the palette's own numbers: look at its colours
                values = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise InputError(f"mask {path} cannot be read", got=str(error), wanted="a PNG") from error
    if values.ndim == 3:
        values = _from_colours(path, values, organs)
    values = values.astype(np.int64)
    if organs == 1 and set(np.unique(values)) <= {0, 255}:
        values = (values > 0).astype(np.int64)
    height, width = values.shape
    factor = height // size if size else 0
    if height != width or factor < 1 or height % size:
        raise _wrong_size(path, values.shape, (size, f"{size} times a whole number"))
    if factor == 1:
        return values
    # an enlarged mask: each pixel of the image gets the value that most of its block has
    blocks = values.reshape(size, factor, size, factor).swapaxes(1, 2).reshape(size, size, -1)
    count = np.stack([(blocks == value).sum(-1) for value in range(int(blocks.max()) + 1)])
    return count.argmax(0)


def _from_colours(path: Path, values: np.ndarray, organs: int) -> np.ndarray:
    if (values[..., 0] == values[..., 1]).all() and (values[..., 1] == values[..., 2]).all():
        return values[..., 0]
    table = LABEL_COLOURS[: organs + 1].astype(np.int64)
    difference = np.abs(values[:, :, None, :].astype(np.int64) - table).max(-1)
    if (difference.min(-1) > 8).any():
        strange = values[difference.min(-1) > 8][0].tolist()
        raise InputError(
            f"mask {path}: a colour of no class", got=strange, wanted=f"black for background, {table[1:].tolist()}",
            fix="draw without smoothing, in the colours of annotation.json, or save whole numbers",
        )  # fmt: skip
    return difference.argmin(-1)


def _wrong_size(path: Path, shape: tuple[int, ...], sizes: tuple) -> InputError:
    wanted = " or ".join(f"{s}x{s}" if isinstance(s, int) else s for s in sizes)
    return InputError(
        f"mask {path}", got=f"{shape[0]}x{shape[1]} pixels", wanted=f"{wanted} pixels, as the exported image",
        fix="draw on the exported image and save the mask without changing its size",
    )  # fmt: skip
