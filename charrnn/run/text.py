"""The text of a run: of one that begins, from its settings; of one that there is, only if its reader agrees.

A run says what text it was trained on, and with which plugins. Whoever made it may be anybody: what lies in its folder,
or in the reader's own cache, is opened without a word; what it names elsewhere is not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from charrnn.config.settings import TrainConfig
from charrnn.config.sources import from_saved
from charrnn.errors import CheckpointError, CorpusError, UserError
from charrnn.outside.foreign import checked, inside, read, reason, regular, shown
from charrnn.run.schema import Config, Store
from charrnn.text.corpus import CorpusSpec
from charrnn.text.opening import open_text
from charrnn.text.plugins import Corpora
from charrnn.text.store import SPLITS, TokenStore, cache_folder, digest_of, open_store
from charrnn.text.store_builder import Sources, StoreSettings, build_store
from charrnn.text.vocab import Vocabulary

LOG = logging.getLogger(__name__)

_OF_A_RUN = re.compile("store(-[0-9a-f]{8})?")
"""How `open_text` names the stores in the folder of a run."""


@dataclass(frozen=True)
class Consent:
    """What the reader of a run agrees to: the corpora to read instead of its own, the plugins, and all it names."""

    corpus: tuple[str, ...] = ()
    plugin: tuple[str, ...] = ()
    block_plugin: tuple[str, ...] = ()
    trust: bool = False


def run_text(config: TrainConfig, run_dir: Path, vocab: Vocabulary | None, *, grow: bool = False) -> TokenStore:
    """The text that settings ask for, with the vocabulary that was given, if one was, which may grow."""
    settings = _store_settings(config)
    if grow:  # not said where it may not: settings name a store in the cache
        settings["grow"] = True
    specs = (config.corpus, config.val_corpus, config.test_corpus)
    return open_text(specs, Corpora(config.plugin, config.block_plugin), run_dir, vocab, **settings)


def _store_settings(config: TrainConfig) -> StoreSettings:
    val_fraction, test_fraction = config.fractions
    return {
        "min_freq": config.min_freq,
        "max_size": config.max_size or None,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "normalize": None if config.normalize == "none" else config.normalize,
    }


def corpora_of(folder: Path, training: Mapping[str, Any]) -> list[str]:
    """The corpora that a checkpoint with that training.json names; raises `CheckpointError` if it is no such thing."""
    try:
        return checked(Config, training["config"]).corpus
    except ValueError as error:
        raise CheckpointError(f"{folder / 'training.json'} cannot be read: config: {error}") from error


def trained_text(
    checkpoint: Path, training: Mapping[str, Any], vocab: Vocabulary, scratch: Path, consent: Consent
) -> TokenStore:
    """The text that the run of a checkpoint, with that training.json, was trained on.

    What is not there already is built in ``scratch``. Raises a `UserError` if it is not there, is another now, or is
    somewhere that nobody has agreed to look.
    """
    if not consent.corpus and (stored := text_at_hand(checkpoint, training, vocab)):
        return stored
    config = from_saved(training["config"], checkpoint)
    _check_consent(config, consent)
    # A run may have been given its vocabulary; any other made its own of the text.
    given = vocab if config.init_from or config.vocab else None
    specs = (consent.corpus or config.corpus, config.val_corpus, config.test_corpus)
    text = _read_text(specs, config, given, scratch, consent)
    if text.digest != training["text"]:
        raise CorpusError(f"{shown(' '.join(chain(*specs)))}: not the text any more that the run was trained on")
    return text


def text_of_model(
    folder: Path, training: Mapping[str, Any] | None, vocab: Vocabulary, scratch: Path, consent: Consent
) -> TokenStore:
    """`trained_text`, or of a model alone, which has no training.json, the text that is given as what it learnt."""
    if training is not None:
        return trained_text(folder, training, vocab, scratch, consent)
    if not consent.corpus:
        raise CorpusError(
            f"{shown(str(folder))} is a model alone, which does not say what it was trained on: give --corpus with that"
        )
    corpora = Corpora(consent.plugin, consent.block_plugin)
    return build_store(scratch / "store", _sources(consent.corpus, corpora), vocab=vocab)


def text_at_hand(checkpoint: Path, training: Mapping[str, Any], vocab: Vocabulary) -> TokenStore | None:
    """The text of the run of a checkpoint, if it lies in the run's folder or in this user's cache."""
    found = (stored_text(folder, training["text"], vocab) for folder in known_stores(checkpoint))
    return next(filter(None, found), None)


def known_stores(checkpoint: Path) -> Iterator[Path]:
    """The token stores in the folder of a checkpoint's run, and in this user's cache."""
    parent = checkpoint.resolve().parent
    run = parent.parent
    for own in sorted(run.glob("store*")) if parent.name == "checkpoints" else ():
        if _OF_A_RUN.fullmatch(own.name) and own.is_dir():
            try:
                yield inside(own, run)
            except OSError as error:
                LOG.warning("%s is not opened: it %s", shown(str(own)), error.strerror)
    yield from sorted(each.parent for each in cache_folder().glob("*/store.json"))


def stored_text(folder: Path, digest: str, vocab: Vocabulary) -> TokenStore | None:
    """The text of a store, if it is the one of that digest and vocabulary, and is in truth what it says."""
    try:
        manifest = read(Store, folder / "store.json", folder)
        if manifest.digest != digest:
            return None
        for name in ("vocab.json", *(f"{split}.bin" for split in SPLITS)):
            regular(folder / name, folder)
        text = open_store(folder)
        if text.vocab != vocab:
            return None
        if digest_of(folder, vocab) != digest:
            raise CorpusError("its text is not the one that its digest says")
    except (OSError, ValueError, UserError) as error:
        LOG.warning("the token store %s is passed over: %s", shown(str(folder)), reason(error))
        return None
    return text


def _check_consent(config: TrainConfig, consent: Consent) -> None:
    """Raises `CorpusError` if the run names a text that nobody has agreed to open."""
    named = [*(() if consent.corpus else config.corpus), *config.val_corpus, *config.test_corpus]
    if not named or consent.trust:
        return
    instead = "--trust" if consent.corpus else "--corpus with a copy of it, or --trust to read what the run names"
    plugin = shown(" ".join(f"--plugin {name}" for name in config.plugin if name not in consent.plugin))
    also = f"; it was read with {plugin}, which is code: add that only if you trust it too" if plugin else ""
    raise CorpusError(
        f"this run names {shown(' '.join(named))}, a text that is neither in its folder nor in your cache: "
        f"give {instead}{also}"
    )


def _read_text(
    specs: tuple[tuple[str, ...], ...],
    config: TrainConfig,
    vocab: Vocabulary | None,
    scratch: Path,
    consent: Consent,
) -> TokenStore:
    """Reads a run's text into a store of its own, which no cache keeps; only plugins that were given are imported."""
    corpora = Corpora(consent.plugin, consent.block_plugin or config.block_plugin)
    sources = (_sources(part, corpora) for part in specs)
    return build_store(scratch / "store", *sources, vocab=vocab, **_store_settings(config))


def _sources(specs: tuple[str, ...], corpora: Corpora) -> Sources:
    return [(str(spec), corpora.find(spec).documents(spec)) for spec in map(CorpusSpec.parse, specs)]
