"""Rows: which characters each of the parallel rows of text sees at a given time.

A run reads its text in R rows, whatever the number of processes. With N tokens and L = (N - 1) // R, row r reads the
token at (r * L + t) mod (R * L) at time t, so each row reads its own R-th of the text and then, in the next epoch, the
segment of the next row: the state a row carries always belongs to the text just before. Only the row that comes from
the end of the text back to its beginning has to forget. The target is the next token of the text itself, also at the
end of the last segment, which is what the 1 in L is for. The position of the whole run is one integer, t.

Thinned by k, the text is every k-th of its pieces of `PIECE` tokens, and N counts those: a row that comes from one
piece to the next forgets too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.errors import CorpusError
from charrnn.text.store import ids_at

PIECE = 16_384
"""Tokens in a piece of a text that is thinned; a state is warm after a few hundred."""


def rows_of_rank(num_rows: int, rank: int, world_size: int) -> range:
    """The neighbouring rows that one of the processes owns, as even as the numbers allow."""
    return range(num_rows * rank // world_size, num_rows * (rank + 1) // world_size)


def thinned(num_targets: int, thin: int) -> int:
    """How many of a text's targets lie in every ``thin``-th piece of it, the first among them."""
    whole, rest = divmod(num_targets, thin * PIECE)
    return whole * PIECE + min(rest, PIECE)


@dataclass(frozen=True)
class Window:
    """What some rows read in one window: inputs and targets of shape (T, B), and where a row has to forget.

    ``seams`` holds (time, row index) pairs: before reading ``x_TB[time, row]`` that row's state is set to zero.
    """

    x_TB: npt.NDArray[np.int64]
    y_TB: npt.NDArray[np.int64]
    seams: list[tuple[int, int]]


class RowBatches:
    """The windows of a text, read in ``num_rows`` rows, of which this process reads its own.

    ``thin`` is k: only one in k pieces of the text is read. All rows begin ``start_at``, a share of a row, further on.
    """

    def __init__(
        self,
        tokens: npt.NDArray[np.unsignedinteger],
        num_rows: int,
        seq_length: int,
        own: range,
        thin: int = 1,
        start_at: float = 0.0,
    ) -> None:
        """Raises `CorpusError` if a row would be shorter than a window, and says which number of rows fits."""
        self._thin = thin
        num_targets = thinned(len(tokens) - 1, thin)
        fitting = num_targets // seq_length
        if fitting < num_rows:
            advice = "take more text"
            if fitting > 0:
                advice = f"--batch-size {fitting} fits, or {advice}"
            elif num_targets > 0:
                advice = f"--batch-size 1 --seq-length {num_targets} fits, or {advice}"
            raise CorpusError(
                f"the training text has {num_targets + 1:,} characters, too few for {num_rows} rows "
                f"of windows of {seq_length}: {advice}"
            )
        self.row_length = num_targets // num_rows
        self._tokens = np.asarray(tokens)  # of a memory map a plain view, which is indexed faster
        self._text_length = num_rows * self.row_length
        self._starts = np.arange(own.start, own.stop, dtype=np.int64) * self.row_length
        self._starts += int(start_at * self.row_length)

    def window(self, time: int, length: int) -> Window:
        """The window that begins at a time and is ``length`` characters long."""
        position_TB = (self._starts + (time + np.arange(length, dtype=np.int64))[:, None]) % self._text_length
        start_TB = position_TB == 0
        if self._thin > 1:
            piece_TB, offset_TB = np.divmod(position_TB, PIECE)
            position_TB, start_TB = piece_TB * self._thin * PIECE + offset_TB, offset_TB == 0
        times, rows = np.nonzero(start_TB)
        # At the very beginning there is nothing to forget.
        seams = [(t, row) for t, row in zip(times.tolist(), rows.tolist(), strict=True) if time + t > 0]
        return Window(ids_at(self._tokens, position_TB), ids_at(self._tokens, position_TB + 1), seams)
