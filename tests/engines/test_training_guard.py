"""Steps that are not finite: left out, counted, diagnosed; and critics that have run away or won."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_semgan.engines import Phase, PhaseTrainer, TrainingDiverged
from monai_semgan.engines.training_guard import CriticWatch, TrainingGuard, all_finite
from monai_semgan.utils import InputError
from monai_semgan.utils.checkpoint import load_checkpoint


class OnePlayer(PhaseTrainer):
    """One network with batch normalisation; ``spoil`` names the iterations whose loss is not finite."""

    def __init__(self, spoil: Any = (), weight_decay: float = 0.0, **options: Any) -> None:
        self.spoil = set(spoil)
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        optimizers = {"network": torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=weight_decay)}
        loader = [{"labelled": {"image": torch.randn(4, 2)}}] * options.get("epoch_length", 12)
        defaults = {"device": "cpu", "max_epochs": 1, "epoch_length": 12, "checkpoint_every": 2}
        super().__init__(
            networks={"network": network}, optimizers=optimizers, train_data_loader=loader, **{**defaults, **options}
        )

    def phases(self) -> list[Phase]:
        return [Phase("s/net", ("network",), "network", self.fit)]

    def fit(self, batch: Any) -> dict[str, torch.Tensor]:
        factor = float("inf") if self.state.iteration - 1 in self.spoil else 1.0
        value = self.networks["network"](batch["labelled"]["image"] * factor).square().mean()
        return {"fit": value, "flat": torch.zeros(())}


def test_running_statistics_survive_a_bad_step() -> None:
    trainer = OnePlayer(spoil=[3])
    trainer.run()
    assert trainer.skipped_steps == 1
    assert all_finite(trainer.networks["network"].state_dict().values())
    assert trainer.guard.skipped == {"s/net": 1}


def test_the_number_of_bad_steps_is_a_metric() -> None:
    trainer = OnePlayer(spoil=[3, 4])
    trainer.run()
    assert trainer.state.metrics["skipped_steps"] == 2
    healthy = OnePlayer()
    healthy.run()
    assert "skipped_steps" not in healthy.state.metrics


def test_the_last_good_state_stays_and_the_report_says_what_was_seen(tmp_path: Path) -> None:
    trainer = OnePlayer(spoil=range(5, 12), output_dir=tmp_path, max_bad_steps=4)
    with pytest.raises(TrainingDiverged, match=r"phase s/net: 4 steps in a row .*s/net/fit; iteration 8.*last\.pt"):
        trainer.run()
    assert load_checkpoint(tmp_path / "last.pt")["iteration"] == 4  # 6 and 8 lie in the row
    report = json.loads((tmp_path / "diverged.json").read_text(encoding="utf-8"))
    assert (report["phase"], report["terms"], report["iteration"]) == ("s/net", ["s/net/fit"], 8)
    assert report["skipped_steps"] == {"s/net": 4}
    assert len(report["before"]) == 5
    assert report["parameters"]


def test_it_is_restarted_from_there_with_another_rate(tmp_path: Path) -> None:
    first = OnePlayer(spoil=range(5, 12), output_dir=tmp_path, max_bad_steps=4, settings={"learning_rate": 1.0})
    with pytest.raises(TrainingDiverged):
        first.run()
    with pytest.raises(InputError, match="size was None and is now 3"):
        OnePlayer(output_dir=tmp_path, settings={"learning_rate": 0.1, "size": 3}).run()
    again = OnePlayer(output_dir=tmp_path, settings={"learning_rate": 0.1})
    again.run()
    assert (again.state.iteration, again.skipped_steps) == (12, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["diverged_before.json", "last.pt"]
    with pytest.raises(InputError, match=r"learning_rate was 0.1 and is now 0.2"):
        OnePlayer(output_dir=tmp_path, settings={"learning_rate": 0.2}).run()


def test_broken_weights_are_never_kept(tmp_path: Path) -> None:
    trainer = OnePlayer(output_dir=tmp_path)

    def break_it(iteration: int, batch: Any) -> None:
        if iteration == 6:
            with torch.no_grad():
                trainer.networks["network"][0].weight[0, 0] = float("nan")

    trainer.after_iteration = break_it
    with pytest.raises(TrainingDiverged, match=r"not finite .terms: weights of network"):
        trainer.run()
    kept = load_checkpoint(tmp_path / "last.pt")
    assert kept["iteration"] == 6
    assert all_finite(kept["networks"]["network"].values())


def test_a_checkpoint_of_broken_weights_is_refused(tmp_path: Path) -> None:
    guard = TrainingGuard({"net": nn.Linear(1, 1)}, folder=tmp_path)
    guard.check_weights(3, tmp_path / "last.pt")
    nn.init.constant_(guard.networks["net"].weight, float("inf"))
    with pytest.raises(TrainingDiverged, match="weights of net; iteration 4"):
        guard.check_weights(4, tmp_path / "last.pt")


def test_a_healthy_training_is_not_changed_by_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = OnePlayer()
    guarded.run()
    monkeypatch.setattr(TrainingGuard, "before", lambda self: None)
    monkeypatch.setattr(TrainingGuard, "good", lambda self, *a: None)
    bare = OnePlayer()
    bare.run()
    for name, value in bare.networks["network"].state_dict().items():
        assert torch.equal(value, guarded.networks["network"].state_dict()[name])


class TestCritics:
    def feed(self, watch: CriticWatch, values: list[float], player: str = "image_critic", phase: str = "s/c") -> None:
        for value in values:
            watch.look(phase, (player,), {phase: value})

    def test_one_that_has_won_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        watch = CriticWatch()
        with caplog.at_level(logging.WARNING):
            self.feed(watch, [1.4] * 100 + [1e-4] * 900)
        assert len(watch.said) == len(caplog.records) == 1
        assert "the critic of phase s/c has won" in watch.said[0]

    def test_one_that_runs_away(self) -> None:
        watch = CriticWatch()
        self.feed(watch, [0.7] * 100 + [200.0] * 50)
        assert "runs away" in watch.said[0]

    def test_it_is_told_again_after_it_came_back(self) -> None:
        watch = CriticWatch()
        self.feed(watch, [1.4] * 100 + [1e-4] * 900 + [1.4] * 300 + [1e-4] * 900)
        assert len(watch.said) == 2

    @pytest.mark.parametrize(("player", "phase"), [("network", "s/c"), ("image_critic", "s/r1_image")])
    def test_others_are_not_judged(self, player: str, phase: str) -> None:
        watch = CriticWatch()
        self.feed(watch, [1.4] * 100 + [1e-4] * 900, player, phase)
        assert not watch.said

    def test_an_even_game_says_nothing(self) -> None:
        watch = CriticWatch()
        draw = torch.Generator().manual_seed(0)
        self.feed(watch, (1.0 + 0.8 * torch.rand(2000, generator=draw)).tolist())
        assert not watch.said
