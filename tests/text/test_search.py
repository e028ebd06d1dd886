"""Looking for pieces in a text, against Python's own search."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import search
from charrnn.text.search import found_in

DTYPES = ["<u1", "<u2", "<u4"]


def expected(text: list[int], pieces: list[list[int]]) -> list[bool]:
    whole = "".join(map(chr, text))
    return ["".join(map(chr, piece)) in whole for piece in pieces]


ids = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(st.lists(st.integers(0, 3), max_size=400), st.lists(ids, max_size=8), st.sampled_from(DTYPES))
def test_pieces_are_found_where_they_stand_and_nowhere_else(
    text: list[int], pieces: list[list[int]], dtype: str
) -> None:
    found = found_in(np.array(text, dtype), [np.array(piece, dtype) for piece in pieces])
    assert found == expected(text, pieces)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 7, 64])
def test_pieces_are_found_across_blocks(dtype: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", block)
    rng = random.Random(1)
    text = [rng.randrange(20) for _ in range(500)]
    true = [text[start : start + size] for size in range(1, 60) for start in (0, rng.randrange(440), 500 - size)]
    false = [[*piece[:-1], 20] for piece in true]
    found = found_in(np.array(text, dtype), [np.array(piece, dtype) for piece in true + false])
    assert found == [True] * len(true) + [False] * len(false)
