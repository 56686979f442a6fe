"""From methods, labels and seeds to commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monai_semgan.apps.benchmark import BenchmarkMethod, Preset, plan_cells
from monai_semgan.apps.benchmark import rows as tables
from monai_semgan.apps.benchmark.dataset import choose_dataset, read_splits
from monai_semgan.apps.benchmark.plan import choose_methods, find_bundles, read_numbers, read_seeds
from monai_semgan.apps.command_line import read_bundle_command
from monai_semgan.utils import InputError
from tests.benchmark_cells import METHODS, PRESET, make_cells, two_methods, write_bundles

pytestmark = pytest.mark.usefixtures("two_methods")
__all__ = ["two_methods"]


def options(command: tuple[str, ...]) -> dict:
    """The command as the bundle reads it."""
    read = read_bundle_command(["monai/bundle/__main__.py", *command[3:]])
    assert read is not None
    return read.overrides


def test_every_method_labels_and_seed_once_side_by_side_as_early_as_can_be(tmp_path):
    cells = make_cells(tmp_path)
    assert len({cell.key for cell in cells}) == len(cells) == 8
    assert len({cell.folder for cell in cells}) == 8
    assert [cell.method.name for cell in cells[:2]] == ["plain", "two_stage"]
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4


def test_commands_say_everything_that_differs(tmp_path):
    first, second, *_ = make_cells(tmp_path)
    given = options(first.command)
    assert given == {
        "dataset_dir": str(Path("data").resolve()), "output_dir": str(first.output_dir), "labelled": 1, "seed": 0,
        "channels": [2], "iterations": 10,
    }  # fmt: skip
    assert options(second.command)["learning_rate"] == 0.1
    assert first.command[1:6] == ("-m", "monai.bundle", "run", "--config_file", "bundles/one/configs/train.json")


def test_overlays_are_merged_in_order(tmp_path):
    bundles = write_bundles(tmp_path)
    (bundles / "one" / "configs" / "large.json").write_text('{"iterations": 7}', encoding="utf-8")
    preset = Preset("large", "", {}, {}, overlays={"plain": ("configs/large.json",)})
    (cell,) = plan_cells([METHODS["plain"]], preset, {1: "s"}, [0], "data", tmp_path / "out", bundles)
    files = "['bundles/one/configs/train.json', 'bundles/one/configs/large.json']"
    assert cell.command[5] == files
    assert cell.settings["iterations"] == 7
    assert cell.seconds == pytest.approx(3.5)


def test_hash_is_of_what_is_learned_not_of_where(tmp_path):
    one = make_cells(tmp_path / "a")[0]
    assert make_cells(tmp_path / "b")[0].settings_hash == one.settings_hash
    others = [
        make_cells(tmp_path / "c", preset=dataclasses.replace(PRESET, options={"channels": [3]}))[0],
        make_cells(tmp_path / "d", labelled=(2,))[0],
        make_cells(tmp_path / "e", seeds=(5,))[0],
    ]
    write_bundles(tmp_path / "f", learning_rate=0.5)  # a default of the bundle
    others.append(make_cells(tmp_path / "f")[0])
    assert len({one.settings_hash, *(cell.settings_hash for cell in others)}) == 5


def test_estimates_are_seconds_of_an_iteration_times_iterations(tmp_path):
    plain, two_stage, *_ = make_cells(tmp_path)
    assert plain.seconds == pytest.approx(5.0)
    assert two_stage.seconds is None
    untimed = make_cells(tmp_path, preset=dataclasses.replace(PRESET, timed=False))
    assert all(cell.seconds is None for cell in untimed)


def test_a_method_built_on_another_gets_its_folder_and_waits_for_it(tmp_path, monkeypatch):
    student = BenchmarkMethod("student", "Student", "two", options={"network": "{after}/model.pt"}, after="plain")
    table = {"student": student, **METHODS}
    monkeypatch.setattr(tables, "BENCHMARK_METHODS", table)
    monkeypatch.setattr("monai_semgan.apps.benchmark.plan.BENCHMARK_METHODS", table)
    cells = {cell.key: cell for cell in make_cells(tmp_path, labelled=(1,), seeds=(0,))}
    assert list(cells)[-1] == "student/labelled1_seed0"
    cell = cells["student/labelled1_seed0"]
    assert cell.needs == "plain/labelled1_seed0"
    assert options(cell.command)["network"] == str(cells[cell.needs].output_dir / "model.pt")
    assert cell.settings["network"] == "plain/model.pt"


def test_absent_bundles_are_left_out_unless_they_were_asked_for(tmp_path, monkeypatch):
    bundles = write_bundles(tmp_path)
    absent = BenchmarkMethod("absent", "Absent", "three")
    monkeypatch.setattr(tables, "BENCHMARK_METHODS", {**METHODS, "absent": absent})
    methods, missing = choose_methods(None, bundles)
    assert ([method.name for method in methods], missing) == (["plain", "two_stage"], ["absent"])
    with pytest.raises(InputError, match="absent has no bundle"):
        choose_methods(["plain", "absent"], bundles)


def test_a_setting_that_the_bundle_lacks_is_refused(tmp_path):
    preset = dataclasses.replace(PRESET, methods={"plain": {"epochs": 3}})
    with pytest.raises(InputError, match="epochs"):
        make_cells(tmp_path, preset=preset)


def test_a_configuration_that_cannot_be_read(tmp_path):
    (write_bundles(tmp_path) / "one" / "configs" / "train.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.json cannot be read"):
        make_cells(tmp_path)


@pytest.mark.parametrize(("text", "seeds"), [("3", [0, 1, 2]), ("0,5", [0, 5]), ("7,", [7])])
def test_seeds_are_a_count_or_a_list(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1;4", "-1", "0"])
def test_bad_numbers(text):
    with pytest.raises(InputError, match="--labelled"):
        read_numbers("--labelled", text, least=1)


def test_bundles_are_looked_for(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    assert find_bundles() == repository / "bundles"
    own = write_bundles(tmp_path)
    assert find_bundles() == own
    with pytest.raises(InputError, match="bundles"):
        find_bundles(tmp_path / "nowhere")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_splits_are_hashed_for_each_number_of_labels(tmp_path):
    touch(tmp_path, *(f"ct/{kind}/c{n}.nii.gz" for kind in ("images", "labels") for n in range(4)))
    text = (
        '{"ct_train": ["c0", "c1"], "ct_val": ["c2"], "ct_test": ["c3"], "labelled": {"1": ["c0"], "2": ["c0", "c1"]}}'
    )
    (tmp_path / "splits.json").write_text(text, encoding="utf-8")
    splits = read_splits(tmp_path, [1, 2])
    assert list(splits) == [1, 2]
    assert splits[1] != splits[2]
    with pytest.raises(InputError, match="4 labelled"):
        read_splits(tmp_path, [1, 4])


def test_a_data_list_with_too_few_masks(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "m.nii.gz")
    text = '{"training": [{"image": "a.nii.gz", "label": "m.nii.gz"}], "test": [{"image": "b.nii.gz"}]}'
    (tmp_path / "datalist.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="at most the 1 training"):
        read_splits(tmp_path, [4])
    with pytest.raises(InputError, match="no test scan with a mask"):
        read_splits(tmp_path, [1])


def test_a_folder_without_fixed_splits(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz")
    with pytest.raises(InputError, match="no fixed splits"):
        read_splits(tmp_path, [1])


def test_no_phantom_is_made_for_somebody_elses_folder_or_for_a_look(tmp_path):
    assert choose_dataset(tmp_path / "mine", PRESET, tmp_path, tmp_path) == tmp_path / "mine"
    small = dataclasses.replace(PRESET, phantom_subjects=3)
    assert choose_dataset(None, small, tmp_path / "out", tmp_path, make=False) == tmp_path / "out" / "phantom"
    common = choose_dataset(None, PRESET, tmp_path / "out", tmp_path / "bundles", make=False)
    assert common == tmp_path / "bundles" / "ct_liver" / "data" / "phantom"
    assert list(tmp_path.iterdir()) == []
