"""Compiled passes in training: the same steps to rounding, never where a gradient is differentiated again."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch._dynamo.backends.debugging import aot_eager

from monai_semgan.engines import PhaseTrainer, StudentTrainer, SupervisedSliceTrainer
from monai_semgan.transforms import JointDiffAugment
from monai_semgan.utils import InputError
from monai_semgan.utils.checkpoint import load_checkpoint
from tests import tiny_student
from tests.tiny import make_batch, make_encoder_trainer, make_gan_trainer

AOT = {"compile_mode": "default", "compile_backend": "aot_eager"}


def make_student(output_dir: Path | None = None, **options: Any) -> StudentTrainer:
    torch.manual_seed(0)
    return tiny_student.make_trainer(output_dir=output_dir, **tiny_student.AT_ONCE, **options)


def make_gan(output_dir: Path | None = None, **options: Any) -> PhaseTrainer:
    """All phases, the features of the image critic as well."""
    options = {"perceptual_weight": 0.5, "mapping_learning_rate": 0.01, "augment": JointDiffAugment(), **options}
    return make_gan_trainer(output_dir, **options)


TRAINERS: dict[str, Callable[..., PhaseTrainer]] = {
    "gan": make_gan,
    "encoder": make_encoder_trainer,
    "student": make_student,
}
# torch hides this warning of its own from users, but not where warnings are errors
pytestmark = pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning")
every_trainer = pytest.mark.parametrize("name", TRAINERS)
# compiling takes most of a minute a training; the largest are on request
one_trainer_of_three = pytest.mark.parametrize(
    "name", ["encoder", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gan", "student"))]
)


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """Torch keeps what it has compiled for code, not for objects: these tests share it, others should not.

    A form too many would be run without the compiler and with a warning; here it is an error.
    """
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


class Counting:
    """The backend ``aot_eager`` that counts passes."""

    def __init__(self) -> None:
        self.graphs = self.calls = 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1
        run = aot_eager(graph, inputs)

        def counted(*values: Any) -> Any:
            self.calls += 1
            return run(*values)

        return counted


def history(trainer: PhaseTrainer) -> list[dict[str, float]]:
    """Train; terms and norms of the gradients of all phases, iteration by iteration."""
    rows: list[dict[str, float]] = []
    trainer.state.iteration = 0

    def note(engine: Any) -> None:
        norms = {f"{name} norm": value for name, value in engine.state.gradient_norms.items()}
        rows.append({**engine.state.output, **norms})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    return rows


def weights(trainer: PhaseTrainer) -> dict[str, torch.Tensor]:
    return {f"{k}.{n}": w.clone() for k, v in trainer.networks.items() for n, w in v.state_dict().items()}


def set_players(trainer: PhaseTrainer, players: Any) -> None:
    for name, network in trainer.networks.items():
        network.requires_grad_(name in players)
        network.zero_grad()


@every_trainer
def test_gradients_of_each_phase_are_those_of_plain_passes(name: str) -> None:
    """Element by element, from the same weights and random numbers: noise is drawn outside of what is compiled."""
    found = []
    for options in ({}, AOT):
        trainer = TRAINERS[name](**options)
        trainer.state.iteration = 1
        batch = trainer._to_device(make_batch())
        grads: dict[str, torch.Tensor] = {}
        for number, phase in enumerate(trainer.schedule):
            torch.manual_seed(number)
            trainer.shared = {}
            set_players(trainer, phase.players)
            grads |= {f"{phase.name} {k}": v for k, v in trainer._backward(phase, batch).items()}
            for player in phase.players:
                named = trainer.networks[player].named_parameters()
                grads |= {f"{phase.name} {player}.{n}": p.grad.clone() for n, p in named if p.grad is not None}
        found.append(grads)
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=2e-4, atol=2e-6, msg=lambda text, k=key: f"{k}: {text}")


@one_trainer_of_three
def test_a_training_takes_the_same_steps(name: str) -> None:
    """All phases, the lazy ones and the moving average; in no more forms of a network than torch compiles."""
    plain, backend = TRAINERS[name](), Counting()
    compiled = TRAINERS[name](compile_mode="default", compile_backend=backend)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8):  # its default
        found = history(compiled)
    for a, b in zip(history(plain), found, strict=True):
        assert b == pytest.approx(a, rel=2e-3, abs=1e-5)
    assert backend.calls > backend.graphs > 0
    assert compiled.skipped_steps == 0


def test_without_a_mode_nothing_is_asked_of_the_compiler() -> None:
    backend = Counting()
    plain, asked = make_gan(), make_gan(compile_backend=backend)
    assert history(plain) == history(asked)
    assert backend.graphs == 0
    assert asked.passes(asked.generator) is asked.generator
    before, after = weights(plain), weights(asked)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("phase", ["gan/r1_image", "gan/r1_joint", "gan/path_length", "gan/mapping"])
def test_what_is_differentiated_twice_is_never_compiled(phase: str) -> None:
    """The terms and gradients are those of plain passes bit for bit, and the compiler is never called."""
    backend, found = Counting(), []
    for options in ({}, {"compile_mode": "default", "compile_backend": backend}):
        trainer = make_gan(**options)
        trainer.memory = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
        (wanted,) = (p for p in trainer.schedule if p.name == phase)
        set_players(trainer, wanted.players)
        torch.manual_seed(0)
        terms = trainer._backward(wanted, make_batch())
        parameters = trainer.networks[wanted.players[0]].parameters()
        found.append([*terms.values(), *(p.grad for p in parameters if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 1
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert backend.graphs == backend.calls == 0


def test_a_compiled_pass_refuses_to_be_differentiated_twice() -> None:
    """So one that strays into such a phase would be noticed, and not give a wrong penalty."""
    trainer = make_gan(**AOT)
    image = make_batch()["labelled"]["image"].requires_grad_()
    score = trainer.passes(trainer.image_critic)(image).sum()
    (gradient,) = torch.autograd.grad(score, image, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.square().sum().backward()


@one_trainer_of_three
@pytest.mark.parametrize(("first", "then"), [({}, AOT), (AOT, {})], ids=["switched on", "switched off"])
def test_a_training_goes_on_with_another_mode(
    name: str, first: dict[str, Any], then: dict[str, Any], tmp_path: Path
) -> None:
    trainer = TRAINERS[name](tmp_path / "a", **first)
    until = 4 if name == "gan" else 2

    def stop(engine: Any) -> None:
        if engine.state.iteration == until:
            raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    state = load_checkpoint(tmp_path / "a" / "last.pt")
    fresh = TRAINERS[name]().training_state()
    assert state["extra"].keys() == fresh["extra"].keys()
    assert state["extra"]["ema"].keys() == fresh["extra"]["ema"].keys()
    for network, values in fresh["networks"].items():
        assert state["networks"][network].keys() == values.keys()

    changed, plain, loaded = TRAINERS[name](tmp_path / "a", **then), TRAINERS[name](), TRAINERS[name](**then)
    loaded.load_training_state(state)
    for key, value in weights(loaded).items():  # what is read is what was written, to the bit
        network, _, weight = key.partition(".")
        assert torch.equal(value, state["networks"][network][weight]), key
    changed.run()
    history(plain)
    assert changed.state.iteration == plain.state.iteration == changed.total_iterations
    other = weights(changed)
    for key, value in weights(plain).items():
        torch.testing.assert_close(other[key], value, rtol=0.02, atol=2e-3, msg=lambda text, k=key: f"{k}: {text}")


@every_trainer
def test_other_modes_are_explained(name: str) -> None:
    with pytest.raises(InputError, match="reduce-overhead, max-autotune"):
        TRAINERS[name](compile_mode="fast")


def test_no_generated_pairs_are_no_reason_to_compile() -> None:
    trainer = make_encoder_trainer(generated_fraction=0.0, **AOT)
    assert all("encoder/latent" not in row for row in history(trainer))


def test_a_trainer_without_compiled_passes_says_so() -> None:
    with pytest.raises(InputError, match="SupervisedSliceTrainer compiles nothing"):
        SupervisedSliceTrainer(
            "cpu", 1, 1, tiny_student.make_loader(), tiny_student.make_network(), compile_mode="default"
        )


def test_mixed_precision_is_that_of_plain_passes() -> None:
    """As far as bfloat16 goes."""
    found = []
    for options in ({}, AOT):
        found += history(make_encoder_trainer(mixed_precision=True, max_epochs=1, epoch_length=1, **options))
    assert found[1] == pytest.approx(found[0], rel=0.1, abs=0.02)


def train_with_inductor(name: str, mode: str, device: str = "cpu") -> None:
    """Compile for true and train; the first terms are those of plain passes to rounding."""
    plain = history(TRAINERS[name](device=device) if name != "student" else TRAINERS[name]())
    with warnings.catch_warnings():
        # of torch's own making, in what the compiler imports, and about precisions we do not ask for
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*TensorFloat32.*", category=UserWarning)
        options = {"device": device} if name != "student" else {}
        compiled = history(TRAINERS[name](compile_mode=mode, **options))
    assert len(compiled) == len(plain)
    for a, b in zip(plain, compiled, strict=True):
        assert b == pytest.approx(a, rel=0.02, abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler for inductor")
@every_trainer
def test_inductor_on_a_cpu(name: str) -> None:
    train_with_inductor(name, "default")


@pytest.mark.gpu
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("name", ["gan", "encoder"])
def test_inductor_on_a_gpu(name: str, mode: str) -> None:
    train_with_inductor(name, mode, "cuda")
