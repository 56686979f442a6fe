"""`.ci/run` runs what the README says, on nothing but a new environment, and passes its exit code on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def ci_run(tree: Path, readme: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/run` on a project that consists of this README alone."""
    (tree / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tree / ".ci" / "run")
    (tree / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run(["bash", str(tree / ".ci" / "run")], capture_output=True, text=True)


def marked(command: str) -> str:
    """A README whose second block of three is the marked one."""
    blocks = [
        "```bash\nexit 8\n```",
        f"<!-- test-command -->\n```bash\n{command}\n```",
        "```bash\nexit 9\n```",
    ]
    return "\n\n".join(["# x", *blocks]) + "\n"


@pytest.mark.slow
def test_a_forgotten_installation_fails(tmp_path: Path) -> None:
    # pytest runs this very test, so it is installed here: the new environment must not see it.
    finished = ci_run(tmp_path, marked("echo started && python -m pytest && echo never"))
    assert finished.returncode != 0
    assert "started" in finished.stdout
    assert "never" not in finished.stdout.splitlines()
    assert "No module named pytest" in finished.stderr


@pytest.mark.slow
def test_what_the_tree_already_holds_is_not_used(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    finished = ci_run(tmp_path, marked("test ! -e .venv && touch left-behind && exit 3"))
    assert finished.returncode == 3
    assert not (tmp_path / "left-behind").exists()
