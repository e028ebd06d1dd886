"""Looking for short pieces in a long text."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.text.vocab import Ids

BLOCK = 1 << 24
"""Characters of the text that are in memory at a time."""


def found_in(text: Ids, pieces: Sequence[Ids]) -> list[bool]:
    """Whether each piece, of one id or more and of the text's own type, stands somewhere in a text."""
    found = [False] * len(pieces)
    overlap = max(map(len, pieces), default=1) - 1
    for start in range(0, len(text), BLOCK):
        # Python's own search goes through some gigabytes a second: nothing built on NumPy came near it.
        block = text[start : start + BLOCK + overlap].tobytes()
        found = [known or _stands(block, piece) for known, piece in zip(found, pieces, strict=True)]
    return found


def _stands(block: bytes, piece: Ids) -> bool:
    wanted = piece.tobytes()
    at = block.find(wanted)
    while at > 0 and at % piece.itemsize:  # from the middle of an id on
        at = block.find(wanted, at + 1)
    return at >= 0
