"""Documents as one text: how they are joined, brought to a normal form, and cut into blocks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from charrnn.text.vocab import NormalForm


def joined(documents: Iterable[Iterable[str]], *, ended: bool = False) -> Iterator[str]:
    """The pieces of all documents, a newline between two unless the first ends in one; ``ended`` adds the last."""
    end = "\n"
    for document in documents:
        is_first = True
        for piece in filter(None, document):
            if is_first and end != "\n":
                yield "\n"
            is_first = False
            yield piece
            end = piece[-1]
    if ended and end != "\n":
        yield "\n"


def normalized(pieces: Iterable[str], form: NormalForm) -> Iterator[str]:
    """The text in a normal form, cut only before ASCII characters: they never combine with what is before them."""
    waiting: list[str] = []
    for piece in pieces:
        cut = next((index for index in range(len(piece) - 1, -1, -1) if piece[index].isascii()), None)
        if cut is None:
            waiting.append(piece)
        else:
            yield unicodedata.normalize(form, "".join((*waiting, piece[:cut])))
            waiting = [piece[cut:]]
    yield unicodedata.normalize(form, "".join(waiting))


def blocks(pieces: Iterable[str], length: int) -> Iterator[str]:
    """The same text in strings of at least ``length`` characters, but for the last, and less than twice as many."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        for start in range(0, len(piece), length):
            waiting.append(piece[start : start + length])
            size += len(waiting[-1])
            if size >= length:
                yield "".join(waiting)
                waiting = []
                size = 0
    if size:
        yield "".join(waiting)
