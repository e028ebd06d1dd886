"""`charrnn runs`: the runs of a folder, and what became of each."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from charrnn.config.options import Group, Options
from charrnn.errors import CheckpointError
from charrnn.outside.foreign import Schema, as_dict, is_there, read, reason, shown
from charrnn.outside.printable import one_line
from charrnn.run.folder import METRICS, is_locked
from charrnn.run.quality import quality_of
from charrnn.run.schema import Config, Metrics, Status, read_rows

LOG = logging.getLogger(__name__)

COLUMNS = ("run", "corpus", "steps", "bits", "xz", "state", "age")
LEFT_OUT = ("corpus", "xz", "steps", "age")
"""The columns that a narrow terminal does without, in this order; the names of most runs say their corpus, too."""
BETWEEN = "  "
SHORTEST = 10
"""Characters of a corpus that are shown at least."""


class RunsOptions(Options):
    """List the runs of a folder, newest first.

    The columns are: corpus, steps done of all, the lowest loss on held-out text in bits a character, what xz needs of
    the same text after the training text, state, and the time since the run last wrote anything. A run that finished is
    "more time" where it was still learning, "by heart" where it had begun to learn its text by heart. A run whose
    process has gone without a word has died: go on with --run-dir RUN --resume. A terminal that is too narrow for all
    columns lacks some; a file has them.

    Example: charrnn runs
    """

    folder: Annotated[Path, Group.ARGUMENTS] = Path("runs")
    """Where the runs are."""


def main(args: Sequence[str]) -> int:
    """Prints a table, and names in a warning each folder that is no whole run."""
    options = RunsOptions.from_args(args, "charrnn runs")
    runs = sorted(readable_runs(options.folder), reverse=True)
    if not runs:
        print(f"no runs in {one_line(options.folder)}: start one with `charrnn train`, or name another folder")
        return 0
    now = time.time()
    table = [COLUMNS, *((*map(one_line, cells), age(now - written)) for written, cells in runs)]
    widths = {name: max(map(len, column)) for name, *column in zip(COLUMNS, *table, strict=True)}
    if sys.stdout.isatty():
        widths = narrowed(widths, shutil.get_terminal_size().columns)
    for row in table:
        cells = dict(zip(COLUMNS, row, strict=True))
        print(BETWEEN.join(fitted(cells[name], width) for name, width in widths.items()).rstrip())
    return 0


def narrowed(widths: Mapping[str, int], most: int) -> dict[str, int]:
    """The columns that fit a terminal, with their widths: the corpus is cut, then some are left out."""
    kept = dict(widths)

    def room() -> int:
        return most - sum(kept.values()) - len(BETWEEN) * (len(kept) - 1)

    kept["corpus"] = min(kept["corpus"], max(SHORTEST, kept["corpus"] + room()))
    for name in LEFT_OUT:
        if room() < 0:
            del kept[name]
    return kept


def fitted(cell: str, width: int) -> str:
    """A cell in the width of its column, cut if it has to be."""
    return cell.ljust(width) if len(cell) <= width else f"{cell[: width - 3]}..."


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
    died = status.state == "running" and not is_locked(folder)
    quality = quality_of(folder, list(map(as_dict, rows)), finished=status.state == "finished")
    state = quality.verdict.state if quality.verdict else status.state
    return written, (
        shown(folder.name),
        shown(" ".join(config.corpus)),
        steps(config, status.state, rows[-1]) if rows else "0",
        "-" if quality.bits is None else f"{quality.bits:.3f}",
        f"{quality.baselines.xz:.2f}" if quality.baselines else "-",
        "died" if died else state,
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
