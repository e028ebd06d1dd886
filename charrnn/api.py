"""Training and writing from Python: `fit` and `load`, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Unpack

from charrnn.config.keywords import Keywords
from charrnn.errors import ConfigError
from charrnn.model.evaluation import Loss, evaluate
from charrnn.model.folder import load_model
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import SamplingKeywords, generate
from charrnn.outside.output import guarded, warnings_in_lines
from charrnn.run.checkpoint import read_chosen
from charrnn.text.vocab import Vocabulary


@dataclass(frozen=True)
class Model:
    """A trained model with its vocabulary, and the folder of the run that made it."""

    folder: Path
    lstm: CharLSTM = field(repr=False)
    vocab: Vocabulary = field(repr=False)

    def generate(self, prompt: str = "", **settings: Unpack[SamplingKeywords]) -> str:
        """The prompt and the characters that go on from it; the same seed writes the same text.

        The settings are those of `charrnn.generate`. Raises `VocabularyError` for a prompt with characters that the
        model does not know, and `ConfigError` for impossible settings.
        """
        return prompt + "".join(generate(self.lstm, self.vocab, prompt, **settings))

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
    with warnings_in_lines():
        return Model(folder, *read_chosen(folder, checkpoint, load_model))


def fit(corpus: str | Sequence[str] = (), **settings: Unpack[Keywords]) -> Model:
    """Trains in this process, as `charrnn train` does, and returns the best model of the run.

    ``corpus`` is one spec or several, such as ``"gutenberg:1597"``; ``settings`` are the flags of `charrnn train`
    by their names with underscores: ``fit("files:my.txt", hidden_size=256, epochs=3, tracker="none")``. Progress
    and samples are printed. An interrupt (Ctrl-C, or a notebook's stop button) saves and returns, and
    ``fit(run_dir=..., resume=True)`` goes on from there. What training sets for its whole process is put back. Raises a
    `UserError` for what the command would refuse.
    """
    # What only training needs takes seconds to import.
    import torch

    from charrnn.config.presets import default_preset
    from charrnn.config.sources import resolve
    from charrnn.distributed.stopping import StopRequest
    from charrnn.train import train

    given = {**settings, "corpus": corpus} if corpus else settings
    config = resolve(given, default_preset(has_gpu=torch.cuda.is_available()))
    with guarded() as output, warnings_in_lines(), closing(StopRequest()) as stop:
        output.matters = False
        folder, _ = train(config, stop)
    return load(folder)
