"""Which column of a table is the text: the one asked for, or the one that reads like text; never a guess."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from charrnn.errors import CorpusError

from ..reading.names import excerpt, listed, shown
from .rows import Rows

log = logging.getLogger(__name__)

_SAMPLE = 1000  # rows that are looked at
_USUAL = ("text", "content")
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # scripts without them
_NO_TEXT = re.compile(
    r"[\W\d]*|\w+://\S+|www\.\S+|\S+@\S+\.\w+|[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*|[!-~]*\d[!-~]*|[\w./\\-]*[./\\_][\w./\\-]*"
)


def texts(argument: str, rows: Rows, column: str | None) -> Iterator[str]:
    """The texts of a column, named or found; what is left out is counted in a warning."""
    sample = list(islice(rows, _SAMPLE))
    if not sample:
        raise CorpusError(f"hf:{argument} has no rows: it is empty, or so are its files: name another")
    name = "text" if rows.is_text and column is None else _chosen(argument, sample, column)
    missing = others = 0
    example = None
    top, path = _split_name(name, sample)
    for value in rows.values(top):
        text = _text(value, path)
        if isinstance(text, str):
            yield text
        elif text is None:
            missing += 1
        else:
            others += 1
            example = text if others == 1 else example
    if missing:
        log.warning("hf:%s: left out %d rows without a text in column %s", argument, missing, name)
    if others:
        kind, seen = type(example).__name__, excerpt(str(example))
        log.warning(
            "hf:%s: left out %d rows whose %s is no text, such as the %s %s", argument, others, name, kind, seen
        )


def _split_name(name: str, sample: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The column of a table, and the way from it down to a nested text; a name with a dot is a name first."""
    if any(name in row for row in sample):
        return name, []
    top, *path = name.split(".")
    return top, path


def _text(value: Any, path: Sequence[str]) -> Any:
    """The text at the end of a way into a value, several joined by newlines; ``None`` if nothing is there."""
    if isinstance(value, list | tuple):
        found = [_text(item, path) for item in value]
        strings = [text for text in found if isinstance(text, str)]
        if not strings:
            return next((other for other in found if other is not None), None)
        return "\n".join(strings)
    if path and isinstance(value, Mapping):
        return _text(value.get(path[0]), path[1:])
    if path and value is not None:
        return value if not isinstance(value, str) else None
    return value


def _leaves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The strings in a sample of rows, by the names under which they can be asked for."""
    found: dict[str, list[str]] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{name}.{key}", item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(name, item)

    for row in rows:
        for key, value in row.items():
            walk(str(key), value)
    return found


def _chosen(argument: str, sample: Sequence[Mapping[str, Any]], column: str | None) -> str:
    leaves = _leaves(sample)
    names = list(dict.fromkeys(str(name) for row in sample for name in row))
    if column is not None:
        return _asked(argument, column, leaves, sample)
    if not leaves:
        raise CorpusError(f"hf:{argument} has no column of strings: its columns are {listed(names)}")
    plain = [name for name in names if any(isinstance(row.get(name), str) for row in sample)]
    for name in _USUAL:
        if name in plain and not all(map(_NO_TEXT.fullmatch, leaves[name])):
            return _said(argument, name, leaves)
    good = [name for name, values in leaves.items() if reads_like_text(values)]
    if len(good) == 1 and good[0] in plain:
        return _said(argument, good[0], leaves)
    if len(plain) == 1:
        problem = "has one column of strings, which does not read like text" if not good else "has texts within others"
    else:
        problem = "has several columns of strings" if plain else "has texts only within other columns"
    raise CorpusError(f"hf:{argument} {problem}: {_advice(leaves)}")


def _asked(argument: str, column: str, leaves: dict[str, list[str]], sample: Sequence[Mapping[str, Any]]) -> str:
    is_empty = any(column in row for row in sample) and all(row.get(column) is None for row in sample)
    if column in leaves or (is_empty and column in sample[0]):
        return column
    if not leaves:
        names = dict.fromkeys(str(name) for row in sample for name in row)
        raise CorpusError(f"hf:{argument} has no column of strings: its columns are {listed(names)}")
    raise CorpusError(f"hf:{argument} has no column of strings {column!r}: {_advice(leaves)}")


def _said(argument: str, name: str, leaves: dict[str, list[str]]) -> str:
    others = [other for other in leaves if other != name]
    if others:
        log.info("hf:%s: read column %s, left out %s", argument, name, listed(others))
    return name


def _advice(leaves: dict[str, list[str]]) -> str:
    examples = "; ".join(f"{shown(name)}: {excerpt(max(values[:9], key=len))}" for name, values in leaves.items())
    return f"add ?column=NAME, one of {', '.join(map(shown, leaves))} ({examples})"


def reads_like_text(values: Sequence[str]) -> bool:
    """Whether strings are sentences: long, of words, of letters, and not the same few over and over."""
    values = [value for value in values if value.strip()]
    if not values:
        return False
    texts = [value for value in values if not _NO_TEXT.fullmatch(value.strip())]
    joined = "".join(texts)
    letters = sum(letter.isalpha() or letter.isspace() for letter in joined)
    dense = sum(bool(_NO_SPACES.search(value)) for value in texts)
    spaced = sum(len(value.split()) >= 3 for value in texts)
    length = len(joined) / len(values) * (3 if dense * 2 > len(texts) else 1)
    return (
        (dense + spaced) * 2 >= len(values)
        and length >= 16
        and letters >= 0.6 * len(joined)
        and len(set(values)) >= 0.3 * min(len(values), 300)
    )
