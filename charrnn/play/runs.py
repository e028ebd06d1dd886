"""The runs that `charrnn play` serves: each with its model, what is to be said of it, and how a text may begin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError
from charrnn.model.folder import load_model
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import generate
from charrnn.outside.foreign import as_dict, checked, is_there, shown
from charrnn.run.checkpoint import TRAINING_FILES, read_training
from charrnn.run.finding import read_chosen
from charrnn.run.folder import METRICS
from charrnn.run.quality import quality_of
from charrnn.run.schema import Config, Metrics, read_rows
from charrnn.text.vocab import Vocabulary

MAX_BEGINNINGS = 4
TRIED = 800
"""Characters that a model writes to find how its texts begin."""
_BEGINNING = re.compile(r"\s*\S+(?:[ \t]\S+)?")
_LONGEST = 28
"""Characters of a beginning, which has to fit on a button."""


@dataclass(frozen=True)
class Playable:
    """A model to play with."""

    model: CharLSTM
    vocab: Vocabulary
    about: str = ""
    """On which text it was trained, and how well, in a line."""
    beginnings: tuple[str, ...] = ()
    """How texts such as it has read may begin, in its own words."""


def read_playable(run: Path, which: str) -> Playable:
    """The best or the last model of a run folder, or that of a model folder."""

    def read(folder: Path) -> tuple[Path, dict[str, Any], CharLSTM, Vocabulary]:
        is_run = all(is_there(folder / name) for name in TRAINING_FILES)
        return folder, read_training(folder) if is_run else {}, *load_model(folder)

    _, training, model, vocab = read_chosen(run, which, read)
    return Playable(model, vocab, about(run, training, model, vocab), beginnings(model, vocab))


def about(run: Path, training: dict[str, Any], model: CharLSTM, vocab: Vocabulary) -> str:
    """Which text a model has read and how well it expects more of it, as far as the run tells; and its size."""
    size = f"{model.num_layers} × {model.hidden_size} cells, {len(vocab)} characters"
    if not training:
        return size
    try:
        corpora = checked(Config, training["config"]).corpus
        rows = list(map(as_dict, read_rows(Metrics, run / METRICS, while_written=True)))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run} cannot be read: {error}") from error
    trained = [f"{rows[-1]['step']:,} steps"] if rows else []
    quality = quality_of(run, rows, finished=False).sentence()
    corpus = shown(" + ".join(map(_without_folder, corpora)))
    return "; ".join(filter(None, [f"trained on {corpus}", *trained, size, quality]))


def beginnings(model: CharLSTM, vocab: Vocabulary) -> tuple[str, ...]:
    """How some lines begin that the model writes when it keeps to what it is sure of: nobody's text but its own."""
    try:
        lines = "".join(generate(model, vocab, length=TRIED, temperature=0.5)).split("\n")[:-1]
    except CheckpointError:  # it has diverged, which is said when somebody writes with it
        return ()
    found = (match[0] for line in lines if (match := _BEGINNING.match(line)) and len(match[0]) <= _LONGEST)
    return tuple(dict.fromkeys(found))[:MAX_BEGINNINGS]


def _without_folder(spec: str) -> str:
    """A corpus spec without where on this machine a file lies: others may see the page."""
    return re.sub(r":(?:/|[A-Za-z]:\\).*[/\\]", ":", spec)
