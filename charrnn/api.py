"""Training and writing from Python: `fit` and `load`, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Unpack

from charrnn.config.keywords import Keywords
from charrnn.errors import ConfigError, VocabularyError
from charrnn.model.evaluation import Loss, evaluate, line_losses
from charrnn.model.folder import load_model
from charrnn.model.items import Item, write_items
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import SamplingKeywords, generate, generate_all
from charrnn.outside.output import guarded, warnings_in_lines
from charrnn.run.checkpoint import training_of
from charrnn.run.finding import read_chosen
from charrnn.run.text import Consent, text_of_model
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
        characters = generate(self.lstm, self.vocab, prompt, **settings)
        return prompt + "".join(characters)

    def generate_all(self, prompts: Sequence[str], **settings: Unpack[SamplingKeywords]) -> list[str]:
        """What `generate` gives for each of many prompts, written side by side, which is many times faster."""
        texts = generate_all(self.lstm, self.vocab, prompts, **settings)
        return [prompt + text for prompt, text in zip(prompts, texts, strict=True)]

    def items(
        self,
        number: int,
        prompt: str = "",
        *,
        corpus: str | Sequence[str] = (),
        plugin: str | Sequence[str] = (),
        trust: bool = False,
        **settings: Unpack[SamplingKeywords],
    ) -> Iterator[Item]:
        """Yields so many lines, such as names, different from one another, none of which stands in the training text.

        Each has its ``.text``, and as ``.bits`` what the model needs for it, in bits a character: the fewer, the
        likelier. The same seed writes the same lines. The text is the run's own, if that lies in its folder or in your
        cache; else give a copy as ``corpus``, or ``trust`` what the run names, with its ``plugin``. Raises a
        `UserError` where it is not to be had, for impossible settings, and after the last line that there is, if the
        model writes no more that are new.
        """
        given, plugins = ((value,) if isinstance(value, str) else tuple(value) for value in (corpus, plugin))
        # Removed as soon as it is mapped.
        with TemporaryDirectory(prefix="charrnn-items-") as scratch, warnings_in_lines():
            folder, training = read_chosen(self.folder, "best", lambda folder: (folder, training_of(folder)))
            text = text_of_model(folder, training, self.vocab, Path(scratch), Consent(given, plugins, trust=trust))
        texts = (text.train, text.val, text.test)
        return write_items(self.lstm, self.vocab, number, texts, prompt, **settings)

    def line_losses(self, lines: Sequence[str]) -> list[Loss]:
        """How well the model expects each line for itself: all its characters and its end, after a new line.

        Raises `VocabularyError` for characters that the model does not know, and `ConfigError` for what is no line.
        """
        if isinstance(lines, str):
            raise ConfigError("lines must be a list of texts: `loss` takes one text")
        tokens = []
        for number, line in enumerate(lines, 1):
            try:
                tokens.append(self.vocab.encode(line))
                if "\n" in line:
                    raise ConfigError(f"line {number} holds a new line: split the text into lines first")
            except VocabularyError as error:
                raise VocabularyError(f"line {number}: {error}") from error
        return list(line_losses(self.lstm, tokens, self.vocab.newline))

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
    folder, choices = Path(run), ("best", "last")
    if checkpoint not in choices:
        raise ConfigError(f"there is no checkpoint {checkpoint!r}: choose {' or '.join(choices)}")
    with warnings_in_lines():
        return Model(folder, *read_chosen(folder, checkpoint, load_model))


def fit(corpus: str | Sequence[str] = (), **settings: Unpack[Keywords]) -> Model:
    """Trains in this process, as `charrnn train` does, and returns the best model of the run.

    ``corpus`` is one spec or several, such as ``"gutenberg:1597"``; ``settings`` are the flags of `charrnn train`
    by their names with underscores: ``fit("files:my.txt", hidden_size=256, epochs=3, tracker="none")``. Progress
    and samples are printed. Without a corpus it trains on a part of Python's own library, and says so; without a length
    for five minutes. What training sets for its whole process is put back.

    An interrupt (Ctrl-C, or a notebook's stop button) or another signal saves and raises `StoppedError`, a
    `KeyboardInterrupt`: what comes after this call wants a model that is finished. ``fit(run_dir=..., resume=True)``
    goes on from there, and `load` takes what there is. Raises a `UserError` for what the command would refuse.
    """
    # What only training needs takes seconds to import.
    import torch

    from charrnn.config.presets import default_preset
    from charrnn.config.sources import resolve
    from charrnn.distributed.stopping import StoppedError, StopRequest
    from charrnn.train import train

    given = {**settings, "corpus": corpus} if corpus else settings
    config = resolve(given, default_preset(has_gpu=torch.cuda.is_available()))
    with guarded() as output, warnings_in_lines(), closing(StopRequest()) as stop:
        output.matters = False
        folder, outcome = train(config, stop)
    if outcome != "finished":
        run = repr(str(folder))
        raise StoppedError(
            f"training was stopped ({stop.reason}) before its end, and saved: go on with "
            f"charrnn.fit(run_dir={run}, resume=True), or take what there is with charrnn.load({run})"
        )
    return load(folder)
