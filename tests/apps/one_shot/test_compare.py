"""The comparison is paired, each way learns, and times are those of the parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from monai_semgan.apps.one_shot import LABELLERS, compare_labellers, time_labelling
from monai_semgan.apps.one_shot.compare import dice_of_organs, paired_table
from monai_semgan.apps.one_shot.labellers import make_labeller, pca_projector, random_projector
from monai_semgan.networks.nets import HiddenFeatureProjector
from monai_semgan.transforms import RandSliceAffine
from monai_semgan.utils import InputError
from tests.tiny import make_bank
from tests.tiny_one_shot import DIM, make_one_shot, make_projector_trainer


def bright(image: torch.Tensor) -> torch.Tensor:
    """An oracle: the organ is what is bright."""
    return torch.cat([torch.zeros_like(image), image * 50], dim=1)


@pytest.fixture(scope="module")
def network():
    made = make_one_shot()
    with torch.no_grad():
        made.generator.generator.constant.mul_(3)
        made.generator.projector.fit_statistics(make_projector_trainer(network=made).statistics_maps())
    return made.requires_grad_(False)


def test_every_way_is_scored_on_the_same_images(network, tmp_path: Path) -> None:
    summary = compare_labellers(
        network, bright, tmp_path, choices=2, images=8, steps=40, real=make_bank(6), least_pixels=5,
    )  # fmt: skip
    for where in ("generated", "real"):
        assert set(summary[where]) == set(LABELLERS)
        assert summary[where]["one_shot"]["difference"] == 0
        assert all(0 <= row["mean"] <= 1 for row in summary[where].values())
    with (tmp_path / "choices.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * len(LABELLERS)
    assert json.loads((tmp_path / "summary.json").read_text())["settings"]["choices"] == 2
    assert (tmp_path / "pictures.png").is_file()


def test_every_way_may_learn_from_moved_copies(network, tmp_path: Path) -> None:
    tables = []
    for warp in (None, RandSliceAffine(), RandSliceAffine()):
        folder = tmp_path / str(len(tables))
        summary = compare_labellers(
            network, bright, folder, choices=1, images=4, steps=5, labellers=("one_shot", "linear", "mlps_10"),
            least_pixels=5, warp=warp, copies=3,
        )  # fmt: skip
        assert summary["settings"]["moved_copies"] == (3 if warp is not None else 0)
        tables.append((folder / "choices.csv").read_text())
    assert tables[1] == tables[2]
    assert tables[0] != tables[1]


@pytest.mark.parametrize("name", ["one_shot", "raw", "linear", "mlps_10"])
def test_every_way_learns_what_it_is_shown(network, name: str) -> None:
    latents = network.generator.sample_latents(1, generator=torch.Generator().manual_seed(4))
    image, maps = network.generator.generator.hidden_features(latents, "fixed")
    label = (image > image.median()).long()
    labeller = make_labeller(name, {"one_shot": network.generator.projector}, 2)
    labeller.learning_rate = 0.02
    labeller.fit(maps, label, steps=120)
    assert float((labeller.predict(maps) == label).float().mean()) > 0.9
    if name == "mlps_10":
        first = labeller.first_member("mlp_1").predict(maps)
        assert float((first == label).float().mean()) > 0.85


def test_too_few_images_show_every_class(network, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 0 of 640 that show every class"):
        compare_labellers(network, lambda x: torch.cat([x * 0 + 1, x * 0], 1), tmp_path, choices=2)


def test_differences_are_paired() -> None:
    table = [{"one_shot": 0.5 + 0.1 * i, "other": 0.6 + 0.1 * i} for i in range(4)]
    row = paired_table(table)["other"]
    assert row["difference"] == pytest.approx(0.1)
    assert row["low"] == pytest.approx(0.1)
    assert (row["high"], row["better"]) == (pytest.approx(0.1), 4)


def test_absent_organs_do_not_count() -> None:
    overlap, total = torch.tensor([9.0, 3.0, 0.0]), torch.tensor([20.0, 8.0, 0.0])
    assert dice_of_organs(overlap, total) == pytest.approx(0.75)


def test_controls(network) -> None:
    base = network.generator.projector
    chance = random_projector(base, 3)
    assert torch.equal(chance.std, base.std)
    assert not torch.equal(chance.weight, base.weight)
    assert torch.equal(random_projector(base, 3).weight, chance.weight)
    latents = network.generator.sample_latents(4, generator=torch.Generator().manual_seed(0))
    maps = network.generator.generator.hidden_features(latents, "fixed")[1]
    pca = pca_projector(base, [maps])
    torch.testing.assert_close(pca.weight @ pca.weight.t(), torch.eye(DIM), atol=1e-4, rtol=0)
    variance = pca(maps).movedim(1, 0).flatten(1).var(dim=1)
    assert (variance.diff() < 0.05 * variance[0]).all()  # the first says most
    single = HiddenFeatureProjector(base.channels, base.resolutions, DIM)
    with pytest.raises(KeyError):
        make_labeller("nothing", {"one_shot": single}, 2)


def test_times() -> None:
    result = time_labelling(16, 8, channel_base=64, channel_max=8, feature_dim=4, repeats=2, warm_up=1)
    assert set(result["ms"]) == {"synthesis", "one_shot", "naive", "mlp_1", "mlps_10"}
    assert all(value > 0 for value in result["ms"].values())
    ms = result["ms"]
    ours = ms["synthesis"] + ms["one_shot"]
    assert result["ratio"]["mlps_10"] == pytest.approx((ms["synthesis"] + ms["mlps_10"]) / ours)
    assert result["parameters"]["generator"] > 0
    with pytest.raises(InputError, match="repeats 0"):
        time_labelling(16, 8, repeats=0)
