"""Telling the words of a file's makers from those of the book: a judgement of paragraphs, not a list of forms.

Thirty years of volunteers wrote their credits as they liked, in a dozen languages. What they have in common is what
they talk of: that a thing was scanned, typed or provided, by whom, from where, in which format and under which number.
So the paragraphs nearest to the borders of a book are weighed by such signs, against those of title pages and prose,
and the best division into makers' and work's paragraphs is taken. Where the signs do not suffice, the work wins.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from .signs import BEGINS, BOOKMARKS, HEADING, NOTE, weigh

PARAGRAPH = re.compile(r"^[^\S\n]*\S.*(?:\n[^\S\n]*\S.*)*", re.MULTILINE)
_GAP_BELOW = re.compile(r"(?:[^\S\n]*\n)+")

_REACH = 16
"""So many paragraphs from a border may be the makers'."""
_LONGEST = 2000
_TAIL = 30_000
_CHANGE = 1.0
"""What each change of hands costs: a credit far within the book must say twice as much as one at the border."""


class Known(NamedTuple):
    """What the header and the footer tell of the text between them, as `words`."""

    titles: Collection[str] = ()
    credits: Collection[str] = ()


class _Part(NamedTuple):
    """A paragraph, or what is judged as one: a bracket over several, the lines below a title."""

    start: int
    end: int
    text: str
    kept: bool
    """It belongs to a note that is kept whole."""


def words(text: str) -> str:
    """A text without its case, punctuation and line ends, for comparing."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def without_makers(text: str, known: Known) -> str:
    """A text without the makers' words at its borders and right below its title; nothing else is touched."""
    text = _without_bookmarks(text)
    top = list(islice(_parts(text, 0, known), _REACH))
    if not top:
        return text
    tail = text.find("\n\n", max(top[-1].end, len(text) - _TAIL))
    bottom = list(_parts(text, tail, known)) if tail >= 0 else []
    cuts = _cuts(top, known)
    # A note at the end goes on to the end.
    if not any(part.kept for part in bottom):
        cuts += _cuts(bottom[: -_REACH - 1 : -1], known)
    return _without(text, cuts)


def _cuts(parts: Sequence[_Part], known: Known) -> list[tuple[int, int]]:
    """What is the makers' of the parts, from a border inwards, by the division whose scores have the highest sum."""
    best: list[tuple[float, tuple[bool, ...]]] = [(0.0, ()), (0.0, ())]
    begun = False
    for part in parts:
        score = _score(part, known, begun)
        if _is_prose(part, score):
            break
        begun = begun or score < -2
        best = [
            max(
                (
                    (total - _CHANGE * (theirs != was) + score * theirs, (*path, theirs))
                    for was, (total, path) in enumerate(best)
                ),
                key=lambda each: each[0],
            )
            for theirs in (False, True)
        ]
    _, path = max(best[0], (best[1][0] - _CHANGE, best[1][1]), key=lambda each: each[0])
    theirs = list(path)
    # A row of asterisks below the credits goes with them.
    for place in range(1, len(theirs)):
        theirs[place] |= all(theirs[:place]) and not words(parts[place].text)
    runs = groupby(zip(parts, theirs, strict=False), key=lambda each: each[1])
    stretches = [[part for part, _ in run] for cut, run in runs if cut]
    return [(min(part.start for part in run), max(part.end for part in run)) for run in stretches]


def _score(part: _Part, known: Known, begun: bool) -> float:
    """How much more a part sounds like the makers than like the work; ``begun``: the work has begun above it."""
    plain = words(part.text)
    # A row of asterisks, and what links two addresses, belong to what stands around them.
    if plain in ("", "or", "and"):
        return 0.0
    if plain in known.credits and " " in plain:
        return 9.0
    if part.kept or plain in known.titles or len(part.text) > _LONGEST:
        return -9.0
    claims, context, work = weigh(part.text)
    if not claims + context:
        return -5.0
    score = claims + context + work - 1.0 - len(part.text) / 300
    if claims or score < 0:
        return score
    return 0.5 if context > 2 and not begun else -4.0


def _is_prose(part: _Part, score: float) -> bool:
    """Whether the work has clearly begun: from here on, nothing is the makers'."""
    return score < 0 and len(part.text) > 250 and not part.kept


def _parts(text: str, start: int, known: Known) -> Iterator[_Part]:
    note = body = False
    above = start
    for begin, end in _joined(text, start, known):
        paragraph = text[begin:end]
        # A note ends at a larger gap, unless that stands right below its heading; one in brackets ends with them.
        note = note and not (body and text.count("\n", above, begin) > 2)
        body = note
        if NOTE.match(paragraph[:200]):
            note, body = True, len(paragraph) > 80
        for first, last in _split(text, begin, end, known):
            yield _Part(first, last, text[first:last], note)
        note = note and not paragraph.endswith("]")
        above = end


def _joined(text: str, start: int, known: Known) -> Iterator[tuple[int, int]]:
    """The paragraphs, those in one pair of brackets as one, and a heading with what it stands above."""
    end = start
    for match in PARAGRAPH.finditer(text, start):
        if match.start() < end:
            continue
        end = match.end()
        if match[0].lstrip(" *")[:1] == "[" and match[0].count("[") > match[0].count("]"):
            close = text.find("]", end, end + _LONGEST)
            if close >= 0 and text.find("[", end, close) < 0:
                line_end = text.find("\n", close)
                end = line_end if line_end >= 0 else len(text)
        elif HEADING.fullmatch(match[0][:60]):
            below = PARAGRAPH.match(text, end + 2)
            if below and words(below[0]) not in known.titles and not weigh(below[0][:_LONGEST])[2]:
                end = below.end()
        yield match.start(), end


def _split(text: str, start: int, end: int, known: Known) -> Iterator[tuple[int, int]]:
    """A short paragraph, divided where credits begin below a title or a title below credits."""
    if end - start < _LONGEST and "\n\n" not in text[start:end]:
        lines = re.compile(r"^.*$", re.MULTILINE).finditer(text, start, end)
        titled = not BEGINS.match(text, start)
        for place, line in enumerate(lines):
            if place and (words(line[0]) in known.titles or (titled and place < 4 and BEGINS.match(line[0]))):
                yield start, line.start() - 1
                start = line.start()
    yield start, end


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """A text without some stretches of whole lines: of the gaps above and below each the larger one stays."""
    pieces, begin = [], 0
    for start, end in sorted(spans):
        above, below = text[begin:start], _GAP_BELOW.match(text, end)
        body = above.rstrip()
        longer = below is not None and above.count("\n", len(body)) > below[0].count("\n")
        pieces.append(above if longer else body)
        begin = below.end() if below is not None and longer else end
    return "".join((*pieces, text[begin:]))


def _without_bookmarks(text: str) -> str:
    """A text without the lists of bookmarks: a heading and what stands below it, up to the next larger gap."""
    spans: list[tuple[int, int]] = []
    for heading in BOOKMARKS.finditer(text):
        if spans and heading.start() < spans[-1][1]:
            continue
        end = heading.end()
        for place, paragraph in enumerate(PARAGRAPH.finditer(text, heading.start())):
            if place > 1 and text.count("\n", end, paragraph.start()) > 2:
                break
            end = paragraph.end()
        spans.append((heading.start(), end))
    return _without(text, spans)
