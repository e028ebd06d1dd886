"""Training and writing from Python: `fit` and `load`, for notebooks and scripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from charrnn.errors import ConfigError
from charrnn.model.evaluation import Loss, evaluate
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import generate
from charrnn.run.checkpoint import find_model, load_model
from charrnn.text.vocab import Vocabulary


@dataclass(frozen=True)
class Model:
    """A trained model with its vocabulary, and the folder of the run that made it."""

    folder: Path
    lstm: CharLSTM = field(repr=False)
    vocab: Vocabulary = field(repr=False)

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The prompt and ``length`` characters that go on from it; the same seed writes the same text.

        Raises `VocabularyError` for a prompt with characters that the model does not know, and `ConfigError` for
        impossible settings.
        """
        text = generate(
            self.lstm,
            self.vocab,
            prompt,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        return prompt + "".join(text)

    def loss(self, text: str) -> Loss:
        """How well the model expects a text: the exact loss, as ``.nats`` and as ``.bpc`` per character.

        Raises `VocabularyError` for characters that the model does not know, and `ConfigError` for a text of fewer than
        two characters, of which nothing can be predicted.
        """
        tokens = self.vocab.encode(text)
        if len(tokens) < 2:
            raise ConfigError("the text is too short to be measured: take at least two characters")
        return evaluate(self.lstm, tokens)


def load(run: str | Path, checkpoint: Literal["best", "last"] = "best") -> Model:
    """The model of a run, or of a folder that `charrnn export` wrote; raises `CheckpointError` if there is none."""
    folder = Path(run)
    return Model(folder, *load_model(find_model(folder, checkpoint)))


def fit(corpus: str | Sequence[str] = (), **settings: Any) -> Model:
    """Trains in this process, as `charrnn train` does, and returns the best model of the run.

    ``corpus`` is one spec or several, such as ``"gutenberg:1597"``; ``settings`` are the flags of `charrnn train`
    by their names with underscores: ``fit("files:my.txt", hidden_size=256, epochs=3, tracker="none")``. Progress
    and samples are printed. An interrupt (Ctrl-C, or a notebook's stop button) saves and returns, and
    ``fit(run_dir=..., resume=True)`` goes on from there. Raises a `UserError` for what the command would refuse.
    """
    # What only training needs takes seconds to import.
    import torch

    from charrnn.config.settings import from_values
    from charrnn.distributed.processes import StopRequest
    from charrnn.train import train

    values = {name: os.fspath(value) if isinstance(value, Path) else value for name, value in settings.items()}
    if corpus:
        values["corpus"] = corpus
    config = from_values(values, "gpu" if torch.cuda.is_available() else "laptop")
    with closing(StopRequest()) as stop:
        folder, _ = train(config, stop)
    return load(folder)
