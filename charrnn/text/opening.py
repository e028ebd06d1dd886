"""Opening the text of a run: its corpora as a token store, in the user's cache or in a folder of the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Unpack

from charrnn.outside.printable import counted
from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora
from charrnn.text.store import SPLITS, TokenStore, cache_folder, fingerprint, open_or_build, specs_of
from charrnn.text.store_builder import StoreSettings, build_store
from charrnn.text.vocab import Vocabulary

MAX_WARNINGS = 100
"""So many of the loaders' warnings are kept with a store."""


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
        vocab = replace(vocab, normal_form=settings.get("normalize"))
    folder = run_dir.absolute() / "store"
    given = [(split, spec) for split, part in zip(SPLITS, specs, strict=True) for spec in part]
    is_there = os.path.lexists(folder)
    if not is_there or specs_of(folder) not in (None, given):
        keys = [corpus.fingerprint(spec) for spec, corpus in found]
        if all(keys):
            rest = {"parts": list(map(len, parts)), "vocab": vocab.digest if vocab else None}
            folder = cache_folder() / fingerprint([key or "" for key in keys], settings | rest)
        elif is_there:
            # Whether the same corpora are meant in other words, only their text can tell.
            folder = run_dir.absolute() / f"store-{fingerprint(list(chain(*given)), {})[:8]}"
    modules = [getattr(corpus.loader, "__module__", corpus.plugin) for _, corpus in found]

    def build() -> TokenStore:
        sources, *held_out = ([(str(spec), corpus.documents(spec)) for spec, corpus in part] for part in parts)
        sizes = [corpus.num_bytes(spec) for spec, corpus in found]
        num_bytes = None if None in sizes else sum(filter(None, sizes))
        with warnings_of(modules) as heard:
            return build_store(folder, sources, *held_out, vocab=vocab, num_bytes=num_bytes, warnings=heard, **settings)

    return open_or_build(folder, build)


class Warnings(logging.Handler):
    """Keeps what loggers of some packages, or the nameless one, warn of; iterates over a line for each warning."""

    def __init__(self, packages: Collection[str]) -> None:
        super().__init__(logging.WARNING)
        self._packages = packages
        self._last: logging.LogRecord | None = None
        self._lines: list[str] = []
        self._more = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a warning, once, however many loggers it passes on its way."""
        if record is self._last or record.name.partition(".")[0] not in {"root", *self._packages}:
            return
        self._last = record
        try:
            line = " ".join(record.getMessage().split())
        except Exception:  # a stranger's format may be wrong; this is how `logging` itself tells of it
            self.handleError(record)
            return
        if len(self._lines) < MAX_WARNINGS:
            self._lines.append(line)
        else:
            self._more += 1

    def __iter__(self) -> Iterator[str]:
        yield from self._lines
        if self._more:
            yield f"and {counted(self._more, 'warning')} more, which were said when the text was read"


@contextmanager
def warnings_of(modules: Iterable[str]) -> Iterator[Warnings]:
    """Keeps what plugins warn of in their loggers, also in a process that does not show it."""
    packages = {module.partition(".")[0] for module in modules}
    kept = Warnings(packages)
    with ExitStack() as undo:
        for logger in (logging.getLogger(), *map(logging.getLogger, packages)):
            if logger.getEffectiveLevel() > logging.WARNING:
                undo.callback(logger.setLevel, logger.level)
                undo.callback(setattr, logger, "propagate", logger.propagate)
                logger.setLevel(logging.WARNING)
                logger.propagate = False
            logger.addHandler(kept)
            undo.callback(logger.removeHandler, kept)
        yield kept
