"""The programs behind docs/why.md and docs/how-it-learns.md: what they say of the post's loop, and their pictures."""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import SMALL, make_text, run, train_here

ROOT = Path(__file__).parents[1]
PYTHON = [sys.executable]


@pytest.fixture
def text() -> str:
    """The spec of a text that has the characters of the pages' sentences."""
    Path("words.txt").write_text(string.printable + make_text(6_000), encoding="utf-8")
    return "files:words.txt"


def the_post(variant: str, text: str) -> dict[str, Any]:
    """What comes of some seconds of one variant of the post's loop, as a line of the results."""
    done = run(PYTHON, ROOT / "benchmarks" / "the_post.py", variant, text, "--seconds", "6")
    name = {"printed": "as printed"}.get(variant, variant)
    return {"name": name, "seconds": 6.0, "command": f"the_post.py {variant}", **json.loads(done.stdout)}


@pytest.mark.slow
def test_gradients_that_nobody_clears_grow_and_carry_the_weights_away(text: str) -> None:
    printed, cleared = the_post("printed", text), the_post("cleared", text)
    assert all(point["gradient"] > 3 * point["own_gradient"] for point in printed["trace"])
    assert all(point["gradient"] == point["own_gradient"] for point in cleared["trace"])
    assert printed["trace"][-1]["weights"] > 3 * cleared["trace"][-1]["weights"]
    Path("why.jsonl").write_text(f"{json.dumps(printed)}\n{json.dumps(cleared)}\n", encoding="utf-8")
    done = run(PYTHON, ROOT / "docs" / "why.py", "why.jsonl", ".", "--seconds", "6")
    assert f"| as printed | {printed['loss']:.4f} |" in done.stdout
    ladder = "".join(ElementTree.parse("why-ladder.svg").getroot().itertext())
    assert f"{cleared['loss']:.2f}" in ladder
    ElementTree.parse("why-gradient.svg")


@pytest.mark.slow
def test_how_it_learns_is_drawn_from_a_run(text: str) -> None:
    assert train_here("--corpus", text, *SMALL, "--max-steps", "60", "--tracker", "none", "--run-dir", "run") == 0
    figures = json.loads(run(PYTHON, ROOT / "docs" / "how_it_learns.py", "run", ".").stdout)
    for name in ("way", "windows", "memory", "detach", "nats", "temperature"):
        ElementTree.parse(f"learn-{name}.svg")
    first, *_, last = figures["without, windows 1, 10, 20, 40"]
    assert last["ms"] > 3 * first["ms"]
    assert "a second time" in figures["torch says"][0]
    assert "inplace operation" in figures["torch says"][1]
    cold, *_, hot = (dict(rows) for rows in figures["temperatures"].values())
    likeliest = next(iter(cold))
    assert cold[likeliest] > hot[likeliest]
