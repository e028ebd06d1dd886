"""Which cells follow something a person can name: each cell against simple features of the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXCERPT = 700
"""Characters that are shown of a cell."""

_QUOTED = r'"""[\s\S]*?"""|"(?:[^"\n]|\n(?!\n))*"|“[^”]*”|«[^»]*»'
_LINE = r"([ \t]*)(?:.*\n|.+$)"


@dataclass(frozen=True)
class NamedCell:
    """The cell that follows a feature best, and the part of the text that shows it best."""

    feature: str
    cell: int
    correlation: float
    excerpt: slice


def named_cells(cells_NC: npt.NDArray[np.float32], text: str) -> list[NamedCell]:
    """For each feature that the text has, the cell that follows it best; the best first; none for a very short text.

    Among hundreds of cells one fits anything by chance: so it is chosen on the first half of the text, and its
    correlation and its excerpt are from the second.
    """
    half = len(text) // 2
    named: list[NamedCell] = []
    if half < EXCERPT:
        return named
    for name, values in features(text).items():
        chosen = _correlations(cells_NC[:half], values[:half])
        cell = int(np.argmax(np.abs(chosen)))
        if chosen[cell]:
            correlation = float(_correlations(cells_NC[half:, cell : cell + 1], values[half:])[0])
            start = half + _liveliest(values[half:], text[half:])
            named.append(NamedCell(name, cell, correlation, slice(start, start + EXCERPT)))
    return sorted(named, key=lambda cell: -abs(cell.correlation))


def features(text: str) -> dict[str, Floats]:
    """The value of each feature at each character of a text."""
    return {
        "position in the line": _matches(text, r".+", _count),
        "inside quotes": _matches(text, _QUOTED, lambda quoted: _count(quoted) < len(quoted[0])),
        "inside brackets": _bracket_depth(text),
        "capital letter": _each(text, str.isupper),
        "digit": _each(text, str.isdigit),
        "indentation of the line": _matches(text, _LINE, lambda line: len(line[1])),
        "letters of the word so far": _matches(text, r"\w+", _count),
        "vowel comes next": np.append(_each(text[1:], _is_vowel), 0.0),
    }


def _correlations(cells_NC: npt.NDArray[np.float32], values_N: Floats) -> Floats:
    """Pearson's correlation of each cell with a feature; 0 where one of the two never changes."""
    cells_NC, values_N = cells_NC - cells_NC.mean(axis=0), values_N - values_N.mean()
    scale_C = np.sqrt((cells_NC**2).sum(axis=0) * (values_N**2).sum())
    correlations_C: Floats = np.divide(values_N @ cells_NC, scale_C, out=np.zeros(len(scale_C)), where=scale_C > 0)
    return correlations_C


def _liveliest(values: Floats, text: str) -> int:
    """The start of the line from which on the feature changes most over the length of an excerpt."""
    starts = [0, *(newline.end() for newline in re.finditer("\n", text) if newline.end() <= len(text) - EXCERPT)]
    return max(starts, key=lambda start: float(values[start : start + EXCERPT].std()))


def _matches(text: str, pattern: str, value: Callable[[re.Match[str]], npt.ArrayLike]) -> Floats:
    """What ``value`` says of each match, on the characters of the match; 0 elsewhere."""
    values = np.zeros(len(text))
    for match in re.finditer(pattern, text):
        values[match.start() : match.end()] = np.asarray(value(match))
    return values


def _count(match: re.Match[str]) -> Floats:
    return np.arange(1.0, len(match[0]) + 1)


def _each(text: str, is_so: Callable[[str], bool]) -> Floats:
    return np.array([float(is_so(character)) for character in text])


def _is_vowel(character: str) -> bool:
    """Also with an accent: é is an e."""
    return unicodedata.normalize("NFD", character)[0].lower() in "aeiouy"


def _bracket_depth(text: str) -> Floats:
    """How many brackets are open; one that is never closed ends with its paragraph."""
    depths, depth = [], 0
    for index, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth = max(0, depth - 1)
        elif text.startswith("\n\n", index):
            depth = 0
        depths.append(float(depth))
    return np.array(depths)
