"""Opening the text of a run: its corpora as a token store, in the user's cache or in a folder of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypedDict, Unpack

import platformdirs

from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore, fingerprint, open_or_build
from charrnn.text.store_builder import build_store
from charrnn.text.vocab import NormalForm, Vocabulary


class StoreSettings(TypedDict):
    """What a store depends on besides its corpora: see `build_store`."""

    min_freq: int
    max_size: int | None
    val_fraction: float
    test_fraction: float
    normalize: NormalForm | None


def open_text(
    specs: Sequence[Sequence[str]],
    corpora: Corpora,
    run_dir: Path,
    vocab: Vocabulary | None,
    **settings: Unpack[StoreSettings],
) -> TokenStore:
    """The token store of some corpora, to train on, to validate on and for a test; built if it is not there yet.

    It lies in the user's cache if every loader can tell, without reading the text, that it is the same; else in the
    run's folder. Raises a `UserError` for corpora that cannot be found or read.
    """
    parts = [[(spec, corpora.find(spec)) for spec in map(CorpusSpec.parse, part)] for part in specs]
    found = list(chain(*parts))
    if vocab and not vocab.normal_form:
        vocab = replace(vocab, normal_form=settings["normalize"])
    folder = run_dir / "store"
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
