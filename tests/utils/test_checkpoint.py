"""Checkpoints: nothing in them is run, damage is named, writing is all or nothing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_semgan.utils import InputError
from monai_semgan.utils.checkpoint import load_checkpoint, load_network, save_checkpoint


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_round_trip_of_tensors_and_plain_values(tmp_path: Path) -> None:
    state = {
        "a": torch.arange(3),
        "b": {"c": (1, 2.5, "x", None, True)},
        "d": [torch.ones(2, dtype=torch.bfloat16)],
    }
    save_checkpoint(state, tmp_path / "deep" / "state.pt")
    back = load_checkpoint(tmp_path / "deep" / "state.pt")
    assert torch.equal(back["a"], state["a"])
    assert back["b"] == state["b"]
    assert torch.equal(back["d"][0], state["d"][0])


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(how: str, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "model.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"model": Malicious(trap)}))
    else:
        torch.save({"model": Malicious(trap)}, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError, match=r"model\.pt cannot be read: got .*files that hold code are refused"):
        load_checkpoint(path)
    with pytest.raises(InputError):
        load_network(nn.Linear(2, 1), path)
    assert not trap.exists()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.95])
def test_a_truncated_file_is_named(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint({"model": torch.randn(1000)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError, match=r"last\.pt"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"no checkpoint at all", b"PK\x03\x04 half a zip"])
def test_something_else_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt"):
        load_checkpoint(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "no.pt")
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path)


def test_a_failing_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint({"a": 1}, path)

    def half(state: Any, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint({"a": 2}, path)
    assert load_checkpoint(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


class TestLoadNetwork:
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_plain_state_dict_or_one_under_model(self, wrapped: bool, tmp_path: Path) -> None:
        source = nn.Sequential(nn.Linear(2, 3), nn.Dropout())
        state = source.state_dict()
        save_checkpoint({"model": state, "iteration": 3} if wrapped else state, tmp_path / "model.pt")
        network = load_network(nn.Sequential(nn.Linear(2, 3), nn.Dropout()).train(), tmp_path / "model.pt")
        assert torch.equal(network[0].weight, source[0].weight)
        assert not network.training

    @pytest.mark.parametrize(
        ("other", "text"),
        [
            (nn.Linear(2, 5), r"weight: file \(5, 2\), network \(3, 2\)"),
            (nn.Linear(2, 3, bias=False), "missing bias"),
            (nn.BatchNorm1d(3), "not wanted running_mean"),
        ],
    )
    def test_another_architecture_is_told(self, other: nn.Module, text: str, tmp_path: Path) -> None:
        save_checkpoint(other.state_dict(), tmp_path / "model.pt")
        with pytest.raises(InputError, match=text):
            load_network(nn.Linear(2, 3), tmp_path / "model.pt")

    @pytest.mark.parametrize("state", [[1, 2], 3, {"model": {}}, {"weight": 1, "bias": 2}])
    def test_no_state_dict_at_all(self, state: Any, tmp_path: Path) -> None:
        save_checkpoint(state, tmp_path / "model.pt")
        with pytest.raises(InputError, match="tensors of Linear"):
            load_network(nn.Linear(2, 3), tmp_path / "model.pt")


def test_damage_is_told_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint({"a": torch.zeros(100)}, path)
    whole = path.read_bytes()
    for content, words in ((b"", "an empty file"), (whole[: len(whole) // 2], "a cut-off file"), (b"hi", "no PyTorch")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            load_checkpoint(path)


def test_the_state_of_a_training_is_not_taken_for_weights(tmp_path: Path) -> None:
    save_checkpoint({"networks": {}, "optimizers": {}}, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"got the state of a training; .*give model\.pt"):
        load_network(nn.Linear(1, 1), tmp_path / "last.pt")
