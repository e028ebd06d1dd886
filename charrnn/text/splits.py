"""A split of the text while it is written: numbers in chunks, of which any may become ids later, or another split's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from charrnn.text.vocab import Ids


class Chunk(NamedTuple):
    """Numbers in a row in a file, and how many characters were known when they were given."""

    offset: int
    tokens: int
    dtype: np.dtype[Any]
    known: int

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.offset + self.tokens * self.dtype.itemsize

    def read(self, file: BinaryIO) -> Ids:
        """The numbers."""
        file.seek(self.offset)
        return np.frombuffer(file.read(self.end - self.offset), self.dtype)


class Split:
    """A split while it is written: its file, and the chunks it consists of."""

    def __init__(self, file: BinaryIO) -> None:
        self.path = Path(file.name)
        self.chunks: list[Chunk] = []
        self.tokens = 0
        self._file = file

    def append(self, numbers: Ids, known: int) -> None:
        """Writes numbers to the end."""
        if len(numbers):
            self.chunks.append(Chunk(self._file.tell(), len(numbers), numbers.dtype, known))
            self.tokens += len(numbers)
            self._file.write(numbers.data)

    def move(self, start: int, other: Split) -> None:
        """Moves all from the token `start` on to the end of another split."""
        tail: list[Chunk] = []
        while self.tokens > start:
            tail.append(self.chunks.pop())
            self.tokens -= tail[-1].tokens
        for chunk in reversed(tail):
            numbers = chunk.read(self._file)
            kept = start - self.tokens  # of the first chunk, and none of the others
            if kept:
                self.chunks.append(chunk._replace(tokens=kept))
                self.tokens = start
            other.append(numbers[kept:], chunk.known)
        self._file.truncate(self._file.seek(self.chunks[-1].end if self.chunks else 0))
