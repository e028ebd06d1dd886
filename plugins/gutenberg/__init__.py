"""The scheme ``gutenberg:``: books of Project Gutenberg by their numbers, without licence and header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256

import charrnn
from charrnn.errors import CorpusError

STRIPPING_VERSION = 2
"""Raised with every change of `book`, `makers`, `signs` or `decoding` that changes the text of a book."""


@charrnn.hookimpl
def register_corpora(register: Callable[..., None]) -> None:
    from .catalogue import search

    register("gutenberg", load, cache_key=cache_key, search=search)


def load(argument: str) -> Iterator[str]:
    """gutenberg:1597 or gutenberg:1597,2591: books of Project Gutenberg, one document each, without their licence.

    Downloads what is not in the cache yet, from mirrors that allow programs; see `mirror` for how.
    Raises `CorpusError` for a bad number, and for a book that no mirror gives or that holds no text.
    """
    from . import book, decoding, mirror

    for number in _numbers(argument):
        path = mirror.book_file(number)
        name = f"gutenberg:{number}"
        text = book.strip(decoding.decode(path.read_bytes(), name), name)
        if not text:
            raise CorpusError(
                f"{name}: {path} holds no book, only blank lines, a licence or a web page: delete it and try again"
            )
        yield text


def cache_key(argument: str) -> str:
    """The digests of the files as they were downloaded, and the version of the code that finds the books in them."""
    from . import mirror

    digests = [sha256(mirror.book_file(number).read_bytes()).hexdigest() for number in _numbers(argument)]
    return f"stripping-{STRIPPING_VERSION} {' '.join(digests)}"


def _numbers(argument: str) -> list[int]:
    parts = [part.strip() for part in argument.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 7 and int(part) > 0 for part in parts):
        raise CorpusError(
            f"gutenberg:{argument}: give the numbers of books, for example gutenberg:1597 or gutenberg:1597,2591;"
            " charrnn corpora search finds them"
        )
    return [int(part) for part in parts]
