"""The tables of methods and presets: what they name is there, and budgets are equal where they say so."""

from __future__ import annotations

import json

import pytest

from monai_semgan.apps.benchmark import BENCHMARK_METHODS, PRESETS, BenchmarkMethod, plan_cells, rows
from monai_semgan.apps.benchmark.plan import choose_methods, find_bundles
from monai_semgan.utils import InputError


@pytest.fixture
def plans(tmp_path, repository):
    bundles = find_bundles(repository / "bundles")
    methods, _ = choose_methods(None, bundles)
    return {
        name: plan_cells(methods, preset, {1: "split"}, [0], tmp_path, tmp_path, bundles)
        for name, preset in PRESETS.items()
    }  # fmt: skip


def test_presets_give_settings_that_the_bundles_have(plans):
    assert all(cells for cells in plans.values())  # plan_cells refuses a setting that is not there


@pytest.mark.parametrize("name", [preset.name for preset in PRESETS.values() if preset.timed])
def test_timed_methods_cost_the_same(plans, name):
    seconds = {cell.method.name: cell.seconds for cell in plans[name]}
    assert None not in seconds.values(), f"give these methods their seconds in rows.py: {seconds}"
    assert max(seconds.values()) / min(seconds.values()) < 1.02, seconds


def test_every_stage_of_a_timed_method_is_timed(repository):
    for method in BENCHMARK_METHODS.values():
        config = repository / "bundles" / method.bundle / "configs" / "train.json"
        if method.seconds and config.is_file():
            lengths = {name for name in json.loads(config.read_text(encoding="utf-8")) if name.endswith("iterations")}
            if "configs/student_only.json" in method.overlays:  # its run leaves the other stages out
                lengths = {"student_iterations"}
            assert lengths == set(method.seconds), method.name


def test_tables_are_keyed_by_their_own_names_and_know_each_other():
    assert all(name == method.name for name, method in BENCHMARK_METHODS.items())
    assert all(name == preset.name for name, preset in PRESETS.items())
    for preset in PRESETS.values():
        assert {*preset.methods, *preset.overlays} <= set(BENCHMARK_METHODS)
    assert {method.after for method in BENCHMARK_METHODS.values()} - {""} <= set(BENCHMARK_METHODS)


def test_row_names_are_unique_and_hold_the_reference():
    names = [name for method in BENCHMARK_METHODS.values() for name, _ in method.rows.values()]
    assert len(names) == len(set(names))
    assert rows.REFERENCE_ROW in names


def test_a_new_stage_makes_a_row_without_a_change_here():
    method = BenchmarkMethod("gan", "GAN", "bundle", {"encoder": ("gan_encoder", "GAN, encoder")})
    assert method.row("encoder") == ("gan_encoder", "GAN, encoder")
    assert method.row("student") == ("gan_student", "GAN, student")


def test_methods_are_found_in_the_order_of_the_tables():
    names = [method.name for method in rows.find_methods(["semantic_gan", "unet_plain"])]
    assert names == ["unet_plain", "semantic_gan"]
    assert rows.row_order("unet_plain", "unet_plain") < rows.row_order("semantic_gan", "semantic_gan_encoder")
    assert rows.row_order("semantic_gan", "semantic_gan_new") < rows.row_order("gone", "gone")


def test_unknown_names_are_told_with_the_known_ones():
    with pytest.raises(InputError, match="unet_randomised"):
        rows.find_methods(["unet"])
    with pytest.raises(InputError, match="quick"):
        rows.find_preset("fast")
