"""What is called in place of a network: itself without a mode, else what torch has compiled, once."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from monai_semgan.utils import CompiledPasses, InputError
from monai_semgan.utils.compiled import CUDA_GRAPHS, MODES
from tests import tiny
from tests.tiny_student import make_network

pytestmark = pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Options of each call of torch's compiler, which makes something else of a network here."""
    found: list[dict[str, Any]] = []

    def compile_(function: Any, **options: Any) -> Any:
        found.append(options)
        return lambda *args: function(*args)

    monkeypatch.setattr(torch, "compile", compile_)
    return found


def test_without_a_mode_the_network_itself_is_called(compilations: list[Any]) -> None:
    passes, network, made = CompiledPasses(), nn.Linear(2, 2), torch.zeros(1)
    passes.begin()
    assert passes(network) is network
    assert passes.keep(made) is made
    assert compilations == []


@pytest.mark.parametrize("mode", MODES)
def test_each_network_and_method_is_compiled_once(mode: str, compilations: list[dict[str, Any]]) -> None:
    passes, critic, other = CompiledPasses(mode), tiny.make_image_critic(), nn.Linear(2, 2)
    image = torch.randn(2, 1, 16, 16)
    for _ in range(2):
        assert torch.equal(passes(critic)(image), critic(image))
        assert torch.equal(passes(critic.features)(image)[-1], critic.features(image)[-1])
    assert passes(critic) is passes(critic)
    assert passes(other) is not passes(critic)
    assert compilations == [{"backend": "inductor", "mode": mode, "dynamic": False}] * 3


def test_a_backend_for_tests_has_no_modes(compilations: list[dict[str, Any]]) -> None:
    CompiledPasses("reduce-overhead", "aot_eager")(nn.Linear(2, 2))
    assert compilations == [{"backend": "aot_eager", "mode": None, "dynamic": False}]


@pytest.mark.parametrize("mode", MODES)
def test_what_a_cuda_graph_would_write_over_is_copied(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    passes, pair = CompiledPasses(mode), (torch.ones(2), torch.zeros(2))
    passes.begin()
    kept, alone = passes.keep(pair), passes.keep(pair[0])
    pair[0].fill_(5)
    graphs = mode in CUDA_GRAPHS
    assert len(begun) == graphs
    assert kept[0].eq(1 if graphs else 5).all()
    assert alone.eq(1 if graphs else 5).all()


@pytest.mark.parametrize("mode", ["fast", "", "max-autotune-no-cudagraphs"])
def test_other_modes_are_explained(mode: str) -> None:
    with pytest.raises(InputError, match=r"compile_mode.*one of default, reduce-overhead, max-autotune"):
        CompiledPasses(mode)


def test_a_network_stays_as_it_was() -> None:
    """Names, copies and weights: what is compiled is kept beside it and sees every change."""
    network = tiny.make_image_critic()
    before, passes = list(network.state_dict()), CompiledPasses("default", "aot_eager")
    image = torch.randn(2, 1, 16, 16)
    passes(network)(image)
    assert list(network.state_dict()) == before
    average = copy.deepcopy(network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.1)
    torch.testing.assert_close(passes(network)(image), network(image))
    assert not torch.allclose(average(image), network(image))


@pytest.mark.parametrize("name", ["generator", "image critic", "joint critic", "encoder", "student"])
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_networks_are_one_graph(name: str, bfloat16: bool) -> None:
    """docs/how_to/gpu.md says so."""
    generator, image = tiny.make_generator(spatial_resolution=8), torch.randn(2, 1, 16, 16)
    latents = generator.sample_latents(2).detach().requires_grad_()
    network, inputs = {
        "generator": (generator, (latents, generator.make_noise(2), torch.randn(2, 8, 8, 8))),
        "image critic": (tiny.make_image_critic(), (image,)),
        "joint critic": (tiny.make_joint_critic(), (image, image)),
        "encoder": (tiny.make_encoder(generator), (image,)),
        "student": (make_network(3), (torch.randn(1, 1, 16, 16, 4),)),
    }[name]
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = torch._dynamo.explain(network)(*inputs)
    torch._dynamo.reset()
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


def test_the_compiler_is_imported_whatever_the_locale_has_become() -> None:
    """ITK's reader of DICOM sets it to ASCII, in which torch's templates cannot be read."""
    code = (
        "import locale, torch\n"
        "locale.setlocale(locale.LC_CTYPE, 'C')\n"
        "from monai_semgan.utils import CompiledPasses\n"
        "passes = CompiledPasses('default', backend='aot_eager')\n"
        "assert locale.setlocale(locale.LC_CTYPE) == 'C'\n"
        "x = torch.ones(1, 2, requires_grad=True)\n"
        "passes(torch.nn.Linear(2, 2))(x).sum().backward()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)
