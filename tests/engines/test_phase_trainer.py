"""The phase engine: order, schedules, frozen players, bad steps, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import nn

from monai_semgan.engines import Phase, PhaseTrainer, TrainingDiverged
from monai_semgan.utils import InputError


class TwoPlayers(PhaseTrainer):
    """Phase ``a`` in every iteration, ``b`` in every second one from the second to the fifth."""

    def __init__(self, plan: Callable[[TwoPlayers], list[Phase]] | None = None, **options: Any) -> None:
        self.plan = plan
        self.ran: list[tuple[int, str]] = []
        self.frozen: list[dict[str, bool]] = []
        self.bad: Callable[[int, str], float] = lambda iteration, phase: 1.0
        torch.manual_seed(0)
        networks = {"one": nn.Linear(2, 1), "two": nn.Linear(2, 1)}
        optimizers = {k: torch.optim.Adam(v.parameters(), lr=0.1) for k, v in networks.items()}
        defaults = {
            "device": "cpu",
            "max_epochs": 1,
            "epoch_length": 6,
            "train_data_loader": [{"labelled": {"image": torch.ones(3, 2)}}] * 6,
        }
        super().__init__(networks=networks, optimizers=optimizers, **{**defaults, **options})

    def phases(self) -> list[Phase]:
        if self.plan is not None:
            return self.plan(self)
        return [
            Phase("s/a", ("one",), "one", lambda b: self.play("a", b)),
            Phase("s/b", ("two",), "two", lambda b: self.play("b", b), every=2, start=1, stop=5),
        ]

    def play(self, name: str, batch: Any) -> dict[str, torch.Tensor]:
        iteration = self.state.iteration - 1
        self.ran.append((iteration, name))
        self.frozen.append({k: all(not p.requires_grad for p in v.parameters()) for k, v in self.networks.items()})
        image = batch["labelled"]["image"]
        both = sum(n(image).square().mean() for n in self.networks.values())
        noise = torch.rand(())
        factor = self.bad(iteration, name)
        return {"x": both * factor, "y": 0.1 * both * noise}


def test_a_phase_in_parts_makes_the_step_of_the_whole() -> None:
    def in_parts(trainer: TwoPlayers, batch: Any) -> Any:
        image = batch["labelled"]["image"]
        for row in image:
            yield {"x": trainer.networks["one"](row).square().mean() / len(image)}
            alive.append(trainer.networks["one"].weight.grad is not None)

    def at_once(trainer: TwoPlayers, batch: Any) -> Any:
        return {"x": trainer.networks["one"](batch["labelled"]["image"]).square().mean()}

    alive: list[bool] = []
    made = []
    for loss in (in_parts, at_once):
        trainer = TwoPlayers(lambda t, f=loss: [Phase("s/a", ("one",), "one", lambda b: f(t, b))])
        trainer.run()
        made.append((trainer.networks["one"].state_dict(), trainer.state.output, trainer.state.gradient_norms))
    assert len(alive) == 6 * 3
    assert all(alive)  # each part has gone back before the next one is made
    torch.testing.assert_close(made[0][0], made[1][0])
    assert made[0][1] == pytest.approx(made[1][1])
    assert made[0][2] == pytest.approx(made[1][2])


def test_gradients_of_the_phases_before_are_given_up() -> None:
    trainer = TwoPlayers()
    seen = []
    play = trainer.play
    trainer.play = lambda name, batch: (  # type: ignore[method-assign]
        seen.append([p.grad is None for n in trainer.networks.values() for p in n.parameters()]) or play(name, batch)
    )
    trainer.run()
    assert all(all(row) for row in seen)


def test_order_interval_start_and_stop() -> None:
    trainer = TwoPlayers()
    trainer.run()
    want = [(0, "a"), (1, "a"), (1, "b"), (2, "a"), (3, "a"), (3, "b"), (4, "a"), (5, "a")]
    assert trainer.ran == want


@pytest.mark.parametrize(
    ("phase", "due"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"every": 3}, [0, 3, 6]),
        ({"every": 3, "start": 2}, [2, 5]),
        ({"start": 2, "stop": 4}, [2, 3]),
        ({"stop": 0}, []),
    ],
)
def test_due(phase: dict[str, int], due: list[int]) -> None:
    made = Phase("p", (), "o", lambda batch: {}, **phase)
    assert [i for i in range(8) if made.due(i)] == due


def test_all_but_the_players_are_frozen() -> None:
    trainer = TwoPlayers()
    trainer.run()
    for (_, name), frozen in zip(trainer.ran, trainer.frozen, strict=True):
        assert frozen == {"one": name != "a", "two": name != "b"}


def test_a_phase_moves_its_players_only() -> None:
    trainer = TwoPlayers(lambda t: [Phase("s/a", ("one",), "one", lambda b: t.play("a", b))])
    before = {k: v.weight.detach().clone() for k, v in trainer.networks.items()}
    trainer.run()
    assert not torch.equal(trainer.networks["one"].weight, before["one"])
    assert torch.equal(trainer.networks["two"].weight, before["two"])
    assert trainer.networks["two"].weight.grad is None


def test_output_has_the_loss_and_every_term() -> None:
    outputs: list[dict[str, float]] = []
    trainer = TwoPlayers()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: outputs.append(dict(e.state.output)))
    trainer.run()
    assert outputs[0].keys() == {"s/a/x", "s/a/y", "loss"}
    assert outputs[1].keys() == {"s/a/x", "s/a/y", "s/b/x", "s/b/y", "loss"}
    for output in outputs:
        assert all(isinstance(v, float) for v in output.values())
        assert output["loss"] == pytest.approx(sum(v for k, v in output.items() if k != "loss"))


def test_the_loss_is_there_when_no_phase_is_due() -> None:
    trainer = TwoPlayers(lambda t: [Phase("s/a", ("one",), "one", lambda b: t.play("a", b), start=99)])
    trainer.run()
    assert trainer.state.output == {"loss": 0.0}
    assert isinstance(trainer.state.output["loss"], float)


def test_images_are_counted_from_the_unlabelled_part_if_there_is_one() -> None:
    trainer = TwoPlayers()
    trainer.run()
    assert trainer.state.images_seen == 6 * 3
    batch = {"labelled": {"image": torch.ones(3, 2)}, "unlabelled": {"image": torch.ones(5, 2)}}
    trainer = TwoPlayers(train_data_loader=[batch] * 6)
    trainer.run()
    assert trainer.state.images_seen == 6 * 5


def test_clipping_limits_the_step() -> None:
    def plan(clip: float | None) -> Callable[[TwoPlayers], list[Phase]]:
        return lambda t: [Phase("s/a", ("one",), "one", lambda b: t.play("a", b), clip=clip)]

    norms = []
    for clip in (None, 0.01):
        trainer = TwoPlayers(plan(clip))
        trainer.run()
        norms.append(torch.stack([p.grad.norm() for p in trainer.networks["one"].parameters()]).norm().item())
    assert norms[0] > 0.02
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


class TestBadSteps:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_bad_step_is_skipped_and_counted(self, bad: float) -> None:
        trainer = TwoPlayers(epoch_length=1)
        weight = trainer.networks["one"].weight.detach().clone()
        trainer.bad = lambda i, p: bad
        trainer.run()
        assert torch.equal(trainer.networks["one"].weight, weight)
        assert trainer.skipped_steps == 1
        assert all(v == v and abs(v) != float("inf") for v in trainer.state.output.values())

    def test_training_goes_on_after_it(self) -> None:
        trainer = TwoPlayers(max_bad_steps=2)
        trainer.bad = lambda i, p: float("nan") if i in (0, 2, 4) and p == "a" else 1.0
        trainer.run()
        assert trainer.skipped_steps == 3
        assert all(torch.isfinite(p).all() for n in trainer.networks.values() for p in n.parameters())

    def test_bad_gradients_alone_are_skipped(self) -> None:
        def root(t: TwoPlayers) -> list[Phase]:
            # finite at zero, with an infinite gradient
            return [Phase("s/a", ("one",), "one", lambda b: {"x": (t.networks["one"].weight * 0).abs().sqrt().sum()})]

        trainer = TwoPlayers(root, max_bad_steps=3)
        with pytest.raises(TrainingDiverged, match="gradient only"):
            trainer.run()
        assert torch.isfinite(trainer.networks["one"].weight).all()

    def test_too_many_in_a_row_stop_the_training_and_name_phase_and_term(self, tmp_path: Path) -> None:
        trainer = TwoPlayers(max_bad_steps=3, output_dir=tmp_path)
        trainer.bad = lambda i, p: float("nan")
        with pytest.raises(TrainingDiverged, match=r"phase s/a: 3 steps .*s/a/x.*last\.pt") as info:
            trainer.run()
        assert "s/a/y" not in str(info.value)

    def test_one_sick_phase_beside_healthy_ones_stops_it_too(self) -> None:
        """Otherwise a generator that never steps again would go unnoticed: its critics are fine."""
        trainer = TwoPlayers(
            lambda t: [
                Phase("s/a", ("one",), "one", lambda b: t.play("a", b)),
                Phase("s/b", ("two",), "two", lambda b: t.play("b", b)),
            ],
            max_bad_steps=3,
        )
        trainer.bad = lambda i, p: float("nan") if p == "b" else 1.0
        with pytest.raises(TrainingDiverged, match="phase s/b: 3 steps in a row"):
            trainer.run()
        assert trainer.ran[-1] == (2, "b")


class TestCheckpoints:
    def test_written_at_the_interval_and_at_the_end(self, tmp_path: Path) -> None:
        seen = []
        trainer = TwoPlayers(output_dir=tmp_path, checkpoint_every=2)
        save = trainer.save
        trainer.save = lambda: (seen.append(trainer.state.iteration), save())
        trainer.run()
        assert seen == [2, 4, 6]
        assert torch.load(tmp_path / "last.pt", weights_only=True)["iteration"] == 6

    def test_no_folder_no_files(self) -> None:
        trainer = TwoPlayers()
        trainer.run()
        assert trainer.checkpoint_path is None

    def test_a_write_that_fails_leaves_the_earlier_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer = TwoPlayers(output_dir=tmp_path)
        trainer.run()
        before = (tmp_path / "last.pt").read_bytes()

        def half(state: Any, path: Path) -> None:
            Path(path).write_bytes(b"half")
            raise OSError("no space left on device")

        monkeypatch.setattr(torch, "save", half)
        with pytest.raises(InputError, match=r"cannot be written.*the earlier checkpoint is whole"):
            trainer.save()
        assert (tmp_path / "last.pt").read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]

    def test_a_finished_training_returns_at_once(self, tmp_path: Path) -> None:
        TwoPlayers(output_dir=tmp_path).run()
        stamp = (tmp_path / "last.pt").stat().st_mtime_ns
        again = TwoPlayers(output_dir=tmp_path)
        again.run()
        assert again.ran == []
        assert (again.state.iteration, again.state.images_seen) == (6, 18)
        assert (tmp_path / "last.pt").stat().st_mtime_ns == stamp
        again.run()
        assert again.ran == []

    def test_the_result_is_written_before_the_stage_counts_as_finished(self, tmp_path: Path) -> None:
        """A kill between the two must not leave a finished stage without its result."""
        trainer = TwoPlayers(output_dir=tmp_path, checkpoint_every=1)

        def fail() -> None:
            raise OSError("no space")

        trainer.on_finished = fail
        with pytest.raises(OSError, match="no space"):
            trainer.run()
        assert torch.load(tmp_path / "last.pt", weights_only=True)["iteration"] == 5
        again = TwoPlayers(output_dir=tmp_path, checkpoint_every=1)
        again.run()
        assert again.ran[0][0] == 5

    def test_a_longer_training_goes_on(self, tmp_path: Path) -> None:
        TwoPlayers(output_dir=tmp_path).run()
        longer = TwoPlayers(output_dir=tmp_path, max_epochs=2)
        longer.run()
        assert [i for i, n in longer.ran if n == "a"] == list(range(6, 12))

    def test_other_settings_are_refused_by_name(self, tmp_path: Path) -> None:
        TwoPlayers(output_dir=tmp_path, settings={"size": 64, "seed": 0}).run()
        with pytest.raises(InputError, match=r"size was 64 and is now 128.*--output_dir") as info:
            TwoPlayers(output_dir=tmp_path, settings={"size": 128, "seed": 0}).run()
        assert "seed" not in str(info.value)

    def test_nested_settings_are_told_by_what_differs(self, tmp_path: Path) -> None:
        TwoPlayers(output_dir=tmp_path, settings={"net": {"size": 64, "dim": 8}, "datalist": "abc"}).run()
        with pytest.raises(InputError, match=r"net.size was 64 and is now 32, the lists of scans") as info:
            TwoPlayers(output_dir=tmp_path, settings={"net": {"size": 32, "dim": 8}, "datalist": "def"}).run()
        assert "dim" not in str(info.value)

    def test_a_folder_that_cannot_be_made_is_told_before_the_training(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        trainer = TwoPlayers(output_dir=tmp_path / "file")
        with pytest.raises(InputError, match="output folder"):
            trainer.run()
        assert trainer.state.iteration == 0

    def test_another_architecture_is_refused_readably(self, tmp_path: Path) -> None:
        TwoPlayers(output_dir=tmp_path).run()
        other = TwoPlayers(output_dir=tmp_path)
        other.networks["one"] = nn.Linear(5, 1)
        with pytest.raises(InputError, match=r"last\.pt, one: got weight: file \(1, 2\), network \(1, 5\)"):
            other.run()

    def test_a_damaged_checkpoint_is_named(self, tmp_path: Path) -> None:
        TwoPlayers(output_dir=tmp_path).run()
        data = (tmp_path / "last.pt").read_bytes()
        (tmp_path / "last.pt").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"last\.pt"):
            TwoPlayers(output_dir=tmp_path).run()


def test_a_trainer_without_phases_says_so() -> None:
    with pytest.raises(NotImplementedError, match="phases"):
        PhaseTrainer("cpu", 1, [{}], {}, {})


def test_mixed_precision_is_per_phase() -> None:
    seen = {}

    def plan(t: TwoPlayers) -> list[Phase]:
        def look(name: str, batch: Any) -> dict[str, torch.Tensor]:
            seen[name] = t.networks["one"](batch["labelled"]["image"]).dtype
            return t.play("a", batch)

        return [
            Phase("half", ("one",), "one", lambda b: look("half", b)),
            Phase("full", ("one",), "one", lambda b: look("full", b), full_precision=True),
        ]

    TwoPlayers(plan, mixed_precision=True, epoch_length=1).run()
    assert seen == {"half": torch.bfloat16, "full": torch.float32}


def test_random_numbers_are_left_as_they_were_found(tmp_path: Path) -> None:
    """What is built after a stage is the same whether the stage ran now or before an interruption."""
    after = []
    for _ in range(2):  # the second time it is finished
        trainer = TwoPlayers(output_dir=tmp_path)
        torch.manual_seed(7)
        trainer.run()
        after.append(nn.Linear(2, 1).weight)
    torch.manual_seed(7)
    assert len(trainer.ran) == 0
    assert torch.equal(after[0], after[1])
    assert torch.equal(after[0], nn.Linear(2, 1).weight)
