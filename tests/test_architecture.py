"""The architecture as tests: layers, rooms, names, and what no file may hold.

Files are read with `ast`; rooms are imported only to compare their names with those of MONAI.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "monai_semgan"
MAX_LINES = 400

NETWORKS = ("networks.layers", "networks.blocks", "networks.nets")
# Room -> the rooms it may import from. A room may always import from itself and from the package's root.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "utils": (),
    "networks.layers": ("utils",),
    "networks.blocks": ("utils", "networks.layers"),
    "networks.nets": ("utils", "networks.layers", "networks.blocks"),
    "networks": NETWORKS,
    "losses": ("utils",),  # a loss sees tensors, never networks
    "metrics": ("utils",),
    "transforms": ("utils",),
    "visualize": ("utils",),
    "data": ("utils", "transforms", "metrics", "losses", "visualize", "networks", *NETWORKS),
    # Networks are injected into inferers and engines, never built there; a loss is maths and may be imported.
    "inferers": ("utils", "transforms", "metrics", "losses", "visualize", "data"),
    "engines": ("utils", "transforms", "metrics", "losses", "visualize", "data", "inferers"),
    "handlers": ("utils", "transforms", "metrics", "losses", "visualize", "data", "inferers", "engines"),
}
BELOW_METHODS = tuple(MAY_IMPORT)
MAY_IMPORT["methods"] = BELOW_METHODS
MAY_IMPORT["apps"] = (*BELOW_METHODS, "methods")
MAY_IMPORT["__main__"] = (*BELOW_METHODS, "methods", "apps")

MONAI_NAMESPACES = (
    "data",
    "engines",
    "handlers",
    "inferers",
    "losses",
    "metrics",
    "networks.blocks",
    "networks.layers",
    "networks.nets",
    "transforms",
    "visualize",
)

MODULES = sorted(PACKAGE.rglob("*.py"))
ROOM_FILES = [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def dotted_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room of `monai_semgan.a.b.c`: two parts for networks, one elsewhere; None for the root."""
    parts = module.split(".")[1:]
    if not parts:
        return None
    return ".".join(parts[:2]) if parts[0] == "networks" else parts[0]


def imported_modules(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every module of this package that `tree` imports, at any depth, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == PACKAGE.name:
                    yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                here = module.split(".") if is_package else module.split(".")[:-1]
                base = here[: len(here) - node.level + 1]
                source = ".".join([*base, source] if source else base)
            if source.split(".")[0] == PACKAGE.name:
                # `from monai_semgan import data` and `from monai_semgan.networks import nets` name modules.
                for name in node.names:
                    inner = f"{source}.{name.name}"
                    folder = PACKAGE.parent / Path(*inner.split("."))
                    yield (
                        node.lineno,
                        inner if folder.is_dir() or folder.with_suffix(".py").is_file() else source,
                    )


def upward_imports(path: Path) -> list[str]:
    module = dotted_name(path)
    room = room_of(module)
    if room is None:
        allowed: set[str | None] = {"utils"}
    else:
        allowed = {room, None, *MAY_IMPORT[room]}
    found = imported_modules(parse(path), module, path.name == "__init__.py")
    return [f"{relative(path)}:{line} imports {name}" for line, name in found if room_of(name) not in allowed]


def test_every_module_stands_in_a_known_room() -> None:
    rooms = {room_of(dotted_name(path)) for path in MODULES} - {None}
    assert rooms <= set(MAY_IMPORT), f"rooms that the layer table does not know: {sorted(rooms - set(MAY_IMPORT))}"


def test_lower_layers_never_import_upper_ones() -> None:
    assert [line for path in MODULES for line in upward_imports(path)] == []


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("from ..engines import X", "monai_semgan.losses.a", False, "engines"),
        ("from ..blocks.style import X", "monai_semgan.networks.layers.a", False, "networks.blocks"),
        ("from . import a", "monai_semgan.losses", True, "losses"),
        ("def f():\n    import monai_semgan.apps.doctor", "monai_semgan.utils.a", False, "apps"),
    ],
)
def test_the_layer_check_resolves_imports(source: str, module: str, is_package: bool, expected: str) -> None:
    (found,) = imported_modules(ast.parse(source), module, is_package)
    assert room_of(found[1]) == expected


def declared_names(tree: ast.Module) -> bool:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return True
    return False


@pytest.mark.parametrize("path", ROOM_FILES, ids=relative)
def test_every_room_declares_its_public_names(path: Path) -> None:
    assert declared_names(parse(path)), "no __all__"


def own_names(namespace: str) -> dict[str, str]:
    """Public classes and functions of one MONAI namespace, without its submodules and foreign imports."""
    module = importlib.import_module(f"monai.{namespace}")
    return {
        name: namespace
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and str(getattr(value, "__module__", "")).startswith("monai")
    }


def test_public_names_do_not_clash_with_monai() -> None:
    theirs: dict[str, str] = {}
    for namespace in MONAI_NAMESPACES:
        theirs |= own_names(namespace)
    clashes = []
    for path in ROOM_FILES:
        room = importlib.import_module(dotted_name(path))
        for name in room.__all__:
            assert hasattr(room, name), f"{relative(path)}: __all__ names {name}, which is not there"
            if name in theirs and not inspect.ismodule(getattr(room, name)):
                clashes.append(f"{dotted_name(path)}.{name} hides monai.{theirs[name]}.{name}")
    assert clashes == []


def test_no_python_in_a_bundle() -> None:
    assert [relative(path) for path in (ROOT / "bundles").rglob("*.py")] == []


@pytest.mark.parametrize("folder", ["monai_semgan", "tests"])
def test_files_stay_short(folder: str) -> None:
    lengths = {
        relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def forbidden_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            if any(name.split(".")[0] in {"pickle", "cPickle", "dill", "cloudpickle"} for name in names):
                yield node.lineno, "imports a pickle module"
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in {"eval", "exec"}:
            yield node.lineno, f"calls {function.id}()"
        if isinstance(function, ast.Attribute) and function.attr == "load" and ast.unparse(function.value) == "torch":
            given = {keyword.arg: keyword.value for keyword in node.keywords}.get("weights_only")
            if not (isinstance(given, ast.Constant) and given.value is True):
                yield node.lineno, "calls torch.load without weights_only=True"


def test_nothing_runs_code_from_a_file() -> None:
    found = [f"{relative(path)}:{line} {what}" for path in MODULES for line, what in forbidden_calls(parse(path))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "eval('1')",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "from dill import loads",
    ],
)
def test_the_code_check_finds(source: str) -> None:
    assert list(forbidden_calls(ast.parse(source)))


@pytest.mark.parametrize("source", ["network.eval()", "torch.load(f, weights_only=True)", "json.load(f)"])
def test_the_code_check_allows(source: str) -> None:
    assert not list(forbidden_calls(ast.parse(source)))


def published_files() -> list[Path]:
    """Files that git tracks or would track; every file of the source folders where there is no git."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        paths = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        folders = [PACKAGE, ROOT / "tests", ROOT / "bundles", ROOT / "docs"]
        paths = [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*"))]
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]


def test_no_paths_of_one_machine() -> None:
    # Written in pieces so that this file does not find itself; "somebody" is a made-up user of tests.
    folders = (
        "work" + "/",
        "tmp" + "/[a-z]",
        "root" + "/",
        "home" + "/(?!somebody)[a-z]",
        "Users" + "/[A-Za-z]",
    )
    pattern = re.compile(r"(?<![\w.])/(?:" + "|".join(folders) + ")")
    found = []
    for path in published_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        lines = enumerate(text.splitlines(), start=1)
        found += [f"{relative(path)}:{number} {line.strip()[:100]}" for number, line in lines if pattern.search(line)]
    assert found == []
