"""The picture of the rooms is that of the code, and each room says in one sentence what it is for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import run

ROOT = Path(__file__).parents[1]
ROOMS = sorted(path.parent for path in (ROOT / "charrnn").glob("*/__init__.py"))
COMMAND = ROOT / "charrnn" / "cli"
"""The one room whose own module is more than a sentence: it is the console command."""


def test_the_picture_is_drawn_from_the_code() -> None:
    run([sys.executable, str(ROOT / "docs/rooms.py")], "rooms.svg")
    drawn = Path("rooms.svg").read_text(encoding="utf-8")
    shown = set("".join(ElementTree.fromstring(drawn).itertext()).split())
    assert {f"{room.name}/" for room in ROOMS} <= shown
    assert drawn == (ROOT / "docs/rooms.svg").read_text(encoding="utf-8"), "run: python docs/rooms.py docs/rooms.svg"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_in_one_sentence_what_it_is_for(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert re.fullmatch(r"(?!.*[.!?]\s)\S.*\.", ast.get_docstring(tree, clean=False) or "", re.DOTALL)
    assert len(tree.body) == 1 or room == COMMAND


def test_the_distribution_names_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    there = [
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for name, folder in settings["package-dir"].items()
        for path in (ROOT / folder).rglob("__init__.py")
    ]
    assert sorted(settings["packages"]) == sorted(there)
