"""The documentation names every flag and command, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from charrnn.cli import COMMANDS
from charrnn.config.presets import PRESETS
from charrnn.config.settings import TrainConfig
from tests.text.test_plugins import DOCUMENTED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("field", TrainConfig.model_fields)
def test_every_flag_of_training_is_documented(field: str) -> None:
    assert f"`--{field.replace('_', '-')}`" in read("docs/training.md")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_documented(preset: str) -> None:
    assert any(re.search(f"`(--preset )?{preset}`", page.read_text(encoding="utf-8")) for page in PAGES)


def test_no_flag_is_documented_that_is_not_there() -> None:
    table = re.findall(r"^\| `--([a-z-]+)`", read("docs/training.md"), re.MULTILINE)
    assert table
    assert set(table) <= {name.replace("_", "-") for name in TrainConfig.model_fields}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert any(f"charrnn {command}" in page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


SPOKEN_OF = [*PAGES, *(ROOT / "launch").iterdir(), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.ipynb")]


@pytest.mark.parametrize("page", dict.fromkeys(SPOKEN_OF), ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_installs_the_project_of_the_same_name(page: Path) -> None:
    """On the public index `charrnn` is somebody else's: only where that is said may it be named."""
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r".*\binstall(?:\s+-\S+)*\s+[\'\"]?charrnn(?![\w-]).*", text):
        assert "another project" in line or "Why not" in line
    assert "pypi.org/project/charrnn/" not in text
    assert not re.search(r"dependencies = \[[^]]*[\'\"]charrnn[^\w-]", text)  # of a plugin's pyproject.toml


def test_the_readme_shows_the_plugin_that_is_tested() -> None:
    assert DOCUMENTED["haiku.py"] in read("README.md")
