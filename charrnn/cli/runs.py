"""`charrnn runs`: the runs of a folder, and what became of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from charrnn.config.options import Group, Options
from charrnn.errors import CheckpointError
from charrnn.foreign import Schema, is_there, read, reason, shown
from charrnn.run.folder import METRICS, is_locked
from charrnn.run.schema import Config, Metrics, Status, read_rows

LOG = logging.getLogger(__name__)

COLUMNS = ("run", "corpus", "steps", "best loss", "state", "age")


class RunsOptions(Options):
    """List the runs of a folder, newest first.

    The columns are: corpus, steps done of all, best validation loss, state, and the time since the run last wrote
    anything. A run whose process has gone without a word has died: go on with --run-dir RUN --resume.

    Example: charrnn runs
    """

    folder: Annotated[Path, Group.ARGUMENTS] = Path("runs")
    """Where the runs are."""


def main(args: Sequence[str]) -> int:
    """Prints a table, and names in a warning each folder that is no whole run."""
    options = RunsOptions.from_args(args, "charrnn runs")
    runs = sorted(readable_runs(options.folder), reverse=True)
    if not runs:
        print(f"no runs in {options.folder}: start one with `charrnn train`, or name another folder")
        return 0
    now = time.time()
    table = [COLUMNS, *((*cells, age(now - written)) for written, cells in runs)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def readable_runs(parent: Path) -> Iterator[tuple[float, tuple[str, ...]]]:
    """When each run was last written to (seconds since 1970), and its cells of the table but the last."""
    try:
        folders = sorted(parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        folders = []
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(str(parent))}: {error.strerror}") from error
    for folder in folders:
        name = shown(str(folder))
        try:
            if folder.is_dir():
                yield describe(folder)
        except OSError as error:
            LOG.warning("%s: not begun yet, or no run: %s: %s", name, shown(str(error.filename)), error.strerror)
        except ValueError as error:
            LOG.warning("%s: damaged: %s", name, error)


def describe(folder: Path) -> tuple[float, tuple[str, ...]]:
    """When a run was last written to, and its cells; raises `OSError`, or `ValueError` naming the file at fault."""
    config, status = _read(Config, folder / "config.json"), _read(Status, folder / "status.json")
    metrics, written = folder / METRICS, status.time
    try:
        rows = read_rows(Metrics, metrics, while_written=True)
    except ValueError as error:
        raise ValueError(f"{METRICS}: {error}") from error
    if is_there(metrics):
        written = max(written, metrics.stat().st_mtime)
    losses = [row.val_loss for row in rows if row.val_loss is not None]
    died = status.state == "running" and not is_locked(folder)
    return written, (
        shown(folder.name),
        shown(" ".join(config.corpus)),
        steps(config, status.state, rows[-1]) if rows else "0",
        f"{min(losses):.4f}" if losses else "-",
        "died" if died else status.state,
    )


def _read(kind: type[Schema], path: Path) -> Schema:
    try:
        return read(kind, path, path.parent)
    except ValueError as error:
        raise ValueError(f"{path.name}: {reason(error)}") from error


def steps(config: Config, state: str, last: Metrics) -> str:
    """The steps done, of all; how many those are is known exactly only at the end, or where --max-steps says so."""
    if state == "finished" or not last.epoch:
        return f"{last.step}"
    return f"{last.step} of {config.max_steps or round(last.step * config.epochs / last.epoch)}"


def age(seconds: float) -> str:
    """A time in its largest unit."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
