"""Texts that a model writes to be searched for what it has copied, and how sure their number makes of its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import Sampling, draw_own
from charrnn.text.vocab import Vocabulary

NUM_TEXTS = 20
"""Texts of a temperature: several, as two passages of one text are not two observations."""

LENGTH = 300
"""Characters of each."""

_RESAMPLINGS = 2000


def write_texts(model: CharLSTM, vocab: Vocabulary, temperature: float) -> list[str]:
    """So many texts of a model, from a fresh state and the seeds 0, 1, 2, ..."""
    drawn = draw_own(model, vocab, NUM_TEXTS, Sampling(length=LENGTH, temperature=temperature))
    bar = tqdm(drawn, f"writing at temperature {temperature:g}", LENGTH, disable=None, leave=False)
    return [vocab.decode(tokens) for tokens in np.stack(list(bar), axis=1)]


def pieces_of(text: str) -> list[str]:
    """As many pieces of a text, as long if it has them: what the texts of a model are compared with."""
    length = min(LENGTH, len(text) // NUM_TEXTS)
    starts = np.linspace(0, len(text) - length, NUM_TEXTS).astype(int).tolist()
    return [text[start : start + length] for start in starts]


def interval(shares: Sequence[float]) -> tuple[float, float]:
    """Between which the mean of such shares lies, 95 times of 100: a bootstrap over the texts (Efron 1979)."""
    rng = np.random.default_rng(0)
    means = rng.choice(np.asarray(shares), (_RESAMPLINGS, len(shares))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
