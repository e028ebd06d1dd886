"""What is written has to outlive a power cut, be readable as JSON everywhere, and belong to one job at a time."""

from __future__ import annotations

import errno
import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock


def flush(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk for good."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and journals renames itself.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems keep names safe themselves, and know no fsync of a folder.
        if not (error.errno in (errno.EINVAL, errno.ENOTSUP) and path.is_dir()):
            raise
    finally:
        os.close(descriptor)


def to_json(value: object, **options: Any) -> str:
    """JSON as its standard has it: what is no finite number, for which it has no word, becomes null."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def acquire(lock: BaseFileLock, timeout: float | None = None) -> None:
    """Takes a lock, waiting so many seconds and then raising `Timeout`; by default without end."""
    with warnings.catch_warnings():
        # Where the file system has no flock, the library warns and makes do with a file that is there or not.
        warnings.filterwarnings("ignore", "flock not supported")
        lock.acquire(timeout=timeout)


def way_to_free(lock: BaseFileLock) -> str:
    """What to do about a lock that another holds, where a dead machine could not give it back."""
    if not isinstance(lock, SoftFileLock):
        return ""
    holder = f"process {lock.pid}" if lock.pid else "its holder"
    return f"; this file system has no flock: if {holder} is on another machine and dead, remove {lock.lock_file}"


def is_taken(lock: Path) -> bool:
    """Whether another process holds a lock now; raises `OSError` where that cannot be told."""
    if not lock.exists():
        return False
    held = FileLock(lock)
    try:
        acquire(held, timeout=0)
    except TimeoutError:
        return True
    held.release()
    return False
