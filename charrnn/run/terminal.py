"""Metrics and sample text to the terminal, or to a log file."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from charrnn.outside.output import takes_colors
from charrnn.outside.printable import one_line, printable

LOG = logging.getLogger(__name__)

# From the 256 colours every terminal has, those that read on white and on black.
HEADING, SAMPLE, PLAIN = "\033[1m", "\033[38;5;30m", "\033[0m"
COLUMNS = 80
"""Of a terminal that does not say how many it has."""
BAR = 30
"""Columns of the progress bar that its figures leave free: for the share that is done, and the time that is left."""


def duration(seconds: float) -> str:
    """A time such as 1h05m, 3m20s or 12s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


class Terminal:
    """What a person sees: a progress bar on a terminal, plain lines in a log file; nothing on other processes.

    Where it is gone, training goes on: the run folder has all of it.
    """

    def __init__(self, record: Path, *, shown: bool) -> None:
        self._record = record
        self._shown = shown
        self._missed: set[str] = set()
        self._bar: tqdm[Any] | None = None
        self._val_loss: float | None = None

    def begin(self, total_steps: int, step: int) -> None:
        """Starts the progress bar of a run at a step."""
        self._total = total_steps
        if self._shown and sys.stderr.isatty():
            form = "{percentage:3.0f}% {bar} {remaining} left  {desc}"
            self._bar = tqdm(total=total_steps, initial=step, bar_format=form, dynamic_ncols=True, smoothing=0.05)

    def say(self, line: str) -> None:
        """Prints a line."""
        self._write(one_line(line))

    def _write(self, text: str) -> None:
        if self._shown:
            tqdm.write(text)
            sys.stdout.flush()
            self._notice("standard output", getattr(sys.stdout, "lost", ""), LOG.warning)

    def advance(self) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.update()
            self._notice("standard error", getattr(sys.stderr, "lost", ""), self.say)

    def _notice(self, stream: str, reason: str, say: Callable[[str], None]) -> None:
        """Says once, on what is left, that a stream is gone."""
        if reason and stream not in self._missed:
            self._missed.add(stream)
            say(f"{stream} is gone ({reason}): training goes on, and {self._record} has its record")

    def progress(self, row: Mapping[str, Any], seconds_left: float | None) -> None:
        """The figures of a line of metrics."""
        bpc, speed = row["train_loss"] / math.log(2), row["chars_per_second"]
        if row["val_loss"] is not None:
            self._val_loss = row["val_loss"]
            self.say(f"epoch {row['epoch']:.2f}  validation loss {row['val_loss']:.4f}  bpc {row['val_bpc']:.4f}")
        if self._bar is not None:
            val_loss = "" if self._val_loss is None else f"val {self._val_loss:.3f}"
            loss, epoch = f"loss {row['train_loss']:.3f}", f"epoch {row['epoch']:.2f}"
            steps = f"step {row['step']:,}/{self._total:,}"
            figures = filter(None, (loss, val_loss, epoch, f"{speed:,.0f} chars/s", steps))
            self._bar.set_description_str("  ".join(_fitting(figures, _width(sys.stderr) - BAR)))
        else:
            self.say(
                f"step {row['step']}/{self._total}  epoch {row['epoch']:.2f}  loss {row['train_loss']:.4f}  "
                f"bpc {bpc:.3f}  {speed:,.0f} chars/s"
                + ("" if seconds_left is None else f"  {duration(seconds_left)} left")
            )

    def samples(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sample text, each under its temperature; on a terminal in a colour of its own, lines ended between words."""
        for row in rows:
            self._write(styled(f"--- epoch {row['epoch']:.2f}, temperature {row['temperature']:g} ---", HEADING))
            text = printable(f"{row['prompt']}{row['text']}".strip("\n"))
            self._write(styled(wrapped(text, _width(sys.stdout)) if sys.stdout.isatty() else text, SAMPLE))
        if rows:
            self._write(styled("---", HEADING))

    def end(self) -> None:
        """Leaves the progress bar as it is."""
        if self._bar is not None:
            self._bar.close()


def styled(text: str, style: str) -> str:
    """A text in a style, each line for itself, where standard output takes colours."""
    return re.sub("(?m)^.+$", rf"{style}\g<0>{PLAIN}", text) if takes_colors(sys.stdout) else text


def wrapped(text: str, width: int) -> str:
    """A text with no line longer than that, ended between words where it has any."""
    lines = (textwrap.wrap(line, width, replace_whitespace=False, break_on_hyphens=False) for line in text.split("\n"))
    return "\n".join("\n".join(line) for line in lines)


def _width(stream: TextIO) -> int:
    """The columns of a terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return COLUMNS


def _fitting(words: Iterable[str], width: int) -> Iterator[str]:
    """The first of some words, with two spaces between them, that fit in a width."""
    for word in words:
        width -= len(word) + 2
        if width < 0:
            return
        yield word
