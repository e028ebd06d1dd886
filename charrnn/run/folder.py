"""The run folder: its lock, its configuration, the lines of metrics and samples, and the status others read."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from charrnn.errors import CheckpointError
from charrnn.text.store import discard

LOG = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    # A name that nobody can guess, and a file that is new: a link that lies in the folder is not written through.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file that is there whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


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


def is_locked(folder: Path) -> bool:
    """Whether a job is using a run folder now."""
    lock = folder / ".lock"
    try:
        with FileLock(lock, blocking=False) if lock.exists() else nullcontext():
            return False
    except Timeout:
        return True


class RunFolder:
    """A run folder, and on the main process the lock that keeps other jobs out of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.begun = False
        self._lock: FileLock | None = None

    def open(self, *, resume: bool) -> None:
        """Takes the lock; raises `CheckpointError` for a folder in use, or a used one without ``resume``."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            # Not at once: `charrnn runs` may hold it for the moment in which it looks.
            lock.acquire(timeout=1)
        except Timeout as error:
            raise CheckpointError(f"{self.path} is in use by another job: wait, or use another --run-dir") from error
        except OSError as error:
            raise CheckpointError(f"cannot use the run folder {self.path}: {error.strerror}") from error
        self._lock = lock
        self.begun = (self.path / "config.json").exists()
        if not self.begun:
            # Of a start that was killed, perhaps with other corpora or settings.
            discard(self.path / "store")
        if self.begun and not resume:
            self.close()
            raise CheckpointError(f"{self.path} holds a run already: add --resume, or use another --run-dir")

    def last_step(self) -> int:
        """The step of the last whole line of metrics; 0 if there is none."""
        path = self.path / METRICS
        whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return int(json.loads(whole[-1])["step"]) if whole else 0

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds a row to `METRICS` or `SAMPLES`, where others can read it at once."""
        line = json.dumps(row, ensure_ascii=False) + "\n"
        try:
            # Half a surrogate pair has no UTF-8; its backslash form is JSON's own escape.
            with open(self.path / name, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                file.write(line)
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path / name}: {error.strerror}") from error

    def lengths(self) -> dict[str, int]:
        """The files' lengths in bytes, on disk for good: what a checkpoint says they were."""
        lengths = {}
        for name in (METRICS, SAMPLES):
            with open(self.path / name, "ab") as file:
                os.fsync(file.fileno())
                lengths[name] = file.tell()
        return lengths

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Takes off what was written after the checkpoint that says these lengths; with none, everything."""
        for name in (METRICS, SAMPLES):
            path, length = self.path / name, lengths.get(name, 0)
            if path.exists() and path.stat().st_size > length:
                os.truncate(path, length)
            elif length and (not path.exists() or path.stat().st_size < length):
                LOG.warning("%s is shorter than the checkpoint says: its earlier rows are lost", path)

    def write_status(self, state: str, **fields: object) -> None:
        """Writes status.json: ``state`` is running, finished, preempted or failed."""
        write_json(self.path / "status.json", {"state": state, "time": time.time(), **fields})

    def close(self, *, unused: bool = False) -> None:
        """Releases the lock, if it is held; a folder that came to nothing is removed if nothing else lies in it."""
        if self._lock is None:
            return
        if unused and not self.begun:
            discard(self.path / "store")
            (self.path / "store.lock").unlink(missing_ok=True)
            (self.path / ".lock").unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()
        self._lock.release()
        self._lock = None
