"""The search for books: the words of a question in Project Gutenberg's own catalogue, which a mirror has as CSV."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import time
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from charrnn.errors import CorpusError

from .mirror import LIMITS, cache_folder, download
from .request import Limits

log = logging.getLogger(__name__)

_ADDRESSES = ("cache/epub/feeds/pg_catalog.csv.gz", "cache/epub/feeds/pg_catalog.csv")
_WEEK = 7 * 24 * 3600.0


def search(words: str, limits: Limits = LIMITS) -> list[tuple[str, str]]:
    """The texts whose title, authors and subjects hold all the words, those first that need no subject for it.

    Case and accents do not matter. Raises `CorpusError` if the catalogue cannot be had or read.
    """
    wanted = _fold(words).split()
    if not wanted:
        raise CorpusError("gutenberg: search for at least one word of a title, an author or a subject")
    path = _catalogue(limits)
    found = []
    try:
        for row in _rows(path, limits.size):
            name = _fold(f"{row['Title']} {row['Authors']}")
            if row["Type"] == "Text" and all(word in f"{name} {_fold(row['Subjects'])}" for word in wanted):
                found.append((not all(word in name for word in wanted), f"gutenberg:{row['Text#']}", _describe(row)))
    except (KeyError, ValueError, OSError, EOFError, zlib.error, csv.Error) as error:
        raise CorpusError(f"gutenberg: {path} is no catalogue ({error!r}): delete it and search again") from error
    return [(spec, description) for _, spec, description in sorted(found, key=lambda each: each[0])]


def _catalogue(limits: Limits) -> Path:
    """The cached catalogue, fetched again when it is a week old; an old one serves where no mirror can be reached."""
    path = cache_folder() / "pg_catalog.csv"
    fresh = time.time() - _WEEK
    try:
        return download("the catalogue of Project Gutenberg", _ADDRESSES, path, limits, fresh)
    except CorpusError as error:
        if not path.exists():
            raise
        log.warning(
            "searching the catalogue of %s: %s", time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime)), error
        )
        return path


def _rows(path: Path, size: int) -> Iterator[dict[str, str]]:
    with path.open("rb") as file:
        packed = file.peek(2).startswith(b"\x1f\x8b")
        with gzip.open(file) if packed else file as unpacked:
            plain = unpacked.read(size + 1)
    if len(plain) > size:
        raise ValueError(f"it is larger than {size} bytes")
    yield from csv.DictReader(io.StringIO(plain.decode("utf-8-sig"), newline=""), restval="", strict=True)


def _fold(text: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(mark))


def _describe(row: dict[str, str]) -> str:
    """``Andersen's Fairy Tales — Hans Christian Andersen [en]``."""
    people = [person.strip() for person in row["Authors"].split(";") if person.strip()]
    authors = [person for person in people if not person.endswith("]")] or people
    names = ", ".join(map(_plain_name, authors))
    return f"{' '.join(row['Title'].split())}{' — ' if names else ''}{names} [{row['Language']}]"


def _plain_name(author: str) -> str:
    """Hans Christian Andersen, of "Andersen, H. C. (Hans Christian), 1805-1875"."""
    parts = [part.strip() for part in author.split(",") if not re.search(r"\d", part)]
    full = re.fullmatch(r".*\((.+)\)", parts[1]) if len(parts) > 1 else None
    given = full[1] if full else " ".join(parts[1:2])
    return f"{given} {parts[0]}".strip() if parts else author
