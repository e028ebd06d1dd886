"""Tables, however they are kept: their rows, and the values of one column, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from charrnn.errors import CorpusError

Row = Mapping[str, Any]


class Rows(Protocol):
    """A table."""

    @property
    def is_text(self) -> bool:
        """Whether the rows are lines of text."""

    def __iter__(self) -> Iterator[Row]: ...

    def values(self, column: str) -> Iterator[Any]:
        """What each row has in a column, ``None`` for nothing."""


@dataclass(frozen=True)
class Table:
    """The rows of files, one file after the other; what is wrong with them is said when their values are read."""

    paths: Sequence[Path]
    read: Callable[[Path, bool], Iterator[Row]]
    is_text: bool = False

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(self.read(path, True) for path in self.paths)

    def values(self, column: str) -> Iterator[Any]:
        """What each row has in a column."""
        return (row.get(column) for path in self.paths for row in self.read(path, False))


@dataclass(frozen=True)
class Arrow:
    """The rows of a data set of `datasets`, kept or streamed."""

    rows: Any
    is_text: bool = False

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def values(self, column: str) -> Iterator[Any]:
        """What each row has in a column."""
        for batch in self.rows.select_columns([column]).iter(batch_size=1000):
            for value in batch[column]:
                if self.is_text and "\0" in value:
                    raise CorpusError("its text holds NUL bytes, so it is not UTF-8: add ?encoding=utf-16 or utf-16-le")
                yield value


@dataclass(frozen=True)
class Part:
    """Some of the rows of others: each with the first and the one after the last."""

    parts: Sequence[tuple[Any, int, int]]

    @property
    def is_text(self) -> bool:
        """Whether the rows are lines of text."""
        return all(rows.is_text for rows, _, _ in self.parts)

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(islice(iter(rows), start, stop) for rows, start, stop in self.parts)

    def values(self, column: str) -> Iterator[Any]:
        """What each row has in a column."""
        return chain.from_iterable(islice(rows.values(column), start, stop) for rows, start, stop in self.parts)
