"""Which cells follow something a person can name: each cell against simple features of the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

EXCERPT = 700
"""Characters that are shown of a cell."""

CLEAR = 0.7
"""The correlation from which on a cell is said to follow a feature: that explains half of how the cell changes."""

_QUOTED = r'"""[\s\S]*?"""|"(?:[^"\n]|\n(?!\n))*"|“[^”]*”|«[^»]*»'
_LINE = r"([ \t]*)(?:.*\n|.+$)"


@dataclass(frozen=True)
class FollowingCell:
    """A cell, the feature that it follows best on the first half of a text, and how closely it does on each half."""

    cell: int
    feature: str
    chosen: float
    """Pearson's correlation on the first half, by which the feature was chosen."""
    held_out: float
    """The same on the second half, which had no part in the choice."""

    @property
    def clarity(self) -> float:
        """The weaker of the two correlations, 0 where they contradict each other."""
        return min(abs(self.chosen), abs(self.held_out)) if self.chosen * self.held_out > 0 else 0.0


def following_cells(cells_NC: Floats32, text: str) -> list[FollowingCell]:
    """Each cell that follows one of the features, the clearest first; none for a very short text.

    Among many features one fits anything by chance: so the feature is chosen on the first half of the text, and its
    correlation is measured on the second. A cell has the feature that it follows best, not every one that it follows a
    little: where names are written in capitals, a cell that follows names follows capital letters too.
    """
    half = len(text) // 2
    if half < EXCERPT:
        return []
    named = features(text)
    names, values_FN = list(named), np.array([*named.values()])
    chosen_FC, held_out_FC = (
        _correlations(cells_NC[part], values_FN[:, part]) for part in (slice(half), slice(half, None))
    )
    best_C = np.abs(chosen_FC).argmax(axis=0)
    found = [
        FollowingCell(cell, names[best], float(chosen_FC[best, cell]), float(held_out_FC[best, cell]))
        for cell, best in enumerate(best_C.tolist())
    ]
    return sorted((cell for cell in found if cell.chosen), key=lambda cell: -cell.clarity)


def clearest(found: Iterable[FollowingCell]) -> list[FollowingCell]:
    """Of each feature the cell that follows it best, if any does clearly."""
    of_feature: dict[str, FollowingCell] = {}
    for cell in found:
        if cell.clarity >= CLEAR:
            of_feature.setdefault(cell.feature, cell)
    return list(of_feature.values())


def excerpt(text: str, feature: str) -> slice:
    """The lines of the second half of a text in which a feature changes most."""
    half = len(text) // 2
    start = half + _liveliest(features(text)[feature][half:], text[half:])
    return slice(start, start + EXCERPT)


def features(text: str) -> dict[str, Floats]:
    """The value of each feature at each character of a text."""
    return {
        "position in the line": _matches(text, r".+", _count),
        "position in the sentence": _matches(text, r"[^.!?]+", _count),
        "inside quotes": _matches(text, _QUOTED, lambda quoted: _count(quoted) < len(quoted[0])),
        "inside brackets": _bracket_depth(text),
        "line that ends in a colon": _matches(text, r"(?m)^.+:$", _always),
        "word in capitals": _matches(text, r"[^\W\d_]{2,}", lambda word: word[0].isupper()),
        "capital letter": _each(text, str.isupper),
        "digit": _each(text, str.isdigit),
        "punctuation": _matches(text, r"[^\w\s]", _always),
        "white space": _each(text, str.isspace),
        "indentation of the line": _matches(text, _LINE, lambda line: len(line[1])),
        "beginning of a word": _matches(text, r"\b\w", _always),
        "letters of the word so far": _matches(text, r"\w+", _count),
        "vowel comes next": np.append(_each(text[1:], _is_vowel), 0.0),
    }


def _correlations(cells_NC: Floats32, values_FN: Floats) -> Floats:
    """Pearson's correlation of each feature with each cell, (F, C); 0 where one of the two never changes."""
    cells_NC, values_FN = cells_NC - cells_NC.mean(axis=0), values_FN - values_FN.mean(axis=1, keepdims=True)
    scale_FC = np.sqrt(np.outer((values_FN**2).sum(axis=1), (cells_NC**2).sum(axis=0)))
    correlations_FC: Floats = np.divide(
        values_FN @ cells_NC, scale_FC, out=np.zeros(scale_FC.shape), where=scale_FC > 0
    )
    return correlations_FC


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


def _always(_: re.Match[str]) -> float:
    return 1.0


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
