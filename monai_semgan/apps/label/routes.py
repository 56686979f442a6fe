"""Routes that take the place of MONAI Label's own: they check what comes in, and no answer holds up the others."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, File, Form, HTTPException, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.endpoints import activelearning, batch_infer, datastore, infer, scoring, train
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance

from ...transforms import LoadScan
from ...transforms.load_scan import ITK_SUFFIXES, NIFTI_SUFFIXES
from ...utils import InputError
from ...utils.names import safe_name
from .dicom import series_of, to_dicom_seg
from .train_task import settings_of

__all__ = ["router"]

router = APIRouter()
USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
ANNOTATOR = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
ADMIN = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))
# A request cannot name files, nor what the routes themselves put into it.
RESERVED = {"model", "image", "uploaded", "name", "label", "session", "images", "method", "strategy"}
MOST_WAITING = 100  # answers that may be asked for at once; more would only time out
_SESSION = re.compile(r"[0-9a-fA-F-]{1,64}")


class _Queue:
    """One answer of a kind at a time; the others wait without holding a thread."""

    def __init__(self) -> None:
        self.limiter: CapacityLimiter | None = None
        self.waiting = 0

    async def run(self, work: Any) -> Any:
        if self.waiting >= MOST_WAITING:
            raise HTTPException(503, f"{self.waiting} answers are waited for already; ask again later")
        self.limiter = self.limiter or CapacityLimiter(1)
        self.waiting += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self.limiter)
        finally:
            self.waiting -= 1


QUEUES = {"fast": _Queue(), "careful": _Queue()}


@router.post("/infer/{model}", summary="Segment an image of the datastore, an uploaded file or a session's series")
async def run_inference(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = Form("{}"),
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: infer.ResultType | None = None,
    user: User = USER,
) -> Any:
    app = app_instance()
    task = app._infers.get(model)
    if task is None:
        raise HTTPException(404, f"there is no model {model!r}; there are {', '.join(app._infers)}")
    request = {**_json_object(params), "model": model, "image": image}
    series = series_of(Path(app.app_dir)).get(image)
    uploaded = ""
    if output == "dicom_seg":
        request["result_extension"] = ".nii.gz"
        if series is None and (file is not None or not session_id):
            raise HTTPException(400, "DICOM SEG can be made for a DICOM series only; ask for output=image")
    if file is not None:
        uploaded = await anyio.to_thread.run_sync(_keep_upload, file, (*NIFTI_SUFFIXES, *ITK_SUFFIXES))
        request |= {"uploaded": uploaded, "name": Path(file.filename or "scan").name}
    elif session_id:
        found = app.sessions().get_session(session_id) if _SESSION.fullmatch(session_id) else None
        if found is None:
            raise HTTPException(404, "there is no such session; it may have expired")
        series = found.image
        if output == "dicom_seg" and not os.path.isdir(series):
            raise HTTPException(400, "DICOM SEG can be made for a series only: send its files in one request")
        request |= {"uploaded": found.image, "name": "session"}
    elif not image:
        raise HTTPException(400, "name an image of the datastore, send a file, or name a session")
    try:
        result = await QUEUES[task.kind].run(functools.partial(app.infer, request))
    finally:
        if uploaded:
            os.unlink(uploaded)
    if output == "dicom_seg":
        answer = functools.partial(to_dicom_seg, result["file"], series, result["params"]["label_colors"], task.labels)
        try:
            made = await anyio.to_thread.run_sync(answer)
        finally:
            os.unlink(result["file"])
        background_tasks.add_task(os.unlink, made)
        return FileResponse(made, media_type="application/dicom", filename=f"{safe_name(image or 'session')}.seg.dcm")
    return infer.send_response(app.datastore(), result, output, background_tasks)


@router.put("/datastore/", include_in_schema=False)
@router.put("/datastore/image", summary="Add an image")
def add_image(
    file: Annotated[UploadFile, File()], image: str | None = None, params: str = Form("{}"), user: User = ANNOTATOR
) -> Any:
    info = _json_object(params) | {"user": user.username}
    path = _keep_upload(file, NIFTI_SUFFIXES)
    name = image or safe_name(Path(file.filename or "").name.split(".")[0], "")
    try:
        LoadScan()(path)
        return {"image": app_instance().datastore().add_image(name, path, info)}
    except InputError as error:
        raise InputError(str(error).replace(path, name)) from error
    finally:
        os.unlink(path)


@router.put("/datastore/label", summary="Save a label")
def save_label(
    background_tasks: BackgroundTasks,
    image: str,
    label: Annotated[UploadFile, File()],
    params: str = Form("{}"),
    tag: str = DefaultLabelTag.FINAL.value,
    user: User = ANNOTATOR,
) -> Any:
    _json_object(params)
    _suffix(label.filename or "label.nii.gz", NIFTI_SUFFIXES)
    return datastore.save_label(background_tasks, image, params, tag, label, user.username)


@router.put("/datastore/image/info", summary="Update what is known of an image")
def update_image_info(image: str, info: str = Form("{}"), user: User = ANNOTATOR) -> Any:
    _json_object(info)
    return datastore.update_image_info(image, info, user.username)


@router.put("/datastore/label/info", summary="Update what is known of a label")
def update_label_info(label: str, tag: str, info: str = Form("{}"), user: User = ANNOTATOR) -> Any:
    _json_object(info)
    return datastore.update_label_info(label, tag, info, user.username)


@router.get("/datastore/dataset", summary="All labelled images with their labels as a ZIP archive")
def download_dataset(limit_cases: int | None = None, user: User = ANNOTATOR) -> Any:
    if not app_instance().datastore().datalist():
        raise HTTPException(404, "no image has a label yet")
    return datastore.download_dataset(limit_cases)


@router.post("/train/{model}", summary="Train a model on the datastore")
def run_training(model: str, params: dict[str, Any] | None = None, enqueue: bool = False, user: User = ADMIN) -> Any:
    app = app_instance()
    if model not in app._trainers:
        raise HTTPException(404, f"there is no model {model!r} to train; there are {', '.join(app._trainers)}")
    chosen = _allowed(params)
    settings_of(chosen)
    if not app.datastore().datalist():
        raise HTTPException(400, "no image has a label yet; correct a mask, submit it, and train then")
    return train.run_model(model, chosen, False, enqueue)


@router.post("/activelearning/{strategy}", summary="The image to label next")
def next_image(strategy: str, params: dict[str, Any] | None = None, user: User = USER) -> Any:
    app = app_instance()
    if strategy not in app._strategies:
        raise HTTPException(404, f"there is no strategy {strategy!r}; there are {', '.join(app._strategies)}")
    asked = (params or {}).get("model")
    return activelearning.sample(strategy, _allowed(params) | ({"model": asked} if asked else {}), user.username)


@router.post("/scoring/{method}", summary="Score the images")
def run_scoring(
    method: str, params: dict[str, Any] | None = None, run_sync: bool = False, user: User = ANNOTATOR
) -> Any:
    app = app_instance()
    if method not in app._scoring_methods:
        raise HTTPException(404, f"there is no scoring {method!r}; there are {', '.join(app._scoring_methods)}")
    return scoring.run_method(method, _allowed(params), run_sync)


@router.post("/batch/infer/{model}", summary="Segment all images, in a process of its own")
def run_batch(
    model: str,
    images: BatchInferImageType = BatchInferImageType.IMAGES_ALL,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
    user: User = ADMIN,
) -> Any:
    app = app_instance()
    if model not in app._infers:
        raise HTTPException(404, f"there is no model {model!r}; there are {', '.join(app._infers)}")
    return batch_infer.run(model, images, {"save_label": True, **_allowed(params)}, run_sync)


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise HTTPException(400, f"params is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise HTTPException(400, 'params has to be a JSON object, such as {"steps": 10}')
    return _allowed(found)


def _allowed(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if name not in RESERVED}


def _suffix(filename: str, allowed: tuple[str, ...]) -> str:
    for suffix in sorted(allowed, key=len, reverse=True):
        if filename.lower().endswith(suffix):
            return suffix
    raise HTTPException(400, f"{Path(filename).name!r} is not a scan; wanted a name that ends in {', '.join(allowed)}")


def _keep_upload(file: UploadFile, allowed: tuple[str, ...]) -> str:
    """A temporary copy of an uploaded file; the caller removes it."""
    suffix = _suffix(file.filename or "scan.nii.gz", allowed)
    with tempfile.NamedTemporaryFile(prefix="monai-semgan-upload-", suffix=suffix, delete=False) as target:
        shutil.copyfileobj(file.file, target)
    return target.name
