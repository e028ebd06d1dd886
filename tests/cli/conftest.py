"""How the tests of commands call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.cli import main

Output = pytest.CaptureFixture[str]


def output(capsys: Output, *args: str | Path) -> str:
    """What a command writes that succeeds."""
    assert main(list(map(str, args))) == 0
    return capsys.readouterr().out


def error(capsys: Output, *args: str | Path) -> str:
    """The one line that a command fails with, before it has written anything."""
    assert main(list(map(str, args))) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err
