"""Two processes with half of every batch each do what one process does with the whole of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from tests import two_processes
from tests.two_processes import JOBS, RESUMED, TRAINERS

Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    for folder in made.values():
        two_processes.write_scans(folder)
        two_processes.cut_training(folder / "resume", "gan", iteration=2)
        two_processes.cut_training(folder / "resume_tokenizer", "tokenizer", iteration=4)
    return made


@pytest.fixture(scope="module")
def one(folders: dict[str, Path]) -> Outcome:
    return {name: job(folders["one"]) for name, job in JOBS.items()}


@pytest.fixture(scope="module")
def two(folders: dict[str, Path]) -> list[Outcome]:
    """What came out of the first and of the second process."""
    return two_processes.start(folders["two"])


def flatten(state: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flatten(value, f"{prefix}/{key}").items()}
    if isinstance(state, (list, tuple)):
        return {k: v for i, value in enumerate(state) for k, v in flatten(value, f"{prefix}/{i}").items()}
    return {prefix: state}


def assert_close(wanted: Any, got: Any) -> None:
    """Equal to rounding; Adam makes more of it where a gradient is nearly 0, but far less than a step."""
    wanted, got = flatten(wanted), flatten(got)
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(got[name], value, rtol=1e-3, atol=5e-5, msg=lambda text, n=name: f"{n}: {text}")
        else:
            assert got[name] == pytest.approx(value), name


@pytest.mark.parametrize("name", [*TRAINERS, *RESUMED])
def test_the_weights_are_those_of_one_process(name: str, one: Outcome, two: list[Outcome]) -> None:
    """Networks, optimisers, averages, path length, codebooks, counters; ``resume``: begun with one process."""
    wanted = one[RESUMED.get(name, name)]["state"]
    for process in two:
        assert_close(wanted, process[name]["state"])


@pytest.mark.parametrize("name", TRAINERS)
def test_the_losses_are_those_of_the_whole_batch(name: str, one: Outcome, two: list[Outcome]) -> None:
    records = ("confidence/", "trusted/", "accuracy")  # of the own part alone, and only written down
    for key, value in one[name]["output"].items():
        if not any(part in key for part in records):
            assert [p[name]["output"][key] for p in two] == pytest.approx([value] * 2, rel=1e-3, abs=1e-5), key


def test_the_training_has_moved_the_weights(one: Outcome) -> None:
    """Or the comparison would say nothing."""
    trained, fresh = one["gan"]["state"]["networks"], two_processes.gan(Path("unused")).training_state()["networks"]
    moved = [
        float((trained[n][k] - fresh[n][k]).abs().max()) for n in fresh for k in fresh[n] if k.endswith("conv1.weight")
    ]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("name", TRAINERS)
def test_the_first_process_alone_writes(name: str, one: Outcome, two: list[Outcome]) -> None:
    assert two[0][name]["written"] == one[name]["written"]
    assert one[name]["written"]
    assert two[1][name]["written"] == []


def test_each_process_draws_for_itself_and_all_end_alike(two: list[Outcome]) -> None:
    first, second = (process["independent"] for process in two)
    for name in first:  # "objects" has running statistics of batch normalisation, "tokenizer" a codebook
        assert first[name]["draw"] != second[name]["draw"]
        a, b = flatten(first[name]["networks"]), flatten(second[name]["networks"])
        assert [k for k in a if not torch.equal(a[k], b[k])] == []


def test_a_gathered_batch_has_the_gradient_of_one_process(one: Outcome, two: list[Outcome]) -> None:
    wanted = one["exchange"]
    parts = [process["exchange"] for process in two]
    assert all(torch.equal(part["whole"], wanted["whole"]) for part in parts)
    torch.testing.assert_close(sum(part["gradient"] for part in parts), wanted["gradient"])
    assert [part["flags"].tolist() for part in parts] == [[True, False]] * 2


def test_gradients_numbers_and_statistics_are_averaged(two: list[Outcome]) -> None:
    for part in (process["exchange"] for process in two):
        assert part["mean"].tolist() == [1.5]
        assert part["used"].tolist() == [0.5, 0.5]
        assert part["partly"].tolist() == [0.5, 0.5]  # 1 here and none there
        assert part["unused"] is None  # its optimiser leaves it alone
        assert part["running_mean"].tolist() == [0.5, 0.5]
        assert part["weight"].tolist() == [1.0, 1.0]  # the first process's
        assert part["values"] == [{"rank": 0, "text": ""}, {"rank": 1, "text": "é"}]


def test_a_mean_over_unequal_parts(one: Outcome, two: list[Outcome]) -> None:
    parts = [process["exchange"] for process in two]
    assert sum(float(part["own_mean"]) for part in parts) / 2 == pytest.approx(1 / 3)  # of 0, 0 and 1
    assert [float(part["share"]) for part in parts] == pytest.approx([2 / 3, 4 / 3])
    assert float(one["exchange"]["share"]) == 1.0


def test_the_codes_were_drawn_moved_and_trained(one: Outcome, two: list[Outcome]) -> None:
    """Or the comparison of codebooks would say nothing."""
    fresh = two_processes.tokenizer(Path("unused")).training_state()["networks"]["quantizer"]["embedding.weight"]
    trained = one["tokenizer"]["state"]["networks"]["quantizer"]["embedding.weight"]
    assert float((trained - fresh).abs().amax(dim=1).min()) > 1e-3
    moved = [[row.get("tokenizer/codes_restarted", 0.0) for row in p["tokenizer"]["rows"]] for p in (one, *two)]
    assert sum(moved[0]) > 0
    assert moved[1:] == moved[:1] * 2


def test_the_first_process_goes_first(two: list[Outcome], folders: dict[str, Path]) -> None:
    assert (folders["two"] / "order.txt").read_text() == "0\n1\n"


@pytest.mark.parametrize("name", ["slices", "volumes", "real", "transfer"])
def test_a_batch_is_dealt_out(name: str, one: Outcome, two: list[Outcome]) -> None:
    """The parts are disjoint, and together they are the batch of one process."""
    for number in (0, 1):
        whole = flatten(one["parts"][name][number])
        first, second = (flatten(process["parts"][name][number]) for process in two)
        assert whole.keys() == first.keys() == second.keys()
        for key, value in whole.items():
            assert torch.equal(value[0::2], first[key]), key
            assert torch.equal(value[1::2], second[key]), key


def test_a_batch_that_cannot_be_dealt_out_is_refused(two: list[Outcome]) -> None:
    for process in two:
        assert "3 for 2 processes" in process["parts"]["odd"]
        assert "give a batch size of 4" in process["parts"]["odd"]


class TestScans:
    def test_each_process_has_its_own_and_failures_are_told_once(self, one: Outcome, two: list[Outcome]) -> None:
        assert [process["infer"]["names"] for process in two] == [["c0", "c2", "c4"], ["c1", "c3"]]
        assert two[0]["infer"]["message"].replace("/two", "/one") == one["infer"]["message"].replace("/two", "/one")
        assert "c3" in two[0]["infer"]["message"]
        assert two[1]["infer"]["message"] == ""

    def test_masks_and_tables_are_those_of_one_process(
        self, one: Outcome, two: list[Outcome], folders: dict[str, Path]
    ) -> None:
        wanted, got = (folders[name] / "masks" for name in ("one", "two"))
        names = sorted(path.name for path in wanted.iterdir())
        assert sorted(path.name for path in got.iterdir()) == names  # and no folder of parts is left
        for name in names:
            if name.endswith(".csv"):
                assert rows(got / name) == rows(wanted / name)
            else:
                assert np.array_equal(nib.load(got / name).get_fdata(), nib.load(wanted / name).get_fdata())

    def test_an_evaluation_is_put_together(self, one: Outcome, two: list[Outcome], folders: dict[str, Path]) -> None:
        summaries = [two_processes.json.loads(p["evaluate"]["summary"]) for p in (one, two[0])]
        for summary in summaries:
            summary.pop("not_scored")  # it names the file
        assert summaries[0] == summaries[1]
        assert two[1]["evaluate"]["summary"] == '{"domains": {}}'
        assert [bool(p["evaluate"]["message"]) for p in two] == [True, False]
        written = [sorted(p.name for p in (folders[name] / "scores").iterdir()) for name in ("one", "two")]
        assert written[0] == written[1]
        assert "overlays_ct.png" in written[1]  # drawn from the masks of both processes


def rows(path: Path) -> list[dict[str, str]]:
    """A table's rows by name, without the path that a message holds."""
    with path.open(newline="", encoding="utf-8") as stream:
        found = [{k: v for k, v in row.items() if k != "message"} for row in csv.DictReader(stream)]
    return sorted(found, key=lambda row: (row["case"], int(row.get("slice") or 0)))


def test_the_first_makes_the_slices_and_the_others_find_them(one: Outcome, two: list[Outcome]) -> None:
    assert one["kept"]["made"] == 1
    assert [process["kept"]["made"] for process in two] == [1, 0]
    assert all(torch.equal(process["kept"]["images"], one["kept"]["images"]) for process in two)
