"""Downloading from Project Gutenberg's mirrors: politely, in bounded time and size, and never a wrong file kept.

The project's main site is for people and blocks programs, so it is never asked. What a mirror sends is kept as it
came, once it came whole, under ``gutenberg`` in the user's cache folder for charrnn; what is there needs no network.
One process downloads at a time, and a pause lies between two downloads, whoever asks for them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import CorpusError

from .request import AbsentError, Limits, PassingError, RefusedError, fetch

if TYPE_CHECKING:
    from tenacity import RetryCallState

log = logging.getLogger(__name__)

MIRROR_VARIABLE = "CHARRNN_GUTENBERG_MIRROR"
MIRRORS = ("https://aleph.gutenberg.org", "https://gutenberg.pglaf.org")
LIMITS = Limits()


def book_file(number: int, limits: Limits = LIMITS) -> Path:
    """The cached file of a book, as a mirror has it; downloads it if it is not there. Raises `CorpusError`."""
    path = cache_folder() / f"{number}.txt"
    return path if path.exists() else download(f"gutenberg:{number}", _layouts(number), path, limits)


def cache_folder() -> Path:
    """Where downloaded files are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("charrnn") / "gutenberg"


def _layouts(number: int) -> list[str]:
    """The addresses of a book below a mirror's root, best first.

    The generated file comes first: it is UTF-8, has the latest corrections, and its header and footer have one form.
    Of the originals, UTF-8 comes before Latin-1 and Big5, and those before plain ASCII, which has lost its accents.
    """
    digits = str(number)
    folder = "/".join((*(digits[:-1] or "0"), digits))
    originals = [f"{folder}/{number}{suffix}.txt" for suffix in ("-0", "-8", "-5", "")]
    return [f"cache/epub/{number}/pg{number}.txt", *originals]


def download(name: str, layouts: Sequence[str], path: Path, limits: Limits = LIMITS, fresh: float = 0.0) -> Path:
    """Fetches the first of several addresses that a mirror has into a file, which is never there in part.

    A file that another process stored after the time ``fresh`` (seconds since the epoch) is not fetched again.
    Raises `CorpusError` if no mirror has any of them.
    """
    from filelock import FileLock

    mirrors = _mirrors()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / "download.lock"):
            if path.exists() and path.stat().st_mtime >= fresh:
                return path
            reasons = []
            for mirror in mirrors:
                try:
                    with _paused(path.parent / "last-download", limits):
                        return _from_mirror(name, mirror, layouts, path, limits)
                except (AbsentError, RefusedError, PassingError) as failure:
                    reasons.append(f"{mirror}: {failure}")
                    log.info("%s: %s", name, reasons[-1])
    except OSError as error:
        raise CorpusError(
            f"{name}: cannot be stored in {path.parent} ({error}): make it writable, or set XDG_CACHE_HOME"
        ) from error
    raise CorpusError(
        f"{name} could not be downloaded ({'; '.join(reasons)}): put its file into {path}, or set {MIRROR_VARIABLE} to"
        " a mirror that you can reach, or use files: with a text of your own"
    )


def _mirrors() -> tuple[str, ...]:
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip().rstrip("/")
    if not mirror:
        return MIRRORS
    if not mirror.startswith(("http://", "https://")):
        raise CorpusError(f"{MIRROR_VARIABLE}={mirror}: give the address of a mirror, http://... or https://...")
    return (mirror,)


@contextmanager
def _paused(stamp: Path, limits: Limits) -> Iterator[None]:
    """Waits until the pause since the last download of any process is over, and notes when this one ends."""
    if stamp.exists():
        since = time.time() - stamp.stat().st_mtime
        time.sleep(min(max(limits.pause - since, 0.0), limits.pause))
    try:
        yield
    finally:
        stamp.touch()


def _from_mirror(name: str, mirror: str, layouts: Sequence[str], path: Path, limits: Limits) -> Path:
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

    def wait(state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.after if isinstance(failure, PassingError) else 0.0
        return max(asked, min(limits.wait * 2.0 ** (state.attempt_number - 1), limits.longest_wait))

    retrying = Retrying(
        retry=retry_if_exception_type(PassingError), stop=stop_after_attempt(limits.attempts), wait=wait, reraise=True
    )
    reasons: list[str] = []
    for layout in layouts:
        try:
            retrying(fetch, name, f"{mirror}/{layout}", path, limits)
            return path
        except AbsentError as failure:
            reasons.append(f"{failure}")
    raise AbsentError(f"{', '.join(dict.fromkeys(reasons))} for {', '.join(layouts)}")
