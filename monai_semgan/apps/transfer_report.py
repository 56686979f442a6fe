"""How good transferred labels are, step by step, where masks of the weak organs are known."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks.utils import eval_mode

from ..data import OrganRoles, SliceBank, TaggedSliceBank
from ..engines import LabelTransfer
from ..utils.checkpoint import load_network
from ..utils.files import make_output_folder, write_json_atomic
from ..utils.processes import is_first_process

__all__ = ["TransferReport", "organ_table"]

logger = logging.getLogger(__name__)
STEPS = {
    "objects": "objects that are no strong organ, in tagged slices",
    "activation": "class activation map, half of its peak",
    "seeds": "activation in objects",
    "diffused": "after self-diffusion",
    "label": "transferred labels",
    "network": "P-Net",
}


class TransferReport:
    """Scores every step from tags to the final network, at the size of the slices, and draws some of them.

    It comes after everything else and changes nothing: masks go into the scores and nowhere else.

    Written to ``output_dir``: ``scores.json`` (Dice, mean over the patients that show the organ, by bank, step and
    organ) and ``steps_<bank>.png``.

    Args:
        transfer: the labelling stage.
        banks: name -> slices with tags, of patients whose masks are known; None is left out.
        truth: name -> the same slices with all masks, in the same order.
        network: the final segmenter (None: it is left out).
        checkpoint: its ``model.pt`` (None: as it is).
        output_dir: folder for the results.
        run: optional ``ExperimentRun``.
        pictures: slices of a picture.

    Raises:
        ValueError: slices and masks do not belong together.
    """

    def __init__(
        self,
        transfer: LabelTransfer,
        banks: Mapping[str, TaggedSliceBank | None],
        truth: Mapping[str, SliceBank | None],
        network: torch.nn.Module | None = None,
        checkpoint: str | Path | None = None,
        output_dir: str | Path | None = None,
        run: Any = None,
        pictures: int = 5,
    ) -> None:
        self.transfer, self.roles = transfer, transfer.roles
        self.banks = {name: bank for name, bank in banks.items() if bank is not None}
        self.truth = {name: truth[name] for name in self.banks}
        for name, bank in self.banks.items():
            known = self.truth[name]
            if known is None or known.labels is None or list(known.cases) != list(bank.cases):
                raise ValueError(f"bank {name}: the masks are not those of its slices")
        self.network, self.checkpoint = network, checkpoint
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.experiment, self.pictures = run, pictures

    def run(self) -> dict[str, dict[str, dict[str, float]]]:
        """Score, draw and print; returns ``{bank: {step: {organ: Dice}}}``. Of several processes the first does."""
        if not is_first_process():
            return {}
        if self.output_dir is not None:
            make_output_folder(self.output_dir)
        self.transfer.load_networks()
        if self.network is not None:
            self.network.to(self.transfer.device)
            if self.checkpoint is not None:
                load_network(self.network, self.checkpoint)
        scores = {name: self.score(name) for name in self.banks}
        if self.output_dir is not None:
            write_json_atomic(self.output_dir / "scores.json", scores)
            for name in self.banks:
                try:
                    self.draw(name, self.output_dir / f"steps_{name}.png")
                except Exception as error:  # the numbers are on disk already
                    logger.warning("steps_%s.png could not be drawn: %s", name, error)
        if self.experiment is not None:
            self.experiment.log_metrics({
                f"transfer/{name}/{step}/{organ}": value
                for name, steps in scores.items() for step, organs in steps.items() for organ, value in organs.items()
            }, 0)  # fmt: skip
        print(self.table(scores), flush=True)
        return scores

    def score(self, name: str) -> dict[str, dict[str, float]]:
        """``{step: {organ: Dice}}`` of a bank; strong organs only where a step says something about them."""
        bank, truth = self.banks[name], self.truth[name].labels.cpu()
        found: dict[str, list[torch.Tensor]] = {step: [] for step in STEPS}
        for rows, maps in self.transfer.maps(bank):
            for step, masks in self.masks(maps, bank.tags[rows], bank.images[rows]).items():
                found[step].append(masks)
        scores: dict[str, dict[str, float]] = {}
        for step, parts in found.items():
            if not parts:
                continue
            masks = torch.cat(parts)
            organs = self.roles.names if step in ("label", "network") else self.roles.weak
            values = {
                organ: patient_dice(masks[:, index - 1 : index], truth == index, bank.cases)
                for organ, index in self.roles.classes.items()
                if organ in organs
            }
            scores[step] = {organ: value for organ, value in values.items() if value is not None}
        return scores

    @torch.no_grad()
    def masks(
        self, maps: Mapping[str, torch.Tensor], tags: torch.Tensor, images: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """What each step calls which organ, ``(B, organs, H, W)`` bool on the CPU."""
        classes = torch.arange(1, self.roles.num_classes)[None, :, None, None]
        activation = maps["activation"].cpu()
        peak = activation.flatten(2).amax(2)[:, :, None, None]
        free = maps["strong"].sum(1, keepdim=True).cpu() <= 0.5
        result = {
            "objects": (maps["objects"].cpu() > self.transfer.object_threshold) & free & tags[:, :, None, None],
            "activation": (activation >= 0.5 * peak) & (activation > 0),
        }
        result |= {step: maps[step].cpu() == classes for step in ("seeds", "diffused", "label")}
        if self.network is not None:
            result["network"] = self.segment(images) == classes
        return result

    def segment(self, images: torch.Tensor) -> torch.Tensor:
        """Classes ``(B, 1, H, W)`` by the final network, on the CPU."""
        with eval_mode(self.network):
            return self.network(images.float().to(self.transfer.device)).argmax(1, keepdim=True).cpu()

    def draw(self, name: str, path: Path) -> None:
        """A picture of slices spread over those that show the first weak organ."""
        from ..visualize import step_sheet  # matplotlib is slow to import

        bank, truth = self.banks[name], self.truth[name].labels.cpu()
        organ = self.roles.weak[0]
        index = self.roles.classes[organ]
        shows = torch.nonzero(bank.tags[:, index - 1]).flatten()
        if len(shows) == 0:
            return
        chosen = shows[torch.linspace(0, len(shows) - 1, self.pictures + 2)[1:-1].round().long().unique()]
        _, maps = next(iter(self.transfer.maps(bank, chosen[: self.transfer.batch_size])))
        chosen = chosen[: self.transfer.batch_size]
        steps = {
            "objects M": maps["objects"],
            f"activation: {organ}": maps["activation"][:, index - 1 : index],
            "diffused S": maps["evidence"][:, index - 1 : index],
            "transferred label": maps["label"],
        }
        if self.network is not None:
            steps["P-Net"] = self.segment(bank.images[chosen]).to(torch.uint8)
        steps["reference"] = truth[chosen]
        weak = ", ".join(self.roles.weak)
        step_sheet(bank.images[chosen].cpu(), steps, path, [bank.cases[int(i)] for i in chosen], f"weak: {weak}")

    def table(self, scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
        """The scores as text."""
        lines = []
        for name, steps in scores.items():
            lines.append(f"Dice at {self.banks[name].images.shape[-1]} px, {name} patients")
            head = ["step", *(f"{organ} ({self._role(organ)})" for organ in self.roles.names)]
            rows = [
                [STEPS[step], *(_number(found.get(organ)) for organ in self.roles.names)]
                for step, found in steps.items()
            ]
            lines += _aligned([head, *rows])
        return "\n".join(lines)

    def _role(self, organ: str) -> str:
        return "weak" if organ in self.roles.weak else "strong"


def patient_dice(found: torch.Tensor, wanted: torch.Tensor, cases: list[str]) -> float | None:
    """Mean Dice over the patients that show the organ; None if none does.

    Args:
        found, wanted: bool ``(N, 1, H, W)``, slices of all patients.
        cases: the patient of each slice.
    """
    scores = []
    for case in dict.fromkeys(cases):
        rows = torch.tensor([name == case for name in cases])
        f, w = found[rows], wanted[rows]
        if bool(w.any()):
            scores.append(2 * int((f & w).sum()) / int(f.sum() + w.sum()))
    return sum(scores) / len(scores) if scores else None


def organ_table(summary: Mapping[str, Any], roles: OrganRoles | None = None) -> str:
    """Mean Dice and HD95 of each organ, from the summary of a ``DomainEvaluation`` of several organs.

    Args:
        summary: what its ``run`` returns.
        roles: to say which organs are weak.
    """
    rows = [["domain", "organ", "n", "Dice", "HD95 mm"]]
    for domain, scores in summary["domains"].items():
        for organ, values in scores.get("organs", {}).items():
            role = f" ({'weak' if organ in roles.weak else 'strong'})" if roles is not None else ""
            dice, distance = values["dice"], values["hd95_mm"]
            rows.append([
                domain, organ + role, str(dice["n"]), _number(dice["mean"]), _number(distance["mean"], 1),
            ])  # fmt: skip
    return "\n".join(_aligned(rows)) if len(rows) > 1 else ""


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
