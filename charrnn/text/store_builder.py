"""Building a token store: text is numbered while it is read, and what turns out to be no id yet is put right."""

from __future__ import annotations

import math
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, get_args

import numpy as np
from tqdm import tqdm

from charrnn.errors import ConfigError, CorpusError
from charrnn.outside.disk import flush, to_json
from charrnn.text.corpus import aside
from charrnn.text.documents import blocks, joined, normalized
from charrnn.text.splits import Chunk, Split
from charrnn.text.store import (
    SPLITS,
    VERSION,
    CorpusCounts,
    TokenStore,
    digest_of,
    is_ours,
    locked,
    open_store,
    way_out,
)
from charrnn.text.vocab import Ids, NormalForm, Numbering, Vocabulary, lookup

BLOCK = 1 << 19
"""About how many characters are handled at a time: more fall out of the processor's cache, fewer pay for each call."""

Sources: TypeAlias = Sequence[tuple[str, Iterable[Iterable[str]]]]
"""Pairs of a spec and its documents, each document an iterable of pieces of text: what `Corpus.documents` yields."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoreSettings(TypedDict, total=False):
    """What a store depends on besides its corpora and a given vocabulary.

    Without that vocabulary one is made of all characters, as `Vocabulary.from_counts` does with `min_freq` and
    `max_size`. The last `val_fraction` of each of the sources (a tenth, unless it is said), and then `test_fraction`,
    are set apart from training. `normalize` is a Unicode normal form, such as NFC. With `grow` a given vocabulary
    takes in the characters that it lacks, unless it has <unk>.
    """

    min_freq: int
    max_size: int | None
    val_fraction: float
    test_fraction: float
    normalize: NormalForm | None
    grow: bool


def build_store(
    folder: Path,
    sources: Sources,
    val_sources: Sources = (),
    test_sources: Sources = (),
    *,
    vocab: Vocabulary | None = None,
    num_bytes: int | None = None,
    warnings: Iterable[str] = (),
    **settings: Unpack[StoreSettings],
) -> TokenStore:
    """Builds a store from (spec, documents) pairs, each document an iterable of pieces, and opens it.

    Each source is read once. Its text is its documents, one newline between two unless the first ends in one; the
    sources are joined in the same way. All of `val_sources` and `test_sources` are set apart from training. A `vocab`
    that has a normal form brings it along. `num_bytes` is the size of all text as UTF-8, if known: it tells the time
    left, and whether the disk is large enough before it is written to. `warnings` are looked at after the text was
    read: what there is to say of it. A store that is there already is replaced once the new one is whole, and on the
    disk for good.

    Raises `CorpusError` for a source without text and for a full disk, `VocabularyError` for characters outside
    a `vocab` that does not grow, `ConfigError` for settings that make no sense; whatever is raised, nothing stays.
    """
    min_freq, max_size = settings.get("min_freq", 1), settings.get("max_size")
    val_fraction, test_fraction = settings.get("val_fraction", 0.1), settings.get("test_fraction", 0.0)
    normalize = settings.get("normalize")
    _check(val_fraction, test_fraction, normalize)
    for part, given, fraction in (("val", val_sources, val_fraction), ("test", test_sources, test_fraction)):
        if given and fraction:
            raise ConfigError(f"{part}_sources leave no {part}_fraction ({fraction}) to be set apart")
    if vocab and vocab.normal_form:
        if normalize not in (None, vocab.normal_form):
            raise ConfigError(f"the vocabulary is of text in {vocab.normal_form}: it cannot be {normalize}")
        normalize = vocab.normal_form
    # Only what leaves characters out needs their counts: to know which there are is much cheaper.
    counting = vocab.has_unknown if vocab else (min_freq, max_size) != (1, None)
    folder = folder.absolute()  # wherever a loader goes meanwhile
    with locked(folder), aside():
        if folder.exists() and not is_ours(folder):
            raise CorpusError(f"{folder} is there and is not a token store: remove it or choose another folder")
        work = folder.with_name(f"{folder.name}.building")
        # Only who holds the lock builds, so a folder that is there was left by a build that died.
        shutil.rmtree(work, ignore_errors=True)
        try:
            store = work / "store"
            store.mkdir(parents=True)
            numbering = Numbering(counting)
            with ExitStack() as files:
                splits = [Split(files.enter_context((store / f"{name}.bin").open("w+b"))) for name in SPLITS]
                parts = (sources, val_sources, test_sources)
                texts = _read(parts, numbering, normalize, splits, (val_fraction, test_fraction), num_bytes)
            if vocab and settings.get("grow"):
                vocab = vocab.grown(numbering.characters())
            if vocab:
                vocab.ids_of(numbering.characters())  # names all that it lacks, before anything is encoded
            else:
                counts = sum((text.counts for text in texts), Counter()) or dict.fromkeys(numbering.characters(), 1)
                vocab = Vocabulary.from_counts(counts, min_freq, max_size)
            vocab = replace(vocab, normal_form=normalize)
            for split in splits:
                _encode(split, numbering, vocab)
            _describe(store, texts, splits, vocab, warnings)
            if folder.exists():
                folder.rename(work / "replaced")
            store.rename(folder)
            flush(folder.parent)
            return open_store(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@dataclass
class _Text:
    """A corpus: what was read of it, and how often each character came, if that is counted."""

    split: str
    spec: str
    documents: int = 0
    characters: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first_line: str = ""

    def looking(self, pieces: Iterable[str]) -> Iterator[str]:
        """The pieces, with a look at the first line that is not blank."""
        for piece in pieces:
            self.first_line = self.first_line or piece.lstrip()[:60].split("\n")[0].rstrip()
            yield piece

    def counting(self, documents: Iterable[Iterable[str]]) -> Iterator[Iterable[str]]:
        """The documents, counted."""
        for document in documents:
            self.documents += 1
            yield document


def _read(
    parts: Sequence[Sources],
    numbering: Numbering,
    normalize: NormalForm | None,
    splits: list[Split],
    fractions: tuple[float, float],
    num_bytes: int | None,
) -> list[_Text]:
    """Writes the numbers of all text into the splits, as it comes."""
    train, val, test = splits
    val_fraction, test_fraction = (Fraction(str(fraction)) for fraction in fractions)
    in_order = [
        (split, source, number == len(part))
        for split, part in zip(splits, parts, strict=True)
        for number, source in enumerate(part, 1)
    ]
    texts = []
    with _progress("reading text", num_bytes) as progress:
        for split, (spec, documents), is_last in in_order:
            text = _Text(split.path.stem, spec)
            start = split.tokens
            pieces = text.looking(joined(text.counting(documents), ended=not is_last))
            whole = blocks(normalized(pieces, normalize) if normalize else pieces, BLOCK)
            for numbers, known, size in _ahead(numbering.number, whole):
                if num_bytes and not train.tokens:
                    # As much as the first block needs, and twice what is moved to the other splits.
                    share = Fraction(numbers.nbytes, size) * (1 + val_fraction + test_fraction)
                    _check_space(train.path.parent, math.ceil(num_bytes * share))
                split.append(numbers, known)
                progress.update(size)
            text.characters = split.tokens - start
            if not text.characters:
                raise CorpusError(f"{spec}: the corpus has no text")
            text.counts = numbering.counted()
            if split is train:
                train.move(start + math.floor(text.characters * (1 - test_fraction)), test)
                train.move(start + math.floor(text.characters * (1 - val_fraction - test_fraction)), val)
            texts.append(text)
    return texts


def _encode(split: Split, numbering: Numbering, vocab: Vocabulary) -> None:
    """Turns numbers that are no ids yet into ids: in place if they are as wide as these, else in a new file."""

    @lru_cache(1)
    def table(known: int) -> tuple[Callable[[Ids], Ids], bool]:
        ids = vocab.ids_of(numbering.characters(known))
        return lookup(ids), np.array_equal(ids, np.arange(known))

    def encode(chunk: Chunk) -> tuple[int, Ids]:
        return chunk.offset, table(chunk.known)[0](chunk.read(source))

    in_place = all(chunk.dtype == vocab.dtype for chunk in split.chunks)
    chunks = [chunk for chunk in split.chunks if not (in_place and table(chunk.known)[1])]
    if not chunks:
        return
    size = sum(chunk.tokens for chunk in chunks) * vocab.dtype.itemsize
    path = split.path
    if not in_place:
        path = path.with_suffix(".new")
        _check_space(path.parent, size)
    with (
        split.path.open("rb") as source,
        path.open("r+b" if in_place else "wb") as file,
        _progress("encoding text", size) as progress,
    ):
        for offset, ids in _ahead(encode, chunks):
            if in_place:
                file.seek(offset)
            file.write(ids.data)
            progress.update(ids.nbytes)
    path.replace(split.path)


def _describe(store: Path, texts: list[_Text], splits: list[Split], vocab: Vocabulary, warnings: Iterable[str]) -> None:
    """Writes what makes the splits a store, and has all of it on the disk for good."""
    vocab.save(store / "vocab.json")
    with ThreadPoolExecutor(1) as thread:
        # The disk takes the text while it is read once more.
        flushed = [thread.submit(flush, path) for path in store.iterdir()]
        digest = digest_of(store, vocab)
        for each in flushed:
            each.result()
    counts = [
        CorpusCounts(
            text.split,
            text.spec,
            text.documents,
            text.characters,
            sum(text.counts[character] for character in vocab.missing("".join(text.counts))) / text.characters,
            text.first_line,
        )
        for text in texts
    ]
    manifest = {
        "version": VERSION,
        "tokens": {split.path.stem: split.tokens for split in splits},
        "corpora": [asdict(each) for each in counts],
        "warnings": list(warnings),
        "digest": digest,
    }
    (store / "store.json").write_text(to_json(manifest, indent=1), encoding="utf-8", newline="\n")
    flush(store / "store.json")
    flush(store)


def _progress(what: str, num_bytes: int | None) -> tqdm[Any]:
    return tqdm(desc=what, total=num_bytes, unit="B", unit_scale=True, disable=None)


def _ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields function(item) for each item, in order, while a thread works a few items ahead."""
    with ThreadPoolExecutor(1) as thread:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(thread.submit(function, item))
            if len(pending) > 2:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _check(val_fraction: float, test_fraction: float, normalize: str | None) -> None:
    if not (0 <= val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        fractions = f"val_fraction ({val_fraction}) and test_fraction ({test_fraction})"
        raise ConfigError(f"{fractions} must be at least 0 and leave something to train on")
    if normalize not in (None, *get_args(NormalForm)):
        raise ConfigError(f"{normalize!r} is no Unicode normal form: {', '.join(get_args(NormalForm))} are")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        room = f"{folder.parent} has {free:,} bytes free, and the token store needs {needed:,} more"
        raise CorpusError(f"{room}: make room, or {way_out(folder.parent)}")
