"""The documentation agrees with the code: links, names, commands and settings."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "monai_semgan"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "bundles").glob("*/docs/*.md")),
]
CONFIGS = ROOT / "bundles" / "ct_liver" / "configs"
MAIN_COMMAND = "python -m monai.bundle run --config_file bundles/ct_liver/train.json"
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@every_page
def test_links_and_their_anchors_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", read(page), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_index_lists_every_page() -> None:
    text = read(ROOT / "docs" / "README.md")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"]({page})" not in text] == []


def public_names(room: Path) -> list[str]:
    for node in ast.parse(read(room)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
    return []


@pytest.mark.parametrize(
    "room",
    [*sorted(PACKAGE.rglob("__init__.py")), PACKAGE / "methods.py"],
    ids=lambda room: room.relative_to(ROOT).as_posix(),
)
def test_reference_names_every_public_name(room: Path) -> None:
    text = read(ROOT / "docs" / "reference.md")
    assert [name for name in public_names(room) if f"`{name}`" not in text] == []


def test_main_command_is_in_readme_and_tutorial() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial.md"):
        assert any(block.strip().endswith(MAIN_COMMAND) for block in blocks(page, "bash")), page


@every_page
def test_python_blocks_compile_and_their_imports_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
                room = ROOT.joinpath(*(node.module or "").split("."), "__init__.py")
                assert {name.name for name in node.names} <= set(public_names(room)), node.module


def lookup(config: Any, path: str) -> bool:
    """Whether a configuration has the entry ``a#b#c``."""
    for key in path.split("#"):
        if not isinstance(config, dict) or key not in config:
            return False
        config = config[key]
    return True


def accepts(config: Any, path: str) -> bool:
    """Whether an override of ``a#b#c`` means something: an entry, or an argument of the object ``a#b``."""
    if lookup(config, path):
        return True
    parent, _, argument = path.rpartition("#")
    if not parent or not lookup(config, f"{parent}#_target_"):
        return False
    for key in parent.split("#"):
        config = config[key]
    return argument in inspect.signature(locate(config["_target_"])).parameters


def bundle_commands(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Configuration files and options of each bundle command of a page."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if "monai.bundle run" not in line:
                continue
            words = shlex.split(line.split("monai.bundle run", 1)[1])
            values = dict(zip(words[::2], words[1::2], strict=True))
            files = values.pop("--config_file")
            yield ast.literal_eval(files) if files.startswith("[") else [files], list(values)


@every_page
def test_options_of_bundle_commands_exist(page: Path) -> None:
    for files, options in bundle_commands(page):
        assert (ROOT / files[0]).is_file(), files[0]
        assert [file for file in files[1:] if "/" in file and not (ROOT / file).is_file()] == []
        config = json.loads(read(ROOT / files[0]))
        unknown = [name for name in options if not accepts(config, name.removeprefix("--"))]
        assert unknown == [], files[0]


def documented_defaults() -> dict[str, str]:
    """Setting to the default that the settings page gives."""
    table: dict[str, str] = {}
    for row in read(ROOT / "docs" / "how_to" / "bundle_overrides.md").splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        names = re.findall(r"`([^`]+)`", cells[0])
        if row.startswith("|") and names:
            defaults = cells[1].split(", ") if len(names) > 1 else [cells[1]]
            for name, default in zip(names, defaults, strict=False):
                table.setdefault(name, default.strip("`"))  # the first table is that of train.json
    return table


def test_settings_page_has_every_plain_value_with_its_default() -> None:
    table, wrong = documented_defaults(), {}
    for name, value in json.loads(read(CONFIGS / "train.json")).items():
        if isinstance(value, dict) or name in ("imports", "initialize", "run"):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        if name not in table or (not text.startswith("$") and table[name] != text):
            wrong[name] = f"documented {table.get(name)}, is {text}"
    assert wrong == {}


def test_overlays_name_values_that_exist() -> None:
    config = json.loads(read(CONFIGS / "train.json"))
    texts = blocks(ROOT / "docs" / "methods" / "semantic_gan.md", "json")
    texts += [read(file) for file in sorted(CONFIGS.glob("gpu_*.json"))]
    assert len(texts) >= 2
    for text in texts:
        assert [name for name in json.loads(text) if not accepts(config, name)] == []
