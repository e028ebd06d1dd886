"""Metrics and sample text to the terminal, or to a log file."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from charrnn.outside.printable import one_line, printable

LOG = logging.getLogger(__name__)


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

    def begin(self, total_steps: int, step: int) -> None:
        """Starts the progress bar of a run at a step."""
        self._total = total_steps
        if self._shown and sys.stderr.isatty():
            self._bar = tqdm(total=total_steps, initial=step, unit="step", dynamic_ncols=True, smoothing=0.05)

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
            self.say(f"epoch {row['epoch']:.2f}  validation loss {row['val_loss']:.4f}  bpc {row['val_bpc']:.4f}")
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"epoch {row['epoch']:.2f} loss {row['train_loss']:.4f} bpc {bpc:.3f} {speed:,.0f} chars/s"
            )
        else:
            self.say(
                f"step {row['step']}/{self._total}  epoch {row['epoch']:.2f}  loss {row['train_loss']:.4f}  "
                f"bpc {bpc:.3f}  {speed:,.0f} chars/s"
                + ("" if seconds_left is None else f"  {duration(seconds_left)} left")
            )

    def samples(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sample text, each under its temperature."""
        for row in rows:
            self.say(f"--- epoch {row['epoch']:.2f}, temperature {row['temperature']:g} ---")
            self._write(printable(f"{row['prompt']}{row['text']}".strip("\n")))
        if rows:
            self.say("---")

    def end(self) -> None:
        """Leaves the progress bar as it is."""
        if self._bar is not None:
            self._bar.close()
