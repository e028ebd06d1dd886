"""Rows of local files: text by lines, CSV and JSON, each value as it stands in the file."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError

from ..reading import text_of
from ..reading.names import listed, shown
from .rows import Row, Table

log = logging.getLogger(__name__)

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
    recognised: dict[Path, str] = field(default_factory=dict, compare=False)


def table(kind: str, paths: Sequence[Path], reading: Reading) -> Table:
    """The rows of files of a kind: text, csv or json."""
    if kind != "csv":
        return Table(paths, partial(_text_rows if kind == "text" else _json_rows, reading), kind == "text")
    layouts = {path: layout for path in paths if (layout := _layout(path, reading))}
    first = next(iter(layouts.values()), None)
    for path, layout in layouts.items():
        if first and set(layout.names) != set(first.names):
            raise CorpusError(
                f"{shown(path)}: has the columns {listed(layout.names)}, and files before it {listed(first.names)}: "
                "name files of one kind with ?data_files=, or add ?header=true or false"
            )
    return Table(list(layouts), lambda path, quiet: _csv_rows(reading, path, quiet, layouts[path]))


def _text_rows(reading: Reading, path: Path, quiet: bool) -> Iterator[Row]:
    """The lines of a text, their ends kept."""
    for line in _lines(reading, path, quiet):
        yield {"text": line}


def _lines(reading: Reading, path: Path, quiet: bool) -> Generator[str]:
    rest: list[str] = []
    pieces = text_of(path, reading.encoding, reading.errors, guess=False, known=reading.recognised, quiet=quiet)
    with closing(pieces):
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
    with closing(_lines(reading, path, True)) as lines:
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
    words = {field.strip().lower() for field in first}
    if len(words) < len(first) and words <= _KNOWN:
        return True  # and it will be said that a name is there twice
    if not all(_NAME.fullmatch(field.strip()) and len(field.split()) <= 4 for field in first if field.strip()):
        return False
    if len(set(first)) < len(first) or not any(field.strip() for field in first):
        return False
    if {field.strip().lower() for field in first} & _KNOWN or not others:
        return True
    for place, name in enumerate(first):
        below = [record[place] for record in others if len(record) > place and record[place]]
        if below and (
            all(re.fullmatch(r"[-+]?[\d.,:/ -]+", value) for value in below)
            or sum(map(len, below)) / len(below) > 3 * len(name) + 5
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


def _csv_rows(reading: Reading, path: Path, quiet: bool, layout: _Layout) -> Iterator[Row]:
    names = layout.names
    with closing(_lines(reading, path, quiet)) as lines:
        records = _records(path, layout.delimiter, lines)
        if layout.has_header:
            next(records, None)
        for number, record in records:
            if len(record) != len(names) and (len(record) < len(names) or any(record[len(names) :])):
                raise CorpusError(_uneven(path, number, record, layout))
            yield {name: value or None for name, value in zip(names, record, strict=False)}


def _uneven(path: Path, number: int, record: list[str], layout: _Layout) -> str:
    mark = _DELIMITERS.get(layout.delimiter, repr(layout.delimiter))
    before = f"{len(layout.names)} columns ({listed(layout.names)})"
    if len(record) > len(layout.names):
        advice = (
            f'put texts that hold a {mark} in quotation marks ("), name another ?delimiter=, or add ?delimiter=tab to '
            "read whole lines"
        )
    else:
        advice = "mend the line, or add another ?delimiter="
    fields = "field" if len(record) == 1 else "fields"
    return f"{shown(path)}: line {number} has {len(record)} {fields}, and there are {before}: {advice}"


def _json_rows(reading: Reading, path: Path, quiet: bool) -> Iterator[Row]:
    """The objects of JSON lines, of an array, or of the one array in an object."""
    with closing(_lines(reading, path, quiet)) as every:
        lines = ((number, line) for number, line in enumerate(every, 1) if line.strip())
        start = list(islice(lines, 2))
        if len(start) == 2 or path.name.lower().split(".")[-1] != "json":
            try:
                json.loads(start[0][1]) if start else None
            except ValueError:
                pass  # the first line of an array or of an object that is spread over several
            else:
                for number, line in chain(start, lines):
                    yield _row(_parsed(path, line, f"line {number}"))
                return
        if start:
            yield from map(_row, _array(_parsed(path, "".join(line for _, line in chain(start, lines)), "the file")))


def _parsed(path: Path, text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CorpusError(f"{shown(path)}: {what} is not JSON ({error}): write one object a line") from error


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
