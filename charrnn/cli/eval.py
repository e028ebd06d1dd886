"""`charrnn eval RUN --corpus SPEC`: the exact loss of a trained model on any text, as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from charrnn.cli.options import ModelOptions, TextOptions
from charrnn.config.options import NotNegative, Repeated
from charrnn.config.sources import from_saved
from charrnn.distributed.machine import keep_freed_memory, one_blas_thread, share_of_cores
from charrnn.errors import CheckpointError, ConfigError, CorpusError, VocabularyError
from charrnn.model.dynamic import DECAY, LEARNING_RATE, evaluate_dynamically
from charrnn.model.evaluation import Loss, evaluate, fit_temperature, line_losses
from charrnn.model.folder import load_model
from charrnn.model.lstm import CharLSTM
from charrnn.outside.disk import to_json
from charrnn.outside.printable import in_json
from charrnn.run.checkpoint import training_of
from charrnn.run.text import trained_text
from charrnn.text.corpus import CorpusSpec
from charrnn.text.documents import joined
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore, lines_of, remove_unless_locked
from charrnn.text.store_builder import build_store
from charrnn.text.vocab import Vocabulary

TEMPORARY = "charrnn-eval-"
"""How the names of the folders begin that stores are built in."""


class EvalOptions(ModelOptions, TextOptions):
    """Measure a trained model's exact loss on any text, and print it as JSON.

    Example: charrnn eval runs/my-run --split val
    """

    corpus: Repeated = ()
    """The text, SCHEME:ARGUMENT; can be given several times. With --split the default is the run's own."""
    split: Literal["all", "val", "test"] = "all"
    """The whole text, or only what the run sets apart of each corpus for validation, or for a test."""
    dynamic: bool = False
    """Measure also the loss of a model that goes on learning from the text as it reads it (Krause et al. 2018): each
    character is predicted before it is learnt. The saved model stays as it is. 100,000 characters take a minute."""
    learning_rate: NotNegative = LEARNING_RATE
    """How fast it learns, with --dynamic."""
    decay: NotNegative = DECAY
    """How fast it goes back to what it was, with --dynamic."""
    lines: bool = False
    """Measure each line of the text for itself, and print a line of JSON for each: from a fresh state, after a new line
    and no more, all its characters and its end."""
    fit_temperature: bool = False
    """Fit the temperature at which the loss of the first half of the text is lowest, and measure the second half at it:
    above 1 the model is too sure of itself."""

    def read(self, folder: Path) -> tuple[Path, dict[str, Any], CharLSTM, Vocabulary]:
        """A folder, what it says of its training if that is needed, its model and its vocabulary."""
        if self.split == "all":
            return folder, {}, *load_model(folder)
        training = training_of(folder)
        if training is None:
            raise ConfigError(f"{self.run} is a model alone, which does not say what its --split {self.split} is")
        return folder, training, *load_model(folder)


def main(args: Sequence[str]) -> int:
    """Prints loss (nats per character), bpc, and what they were measured on."""
    options = EvalOptions.from_args(args, "charrnn eval")
    if not options.dynamic and (options.learning_rate, options.decay) != (LEARNING_RATE, DECAY):
        raise ConfigError("--learning-rate and --decay are those of --dynamic: add it")
    if options.lines and (options.dynamic or options.fit_temperature):
        raise ConfigError("--lines measures each line for itself: leave out --dynamic and --fit-temperature")
    folder, training, model, vocab = options.read_model(options.read)
    keep_freed_memory()
    torch.set_num_threads(share_of_cores())
    remove_abandoned()
    # Removed as soon as it is mapped, so that no text is left behind when this is killed while it measures.
    with TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True) as temporary:
        open_text = given_text if options.corpus else own_text
        text = open_text(options, folder, training, vocab, Path(temporary))
    tokens = {"all": text.train, "val": text.val, "test": text.test}[options.split]
    if options.split != "all" and not len(tokens):
        advice = f"train with --{options.split}-fraction or --{options.split}-corpus"
        raise CorpusError(f"the run set nothing apart for --split {options.split}: {advice}")
    if options.lines:
        print_lines(model, vocab, tokens)
        return 0
    needed = 3 if options.fit_temperature else 2
    if len(tokens) < needed:
        raise CorpusError(f"the text is too short to be measured: take {needed} characters or more")
    result = measure(options, model, vocab, tokens)
    result |= {"checkpoint": str(folder), "corpora": [asdict(each) for each in text.corpora]}
    print(in_json(to_json(result, indent=2, ensure_ascii=False)))
    return 0


def remove_abandoned() -> None:
    """Removes the text that an evaluation, which was killed while it built its store, has left."""
    for folder in Path(gettempdir()).glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            found = folder.lstat()
            if S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid()):
                remove_unless_locked(folder, folder / "store.lock")


def own_text(
    options: EvalOptions, folder: Path, training: Mapping[str, Any], vocab: Vocabulary, temporary: Path
) -> TokenStore:
    """The run's own text, of which training has set something apart."""
    if options.split == "all":
        raise ConfigError("no text is given: add --corpus SCHEME:ARGUMENT, or --split val for the run's own")
    return trained_text(folder, training, vocab, temporary, options.consent())


def given_text(
    options: EvalOptions, folder: Path, training: Mapping[str, Any], vocab: Vocabulary, temporary: Path
) -> TokenStore:
    """The corpora that were given, split as the run's own text was if only a part of them is to be measured."""
    val_fraction = test_fraction = 0.0
    if options.split != "all":
        config = from_saved(training["config"], folder)
        if getattr(config, f"{options.split}_corpus"):
            raise ConfigError(f"the run has its own --{options.split}-corpus: leave out --corpus, or --split")
        val_fraction, test_fraction = config.fractions
    corpora = Corpora(options.plugin, options.block_plugin)
    specs = [CorpusSpec.parse(spec) for spec in options.corpus]
    sources = [(str(spec), corpora.find(spec).documents(spec)) for spec in specs]
    try:
        return build_store(
            temporary / "store", sources, vocab=vocab, val_fraction=val_fraction, test_fraction=test_fraction
        )
    except VocabularyError as error:
        if options.lines:
            where = ((spec, corpora.find(spec).documents(spec)) for spec in specs)
            raise VocabularyError(f"{_first_unknown(where, vocab)}{error}") from error
        raise


def _first_unknown(sources: Iterable[tuple[CorpusSpec, Iterable[Iterable[str]]]], vocab: Vocabulary) -> str:
    """Where the first character stands that a vocabulary does not have."""
    for spec, documents in sources:
        number, rest = 1, ""
        for piece in joined(documents):
            *whole, rest = (rest + piece).split("\n")
            for line in whole:
                if vocab.missing(vocab.normalized(line)):
                    return f"{spec}, line {number}: "
                number += 1
        if vocab.missing(vocab.normalized(rest)):
            return f"{spec}, line {number}: "
    return ""


def measure(
    options: EvalOptions, model: CharLSTM, vocab: Vocabulary, tokens: npt.NDArray[np.unsignedinteger]
) -> dict[str, Any]:
    """The loss of a text, and what else was asked for."""
    result: dict[str, Any] = figures(evaluate(model, tokens))
    if options.fit_temperature:
        fitted = fit_temperature(model, tokens)
        result["fitted_temperature"] = {
            "temperature": fitted.temperature,
            "second_half_at_1": figures(fitted.before),
            "second_half_at_it": figures(fitted.after),
        }
    if options.dynamic:
        # One row is too little work for several threads: on a busy machine they would wait for each other.
        one_blas_thread()
        torch.set_num_threads(1)
        rates = {"learning_rate": options.learning_rate, "decay": options.decay}
        result["dynamic"] = figures(evaluate_dynamically(model, vocab, tokens, **rates)) | rates
    return result


def print_lines(model: CharLSTM, vocab: Vocabulary, tokens: npt.NDArray[np.unsignedinteger]) -> None:
    """Prints the loss of each line of a text."""
    lines = partial(lines_of, tokens, vocab.newline)
    for number, (line, loss) in enumerate(zip(lines(), line_losses(model, lines(), vocab.newline), strict=True), 1):
        row = {"line": number, "text": vocab.decode(line), **figures(loss)}
        print(in_json(to_json(row, ensure_ascii=False)))


def figures(loss: Loss) -> dict[str, float]:
    """A loss in nats and in bits per character, and of how many; raises `CheckpointError` if it is no number."""
    if not math.isfinite(loss.nats):
        advice = "use another checkpoint, or, with --dynamic, a lower --learning-rate"
        raise CheckpointError(f"the model gives no numbers: it has diverged; {advice}")
    return {"loss": loss.nats, "bpc": loss.bpc, "characters": loss.num_characters}
