"""Characters that are too rare to be learnt, but make every step longer: what a model expects is a number for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MANY = 500
"""Different characters from which on those of an alphabet are looked for among them."""
NEGLIGIBLE = 5e-4
"""The share of a text that may go with what is rare."""
FREQUENCIES = (100, 50, 20, 10, 5, 2)
COUNTED = 1 << 24
"""Characters that are counted of a longer text, in as many pieces from all over it as there are."""


@dataclass(frozen=True)
class Rare:
    """The vocabulary's lowest frequency that leaves out so many of its characters, which are a share of the text."""

    min_freq: int
    characters: int
    share: float


def find_rare(tokens: npt.NDArray[np.unsignedinteger], vocab_size: int) -> Rare | None:
    """The most characters that can be left out of a vocabulary for next to nothing; None if they are not most of it."""
    if vocab_size < MANY:
        return None
    every = -(-len(tokens) // COUNTED)
    piece = 1 << 12
    pieces = (tokens[start : start + piece] for start in range(0, len(tokens), every * piece))
    counts = sum((np.bincount(each, minlength=vocab_size) for each in pieces), np.zeros(vocab_size, np.int64))
    for frequency in FREQUENCIES:
        rare = counts[counts * every < frequency]
        if rare.sum() <= NEGLIGIBLE * counts.sum():
            return Rare(frequency, len(rare), rare.sum() / counts.sum()) if 2 * len(rare) > vocab_size else None
    return None
