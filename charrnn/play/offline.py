"""The page to play with as one file: the model runs in the reader's browser, offline, and needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.model.in_browser import Cost, model_in_browser, script
from charrnn.model.lstm import CharLSTM
from charrnn.outside.page import render
from charrnn.text.vocab import Vocabulary

LENGTH = 1000
"""Characters that the page writes at a time."""


def offline_page(name: str, corpora: Sequence[str], model: CharLSTM, vocab: Vocabulary, cost: Cost) -> str:
    """The page of a model, HTML of one file; ``corpora`` are what it learned from, if that is known.

    Raises `CheckpointError` for a model that has diverged.
    """
    values = {
        "name": name,
        "corpora": corpora,
        "shape": model,
        "num_weights": model.num_parameters,
        "num_characters": len(vocab.characters),
        "cost": cost,
        "file": model_in_browser(model, vocab) | {"length": LENGTH},
    }
    return render("charrnn.play", "offline", values, [script()])
