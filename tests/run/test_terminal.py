"""What training shows: on a terminal of any width, without colours where they are not wanted, and in a log file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.run.terminal import Terminal, wrapped
from tests.conftest import make_text

TEXT = make_text(300).replace("\n", " ")
ROW: dict[str, Any] = {"step": 1_234, "epoch": 1.5, "train_loss": 1.25, "val_loss": 1.5, "val_bpc": 2.164}
LATER = {**ROW, "step": 1_284, "epoch": 1.75, "train_loss": 1.2, "val_loss": None}
SAMPLE = {"epoch": 1.5, "temperature": 0.8, "prompt": "\n", "text": TEXT}


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def show() -> None:
    terminal = Terminal(Path("run"), shown=True)
    terminal.begin(100_000, 0)
    for row in (ROW, LATER):
        terminal.advance()
        terminal.progress({**row, "chars_per_second": 41_234.5}, 125.0)
    terminal.samples([SAMPLE])
    terminal.end()


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of so many columns gets."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    parts: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other side of a terminal is closed
            while part := os.read(ours, 1 << 16):
                parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(theirs, "w", encoding="utf-8") as stream:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        show()
    reader.join()
    os.close(ours)
    return b"".join(parts).decode()


def lines_of(text: str) -> Iterator[str]:
    """What was on a line at any time, without styles."""
    return (re.sub(r"\033\[[0-9;]*[mA]", "", line) for line in re.split(r"[\r\n]+", text))


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_all_fits_and_lines_of_samples_end_between_words(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(lines_of(shown(width, monkeypatch)))
    sample = lines[lines.index("--- epoch 1.50, temperature 0.8 ---") :]
    assert max(map(len, sample)) <= width
    words = " ".join(line for line in sample if not re.match(r"---|.*left|\s*$", line))
    assert words.split() == TEXT.split()
    assert max(len(line) for line in lines if "left" in line) <= width


@pytest.mark.parametrize(
    ("width", "figures"),
    [
        (60, "loss 1.200  val 1.500"),
        (100, "loss 1.200  val 1.500  epoch 1.75  41,234 chars/s"),
        (200, "loss 1.200  val 1.500  epoch 1.75  41,234 chars/s  step 1,284/100,000"),
    ],
)
def test_the_bar_has_the_last_validation_loss_and_what_else_there_is_room_for(
    width: int, figures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = [line for line in lines_of(shown(width, monkeypatch)) if "left" in line]
    assert bars[-1].rstrip().endswith(f"left  {figures}")


def test_samples_have_a_colour_line_by_line_unless_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    colored = shown(60, monkeypatch)
    styles = re.findall(r"(\033\[38;5;30m)[^\n]+?(\033\[0m)\r?\n", colored)
    assert len(styles) > 3
    assert "\033[1m--- epoch 1.50" in colored
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not re.search(r"\033\[[0-9;]*m", shown(60, patch))


def test_a_log_file_gets_plain_lines_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show()
    out = capsys.readouterr().out
    assert "\033" not in out
    assert f"--- epoch 1.50, temperature 0.8 ---\n{TEXT}\n---\n" in out
    assert "step 1284/100000  epoch 1.75  loss 1.2000  bpc 1.731  41,234 chars/s  2m05s left\n" in out


def test_wrapping_keeps_lines_indentation_and_words_that_are_too_long() -> None:
    assert wrapped("one two three\n\n    four five\nsixsixsix", 8) == "one two\nthree\n\n    four\nfive\nsixsixsi\nx"
