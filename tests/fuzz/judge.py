"""Put odd inputs through loading, training's slices, inference, MONAI Label's model and evaluation, and judge each."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import re
import resource
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
import torch
from monai.data import DataLoader

from monai_semgan.apps.evaluation import DomainEvaluation
from monai_semgan.apps.label.model import ServedModel
from monai_semgan.data import TolerantDataset, build_slice_bank
from monai_semgan.engines import ScanEvaluator
from monai_semgan.handlers import SegmentationWriter
from monai_semgan.transforms import LoadScan
from monai_semgan.utils import InputError
from tests.fuzz.mutations import KINDS, READ, REFUSE, Case, make_cases
from tests.fuzz.nifti_mutations import SHAPE
from tests.scans import AFFINES, BrightnessNetwork, ReportingInferer, make_scan, make_transforms, write_scan
from tests.served_model import make_served

__all__ = ["LONGEST", "Verdict", "judge_all"]

LONGEST = 60


@dataclass
class Verdict:
    """What became of one input.

    Args:
        kind, number: which.
        outcome: ``"read"`` or ``"refused"``.
        message: what was said when it was refused.
        opinion: whether a second reader agreed: ``"same"``, ``"none"`` (it reads nothing, or there is none to ask).
        problems: what was not right; empty for a case that was handled.
        seconds: for all ways together.
    """

    kind: str
    number: int
    outcome: str = ""
    message: str = ""
    opinion: str = "none"
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Hang(BaseException):
    """It took too long."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge_all(count: int, seed: int, folder: Path) -> list[Verdict]:
    """Judge ``count`` inputs; what they are made of is deleted again."""
    verdicts, cases = [], []
    preprocessing, postprocessing = make_transforms(32)
    served = make_served(folder / "served")
    SimpleITK.ProcessObject_SetGlobalWarningDisplay(False)
    for case in make_cases(count, seed, folder / "in"):
        begin, verdict = time.monotonic(), Verdict(case.kind, case.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with time_limit(LONGEST):
                    _judge(case, verdict, preprocessing, postprocessing, served, folder / "out" / str(case.number))
            except Hang:
                verdict.problems.append(f"took more than {LONGEST} s")
        verdict.seconds = round(time.monotonic() - begin, 2)
        verdicts.append(verdict)
        cases.append(case)
    _judge_evaluation(cases, verdicts, preprocessing, postprocessing, folder)
    for case, verdict in zip(cases, verdicts, strict=True):
        if not verdict.problems:
            shutil.rmtree(folder / "in" / f"{case.number:04d}", ignore_errors=True)
    return verdicts


def _judge(
    case: Case, verdict: Verdict, preprocessing: Any, postprocessing: Any, served: ServedModel, out: Path
) -> None:
    try:
        loaded = LoadScan(label=case.label)(case.path)
    except InputError as error:
        verdict.outcome, verdict.message = "refused", str(error)
        if case.must == READ:
            verdict.problems.append("refused, and should be read")
    except Exception as error:
        verdict.problems.append(f"loading: {type(error).__name__}: {error}")
        return
    else:
        verdict.outcome = "read"
        if case.must == REFUSE:
            verdict.problems.append(f"read as {tuple(loaded.shape)}, and should be refused")
        opinion = _by_the_standard(case.path) if case.kind == "slope" else second_opinion(case.path)
        if opinion is not None:
            verdict.opinion = _compare(loaded, opinion)
            if verdict.opinion != "same":
                verdict.problems.append(verdict.opinion)
    if not case.label:
        _judge_slices(case, verdict, preprocessing)
        _judge_inference(case, verdict, preprocessing, postprocessing, out)
        _judge_answer(case, verdict, served, out / "served")


def _judge_slices(case: Case, verdict: Verdict, preprocessing: Any) -> None:
    try:
        bank = build_slice_bank([{"image": str(case.path), "name": "x"}], preprocessing, None, num_workers=1)
    except InputError as error:
        if verdict.outcome == "read" and case.must == READ:
            verdict.problems.append(f"training: {error}")
        if re.search(r"- x: \w+(Error|Exception)\b", str(error)):
            verdict.problems.append(f"training: not told in words: {error}")
    except Exception as error:
        verdict.problems.append(f"training: {type(error).__name__}: {error}")
    else:
        if verdict.outcome != "read" or not torch.isfinite(bank.images).all() or bank.images.abs().max() > 1:
            verdict.problems.append("training: slices that are none")


def _judge_inference(case: Case, verdict: Verdict, preprocessing: Any, postprocessing: Any, out: Path) -> None:
    data = TolerantDataset([{"image": str(case.path), "name": case.path.name}], preprocessing)
    evaluator = ScanEvaluator(
        torch.device("cpu"), DataLoader(data, batch_size=1), BrightnessNetwork(),
        inferer=ReportingInferer(), postprocessing=postprocessing, val_handlers=[SegmentationWriter(out)],
    )  # fmt: skip
    evaluator.logger.disabled = True
    try:
        evaluator.run()
    except Exception as error:
        verdict.problems.append(f"inference: {type(error).__name__}: {error}")
        return
    masks = list(out.rglob("*_seg.nii.gz"))
    if evaluator.failures:
        (_, message), *_ = evaluator.failures
        if verdict.outcome == "read" and case.must == READ:
            verdict.problems.append(f"inference: {message}")
        if masks or _is_not_told(message):
            verdict.problems.append(f"inference: not told in words: {message}")
    elif verdict.outcome != "read" or len(masks) != 1:
        verdict.problems.append("inference: a mask of what cannot be read")
    else:
        loaded, mask = LoadScan()(case.path), nib.load(masks[0])
        shape, values = tuple(n for n in mask.shape if n > 0), np.asarray(mask.dataobj)
        if shape[:3] != tuple(loaded.shape[1:]) or not np.allclose(mask.affine, loaded.affine.numpy(), atol=1e-2):
            verdict.problems.append(f"inference: mask {mask.shape} on another grid than {tuple(loaded.shape[1:])}")
        if not set(np.unique(values).tolist()) <= {0, 1}:
            verdict.problems.append("inference: a mask with other values than 0 and 1")


def _judge_answer(case: Case, verdict: Verdict, served: ServedModel, out: Path) -> None:
    """What MONAI Label's server would answer."""
    try:
        made = served.segment(case.path, out, "case")
    except InputError as error:
        if verdict.outcome == "read" and case.must == READ:
            verdict.problems.append(f"label: {error}")
        if _is_not_told(str(error)):
            verdict.problems.append(f"label: not told in words: {error}")
    except Exception as error:
        verdict.problems.append(f"label: {type(error).__name__}: {error}")
    else:
        shape = tuple(n for n in nib.load(made.path).shape if n > 0)[:3]
        if verdict.outcome != "read" or shape != tuple(LoadScan()(case.path).shape[1:]):
            verdict.problems.append(f"label: a mask of {shape} of what cannot be read so")


def _judge_evaluation(
    cases: list[Case], verdicts: list[Verdict], preprocessing: Any, postprocessing: Any, folder: Path
) -> None:
    """All in one evaluation, as in a folder where some scans are bad: each has a score or a reason."""
    good = folder / "good"
    scan, mask = make_scan(AFFINES["LAS"], SHAPE)
    paths = [
        write_scan(good / f"{name}.nii.gz", array, AFFINES["LAS"]) for name, array in (("scan", scan), ("mask", mask))
    ]
    items = []
    for case, verdict in zip(cases, verdicts, strict=True):
        image, label = (paths[0], case.path) if case.label else (case.path, paths[1])
        if verdict.outcome == "read" and not case.label:
            loaded = LoadScan()(case.path)
            label = good / f"{case.number}.nii.gz"
            found = (loaded[0] > loaded.median()).numpy().astype(np.uint8)
            nib.save(nib.Nifti1Image(found, loaded.affine.numpy()), label)
        items.append({"image": str(image), "label": str(label), "name": f"case {case.number}"})
    evaluation = DomainEvaluation(
        {"odd": items}, preprocessing, BrightnessNetwork(), {"network": ReportingInferer()}, postprocessing,
        folder / "evaluation",
    )  # fmt: skip
    logging.getLogger("monai_semgan.apps.evaluation").setLevel(logging.ERROR)
    with warnings.catch_warnings(), time_limit(LONGEST + len(items)), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        evaluation.run()
    failures = {name.partition("/")[2]: message for name, message in evaluation.failures}
    scored = {row["name"] for row in evaluation.rows if row.get("stage")}
    for case, verdict in zip(cases, verdicts, strict=True):
        name = f"case {case.number}"
        message = failures.get(name)
        if (message is None) != (name in scored):
            verdict.problems.append("evaluation: neither a score nor a reason, or both")
        elif message is None:
            if verdict.outcome != "read":
                verdict.problems.append("evaluation: a score of what cannot be read")
        elif verdict.outcome == "read" and case.must == READ:
            verdict.problems.append(f"evaluation: {message}")
        elif _is_not_told(message):
            verdict.problems.append(f"evaluation: not told in words: {message}")


def _is_not_told(message: str) -> bool:
    return re.match(r"\w+(Error|Exception)\b", message) is not None


def second_opinion(path: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Values in file order as another reader has them, and the affine to RAS where it is known without doubt."""
    try:
        if path.is_dir():
            return _slice_by_slice(path)
        image = SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat64)
    except Exception:  # it knows less, or the file is only half right
        return None
    values = SimpleITK.GetArrayFromImage(image).transpose()
    return (values, None) if values.ndim <= 3 else None


def _by_the_standard(path: Path) -> tuple[np.ndarray, None]:
    """Stored values, scaled unless scl_slope is zero or no number; readers differ where it is zero with an offset."""
    image = nib.load(path)
    with gzip.open(path, "rb") as stream:
        header = stream.read(352)
        slope, offset = np.frombuffer(header, "<f4", 2, 112).astype(float)
        stored = np.frombuffer(stream.read(), "<i2").reshape(image.shape, order="F")
    scaled = np.isfinite(slope) and slope != 0
    return stored * slope + offset if scaled else stored, None


def _slice_by_slice(folder: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """A DICOM series, each file by itself, put together by position."""
    slices = []
    for path in folder.glob("*.dcm"):
        image = SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat64)
        slices.append((image.GetOrigin()[2], SimpleITK.GetArrayFromImage(image)))
    if len(slices) < 2:
        return None
    return np.concatenate([values for _, values in sorted(slices, key=lambda one: one[0])]).transpose(), None


def _compare(loaded: Any, opinion: tuple[np.ndarray, np.ndarray | None]) -> str:
    ours, theirs = loaded[0].numpy(), opinion[0]
    theirs = theirs.reshape(theirs.shape + (1,) * (3 - theirs.ndim))
    if ours.shape != theirs.shape:
        return f"read as {ours.shape}, by another reader as {theirs.shape}"
    if not np.allclose(ours, theirs, rtol=1e-4, atol=1e-3):
        return f"other values than another reader's, by up to {np.abs(ours - theirs).max():g}"
    return "same"


def main() -> int:
    """Judge many, write ``fuzz.json``; returns 1 when anything was not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    verdicts = judge_all(args.count, args.seed, args.out)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    (args.out / "fuzz.json").write_text(json.dumps([asdict(v) for v in verdicts], indent=1), encoding="utf-8")
    bad = [v for v in verdicts if v.problems]
    for v in bad:
        print(f"{v.kind} {v.number}: {'; '.join(v.problems)[:500]}")
    outcomes, opinions = (
        Counter(v.outcome for v in verdicts),
        Counter(v.opinion for v in verdicts if v.outcome == "read"),
    )
    print(f"{len(verdicts)} inputs of {len(KINDS)} kinds: {dict(outcomes)}, second opinions {dict(opinions)}")
    slowest, seconds = max(v.seconds for v in verdicts), time.monotonic() - begin
    print(f"{len(bad)} not right; slowest {slowest:.1f} s, {seconds:.0f} s in all; memory grew by {grown:.0f} MiB")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
