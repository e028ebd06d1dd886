"""The JSON of a run: what each file, or each row of one, has to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field

from charrnn.outside.foreign import Count, Finite, Measured, Strict, Text, parsed, read_text

MAX_BYTES_OF_ROWS = 1 << 28
"""A line of metrics has some 200 bytes: this is a million of them."""

Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Bits = Annotated[float, Field(ge=-64, le=64)]


class Format(Strict):
    """What manifest.json and training.json of every format have."""

    format: Count


class Manifest(Format):
    """manifest.json, which is written last."""

    sha256: dict[Text, str]


class Training(Format):
    """training.json, where a run is and what it is about; what a scaler or a newer version adds is kept."""

    model_config = ConfigDict(extra="allow")

    step: Count
    time: Count = 0
    loss_count: Count = 0
    val_loss: Measured = None
    best_loss: Measured = None
    files: dict[Text, Count] = Field(default_factory=dict)
    text: str = ""
    """The digest of the text."""
    scaler: dict[Text, int | float] | None = None
    config: dict[Text, Any] = Field(default_factory=dict)
    """As it was written; `from_saved` checks it."""
    circumstances: dict[Text, str | int | float | None] = Field(default_factory=dict)
    """None is what does not matter there, such as the threads where a GPU computes."""


class Config(Strict):
    """What is shown of a run's settings, whichever version wrote them."""

    corpus: list[Text]
    epochs: Annotated[float, Field(ge=0, le=1e12)]
    max_steps: Count


class Status(Strict):
    """status.json, the last word of a run."""

    state: Literal["running", "finished", "preempted", "failed"]
    time: Seconds


class Baselines(Strict):
    """baselines.json: what others need of the text that a run has held out, in bits a character."""

    text: str
    """The digest of the run's text."""
    letters: Bits
    """Knowing how often each character comes in the training text, and nothing else."""
    bzip2: Bits
    """The compressor, given the training text first."""
    xz: Bits


class Metrics(Strict):
    """A line of metrics.jsonl; earlier versions wrote fewer figures."""

    step: Count
    epoch: Annotated[float, Field(ge=0, le=1e12)]
    val_loss: Measured
    train_loss: Measured = None
    learning_rate: Measured = None
    grad_norm: Measured = None
    chars_per_second: Measured = None


class Sample(Strict):
    """A line of samples.jsonl."""

    step: Count
    epoch: Annotated[float, Field(ge=0, le=1e12)]
    temperature: Finite
    prompt: Text
    text: Text
    val_loss: Measured = None


class CorpusOfStore(Strict):
    """What a store says of a corpus."""

    split: Literal["train", "val", "test"]
    spec: Text
    documents: Count
    characters: Count
    unknown_share: Annotated[float, Field(ge=0, le=1)]


class Store(Strict):
    """The store.json of a token store."""

    version: Count
    tokens: dict[Literal["train", "val", "test"], Count]
    digest: str
    corpora: list[CorpusOfStore]


Row = TypeVar("Row", bound=Strict)


def read_rows(kind: type[Row], path: Path, *, while_written: bool = False) -> list[Row]:
    """The rows of a JSON-lines file, of which one that is being written may be left out; one that is missing has none.

    Raises `OSError`, or `ValueError` in one line.
    """
    try:
        text = read_text(path, path.parent, MAX_BYTES_OF_ROWS)
    except FileNotFoundError:
        return []
    # Only a newline ends a row: text may hold other characters that Python counts as line ends.
    *lines, last = text.split("\n")
    if last and not while_written:
        raise ValueError("it has a row that is not whole: if the run is writing it, try again")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(parsed(kind, line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return rows
