"""Looking for many short pieces in a long text at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from charrnn.text.vocab import Ids

BLOCK = 1 << 20
"""Characters of the text that are looked at together: memory is some 30 bytes for each."""
LONGEST_KEY = 16
"""Ids that a piece is looked for by at most (a power of two)."""

Keys = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
_SIEVE_BITS = 20


def found_in(text: Ids, pieces: Sequence[Ids]) -> list[bool]:
    """Whether each piece, of one id or more and of the text's own type, stands in a text.

    All are looked for in one pass: by a hash of their first 1, 2, 4, 8 or 16 ids (Rabin & Karp 1987). Then they are
    compared.
    """
    found = [False] * len(pieces)
    wanted: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, piece in enumerate(pieces):
        for size, keys in _keys(piece):
            if size == LONGEST_KEY or 2 * size > len(piece):
                wanted[size][int(keys[0])].append(index)
                break
    overlap = max(map(len, pieces), default=1) - 1
    for start in range(0, len(text), BLOCK):
        block = text[start : start + BLOCK + overlap]
        raw = block.tobytes()
        for size, keys in _keys(block):
            places = _places(keys, wanted[size])
            for key, indices in wanted[size].items():
                offsets = (places[keys[places] == np.uint64(key)] * block.itemsize).tolist()
                for index in indices:
                    if not found[index]:
                        found[index] = any(raw.startswith(pieces[index].tobytes(), offset) for offset in offsets)
    return found


def _keys(ids: Ids) -> Iterator[tuple[int, Keys]]:
    """The hash of each 1, 2, 4, 8 and 16 ids in a row: a polynomial modulo 2**64, each from two of half the size."""
    keys, size = ids.astype(np.uint64) * np.uint64(_BASE), 1
    while len(keys):
        yield size, keys
        if size == LONGEST_KEY:
            return
        keys = keys[:-size] * np.uint64(pow(_BASE, size, 1 << 64)) + keys[size:]
        size *= 2


def _places(keys: Keys, wanted: dict[int, list[int]]) -> npt.NDArray[np.int64]:
    """Where one of the wanted keys may be: most places fall through a table of some of their bits."""
    if not wanted:
        return np.zeros(0, np.int64)
    sieve, shift = np.zeros(1 << _SIEVE_BITS, dtype=bool), np.uint64(64 - _SIEVE_BITS)
    sieve[np.array(list(wanted), np.uint64) >> shift] = True
    return np.flatnonzero(sieve[keys >> shift])
