"""From tags to pixel labels: the stage, what it may say, and when it stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_semgan.data import UNKNOWN, OrganRoles, PseudoLabels
from monai_semgan.engines import LabelTransfer, fuse_labels
from monai_semgan.inferers import SelfDiffusion
from monai_semgan.utils import InputError
from tests.tiny_transfer import (
    ROLES,
    Bright,
    LowerRight,
    UpperLeft,
    make_classifier,
    make_network,
    make_tagged,
    make_truth,
)


def make_transfer(output_dir: Path | None = None, **options: Any) -> LabelTransfer:
    defaults: dict[str, Any] = {
        "banks": {"labelled": make_tagged(), "unlabelled": make_tagged(masks=False, seed=1)},
        "objects": Bright(), "segmenter": LowerRight(), "classifier": UpperLeft(), "diffusion": SelfDiffusion(steps=12),
        "settings": {"seed": 0},
    }  # fmt: skip
    return LabelTransfer(ROLES, output_dir=output_dir, **{**defaults, **options})


def test_labels_of_weak_organs_come_out_right(tmp_path: Path) -> None:
    make_transfer(tmp_path).run()
    labels = PseudoLabels.load(tmp_path / "labels.pt").labels["unlabelled"]
    truth = make_truth(seed=1).labels
    for c in (1, 2):
        overlap = ((labels == c) & (truth == c)).sum()
        assert 2 * overlap / ((labels == c).sum() + (truth == c).sum()) > 0.9
    assert labels.dtype == torch.uint8


@pytest.mark.parametrize("explain_away", [True, False])
def test_an_untagged_organ_is_never_labelled(explain_away: bool) -> None:
    torch.manual_seed(0)
    transfer = make_transfer(
        explain_away=explain_away, objects=make_network(1), segmenter=make_network(3), classifier=make_classifier()
    )
    image = torch.rand(6, 1, 32, 32)
    tags = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [0, 0], [1, 0]]) > 0
    for name in ("seeds", "diffused", "label"):
        label = transfer.maps_of(image, tags)[name]
        for row, shown in zip(label, tags, strict=True):
            assert set(torch.unique(row).tolist()) <= {0, UNKNOWN, *(c for c in (1, 2) if shown[c - 1])}


def test_shapes_and_ranges_of_the_maps() -> None:
    bank = make_tagged()
    rows, maps = next(iter(make_transfer(batch_size=5).maps(bank)))
    assert rows == slice(0, 5)
    for name, channels in {"objects": 1, "strong": 1, "gate": 2, "activation": 2, "evidence": 2, "label": 1}.items():
        assert maps[name].shape == (5, channels, 32, 32)
    assert maps["objects"].min() >= 0
    assert maps["objects"].max() <= 1
    assert (maps["activation"][~bank.tags[:5]] == 0).all()
    assert (maps["evidence"][~bank.tags[:5]] == 0).all()


def test_objects_do_not_depend_on_how_the_slice_is_laid() -> None:
    transfer = make_transfer(objects=make_network(1))
    transfer.networks["objects"].eval()
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        plain = transfer.object_map(image)
        torch.testing.assert_close(transfer.object_map(image.flip(-1)), plain.flip(-1))
        torch.testing.assert_close(transfer.object_map(image.rot90(1, (2, 3))), plain.rot90(1, (2, 3)))
        one = make_transfer(objects=transfer.networks["objects"], orientations=1, scales=[1.0]).object_map(image)
        torch.testing.assert_close(one, torch.sigmoid(transfer.networks["objects"](image)))


class SmallerThanNine(torch.nn.Module):
    """Finds what is brighter than the mean of nine pixels: of larger things the rim."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        around = torch.nn.functional.avg_pool2d(image, 9, stride=1, padding=4)
        return 40 * (image - around) - 4


def test_what_is_larger_than_all_strong_organs_is_found_where_it_is_shown_smaller() -> None:
    image = torch.full((1, 1, 32, 32), -1.0)
    image[..., 11:21, 11:21] = 1.0
    middle = {}
    for scales in ([1.0], [1.0, 0.5]):
        found = make_transfer(objects=SmallerThanNine(), scales=scales).object_map(image)
        middle[len(scales)] = float(found[..., 14:18, 14:18].min())
        assert found.shape == image.shape
        assert float(found[..., :8, :].max()) < 0.1
    assert middle[1] < 0.1
    assert middle[2] > 0.5


def test_masks_are_not_looked_at(tmp_path: Path) -> None:
    bank = make_tagged()
    other = replace(bank, labels=torch.zeros_like(bank.labels))
    results = []
    for number, labelled in enumerate((bank, other)):
        make_transfer(tmp_path / str(number), banks={"labelled": labelled, "unlabelled": None}).run()
        results.append(PseudoLabels.load(tmp_path / str(number) / "labels.pt").labels["labelled"])
    assert torch.equal(*results)


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    make_transfer(tmp_path).run()
    before = (tmp_path / "labels.pt").read_bytes()
    make_transfer(tmp_path, objects=Bright(-20.0)).run()
    assert (tmp_path / "labels.pt").read_bytes() == before
    with pytest.raises(InputError, match=r"labels of another configuration \(seed\)"):
        make_transfer(tmp_path, settings={"seed": 1}).run()


def test_the_report_counts_without_masks_of_weak_organs(tmp_path: Path) -> None:
    make_transfer(tmp_path).run()
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    bank = make_tagged(masks=False, seed=1)
    entry = report["banks"]["unlabelled"]
    assert entry["slices"] == len(bank)
    assert entry["disc"]["tagged_slices"] == int(bank.tags[:, 0].sum())
    assert 0 < entry["disc"]["labelled_slices"] <= entry["disc"]["tagged_slices"]
    assert report["object_share"] > 0


@pytest.mark.parametrize("scale", [-20.0, 0.0])
def test_a_collapsed_l_net_stops_the_stage(scale: float, tmp_path: Path) -> None:
    objects = Bright(scale)
    gate = (0.2, 3.0)
    with pytest.raises(InputError, match=r"objects found by L-Net: got .*it may have collapsed"):
        make_transfer(tmp_path, objects=objects, gate=gate).run()
    assert not (tmp_path / "labels.pt").exists()


def test_networks_of_the_stages_before(tmp_path: Path) -> None:
    torch.save(Bright(-3.0).state_dict(), tmp_path / "model.pt")
    transfer = make_transfer(checkpoints={"objects": tmp_path / "model.pt"})
    transfer.load_networks()
    assert transfer.networks["objects"].scale.item() == -3.0
    with pytest.raises(InputError, match="no such file"):
        make_transfer(checkpoints={"classifier": tmp_path / "gone.pt"}).load_networks()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orientations": 9}, "option orientations: got 9"),
        ({"scales": [1.0, 2.0]}, r"option scales: got \[1.0, 2.0\]"),
        ({"scales": []}, "option scales"),
        ({"object_threshold": 1.0}, "option object_threshold: got 1.0"),
        ({"reject_threshold": -0.1}, "option reject_threshold"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_transfer(**options)


def test_fusion_pixel_by_pixel() -> None:
    roles = OrganRoles({"a": 1, "b": 2, "c": 3}, ["b", "c"], ["a"])
    diffused = torch.tensor([1, 1, 0, 2, 2, UNKNOWN, UNKNOWN, 0]).reshape(1, 1, 1, 8).to(torch.uint8)
    strong = torch.zeros(1, 2, 1, 8)
    strong[0, :, 0] = torch.tensor([[0.9, 0, 0.9, 0.9, 0.1, 0.1, 0.1, 0.4], [0, 0, 0, 0, 0, 0.9, 0, 0.4]])
    label = fuse_labels(diffused, strong, roles)
    # weak wins, twice; strong, by one and by both; by diffusion alone; strong; nobody, and nobody for certain
    assert label.flatten().tolist() == [1, 1, 2, 2, UNKNOWN, 3, UNKNOWN, 0]
