"""The server's own page: what is served, the studies with their scores, and slices with masks over them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import HTMLResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from PIL import Image

from .tasks import label_colours

__all__ = ["page_router", "slice_picture"]

page_router = APIRouter()
PAGE = Path(__file__).with_name("page.html")
USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))


@page_router.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    return HTMLResponse(PAGE.read_text(encoding="utf-8"))


@page_router.get("/picture/{image}", summary="An axial slice with a label over it, as PNG")
def picture(image: str, position: float = 0.5, tag: str = "", user: User = USER) -> Response:
    store = app_instance().datastore()
    path = store.get_image_uri(image)
    if not path:
        raise HTTPException(404, f"there is no image {image!r}")
    label = store.get_label_uri(image, tag) if tag else ""
    colours = [colour for task in app_instance()._infers.values() for colour in label_colours(task.labels).values()]
    made = slice_picture(path, label, min(max(position, 0.0), 1.0), colours or [[255, 0, 0]])
    buffer = io.BytesIO()
    Image.fromarray(made).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png", headers={"Cache-Control": "no-store"})


def slice_picture(path: str, label: str, position: float, colours: list[list[int]]) -> np.ndarray:
    """One axial slice ``(H, W, 3)`` uint8, the patient's right on the left; 0 is the feet's end, 1 the head's."""
    scan = nib.as_closest_canonical(nib.load(path))
    index = round(position * (scan.shape[2] - 1))
    grey = _turned(np.asarray(scan.dataobj[:, :, index], dtype=np.float32))
    low, high = (-125.0, 275.0) if grey.min() < -500 else np.percentile(grey, (0.5, 99.5))
    colour = np.repeat(np.clip((grey - low) / max(high - low, 1e-6), 0, 1)[..., None] * 255.0, 3, axis=2)
    if label:
        mask = _turned(np.asarray(nib.as_closest_canonical(nib.load(label)).dataobj[:, :, index]).squeeze())
        for value in np.unique(mask[mask > 0]).astype(int):
            inside = mask == value
            edge = inside & ~_eroded(inside)
            tint = np.asarray(colours[(value - 1) % len(colours)], dtype=np.float32)
            colour[inside] = 0.7 * colour[inside] + 0.3 * tint
            colour[edge] = tint
    step = float(scan.header.get_zooms()[1]) / float(scan.header.get_zooms()[0])
    picture = Image.fromarray(colour.astype(np.uint8))
    return np.asarray(picture.resize((picture.width, max(1, round(picture.height * step)))))


def _turned(plane: np.ndarray) -> Any:
    """From right-to-left, posterior-to-anterior axes to rows from anterior and columns from the patient's right."""
    return plane.T[::-1, ::-1]


def _eroded(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
