"""How much of some written text is copied: its longest passages that stand in the training text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from charrnn.text.vocab import Ids, Vocabulary

SHORTEST = 16
"""Characters of a passage that counts as copied (a power of two); what is shorter is words and turns of phrase."""

BLOCK = 1 << 20
"""Characters of the training text that are looked at together: memory is some 30 bytes for each."""

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
_SIEVE_BITS = 20


@dataclass(frozen=True)
class Passage:
    """A passage of a written text that stands in the training text too."""

    start: int
    length: int
    source: int
    """Where it stands in the training text; it may stand elsewhere too."""


def copied_passages(texts: Sequence[str], vocab: Vocabulary, training: Ids) -> list[list[Passage]]:
    """For each text its passages that stand in the training text and can be made no longer; the longest first.

    White space at the ends of a passage does not count: a line's indentation is not copied. The training text is read
    once, all of it, in blocks. A passage is found by the hash of its first `SHORTEST` characters (Rabin & Karp 1987),
    and then compared.
    """
    # Between two texts stands what is in no training text, so that no passage crosses it.
    written = np.concatenate([[-1], *(np.append(vocab.ids_of(text).astype(np.int64), -1) for text in texts)])
    blank = np.array([*map(str.isspace, vocab.decode(range(len(vocab)))), False])
    longest, source = np.zeros(len(written), dtype=np.int64), np.zeros(len(written), dtype=np.int64)
    for starts, sources in _candidates(written, training, blank):
        lengths = _common_lengths(written, starts, training, sources)
        better = np.flatnonzero(lengths > longest[starts])
        # Of several assignments to one place the last one stays.
        better = better[np.argsort(lengths[better])]
        longest[starts[better]], source[starts[better]] = lengths[better], sources[better]
    passages, first = [], 1
    for text in texts:
        own = []
        for start in np.flatnonzero(longest[first : first + len(text)]).tolist():
            length = len(text[start : start + int(longest[first + start])].rstrip())
            if length >= SHORTEST:
                own.append(Passage(start, length, int(source[first + start])))
        passages.append(sorted(own, key=lambda passage: -passage.length))
        first += len(text) + 1
    return passages


def copied_lengths(passages: Sequence[Passage], num_characters: int) -> Ints:
    """For each character of a text the length of the longest copied passage that it stands in, 0 for none."""
    lengths = np.zeros(num_characters, dtype=np.int64)
    for passage in sorted(passages, key=lambda passage: passage.length):
        lengths[passage.start : passage.start + passage.length] = passage.length
    return lengths


def _candidates(written: Ints, training: Ids, blank: npt.NDArray[np.bool_]) -> Iterator[tuple[Ints, Ints]]:
    """Yields pairs of places, in what is written and in the training text, where a passage may begin.

    From there on `SHORTEST` characters hash alike, the first no blank; and the characters before differ or are blanks:
    else it would begin earlier.
    """
    hashes = _hashes(written)
    starts = np.flatnonzero(~blank[written[: len(hashes)]])
    before, hashes = np.append(-1, written)[starts], hashes[starts]
    before[blank[before]] = -1
    distinct = np.unique(hashes)
    # Most places of the training text fall through a table of some bits of the hash; few need a search.
    sieve = np.zeros(1 << _SIEVE_BITS, dtype=bool)
    sieve[_bits(distinct)] = True
    # In order of the hash and then of the character before, so that the pairs to be left out lie together.
    span = len(blank) + 1
    keys = np.searchsorted(distinct, hashes) * span + before + 1
    order = np.argsort(keys)
    keys, starts = keys[order], starts[order]
    for block in tqdm(range(0, len(training), BLOCK), "searching the training text", disable=None, leave=False):
        there = _hashes(training[block : block + BLOCK + SHORTEST - 1])
        places = np.flatnonzero(sieve[_bits(there)])
        rank = np.searchsorted(distinct, there[places])
        found = distinct.take(rank, mode="clip") == there[places]
        sources, group = block + places[found], rank[found] * span
        before = training[sources - 1].astype(np.int64)
        # No place in what is written has the last key of a group: of those, none is left out.
        left_out = group + np.where((sources == 0) | blank[before], span - 1, before + 1)
        for low, high in ((group, left_out), (left_out + 1, group + span)):
            for part, at in _ranges(np.searchsorted(keys, low), np.searchsorted(keys, high)):
                yield starts[at], sources[part]


def _ranges(low: Ints, high: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yields (index, place) pairs for each place in low[index] .. high[index] - 1.

    A passage that both texts repeat has as many as the product, so they come in parts.
    """
    for part in np.array_split(np.arange(len(low)), 1 + int((high - low).sum()) // BLOCK):
        times = high[part] - low[part]
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        yield np.repeat(part, times), np.repeat(low[part], times) + within


def _hashes(ids: Ids | Ints) -> Hashes:
    """The hash of each `SHORTEST` ids in a row: a polynomial modulo 2**64, of 2, 4, 8, ... ids from its halves."""
    hashes, length = ids.astype(np.uint64), 1
    while length < SHORTEST:
        hashes = hashes[:-length] * np.uint64(pow(_BASE, length, 1 << 64)) + hashes[length:]
        length *= 2
    return hashes


def _bits(hashes: Hashes) -> Hashes:
    return hashes >> np.uint64(64 - _SIEVE_BITS)


def _common_lengths(written: Ints, starts: Ints, training: Ids, sources: Ints) -> Ints:
    """How many characters are the same from each pair of places on."""
    lengths = np.zeros(len(starts), dtype=np.int64)
    going_on = np.arange(len(starts))
    while going_on.size:
        going_on = going_on[sources[going_on] + lengths[going_on] < len(training)]
        same = written[starts[going_on] + lengths[going_on]] == training[sources[going_on] + lengths[going_on]]
        going_on = going_on[same]
        lengths[going_on] += 1
    return lengths
