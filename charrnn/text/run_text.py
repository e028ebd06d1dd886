"""The text of a run: its corpora as a token store, in the user's cache or in a folder of the run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from charrnn.config.settings import TrainConfig, from_saved
from charrnn.errors import CorpusError
from charrnn.run.checkpoint import read_training
from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore, fingerprint, open_or_build
from charrnn.text.store_builder import build_store
from charrnn.text.vocab import Vocabulary


def open_text(config: TrainConfig, where: Path, vocab: Vocabulary | None) -> TokenStore:
    """The token store of the run's corpora, built if it is not there yet.

    It lies in the user's cache if every loader can tell, without reading the text, that it is the same; else in the
    folder ``where``, the run's.
    """
    corpora = Corpora(config.plugin, config.block_plugin)
    parts = [
        [(spec, corpora.find(spec)) for spec in map(CorpusSpec.parse, specs)]
        for specs in (config.corpus, config.val_corpus, config.test_corpus)
    ]
    found = list(itertools.chain(*parts))
    settings: dict[str, Any] = {
        "min_freq": config.min_freq,
        "max_size": config.max_size or None,
        "val_fraction": config.fractions[0],
        "test_fraction": config.fractions[1],
        "normalize": None if config.normalize == "none" else config.normalize,
    }
    if vocab and not vocab.normal_form:
        vocab = replace(vocab, normal_form=settings["normalize"])
    folder = where / "store"
    keys = [corpus.fingerprint(spec) for spec, corpus in found] if not folder.exists() else [None]
    if all(keys):
        rest = {"parts": list(map(len, parts)), "vocab": vocab.digest if vocab else None}
        name = fingerprint([key or "" for key in keys], settings | rest)
        folder = platformdirs.user_cache_path("charrnn") / "stores" / name

    def build() -> TokenStore:
        sources, *held_out = ([(str(spec), corpus.documents(spec)) for spec, corpus in part] for part in parts)
        sizes = [corpus.num_bytes(spec) for spec, corpus in found]
        num_bytes = None if None in sizes else sum(filter(None, sizes))
        return build_store(folder, sources, *held_out, vocab=vocab, num_bytes=num_bytes, **settings)

    return open_or_build(folder, build)


def text_of(
    folder: Path,
    vocab: Vocabulary,
    where: Path,
    plugin: tuple[str, ...] = (),
    block_plugin: tuple[str, ...] = (),
) -> TokenStore:
    """The text that the run of a checkpoint was trained on; raises a `UserError` if it is not there, or another now."""
    training = read_training(folder)
    config = from_saved(training["config"])
    config = replace(config, plugin=plugin or config.plugin, block_plugin=block_plugin or config.block_plugin)
    # A run may have been given its vocabulary; any other made its own of the text.
    given = vocab if config.init_from or config.vocab else None
    text = open_text(config, where, given)
    if text.digest != training["text"]:
        specs = " ".join((*config.corpus, *config.val_corpus, *config.test_corpus))
        raise CorpusError(f"{specs}: not the text any more that the run was trained on")
    return text
