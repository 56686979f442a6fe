"""Packaging: what is declared, pinned, documented and shipped agrees."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import monai_semgan

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "monai_semgan"
BUNDLES = sorted(path.parent.parent for path in (ROOT / "bundles").glob("*/configs/metadata.json"))
ROOT_LINKS = ("train.json", "metadata.json", "logging.conf")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Beside the extra "label", with --no-deps (docs/how_to/monai_label.md).
INSTALLED_ALONE = {"monailabel", "pydicom-seg"}
# What `import X` is called on the package index, where the two differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "ignite": "pytorch-ignite",
    "jwt": "pyjwt",
    "yaml": "pyyaml",
}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    rows = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    found = {}
    for row in rows:
        (specifier,) = row.specifier
        assert specifier.operator == "==", f"{row} is not an exact version"
        assert "+" not in specifier.version, f"{row} names one build of one index"
        assert row.url is None, f"{row} names a place"
        found[canonicalize_name(row.name)] = specifier.version
    return found


def requirements(*extras: str) -> list[Requirement]:
    project = PYPROJECT["project"]
    rows = [
        *project["dependencies"],
        *(row for extra in extras for row in project["optional-dependencies"][extra]),
    ]
    return [Requirement(row) for row in rows]


def test_version_has_one_source() -> None:
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "monai_semgan.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", monai_semgan.__version__)
    assert f"## [{monai_semgan.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("requirement", requirements("test", "label"), ids=str)
def test_constraints_pin_what_is_required(requirement: Requirement) -> None:
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, "not in constraints.txt"
    assert requirement.specifier.contains(pinned), f"constraints.txt pins {pinned}"


@pytest.mark.parametrize("name", sorted({canonicalize_name(row.name) for row in requirements("test", "label")}))
def test_constraints_pin_what_those_require(name: str) -> None:
    # An open version two levels down is what makes a fresh installation differ from the tested one.
    try:
        needs = [Requirement(row) for row in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    applicable = [row for row in needs if row.marker is None or row.marker.evaluate({"extra": ""})]
    # torch's CUDA wheels bring NVIDIA's libraries at exact versions of their own; the CPU wheels bring none.
    own = [row for row in applicable if not row.name.startswith(("nvidia-", "cuda-", "triton"))]
    assert [row.name for row in own if canonicalize_name(row.name) not in pins()] == []


def test_constraints_name_no_place() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|@|^\s*-", text, flags=re.MULTILINE)


def test_every_import_is_a_declared_dependency() -> None:
    imported: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            imported |= {name.split(".")[0]: path.name for name in names}
    for module in [*sys.stdlib_module_names, PACKAGE.name]:
        imported.pop(module, None)
    declared = {canonicalize_name(row.name) for row in requirements("label")} | INSTALLED_ALONE
    unknown = {
        name: file
        for name, file in imported.items()
        if canonicalize_name(DISTRIBUTIONS.get(name, name)) not in declared
    }
    assert unknown == {}, "imported, but not a dependency in pyproject.toml"


def marked_command(marker: str) -> str:
    """The fenced block after `<!-- marker -->` in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^<!-- {marker} -->\n+```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"the README must have one block marked {marker}"
    return blocks[0].strip()


def test_readme_test_command_is_what_ci_runs() -> None:
    printed = subprocess.run(["bash", str(ROOT / ".ci" / "run"), "--print"], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == marked_command("test-command")


@pytest.mark.parametrize("marker", ["main-command", "test-command"])
def test_readme_commands_start_from_nothing(marker: str) -> None:
    steps = [step.strip() for step in marked_command(marker).split("&&")]
    assert steps[0] == "python3 -m venv .venv"
    assert steps[1] == ". .venv/bin/activate"
    assert steps[2].startswith("pip install -c constraints.txt -e ")
    assert len(steps) == 4


def test_readme_main_command_is_the_bundle_command() -> None:
    assert marked_command("main-command").endswith(
        "python -m monai.bundle run --config_file bundles/ct_liver/train.json"
    )


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *(ROOT / "bundles").glob("*/docs/*.md"),
    ],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
@pytest.mark.parametrize("name", ROOT_LINKS)
def test_bundle_root_shows_its_configs(bundle: Path, name: str) -> None:
    # `python -m monai.bundle run --config_file <bundle>/train.json` reads all three beside each other.
    assert (bundle / name).is_file(), "a link that leads nowhere, or a checkout without symbolic links"
    assert (bundle / name).read_bytes() == (bundle / "configs" / name).read_bytes()


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_bundle_has_what_the_model_zoo_asks_for(bundle: Path) -> None:
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf"):
        assert (bundle / name).is_file(), name
    assert (bundle / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_bundle_metadata_agrees_with_the_package(bundle: Path) -> None:
    meta = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert meta["version"] in meta["changelog"]
    named = {
        "monai": meta["monai_version"],
        "torch": meta["pytorch_version"],
        "numpy": meta["numpy_version"],
        **meta["required_packages_version"],
    }
    assert {name: pins()[canonicalize_name(name)] for name in named} == named
    # MONAI Label takes the first input and the first output, and its labels from channel_def.
    formats = meta["network_data_format"]
    assert next(iter(formats["inputs"])) == "image"
    assert next(iter(formats["outputs"])) == "pred"
    prediction = formats["outputs"]["pred"]
    assert prediction["num_channels"] == len(prediction["channel_def"])
    assert prediction["channel_def"]["0"] == "background"


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_bundle_logging_is_accepted_by_monai(bundle: Path) -> None:
    from monai.bundle.workflows import _reject_executable_logging_config

    _reject_executable_logging_config(str(bundle / "logging.conf"))  # raises when MONAI would refuse the file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from a copy: building in place would leave build/ behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    output = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", str(output), str(source)], check=True, capture_output=True, text=True)
    (built,) = output.glob("*.whl")
    return built


def test_wheel_holds_every_module(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")} | {"monai_semgan/py.typed"}
    assert expected - shipped == set()


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"monai_semgan", f"monai_semgan-{monai_semgan.__version__}.dist-info"}


def test_wheel_has_the_command_line(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "monai-semgan = monai_semgan.__main__:main" in archive.read(name).decode()
