"""Rows: that together they read every character once an epoch, each in the order of the text."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.training.rows import PIECE, RowBatches, Window, rows_of_rank, thinned


@st.composite
def rows_and_lengths(draw: st.DrawFn) -> tuple[int, int, int]:
    """(tokens, rows, window length) that fit together."""
    num_rows, seq_length = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    smallest = num_rows * seq_length + 1
    return draw(st.integers(smallest, smallest + 200)), num_rows, seq_length


def text_of(num_tokens: int) -> np.ndarray:
    """A text in which each token is its own position."""
    return np.arange(num_tokens, dtype=np.uint16)


def read(batches: RowBatches, seq_length: int, end: int) -> Window:
    """All windows from the beginning to a time, as one; the seams by their time in the run."""
    times = range(0, end, seq_length)
    windows = [batches.window(time, min(seq_length, end - time)) for time in times]
    seams = [(time + t, row) for time, window in zip(times, windows, strict=True) for t, row in window.seams]
    return Window(np.concatenate([w.x_TB for w in windows]), np.concatenate([w.y_TB for w in windows]), seams)


@given(rows_and_lengths())
def test_an_epoch_reads_every_position_once(sizes: tuple[int, int, int]) -> None:
    num_tokens, num_rows, seq_length = sizes
    batches = RowBatches(text_of(num_tokens), num_rows, seq_length, range(num_rows))
    assert batches.row_length == (num_tokens - 1) // num_rows
    epoch = read(batches, seq_length, batches.row_length)
    assert sorted(epoch.x_TB.ravel()) == list(range(num_rows * batches.row_length))
    np.testing.assert_array_equal(epoch.y_TB, epoch.x_TB + 1)


@given(rows_and_lengths())
def test_the_next_epoch_of_a_row_is_the_segment_of_the_next_row(sizes: tuple[int, int, int]) -> None:
    num_tokens, num_rows, seq_length = sizes
    batches = RowBatches(text_of(num_tokens), num_rows, seq_length, range(num_rows))
    length = batches.row_length
    x_TB = read(batches, seq_length, 2 * length).x_TB
    np.testing.assert_array_equal(x_TB[length:], np.roll(x_TB[:length], -1, axis=1))


@given(rows_and_lengths(), st.integers(1, 5))
def test_one_row_forgets_at_the_beginning_of_each_epoch_but_the_first(sizes: tuple[int, int, int], epochs: int) -> None:
    num_tokens, num_rows, seq_length = sizes
    batches = RowBatches(text_of(num_tokens), num_rows, seq_length, range(num_rows))
    whole = read(batches, seq_length, epochs * batches.row_length)
    assert whole.seams == [(epoch * batches.row_length, -epoch % num_rows) for epoch in range(1, epochs)]
    # Everywhere else a row's next character is the next one of the text.
    jumps = np.argwhere(np.diff(whole.x_TB.astype(np.int64), axis=0) != 1)
    assert [(int(t) + 1, int(row)) for t, row in jumps] == whole.seams


@given(rows_and_lengths(), st.integers(0, 10**15), st.data())
def test_a_window_is_a_function_of_its_time(sizes: tuple[int, int, int], time: int, data: st.DataObject) -> None:
    num_tokens, num_rows, seq_length = sizes
    length = data.draw(st.integers(1, seq_length))
    batches = RowBatches(text_of(num_tokens), num_rows, seq_length, range(num_rows))
    row_length = (num_tokens - 1) // num_rows
    expected = [
        [(row * row_length + time + t) % (num_rows * row_length) for row in range(num_rows)] for t in range(length)
    ]
    window = batches.window(time, length)
    assert window.x_TB.tolist() == expected
    assert window.x_TB.dtype == window.y_TB.dtype == np.int64


@given(rows_and_lengths(), st.integers(1, 12), st.integers(0, 1000))
def test_processes_share_the_rows(sizes: tuple[int, int, int], num_processes: int, time: int) -> None:
    num_tokens, num_rows, seq_length = sizes
    shares = [rows_of_rank(num_rows, process, num_processes) for process in range(num_processes)]
    assert [row for share in shares for row in share] == list(range(num_rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    text = text_of(num_tokens)
    whole = RowBatches(text, num_rows, seq_length, range(num_rows)).window(time, seq_length)
    parts = [RowBatches(text, num_rows, seq_length, share).window(time, seq_length) for share in shares]
    np.testing.assert_array_equal(np.concatenate([part.x_TB for part in parts], axis=1), whole.x_TB)
    np.testing.assert_array_equal(np.concatenate([part.y_TB for part in parts], axis=1), whole.y_TB)
    seams = [(t, share.start + row) for share, part in zip(shares, parts, strict=True) for t, row in part.seams]
    assert sorted(seams) == whole.seams


@given(st.integers(2, 200), st.integers(1, 40), st.integers(1, 40))
@example(num_tokens=11, num_rows=16, seq_length=32)
def test_the_advice_for_a_text_that_is_too_small_works(num_tokens: int, num_rows: int, seq_length: int) -> None:
    text = text_of(num_tokens)
    if num_tokens > num_rows * seq_length:
        assert RowBatches(text, num_rows, seq_length, range(num_rows)).row_length >= seq_length
        return
    with pytest.raises(CorpusError) as caught:
        RowBatches(text, num_rows, seq_length, range(num_rows))
    message = str(caught.value)
    assert "\n" not in message
    advised = {flag: int(value) for flag, value in re.findall(r"--(batch-size|seq-length) (\d+)", message)}
    assert advised
    rows, length = advised.get("batch-size", num_rows), advised.get("seq-length", seq_length)
    assert RowBatches(text, rows, length, range(rows)).row_length >= length


@pytest.mark.parametrize("num_tokens", [0, 1])
def test_a_text_without_a_pair_of_characters_only_needs_more_text(num_tokens: int) -> None:
    with pytest.raises(CorpusError, match="more text") as caught:
        RowBatches(text_of(num_tokens), 1, 1, range(1))
    assert not re.search(r"--(batch-size|seq-length) \d", str(caught.value)), "no flag helps here"


@given(st.integers(1, 12), st.integers(1, 5), st.integers(2 * PIECE, 20 * PIECE))
@settings(max_examples=20, deadline=None)
def test_a_thinned_text_is_read_in_pieces_from_all_over_it(num_rows: int, thin: int, num_tokens: int) -> None:
    tokens = np.arange(num_tokens, dtype=np.uint32)
    batches = RowBatches(tokens, num_rows, 64, range(num_rows), thin)
    kept = np.concatenate(
        [np.arange(start, min(start + PIECE, num_tokens - 1)) for start in range(0, num_tokens - 1, thin * PIECE)]
    )
    assert thinned(num_tokens - 1, thin) == len(kept)
    epoch = read(batches, 64, batches.row_length)
    np.testing.assert_array_equal(np.sort(epoch.x_TB.ravel()), kept[: num_rows * batches.row_length])
    np.testing.assert_array_equal(epoch.y_TB, epoch.x_TB + 1)
    # Where a row comes to another piece, and nowhere else, it forgets.
    jumps = np.argwhere(np.diff(epoch.x_TB, axis=0) != 1)
    jumped = {(int(t) + 1, int(row)) for t, row in jumps}
    assert jumped <= set(epoch.seams)
    assert all(epoch.x_TB[t, row] % PIECE == 0 for t, row in epoch.seams) or thin == 1


@given(rows_and_lengths(), st.floats(0, 0.99))
def test_rows_that_start_later_come_to_the_end_of_their_part_so_much_earlier(
    sizes: tuple[int, int, int], start_at: float
) -> None:
    num_tokens, num_rows, seq_length = sizes
    batches, late = (
        RowBatches(text_of(num_tokens), num_rows, seq_length, range(num_rows), start_at=share)
        for share in (0, start_at)
    )
    skipped = int(start_at * batches.row_length)
    whole, rest = read(batches, seq_length, batches.row_length), read(late, seq_length, batches.row_length - skipped)
    np.testing.assert_array_equal(rest.x_TB, whole.x_TB[skipped:])
