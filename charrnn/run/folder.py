"""The run folder: its lock, its configuration, the lines of metrics and samples, and the status others read."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from charrnn.errors import CheckpointError
from charrnn.outside.disk import acquire, flush, is_taken, to_json, way_to_free
from charrnn.text.store import discard

LOG = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
CONFIG = "config.json"
LEFTOVERS = (".*.tmp", ".seen-by-all-*")
"""What a killed job can leave half-written, or have meant for the other processes; nobody needs it."""
ABANDONED_SECONDS = 3600
"""After which a file that was never finished is one that a killed process has left."""
OF_A_START = (
    "config.json",
    "status.json",
    "vocab.json",
    METRICS,
    SAMPLES,
    "wandb.json",
    "wandb",
    "trackio",
    "tensorboard",
)
"""What a start writes, which may come to nothing in the middle of it."""


@contextmanager
def _one_line(path: Path, cannot: str = "cannot write") -> Iterator[None]:
    """Makes a `CheckpointError`, which names the file and the cause, of what a disk refuses."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{cannot} {path}: {reason}: mend that and start again") from error


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all, also after a power cut; a link is replaced, not followed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    for left in path.parent.glob(f".{escape(path.name)}.{'[0-9a-f]' * 8}.tmp"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
    try:
        with _one_line(path):
            with open(temporary, "x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            flush(path.parent)
    except CheckpointError:
        with suppress(OSError):  # what happened first is what there is to say
            temporary.unlink()
        raise


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file that is there whole or not at all."""
    write_text(path, to_json(value, indent=2) + "\n")


def new_run_folder(parent: Path, corpora: Iterable[str]) -> Path:
    """Makes a folder that no other run has, named after the time and the corpora."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(corpora)).strip("-")[:40]
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    for attempt in range(1, 1000):
        folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise CheckpointError(f"cannot make the run folder {folder}: {error.strerror}: use --run-dir") from error
        return folder
    raise CheckpointError(f"{parent} has a thousand runs of this second: use --run-dir")


def read_json(path: Path) -> dict[str, Any]:
    """The values of a JSON file that `write_json` wrote."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a file that does not exist has none."""
    if not path.exists():
        return []
    # Only a newline ends a row: text may hold other characters that Python counts as line ends.
    with open(path, encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file that are whole; `RunFolder.cut_back` says which are not."""
    return [row for row in _rows(path) if row is not None]


def _rows(path: Path) -> list[dict[str, Any] | None]:
    """The row of each whole line; ``None`` for one that is damaged."""
    rows: list[dict[str, Any] | None] = []
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():
        row = None
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
        rows.append(row if isinstance(row, dict) else None)
    return rows


def is_locked(folder: Path) -> bool:
    """Whether a job is using a run folder now."""
    return is_taken(folder / ".lock")


class RunFolder:
    """A run folder, and on the main process the lock that keeps other jobs out of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.begun = False
        self._lock: FileLock | None = None
        self._held = (0, 0)
        self._ours: list[Path] = []

    def open(self, *, resume: bool) -> None:
        """Takes the lock; raises `CheckpointError` for a folder in use, or a used one without ``resume``."""
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Not at once: `charrnn runs` may hold it for the moment in which it looks.
            acquire(lock, timeout=1)
            self._held = self._look()
            there = {path.name for path in self.path.iterdir()}
        except Timeout as error:
            advice = f"wait, or use another --run-dir{way_to_free(lock)}"
            raise CheckpointError(f"{self.path} is in use by another job: {advice}") from error
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"cannot use the run folder {self.path}: {reason}: use another --run-dir") from error
        self._lock = lock
        self._ours = [self.path / name for name in OF_A_START if name not in there]
        self.begun = (self.path / CONFIG).exists()
        try:
            self._take_over(resume)
        except BaseException:
            self.close()
            raise

    def _take_over(self, resume: bool) -> None:
        """Removes what a killed job left; raises `CheckpointError` if what is there cannot be gone on with."""
        if self.begun and not resume:
            raise CheckpointError(f"{self.path} holds a run already: add --resume, or use another --run-dir")
        remains = [*self.checkpoints.glob("[!.]*"), *(self.path / name for name in (METRICS, SAMPLES))]
        for remnant in remains if not self.begun else ():
            if remnant.is_dir() or (remnant.exists() and remnant.stat().st_size):
                raise CheckpointError(
                    f"{self.path} has no {CONFIG}, but of an earlier run {remnant.relative_to(self.path)}: bring the "
                    f'{CONFIG} back ("config" in the training.json of a checkpoint), or use another --run-dir'
                )
        if not self.begun:
            # Of a start that was killed, perhaps with other corpora or settings.
            self._discard_stores()
        for leftover in (path for pattern in LEFTOVERS for path in self.path.glob(pattern)):
            with suppress(OSError):
                leftover.unlink()

    def _discard_stores(self) -> None:
        for store in (self.path / "store", *self.path.glob("store-*")):
            discard(store)
        for work in self.path.glob("store*.building"):
            shutil.rmtree(work, ignore_errors=True)

    def _look(self) -> tuple[int, int]:
        """Which file the lock is: another one, if the folder was deleted and made again."""
        found = os.stat(self.path / ".lock")
        return found.st_dev, found.st_ino

    def require_held(self) -> None:
        """Raises `CheckpointError` if the folder is no longer the one that was locked: it may be another job's."""
        if self._lock is None:
            return
        try:
            found: tuple[int, int] | None = self._look()
        except OSError:
            found = None
        if found != self._held:
            raise CheckpointError(
                f"the run folder {self.path} was {'replaced' if found else 'deleted or moved'} while this job was "
                "training, which ends here and writes nothing more: start a new run in another --run-dir"
            )

    def last_step(self) -> int:
        """The last step of which there is a whole line of metrics; 0 if there is none."""
        path = self.path / METRICS
        with _one_line(path, "cannot read"):
            rows = whole_rows(path)
        steps = [row["step"] for row in rows if isinstance(row.get("step"), int)]
        return steps[-1] if steps else 0

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds a row to `METRICS` or `SAMPLES`, where others can read it at once."""
        self.require_held()
        line = to_json(row, ensure_ascii=False) + "\n"
        # Half a surrogate pair has no UTF-8; its backslash form is JSON's own escape.
        with (
            _one_line(self.path / name),
            open(self.path / name, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
        ):
            file.write(line)

    def lengths(self) -> dict[str, int]:
        """The files' lengths in bytes, on disk for good: what a checkpoint says they were."""
        self.require_held()
        lengths = {}
        for name in (METRICS, SAMPLES):
            with _one_line(self.path / name), open(self.path / name, "ab") as file:
                os.fsync(file.fileno())
                lengths[name] = file.tell()
        return lengths

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Takes off what was written after the checkpoint that says these lengths; with none, everything.

        Says which rows before it are lost or damaged.
        """
        self.require_held()
        for name in (METRICS, SAMPLES):
            path, length = self.path / name, lengths.get(name, 0)
            with _one_line(path):
                there = path.stat().st_size if path.exists() else 0
                if there > length:
                    os.truncate(path, length)
                elif there < length:
                    LOG.warning("%s is shorter than the checkpoint says: its earlier rows are lost", path)
                self._end_line(path)
                if damaged := [number for number, row in enumerate(_rows(path), 1) if row is None]:
                    numbers = ", ".join(map(str, damaged[:5])) + (" ..." if len(damaged) > 5 else "")
                    LOG.warning("%s has damaged rows before the checkpoint, which are left out: %s", path, numbers)

    def _end_line(self, path: Path) -> None:
        """Takes off the beginning of a row that is left, if other rows became longer or shorter; says so."""
        content = path.read_bytes() if path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
            LOG.warning("%s was changed since the checkpoint: its last row before it is lost", path)

    def write_status(self, state: str, **fields: object) -> None:
        """Writes status.json: ``state`` is running, finished, preempted or failed."""
        self.require_held()
        write_json(self.path / "status.json", {"state": state, "time": time.time(), **fields})

    def close(self, *, unused: bool = False) -> None:
        """Releases the lock, if it is held; a folder that came to nothing is removed if nothing else lies in it."""
        if self._lock is None:
            return
        with suppress(CheckpointError, OSError):
            self.require_held()  # another job's is not tidied up
            if unused and not self.begun:
                self._remove()
        self._lock.release()
        self._lock = None

    def _remove(self) -> None:
        """Removes what this start wrote, and the folder if nothing else lies in it."""
        self._discard_stores()
        for path in self._ours:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for lock in (*self.path.glob("store*.lock"), self.path / ".lock"):
            lock.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()
