"""Characters that make steps longer and are hardly ever read: found, and only where leaving them out is no loss."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.text import rare
from charrnn.text.rare import Rare, find_rare


def text_of(common: int, exotic: int, times: int, length: int = 400_000) -> np.ndarray:
    """So many common characters, and so many that come a few times each, in the middle."""
    rng = np.random.default_rng(0)
    exotics = np.repeat(np.arange(common, common + exotic, dtype=np.uint16), times)
    half = rng.integers(0, common, length // 2, dtype=np.uint16)
    return np.concatenate([half, exotics, half])


def test_source_code_with_a_table_of_another_script_has_characters_to_leave_out() -> None:
    found = find_rare(text_of(100, 600, 1, length=2_000_000), 700)
    assert found == Rare(100, 600, pytest.approx(3e-4, rel=0.01))


@pytest.mark.parametrize("times", [2, 9, 40])
def test_no_more_is_left_out_than_is_negligible(times: int) -> None:
    tokens = text_of(100, 600, times, length=4_000_000 * times)
    found = find_rare(tokens, 700)
    assert found is not None
    assert found.characters == 600
    assert found.min_freq > times


def test_an_alphabet_of_thousands_or_a_small_one_has_none() -> None:
    assert find_rare(text_of(3_000, 0, 1), 3_000) is None
    assert find_rare(text_of(1_000, 900, 20), 1_900) is None  # rare, but a twentieth of the text
    assert find_rare(text_of(1_000, 100, 1), 1_100) is None  # too few to matter
    assert find_rare(text_of(90, 60, 1), 150) is None


def test_a_part_of_a_long_text_tells_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = text_of(100, 600, 1, length=4_000_000)
    monkeypatch.setattr(rare, "COUNTED", 400_000)
    found = find_rare(tokens, 700)
    assert found is not None
    assert (found.min_freq, found.characters) == (100, 600)
