"""Stage I of GSS: masks to codes and back, learned from masks alone (2303.11316)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.utils import one_hot
from torch import nn

from ..data import SliceBank
from ..utils.checkpoint import save_checkpoint
from ..utils.errors import InputError
from ..utils.files import write_json_atomic
from ..utils.processes import gather_batch, part_weight
from .phase_trainer import Phase, PhaseTrainer, Terms
from .schedule import warmup_cosine

__all__ = ["MaskTokenizerTrainer", "check_reconstruction", "class_weights", "reconstruction_dice"]

STAGE = "tokenizer"
RECONSTRUCTION_FILE = "reconstruction.json"
_AUTOENCODER = ("encoder", "decoder")
_RESTART_EVERY, _RESTART_UNTIL = 40, 0.7


@torch.no_grad()
def reconstruction_dice(tokenizer: nn.Module, bank: SliceBank, batch_size: int = 64) -> dict[int, float]:
    """Dice of each organ between masks and what the tokenizer makes of them: mean over the patients that show it.

    Args:
        tokenizer: ``MaskTokenizer`` of slices, or of volumes: then it sees all slices of a patient at once.
        bank: slices with masks.
        batch_size: slices at once.
    """
    device = next(tokenizer.parameters()).device
    classes = int(tokenizer.num_classes)
    hits = torch.zeros(len(bank), classes)
    totals = torch.zeros(len(bank), classes)
    parts = _slices(bank, batch_size) if tokenizer.spatial_dims == 2 else _volumes(bank, tokenizer.stride)
    for rows, label in parts:
        label = label.to(device)
        known = label < classes
        found = tokenizer(label).argmax(dim=1, keepdim=True)
        a, b = (one_hot(torch.where(known, x.long(), 0), classes).flatten(2) for x in (found, label))
        hits[rows], totals[rows] = (a * b).sum(-1).cpu(), (a.sum(-1) + b.sum(-1)).cpu()
    scores: dict[int, list[float]] = {}
    for case in dict.fromkeys(bank.cases):
        own = torch.tensor([name == case for name in bank.cases])
        shown = torch.isin(torch.arange(classes), bank.labels[own].unique().long().cpu())
        hit, total = hits[own].sum(0), totals[own].sum(0)
        for index in range(1, classes):
            if shown[index]:
                scores.setdefault(index, []).append(2.0 * float(hit[index]) / float(total[index]))
    return {index: sum(values) / len(values) for index, values in sorted(scores.items())}


def _slices(bank: SliceBank, batch_size: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Masks ``(B, 1, H, W)``, and the rows of the bank that they are."""
    for start in range(0, len(bank), batch_size):
        rows = slice(start, min(start + batch_size, len(bank)))
        yield rows, bank.labels[rows]


def _volumes(bank: SliceBank, stride: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """The mask ``(1, 1, H, W, D)`` of each patient, and the row of the first slice, where its counts are kept.

    D is completed with background to a multiple of the stride.
    """
    for case in dict.fromkeys(bank.cases):
        rows = [row for row, name in enumerate(bank.cases) if name == case]
        volume = bank.labels[rows].permute(1, 2, 3, 0)[None]
        yield slice(rows[0], rows[0] + 1), F.pad(volume, (0, -len(rows) % stride))


def class_weights(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Weights of the classes, ``(K,)``: one over the square root of their share, mean 1 over the pixels' classes.

    Without them small organs are a rounding error of the background.
    """
    counts = torch.bincount(label.flatten().long(), minlength=256)[:num_classes].double().clamp(min=1.0)
    share = counts / counts.sum()
    weight = share.rsqrt()
    return (weight / (share * weight).sum()).float()


def check_reconstruction(path: str | Path, gate: float) -> dict[str, Any]:
    """What stage I wrote about its tokenizer, if it is good enough to go on with.

    No prediction can be better than the tokenizer's reconstruction of the true mask.

    Args:
        path: ``reconstruction.json``.
        gate: smallest mean Dice over organs.

    Raises:
        InputError: no such file, or a tokenizer below the gate.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"Tokenizer in {path.parent}", got=f"no {path.name}", wanted="the result of a finished stage I",
            fix="train the tokenizer first",
        )  # fmt: skip
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["mean_dice"] < gate:
        worst = min(found["organs"], key=lambda name: found["organs"][name])
        raise InputError(
            f"Tokenizer in {path.parent}: it cannot give masks back well enough",
            got=f"a mean Dice of {found['mean_dice']:.3f} on {found['masks']} masks "
            f"(worst: class {worst} with {found['organs'][worst]:.3f})",
            wanted=f"{gate} or more",
            fix="train it for longer (--tokenizer_iterations) or with more codes (--num_codes) in another output_dir, "
            "take --palette one_hot, or, to go on in spite of it, lower --reconstruction_gate",
        )  # fmt: skip
    return found


class MaskTokenizerTrainer(PhaseTrainer):
    """Trains the tokenizer, and afterwards what its variant learns beside it.

    Phase ``autoencoder`` trains encoder, codebook and decoder in the colours given, where the paper has a network that
    was trained on pictures of the web:

        |D(E(X(c))) - X(c)|^2 + commitment + CE(nearest colour of D(E(X(c))), c).

    The first steps go without codes; then the codebook is drawn from the features, and codes that are not used are
    moved to what is reconstructed worst, until the codes may settle.

    Phase ``maskige`` (not of FF and FF-R) is the paper's stage I: encoder, codebook and decoder are frozen, and the
    colours X (TF, TT) and the inverse X^-1 (FT, FT-W, TT) step on ``CE(X^-1(D(E(X(c)))), c)``. The gradient passes the
    choice of codes by a hard Gumbel-softmax.

    Images in the batches are not looked at.

    Args:
        tokenizer: ``MaskTokenizer``.
        warp: random deformation ``(image, label) -> same`` (None: none).
        learning_rate: peak of AdamW in the first phase, with warm-up and cosine.
        maskige_learning_rate: in the second.
        maskige_iterations: length of the second phase, at the end of the stage; 0 for variants that learn nothing.
        continuous_iterations: steps before there are codes.
        ignore_index: label whose pixels have no class.
        bank: slices with masks of patients that nothing is learned from, for the reconstruction (None: none is made).
        gate: smallest mean Dice of it, see :func:`check_reconstruction`.
        labels: names of the organs, class 1 first (None: numbers).
        options: see :class:`PhaseTrainer`.

    On finishing, ``model.pt`` and ``reconstruction.json`` are written to ``output_dir``; ``run`` then raises below the
    gate.

    Raises:
        InputError: a tokenizer below the gate; iterations that do not fit the variant.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        tokenizer: nn.Module,
        warp: Callable | None = None,
        learning_rate: float = 3e-3,
        maskige_learning_rate: float = 2e-3,
        maskige_iterations: int = 0,
        continuous_iterations: int = 60,
        ignore_index: int | None = 255,
        bank: SliceBank | None = None,
        gate: float = 0.9,
        labels: Mapping[str, Any] | Sequence[str] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.tokenizer = tokenizer
        self.learns = [
            name for name, used in (("maskige", tokenizer.learns_palette), ("inverse", tokenizer.has_inverse)) if used
        ]
        first = max_epochs * epoch_length - maskige_iterations
        if first <= 0 or bool(self.learns) != bool(maskige_iterations):
            raise InputError(
                f"stage I of variant {tokenizer.variant}",
                got=f"{max_epochs * epoch_length} iterations, of which maskige_iterations {maskige_iterations}",
                wanted="maskige_iterations above 0 and below all" if self.learns else "maskige_iterations 0",
            )
        self.first_iterations, self.continuous_iterations = first, min(continuous_iterations, first // 2)
        self.warp = warp or (lambda image, label=None: (image, label))
        self.rates = {"autoencoder": learning_rate, "maskige": maskige_learning_rate}
        self.ignore_index, self.bank, self.gate = ignore_index, bank, gate
        self.labels = None if labels is None else list(labels)
        self.records: dict[str, float] = {}
        self.weights = torch.ones(tokenizer.num_classes)
        # by name, for the phases; the codebook is no player: it follows the features by its moving average
        networks = {name: getattr(tokenizer, name) for name in (*_AUTOENCODER, "quantizer", "maskige", "inverse")}
        optimizers = {"autoencoder": _adam([networks[name] for name in _AUTOENCODER], learning_rate)}
        if self.learns:
            optimizers["maskige"] = _adam([networks[name] for name in self.learns], maskige_learning_rate)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            networks=networks,
            optimizers=optimizers,
            output_dir=output_dir,
            **options,
        )

    def phases(self) -> Sequence[Phase]:
        stop = self.first_iterations
        plan = [Phase(f"{STAGE}/autoencoder", _AUTOENCODER, "autoencoder", self.reconstruct, stop=stop, clip=5.0)]
        if self.learns:
            plan.append(Phase(f"{STAGE}/maskige", self.learns, "maskige", self.refine, start=stop, clip=5.0))
        return plan

    def run(self) -> None:
        masks = getattr(self.data_loader, "masks", None)
        if masks is not None:
            self.weights = class_weights(masks, self.tokenizer.num_classes)
            path = self.checkpoint_path
            if not (path is not None and path.is_file()):
                self.tokenizer.arrange_colours(masks)
        self.weights = self.weights.to(self.state.device)
        super().run()
        if self.output_dir is not None and self.bank is not None:
            check_reconstruction(self.output_dir / RECONSTRUCTION_FILE, self.gate)

    # ---- the phases ----------------------------------------------------------------------------
    def reconstruct(self, batch: Any) -> Terms:
        """Encoder, codebook and decoder, in the colours as they are."""
        tokenizer, iteration = self.tokenizer, self.state.iteration - 1
        label = self.deform(batch)
        colours = tokenizer.maskige.encode(label)
        features = tokenizer.encode(label)
        if iteration == self.continuous_iterations:
            tokenizer.quantizer.initialise(features.detach())
        terms: Terms = {}
        quantised = features
        if iteration >= self.continuous_iterations:
            quantised, terms["commitment"], codes = tokenizer.quantizer(features)
            self.records["codes_used"] = float(len(gather_batch(codes).unique()))
        maskige = tokenizer.decode(quantised)
        terms["colour"] = F.mse_loss(maskige, colours)
        error = self.error(tokenizer.maskige(maskige), label)
        terms["class"] = self.mean(error, label)
        if self.restarts(iteration):
            at_codes = F.adaptive_avg_pool2d if error.ndim == 3 else F.adaptive_avg_pool3d
            where = at_codes(error.detach()[:, None], features.shape[2:])
            self.records["codes_restarted"] = float(tokenizer.quantizer.restart(features.detach(), where))
        return terms

    def refine(self, batch: Any) -> Terms:
        """Colours and inverse, with everything between them frozen."""
        tokenizer = self.tokenizer
        label = self.deform(batch)
        if tokenizer.learns_palette:
            chosen = F.gumbel_softmax(tokenizer.quantizer.similarity(tokenizer.encode(label)), hard=True, dim=1)
            features = tokenizer.expect(chosen)
        else:
            features = tokenizer.embed(tokenizer.tokenize(label))
        logits = tokenizer.classify(tokenizer.decode(features))
        return {"class": self.mean(self.error(logits, label), label)}

    def deform(self, batch: Any) -> torch.Tensor:
        part = batch["labelled"]
        return self.warp(part["image"], part["label"])[1]

    def error(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Weighted cross-entropy of each pixel, ``(B, H, W[, D])``; 0 where there is no class."""
        known = self.known(label)
        classes = torch.where(known, label, torch.zeros_like(label))[:, 0].long()
        return F.cross_entropy(logits, classes, weight=self.weights, reduction="none") * known[:, 0]

    def mean(self, error: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean over the pixels that have a class, of all processes' parts."""
        count = self.known(label).sum()
        return error.sum() / count.clamp(min=1) * part_weight(count)

    def known(self, label: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index

    def restarts(self, iteration: int) -> bool:
        """Whether unused codes are moved now."""
        after = iteration - self.continuous_iterations
        return after > 0 and after % _RESTART_EVERY == 0 and iteration < _RESTART_UNTIL * self.first_iterations

    # ---- bookkeeping ---------------------------------------------------------------------------
    def batch_size(self, batch: Any) -> int:
        return int(batch["labelled"]["label"].shape[0])

    def before_iteration(self, iteration: int, batch: Any) -> None:
        self.records = {}
        self.tokenizer.train(iteration < self.first_iterations)  # in training mode the codebook moves
        after = iteration - self.first_iterations
        steps = {"autoencoder": (iteration, self.first_iterations), "maskige": (max(0, after), self.rest)}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * warmup_cosine(*steps[name])

    @property
    def rest(self) -> int:
        """Length of the second phase."""
        return self.total_iterations - self.first_iterations

    def after_iteration(self, iteration: int, batch: Any) -> None:
        if self.tokenizer.learns_palette and iteration >= self.first_iterations:
            self.tokenizer.maskige.project()

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, float]:
        output = super()._iteration(engine, batchdata)
        return {**output, **{f"{STAGE}/{name}": value for name, value in self.records.items()}}

    def on_finished(self) -> None:
        """Write the tokenizer, and how well it gives back masks of patients that it has not seen."""
        self.tokenizer.eval()
        if self.output_dir is None:
            return
        if self.bank is not None:
            scores = reconstruction_dice(self.tokenizer, self.bank)
            if not scores:
                raise InputError("masks for the reconstruction", got="no organ", wanted="slices that show one")
            names = {index: self.labels[index - 1] if self.labels else str(index) for index in scores}
            write_json_atomic(
                self.output_dir / RECONSTRUCTION_FILE,
                {
                    "variant": self.tokenizer.variant,
                    "mean_dice": sum(scores.values()) / len(scores),
                    "organs": {names[index]: value for index, value in scores.items()},
                    "masks": len(set(self.bank.cases)),
                },
            )
        save_checkpoint(self.tokenizer.state_dict(), self.output_dir / "model.pt")


def _adam(modules: Sequence[nn.Module], rate: float) -> torch.optim.Optimizer:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
