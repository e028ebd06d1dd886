"""Rows of local files: text by lines, CSV and JSON, each value as it stands in the file."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError

from ..reading import text_of
from ..reading.names import listed, shown

log = logging.getLogger(__name__)

Row = dict[str, Any]
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SNIFFED = 100  # records that are looked at
_NAME = re.compile(r"[^\W\d][\w .\-/()#:]{0,39}")
_LARGEST = 2**31 - 1  # characters of a field, the most that csv can be told on every system


@dataclass(frozen=True)
class Reading:
    """How files are to be read, where a user says so."""

    encoding: str | None = None
    errors: str = "strict"
    delimiter: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class Table:
    """The rows of files, one file after the other."""

    paths: Sequence[Path]
    read: Callable[[Path], Iterator[Row]]

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(map(self.read, self.paths))

    def values(self, column: str) -> Iterator[Any]:
        """What each row has in a column."""
        return (row.get(column) for row in self)


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

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(islice(iter(rows), start, stop) for rows, start, stop in self.parts)

    def values(self, column: str) -> Iterator[Any]:
        """What each row has in a column."""
        return chain.from_iterable(islice(rows.values(column), start, stop) for rows, start, stop in self.parts)


def table(kind: str, paths: Sequence[Path], reading: Reading) -> Table:
    """The rows of files of a kind: text, csv or json."""
    if kind != "csv":
        return Table(paths, partial(text_rows if kind == "text" else json_rows, reading=reading))
    layouts = {path: _layout(path, reading) for path in paths}
    layouts = {path: layout for path, layout in layouts.items() if layout}
    first = next(iter(layouts.values()), None)
    for path, layout in layouts.items():
        if first and set(layout.names) != set(first.names):
            raise CorpusError(
                f"{shown(path)}: has the columns {listed(layout.names)}, and files before it {listed(first.names)}: "
                "name files of one kind with ?data_files=, or add ?header=true or false"
            )
    return Table(list(layouts), lambda path: _csv_rows(path, layouts[path], reading))


def text_rows(path: Path, reading: Reading) -> Iterator[Row]:
    """The lines of a text, their ends kept."""
    for line in _lines(path, reading):
        yield {"text": line}


def _lines(path: Path, reading: Reading) -> Iterator[str]:
    rest: list[str] = []
    with closing(text_of(path, reading.encoding, reading.errors, guess=False)) as pieces:
        for piece in pieces:
            first, *others = piece.split("\n")
            rest.append(first)
            if others:
                yield "".join(rest) + "\n"
                for line in others[:-1]:
                    yield line + "\n"
                rest = [others[-1]]
    if last := "".join(rest):
        yield last


@dataclass(frozen=True)
class _Layout:
    """How a CSV file is laid out."""

    delimiter: str
    names: tuple[str, ...]
    has_header: bool


def _records(path: Path, delimiter: str, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, each with the number of its last line; empty ones are left out."""
    csv.field_size_limit(_LARGEST)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise CorpusError(
            f"{shown(path)}: line {reader.line_num}: a quotation mark opens a field and none closes it well ({error}): "
            'write " within a field as "", or read the lines with files:'
        ) from error


def _layout(path: Path, reading: Reading) -> _Layout | None:
    """The delimiter and the names of a CSV file's columns; ``None`` if it is empty."""
    with closing(_lines(path, reading)) as lines:
        head = list(islice(lines, 4 * _SNIFFED))
    if not "".join(head).strip():
        return None
    given = reading.delimiter
    delimiter = given or _sniffed(path, head)
    records = _head(path, delimiter, head)
    if not records:
        return None
    first, *others = records
    has_header = reading.header if reading.header is not None else _is_header(first, others)
    if reading.header is None and not has_header:
        log.warning(
            "%s: its first line is read as a row, since it does not look like names: if it is, add ?header=true",
            shown(path),
        )
    names = tuple(first) if has_header else tuple(f"column{number}" for number in range(1, len(first) + 1))
    if has_header and not reading.header and (len(set(names)) < len(names)):
        raise CorpusError(f"{shown(path)}: names a column twice: {listed(names)}: mend it, or add ?header=false")
    if delimiter != "," and not given:
        log.info("%s: its columns, set apart by %s, are %s", shown(path), _DELIMITERS[delimiter], listed(names))
    return _Layout(delimiter, names, has_header)


def _head(path: Path, delimiter: str, head: list[str]) -> list[list[str]]:
    """The first records, as far as they are whole: the last may go on after the lines that were read."""
    records: list[list[str]] = []
    try:
        for _, record in _records(path, delimiter, head):
            records.append(record)
    except CorpusError:
        if not records:
            raise
    return records[:_SNIFFED]


def _sniffed(path: Path, head: list[str]) -> str:
    """The delimiter that cuts all records into as many fields, the most; else that of the file's name."""
    usual = "\t" if ".tsv" in path.name.lower() else ","
    best, most = usual, 1
    for delimiter in (usual, *_DELIMITERS):
        try:
            counts = {len(record) for record in _head(path, delimiter, head)}
        except CorpusError:
            continue
        if len(counts) == 1 and max(counts) > most:
            best, most = delimiter, max(counts)
    return best


def _is_header(first: list[str], others: list[list[str]]) -> bool:
    """Whether a first record names columns: short words, all different, and unlike what stands below them."""
    if not all(_NAME.fullmatch(field.strip()) and len(field.split()) <= 4 for field in first if field.strip()):
        return False
    if len(set(first)) < len(first) or not any(field.strip() for field in first):
        return False
    if {field.strip().lower() for field in first} & _KNOWN or not others:
        return True
    for place, field in enumerate(first):
        below = [record[place] for record in others if len(record) > place and record[place]]
        if below and (
            all(re.fullmatch(r"[-+]?[\d.,:/ -]+", value) for value in below)
            or sum(map(len, below)) / len(below) > 3 * len(field) + 5
        ):
            return True
    return False


_KNOWN = frozenset(
    re.findall(
        r"\w+",
        """text content body sentence sentences story document doc label labels id idx index title name category class
        url link date author lang language source target question answer prompt completion response review comment
        message tweet abstract summary quote line verse poem article headline description likes rating score""",
    )
)
"""Names of columns that are words of no text's first line, alone."""


def _csv_rows(path: Path, layout: _Layout, reading: Reading) -> Iterator[Row]:
    names = layout.names
    with closing(_lines(path, reading)) as lines:
        records = _records(path, layout.delimiter, lines)
        if layout.has_header:
            next(records, None)
        for number, record in records:
            if len(record) != len(names) and (len(record) < len(names) or any(record[len(names) :])):
                raise CorpusError(_uneven(path, number, record, layout))
            yield {name: value or None for name, value in zip(names, record, strict=False)}


def _uneven(path: Path, number: int, record: list[str], layout: _Layout) -> str:
    mark = _DELIMITERS.get(layout.delimiter, repr(layout.delimiter))
    before = f"{len(layout.names)} ({listed(layout.names)})"
    if len(record) > len(layout.names):
        advice = f'put texts that hold a {mark} in quotation marks ("), or add another ?delimiter='
        if len(layout.names) == 1:
            advice += " (tab, if each line is one text)"
    else:
        advice = "mend the line, or add another ?delimiter="
    fields = "field" if len(record) == 1 else "fields"
    return f"{shown(path)}: line {number} has {len(record)} {fields}, and there are {before} columns: {advice}"


def json_rows(path: Path, reading: Reading) -> Iterator[Row]:
    """The objects of JSON lines, of an array, or of the one array in an object."""
    lines = _lines(path, reading)
    with closing(lines):
        first = next((line for line in lines if line.strip()), "")
        if not first:
            return
        try:
            row = json.loads(first)
        except ValueError:
            row = None
        if isinstance(row, dict | str) and (path.name.lower().find(".json") < 0 or not _is_one_line_json(path, row)):
            yield _row(row)
            for number, line in enumerate(lines, 2):
                if line.strip():
                    try:
                        yield _row(json.loads(line))
                    except ValueError as error:
                        raise CorpusError(f"{shown(path)}: line {number} of the rows is not JSON: {error}") from error
            return
        try:
            whole = json.loads("".join([first, *lines]))
        except ValueError as error:
            raise CorpusError(f"{shown(path)}: is not JSON: {error}: write one object a line") from error
    yield from map(_row, _array(whole))


def _is_one_line_json(path: Path, row: Any) -> bool:
    """Whether a .json file whose first line is an object holds its rows in it."""
    return path.name.lower().removesuffix(path.suffix.lower() if path.suffix.lower() != ".json" else "").endswith(
        ".json"
    ) and isinstance(row, dict) and len(row) == 1 and isinstance(next(iter(row.values())), list)  # fmt: skip


def _array(whole: Any) -> Iterable[Any]:
    if isinstance(whole, dict):
        arrays = [value for value in whole.values() if isinstance(value, list)]
        if len(arrays) == len(whole) > 0 and len({len(array) for array in arrays}) == 1 and len(whole) > 1:
            return [dict(zip(whole, values, strict=True)) for values in zip(*arrays, strict=True)]
        rows = [array for array in arrays if array and all(isinstance(item, dict) for item in array)]
        if len(rows) == 1:
            return list(rows[0])
        if len(whole) == 1 and arrays:
            return [{next(iter(whole)): value} for value in arrays[0]]
        return [whole]
    return whole if isinstance(whole, list) else [whole]


def _row(value: Any) -> Row:
    return value if isinstance(value, dict) else {"text": value}
