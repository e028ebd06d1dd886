"""The model reads a text: what it expected at each character, and what its cells held after it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from charrnn.errors import CheckpointError
from charrnn.model.evaluation import WARM_UP
from charrnn.model.lstm import CharLSTM
from charrnn.text.store import ids_at
from charrnn.text.vocab import Ids

NUM_ROWS = 16
"""Rows in which a text is read: so many characters cost one step of the model."""

ROW_LENGTH = 1000
"""Characters of a row at most: 16,000 in all are enough to tell what a cell follows."""

MAX_CHARACTERS = NUM_ROWS * ROW_LENGTH + WARM_UP
"""What is read of a text at most."""

NUM_LIKELIEST = 5

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What a model made of N characters with its C cells (of all layers, one after another)."""

    tokens_N: Ids
    surprise_N: Floats
    """In bits: -log2 of the probability that the character had, given all that was read before it."""
    likeliest_NK: npt.NDArray[np.int64]
    """The ids that were likeliest, the likeliest first."""
    probability_NK: Floats
    cells_NC: Floats
    """tanh of each cell after the character was read, as Karpathy, Johnson & Li (2015) show it."""


@torch.inference_mode()
def read(model: CharLSTM, tokens: Ids) -> Reading:
    """Reads a text of at least two characters, or its beginning; what it warms up on is no part of the reading."""
    warm_up = max(1, min(WARM_UP, len(tokens) // 4))
    num_rows = max(1, min(NUM_ROWS, (len(tokens) - warm_up) // WARM_UP))
    length = min(ROW_LENGTH, (len(tokens) - warm_up) // num_rows)
    first = warm_up + length * np.arange(num_rows)
    x_TB = torch.from_numpy(ids_at(tokens, first + np.arange(-warm_up, length)[:, None]))
    state, log_probs_BV = model.zero_state(num_rows), torch.empty(0)
    surprise, likeliest, probability, cells = [], [], [], []
    for time in tqdm(range(warm_up + length), "reading a text", disable=None, leave=False):
        if time >= warm_up:
            surprise.append(-log_probs_BV.gather(1, x_TB[time][:, None])[:, 0] / math.log(2))
            top = log_probs_BV.topk(min(NUM_LIKELIEST, model.vocab_size))
            likeliest.append(top.indices)
            probability.append(top.values.exp())
        logits_TBV, state = model(x_TB[time : time + 1], state)
        log_probs_BV = logits_TBV[0].float().log_softmax(-1)
        if time >= warm_up:
            cells.append(state[1].tanh().transpose(0, 1).flatten(1))

    def joined(steps: list[torch.Tensor]) -> torch.Tensor:
        """One row after the other, as the text goes."""
        return torch.stack(steps, dim=1).flatten(0, 1)

    if not all(bool(step.isfinite().all()) for step in (*surprise, *cells)):
        raise CheckpointError("the model gives no numbers: its training has diverged; use another checkpoint")
    return Reading(
        tokens_N=np.asarray(tokens[warm_up : warm_up + num_rows * length]),
        surprise_N=joined(surprise).numpy(),
        likeliest_NK=joined(likeliest).numpy(),
        probability_NK=joined(probability).numpy(),
        cells_NC=joined(cells).numpy(),
    )
