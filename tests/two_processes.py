"""Jobs for two processes that work together, and how a test starts them: `python -m tests.two_processes FOLDER`.

Each job does the same in one process and in two, so that a test can compare what comes out.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from ignite.engine import Events
from monai.data import DataLoader
from monai.networks.nets import UNet
from torch.overrides import TorchFunctionMode

from monai_semgan.apps.evaluation import DomainEvaluation
from monai_semgan.data import PairedSliceLoader, TolerantDataset, build_slice_bank, find_scans, slice_bank
from monai_semgan.engines import PhaseTrainer, ScanEvaluator
from monai_semgan.engines import phase_trainer as phase_trainer_module
from monai_semgan.handlers import SegmentationWriter
from monai_semgan.transforms import JointDiffAugment, RandSliceAffine
from monai_semgan.utils import processes
from monai_semgan.utils.checkpoint import save_checkpoint
from monai_semgan.utils.errors import InputError
from tests import tiny, tiny_adversarial, tiny_generative, tiny_student, tiny_transfer
from tests.scans import AFFINES, BrightnessNetwork, ReportingInferer, make_scan, make_transforms, write_scan

ROOT = Path(__file__).resolve().parents[1]
BATCH = 8  # two groups of four of the minibatch standard deviation: one a process
_RANDOM = {torch.rand, torch.randn, torch.randint, torch.rand_like, torch.randn_like}


class WholeBatchDraws(TorchFunctionMode):
    """Random numbers of a batch are drawn for the whole batch, and each process takes those of its samples.

    In a real training every process draws for its own samples; here the draws have to be those of one process, so
    that the weights can be compared. What has its own generator, and what is no batch, stays as it is.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        rank, count = processes.process_part()
        if count > 1 and function is F.gumbel_softmax:
            return gumbel_softmax(*args, **kwargs)
        if count == 1 or function not in _RANDOM or kwargs.get("generator") is not None:
            return function(*args, **kwargs)
        if function in (torch.rand_like, torch.randn_like):
            if args[0].ndim == 1:  # noise on one code is no batch
                return function(*args, **kwargs)
            shape, plain = list(args[0].shape), (torch.rand if function is torch.rand_like else torch.randn)
            kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            make = plain
        elif function is torch.randint:
            *bounds, shape = args

            def make(size: list[int], **options: Any) -> torch.Tensor:
                return torch.randint(*bounds, size, **options)

            shape = list(shape)
        else:
            shape = list(args[0]) if isinstance(args[0], (tuple, list, torch.Size)) else list(args)
            make = function
        dim = 1 if len(shape) == 3 and shape[0] == 2 else 0  # latents are drawn in pairs, for style mixing
        if not shape or shape[dim] in (1, 512):  # the prior's samples are no batch
            return make(shape, **kwargs)
        shape[dim] *= count
        return make(shape, **kwargs).unflatten(dim, (-1, count)).select(dim + 1, rank)


def gumbel_softmax(logits: torch.Tensor, hard: bool, dim: int, **unused: Any) -> torch.Tensor:
    """As in ``torch.nn.functional``, with those of the whole batch's draws that belong to this process's samples."""
    rank, count = processes.process_part()
    draws = torch.empty(len(logits) * count, *logits.shape[1:]).exponential_().log()[rank::count]
    soft = (logits - draws).softmax(dim)
    sharp = torch.zeros_like(soft).scatter_(dim, soft.argmax(dim, keepdim=True), 1.0)
    return sharp - soft.detach() + soft if hard else soft


def disguise(image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
    """An appearance for each sample; the real randomisation draws by groups, which no process could repeat."""
    draw = torch.rand(len(image), *[1] * (image.ndim - 1))
    return ((image + 1) * (0.5 + draw) - 1).clamp(-1, 1)


def loader(iterations: int, batch: int = BATCH) -> PairedSliceLoader:
    banks = tiny.make_bank(12), tiny.make_bank(20, seed=1)
    return PairedSliceLoader(*banks, batch, iterations, labelled_foreground_fraction=0.7)


def unet(classes: int) -> UNet:
    """Normalised over all channels: before instance normalisation a bias would have rounding alone for a gradient."""
    torch.manual_seed(1)
    return UNet(2, 1, classes, [8, 16], [2], num_res_units=1, norm=("GROUP", {"num_groups": 1}))


def gan(folder: Path) -> PhaseTrainer:
    """One iteration of warm start, one with all lazy regularisers, one without."""
    return tiny.make_gan_trainer(
        folder, max_epochs=1, epoch_length=3, train_data_loader=loader(3), augment=JointDiffAugment(cutout=0.3),
        warp=RandSliceAffine(), perceptual_weight=0.5, warmup_iterations=1,
    )  # fmt: skip


def encoder(folder: Path) -> PhaseTrainer:
    return tiny.make_encoder_trainer(
        folder, max_epochs=1, epoch_length=2, train_data_loader=loader(2), randomise=disguise, warp=RandSliceAffine(),
        train_generator="all",
    )  # fmt: skip


def student(folder: Path) -> PhaseTrainer:
    # without a mixture: latents are mixed with those of the neighbour in the batch, another one in two processes
    trainer = tiny_student.make_trainer(
        3, folder, network=unet(2), train_data_loader=loader(3), randomise=disguise, generated_every=1, mixture=0.0,
        **tiny_student.AT_ONCE,
    )  # fmt: skip
    trainer.state.iteration = 0
    return trainer


def adversarial(folder: Path) -> PhaseTrainer:
    return tiny_adversarial.make_trainer(
        3, folder, network=unet(2), randomise=disguise, self_training_start=0.0, background_cap=0.5
    )


def transfer(folder: Path) -> PhaseTrainer:
    return tiny_transfer.make_trainer(3, folder, network=unet(3), randomise=disguise)


def objects(folder: Path) -> PhaseTrainer:
    return tiny_transfer.make_object_trainer(3, folder)


def partly_labelled() -> PairedSliceLoader:
    """Every third slice has no label in its upper half: a part of the batch may have fewer known pixels."""
    bank = tiny_generative.labelled()
    labels = bank.labels.clone()
    labels[::3, :, : tiny_generative.SIZE // 2] = 255
    return tiny_generative.loader(8, replace(bank, labels=labels))


def segmenter(variant: str = "FF") -> torch.nn.Module:
    """Normalised over all channels, and without attention, for the reason given at ``unet``."""
    torch.manual_seed(1)
    sizes = {"channels": (8, 16, 16), "level_channels": 8, "grid_channels": 16, "attention_depth": 0}
    conditioning = tiny_generative.ConditioningNet(
        tiny_generative.CODES, tiny_generative.CLASSES, norm=("GROUP", {"num_groups": 1}), **sizes
    )
    return tiny_generative.GenerativeSegmenter(conditioning, tiny_generative.make_tokenizer(variant))


def tokenizer(folder: Path) -> PhaseTrainer:
    """One step without codes, one that draws them, one that moves unused ones, and colours and inverse."""
    trainer = tiny_generative.make_tokenizer_trainer(
        8, folder, tokenizer=tiny_generative.make_tokenizer("TT", decay=0.2), loader=partly_labelled(),
        maskige_iterations=3, continuous_iterations=1, warp=RandSliceAffine(),
    )  # fmt: skip
    trainer.restarts = lambda iteration: iteration == 3
    return trainer


def prior(folder: Path) -> PhaseTrainer:
    return tiny_generative.make_prior_trainer(
        3, folder, network=segmenter(), loader=partly_labelled(), randomise=disguise, clean_fraction=0.25,
        mask_weight=0.5,
    )  # fmt: skip


def inverse(folder: Path) -> PhaseTrainer:
    return tiny_generative.make_inverse_trainer(
        3, folder, network=segmenter("FT"), loader=partly_labelled(), randomise=disguise
    )


TRAINERS: dict[str, Callable[[Path], PhaseTrainer]] = {
    "gan": gan, "encoder": encoder, "student": student, "adversarial": adversarial, "transfer": transfer,
    "tokenizer": tokenizer, "prior": prior, "inverse": inverse,
}  # fmt: skip


RESUMED = {"resume": "gan", "resume_tokenizer": "tokenizer"}
"""Trainings that go on from a checkpoint of one process."""


def train(folder: Path, name: str, make: Callable[[Path], PhaseTrainer]) -> dict[str, Any]:
    """The state that the training ends in, its outputs, and how many checkpoints this process has written."""
    written: list[str] = []
    rows: list[dict[str, float]] = []

    def save(state: dict[str, Any], path: Path) -> None:
        written.append(Path(path).name)
        save_checkpoint(state, path)

    trainer = make(folder / name)
    trainer.draw_seed = lambda iteration: 1000 + iteration  # WholeBatchDraws needs the same numbers in all processes
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: rows.append(engine.state.output))
    before, phase_trainer_module.save_checkpoint = phase_trainer_module.save_checkpoint, save
    try:
        with WholeBatchDraws():
            trainer.run()
    finally:
        phase_trainer_module.save_checkpoint = before
    state = trainer.training_state()
    state.pop("settings")
    return {"state": state, "output": rows[-1], "rows": rows, "written": written}


def independent(folder: Path) -> dict[str, Any]:
    """A training as it really is: draws of its own in each process, and statistics of batch normalisation."""
    made = {
        "gan": gan(folder / "free"), "objects": objects(folder / "objects"), "tokenizer": tokenizer(folder / "codes"),
    }  # fmt: skip
    outcome = {}
    for name, trainer in made.items():
        torch.manual_seed(trainer.draw_seed(0))
        first_draw = float(torch.rand(()))
        trainer.run()
        outcome[name] = {"networks": trainer.training_state()["networks"], "draw": first_draw}
    return outcome


def exchange(folder: Path) -> dict[str, Any]:
    """Gradients through a gathered batch, parameters that only some processes use, and plain values."""
    rank, count = processes.process_part()
    values = torch.arange(4.0).requires_grad_()
    part = values[rank::count]
    whole = processes.gather_batch(part[:, None])
    (whole.square().sum() * whole.mean()).backward()
    numbers = torch.tensor([rank + 1.0])
    used, unused, partly = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    used.grad = torch.full((2,), float(rank))
    if rank == 0:
        partly.grad = torch.ones(2)
    mean = processes.average_gradients([used, unused, partly], numbers)
    own = torch.arange(rank + 1.0)  # 0 here, 0 and 1 there
    share = processes.part_weight(torch.tensor(len(own)))
    layer = torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        layer.running_mean += rank
        layer.weight += rank
    processes.average_statistics([layer])
    processes.copy_from_first([torch.nn.ModuleDict({"a": layer})])
    order = folder / "order.txt"
    with processes.first_process_first(), order.open("a") as stream:
        stream.write(f"{rank}\n")
    return {
        "whole": whole.detach(), "gradient": values.grad / count, "mean": mean, "used": used.grad,
        "unused": unused.grad, "partly": partly.grad, "running_mean": layer.running_mean.clone(),
        "weight": layer.weight.detach().clone(), "flags": processes.gather_batch(torch.tensor([rank == 0])),
        "share": share, "own_mean": own.mean() * share,
        "values": processes.gather_values({"rank": rank, "text": "é" * rank}),
    }  # fmt: skip


def parts(folder: Path) -> dict[str, Any]:
    """The batches of every kind of loader."""
    loaders = {
        "slices": loader(2), "volumes": tiny_student.make_loader(3, 2),
        "real": tiny_adversarial.make_trainer(2).data_loader, "transfer": tiny_transfer.make_loader(2),
    }  # fmt: skip
    outcome: dict[str, Any] = {name: [made.batch(0), made.batch(5)] for name, made in loaders.items()}
    try:
        outcome["odd"] = str(type(loader(2, batch=3)))
    except InputError as error:
        outcome["odd"] = str(error)
    return outcome


def infer(folder: Path) -> dict[str, Any]:
    """A folder of scans, one of which is broken, through the evaluator and its writer."""
    preprocessing, postprocessing = make_transforms()
    data = TolerantDataset(find_scans(folder / "scans"), preprocessing)
    evaluator = ScanEvaluator(
        torch.device("cpu"), DataLoader(data, batch_size=1), BrightnessNetwork(), inferer=ReportingInferer(),
        postprocessing=postprocessing, val_handlers=[SegmentationWriter(folder / "masks")],
    )  # fmt: skip
    evaluator.run()
    try:
        evaluator.raise_failures()
        message = ""
    except InputError as error:
        message = str(error)
    return {"message": message, "names": [data[i]["name"] for i in range(len(data))]}


def evaluate(folder: Path) -> dict[str, Any]:
    """Scores of the same scans."""
    items = find_scans(folder / "scans")
    for item in items:
        item["label"] = str(folder / "truth" / Path(item["image"]).name)
    preprocessing, postprocessing = make_transforms()
    job = DomainEvaluation(
        {"ct": items[:2], "mr": items[2:]}, preprocessing, BrightnessNetwork(), {"main": ReportingInferer()},
        postprocessing, folder / "scores",
    )  # fmt: skip
    summary = job.run()
    try:
        job.raise_failures()
        message = ""
    except InputError as error:
        message = str(error)
    return {"summary": json.dumps(summary, sort_keys=True), "message": message}


def kept(folder: Path) -> dict[str, Any]:
    """Slices on disk: who makes them, and what each process has of them."""
    with mock.patch.object(slice_bank, "_prepare", wraps=slice_bank._prepare) as made:
        options = {"label_key": None, "cache_dir": folder / "kept"}
        bank = build_slice_bank(find_scans(folder / "scans")[:2], make_transforms(32)[0], **options)
    return {"made": made.call_count, "images": bank.images.clone()}


JOBS: dict[str, Callable[[Path], dict[str, Any]]] = {
    **{name: (lambda folder, n=name, m=make: train(folder, n, m)) for name, make in TRAINERS.items()},
    **{name: (lambda folder, n=name, m=TRAINERS[stem]: train(folder, n, m)) for name, stem in RESUMED.items()},
    "independent": independent, "exchange": exchange, "parts": parts, "infer": infer,
    "evaluate": evaluate, "kept": kept,
}  # fmt: skip


def main(folder: Path) -> None:
    """Do all jobs and save what came out as ``<rank>.pt``."""
    torch.set_num_threads(1)
    processes.start_processes("cpu")
    outcome = {name: job(folder) for name, job in JOBS.items()}
    torch.save(outcome, folder / f"{processes.process_rank()}.pt")


class PowerCut(BaseException):
    """Not an Exception: nothing may tidy up."""


def cut_training(folder: Path, name: str, iteration: int) -> None:
    """Leave the checkpoint of a training of this process alone that was stopped in an iteration."""
    trainer = TRAINERS[name](folder)
    trainer.draw_seed = lambda number: 1000 + number
    after = trainer.after_iteration

    def fail(number: int, batch: Any) -> None:
        if number == iteration:
            raise PowerCut
        after(number, batch)

    trainer.after_iteration = fail
    with suppress(PowerCut):
        trainer.run()


def write_scans(folder: Path) -> None:
    """Five scans with masks, the fourth of which is broken."""
    for number, orientation in enumerate(["LAS", "LPI", "oblique", "RAS", "LAS"]):
        volume, liver = make_scan(AFFINES[orientation])
        write_scan(folder / "scans" / f"c{number}.nii.gz", volume, AFFINES[orientation])
        write_scan(folder / "truth" / f"c{number}.nii.gz", liver, AFFINES[orientation])
    broken = folder / "scans" / "c3.nii.gz"
    broken.write_bytes(broken.read_bytes()[:300])


def start(folder: Path, count: int = 2) -> list[dict[str, Any]]:
    """Run ``main`` in ``count`` processes, as ``torchrun`` would; what came out of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(count):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.two_processes", str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    try:
        texts = [process.communicate(timeout=400)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process, text in zip(running, texts, strict=True):
        if process.returncode:
            raise AssertionError(f"a process ended with {process.returncode}:\n{text[-4000:]}")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
