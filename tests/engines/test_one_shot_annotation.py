"""Which image is annotated, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monai_semgan.data import Shots
from monai_semgan.engines import OneShotAnnotation, choose_medoids, draw_candidates
from monai_semgan.utils import InputError
from tests.tiny import make_bank
from tests.tiny_one_shot import DIM, make_one_shot, make_shots


def test_the_medoid_comes_first_and_the_next_stands_for_the_rest() -> None:
    cluster = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    far = torch.tensor([[100.0], [101.0], [102.0]])
    points = torch.cat([cluster, far])
    assert choose_medoids(cluster) == [2]
    chosen = choose_medoids(points, 2)
    assert chosen[0] == 3  # the middle of all (as 4 is), in the larger cluster
    assert chosen[1] == 6
    assert sorted(choose_medoids(points, 8)) == list(range(8))
    with pytest.raises(InputError, match="option shots: got 9; wanted 1 to 8"):
        choose_medoids(points, 9)


def test_candidates_depend_on_the_seed_alone() -> None:
    network = make_one_shot().generator
    latents, points = draw_candidates(network, 5, batch_size=2)
    assert latents.shape[0] == 5
    assert points.shape == (5, DIM)
    torch.testing.assert_close(points, network.project(latents, "fixed")[1].mean(dim=(2, 3)).detach())
    assert torch.equal(draw_candidates(network, 5, batch_size=2)[0], latents)


@pytest.mark.parametrize("spatial", [0, 8])
def test_a_real_slice_and_its_mask(spatial: int, tmp_path: Path) -> None:
    network, bank = make_one_shot(spatial_resolution=spatial), make_bank(6)
    bank.labels[:3] = 0
    stage = OneShotAnnotation(network, bank, output_dir=tmp_path / "annotation", settings={"seed": 0})
    shots = stage.run()
    (row,) = [i for i in range(6) if torch.equal(bank.images[i], shots.image[0])]
    assert row >= 3  # only these show the organ
    assert shots.source == [f"slice {row - 3} of b"]
    assert torch.equal(shots.label[0], bank.labels[row])
    latents, features = network.encoder(bank.images[row : row + 1])
    torch.testing.assert_close(shots.latents, latents.detach())
    assert (shots.spatial is None) == (features is None)
    assert (tmp_path / "annotation" / "shots.png").is_file()
    again = OneShotAnnotation(network, bank, output_dir=tmp_path / "annotation", settings={"seed": 0}).run()
    assert torch.equal(again.latents, shots.latents)
    with pytest.raises(InputError, match="another configuration"):
        OneShotAnnotation(network, bank, output_dir=tmp_path / "annotation", settings={"seed": 1}).run()


def test_a_class_that_no_slice_shows() -> None:
    network, bank = make_one_shot(num_classes=3), make_bank(6)
    with pytest.raises(InputError, match="class without a pixel: got 0 slices that show all of 2 classes"):
        OneShotAnnotation(network, bank, num_classes=3)
    with pytest.raises(InputError, match="no masks"):
        OneShotAnnotation(network, replace(bank, labels=None))
    with pytest.raises(InputError, match="option shots: got 0"):
        OneShotAnnotation(network, bank, shots=0)


def test_what_somebody_has_drawn(tmp_path: Path) -> None:
    network, bank, folder = make_one_shot(), make_bank(6), tmp_path / "drawn"
    shots = make_shots(network, 2)
    shots.save(folder / "shots.pt")
    stage = OneShotAnnotation(network, bank, annotation_dir=folder, output_dir=tmp_path / "annotation")
    assert torch.equal(stage.run().label, shots.label)
    changed = Shots(**{**vars(shots), "label": 1 - shots.label})
    changed.save(folder / "shots.pt")
    with pytest.raises(InputError, match="another mask than that of the training"):
        OneShotAnnotation(network, bank, annotation_dir=folder, output_dir=tmp_path / "annotation").run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "image without a mask.*one-shot read"),
        ({"label": torch.zeros(1, 1, 16, 16)}, "class without a pixel"),
        ({"generator": "other"}, "another generator's weights"),
    ],
)
def test_annotations_that_cannot_be_used(change: dict, message: str, tmp_path: Path) -> None:
    network = make_one_shot()
    Shots(**{**vars(make_shots(network)), **change}).save(tmp_path / "shots.pt")
    with pytest.raises(InputError, match=message):
        OneShotAnnotation(network, make_bank(6), annotation_dir=tmp_path).run()
    with pytest.raises(InputError, match="no such file"):
        OneShotAnnotation(network, make_bank(6), annotation_dir=tmp_path / "gone")
