"""The text of a run: of one that begins, from its settings; of one that there is, from its checkpoint."""

from __future__ import annotations

from pathlib import Path

from charrnn.config.settings import TrainConfig
from charrnn.config.sources import from_saved
from charrnn.errors import CorpusError
from charrnn.run.checkpoint import read_training
from charrnn.text.opening import open_text
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore
from charrnn.text.vocab import Vocabulary


def run_text(config: TrainConfig, run_dir: Path, vocab: Vocabulary | None) -> TokenStore:
    """The text that settings ask for, with the vocabulary that was given, if one was."""
    val_fraction, test_fraction = config.fractions
    return open_text(
        (config.corpus, config.val_corpus, config.test_corpus),
        Corpora(config.plugin, config.block_plugin),
        run_dir,
        vocab,
        min_freq=config.min_freq,
        max_size=config.max_size or None,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        normalize=None if config.normalize == "none" else config.normalize,
    )


def trained_text(
    checkpoint: Path,
    vocab: Vocabulary,
    run_dir: Path,
    plugin: tuple[str, ...] = (),
    block_plugin: tuple[str, ...] = (),
) -> TokenStore:
    """The text that the run of a checkpoint was trained on; raises a `UserError` if it is not there, or another now."""
    training = read_training(checkpoint)
    config = from_saved(training["config"], checkpoint)
    plugins = {"plugin": plugin or config.plugin, "block_plugin": block_plugin or config.block_plugin}
    # A run may have been given its vocabulary; any other made its own of the text.
    given = vocab if config.init_from or config.vocab else None
    text = run_text(config.model_copy(update=plugins), run_dir, given)
    if text.digest != training["text"]:
        specs = " ".join((*config.corpus, *config.val_corpus, *config.test_corpus))
        raise CorpusError(f"{specs}: not the text any more that the run was trained on")
    return text
