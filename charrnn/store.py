"""The token store: the encoded text of a run's corpora, built once and whole, and mapped by every process."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from tqdm import tqdm

from charrnn.errors import ConfigError, CorpusError
from charrnn.vocab import Ids, Vocabulary, code_points

log = logging.getLogger(__name__)

VERSION = 1
SPLITS = ("train", "val", "test")
BLOCK = 1 << 20
"""Characters that are handled at a time: NumPy's temporaries of so many stay near the processor."""

Sources: TypeAlias = Sequence[tuple[str, Iterable[Iterable[str]]]]
"""Pairs of a spec and its documents, each document an iterable of pieces of text: what `Corpus.documents` yields."""

NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class CorpusReport:
    """What one corpus gave: its spec, how many documents and characters, and which share of these is <unk>."""

    spec: str
    documents: int
    characters: int
    unknown_share: float


@dataclass(frozen=True, eq=False)
class TokenStore:
    """An open store. `train`, `val` and `test` are read-only 1-D maps of ids; `digest` says which text this is."""

    folder: Path
    vocab: Vocabulary
    digest: str
    corpora: tuple[CorpusReport, ...]
    train: Ids
    val: Ids
    test: Ids


def open_store(folder: Path) -> TokenStore:
    """Maps a store; raises `CorpusError` if the folder is not a whole one of this format version."""
    try:
        manifest = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise ValueError(f"format version {manifest['version']}, not {VERSION}")
        vocab = Vocabulary.load(folder / "vocab.json")
        splits = {name: _map(folder / f"{name}.bin", vocab, manifest["tokens"][name]) for name in SPLITS}
        corpora = tuple(CorpusReport(**report) for report in manifest["corpora"])
        return TokenStore(folder, vocab, manifest["digest"], corpora, **splits)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CorpusError(f"{folder} is not a whole token store: {error}: remove it to have it built again") from error


def open_or_build(folder: Path, build: Callable[[], TokenStore]) -> TokenStore:
    """Opens a store, or calls `build` to build it there; while one process builds, the others wait to open."""
    if not _is_store(folder):
        with _locked(folder):
            if not _is_store(folder):
                return build()
    return open_store(folder)


def build_store(
    folder: Path,
    sources: Sources,
    *,
    vocab: Vocabulary | None = None,
    min_freq: int = 1,
    max_size: int | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.0,
    normalize: NormalForm | None = None,
) -> TokenStore:
    """Builds a store from (spec, documents) pairs, each document an iterable of pieces, and opens it.

    Each source is read once. Its text is its documents, one newline between two unless the first ends in one; the
    sources are joined in the same way. The last `val_fraction` of each, and then `test_fraction`, are set apart from
    training. Without a `vocab` one is made of all characters, as `Vocabulary.from_counts` does. `normalize` is a
    Unicode normal form, such as NFC. A store that is there already is replaced once the new one is whole.

    Raises `CorpusError` for a source without text and for a full disk, `VocabularyError` for characters outside
    `vocab`, `ConfigError` for settings that make no sense; whatever is raised, nothing is left behind.
    """
    _check(val_fraction, test_fraction, normalize)
    with _locked(folder):
        if folder.exists() and not _is_store(folder):
            raise CorpusError(f"{folder} is there and is not a token store: remove it or choose another folder")
        work = folder.with_name(f"{folder.name}.building")
        # Only who holds the lock builds, so a folder that is there was left by a build that died.
        shutil.rmtree(work, ignore_errors=True)
        try:
            (work / "store").mkdir(parents=True)
            numbering = _Numbering()
            texts = _spool(work / "spool", sources, numbering, normalize)
            if vocab is None:
                vocab = Vocabulary.from_counts(numbering.counts(), min_freq, max_size)
            _check_space(work, sum(text.characters for text in texts) * vocab.dtype.itemsize)
            _encode(work, texts, numbering.table(vocab), vocab, val_fraction, test_fraction)
            if folder.exists():
                folder.rename(work / "replaced")
            (work / "store").rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return open_store(folder)


def fingerprint(keys: Sequence[str], settings: Mapping[str, object]) -> str:
    """The name of a store in a cache: equal for equal cache keys of the corpora and equal build settings."""
    content = json.dumps([VERSION, list(keys), dict(settings)], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:32]


@dataclass
class _Text:
    """A corpus in the spool: blocks of numbers, each with its offset in the file and its bytes a number."""

    spec: str
    documents: int = 0
    characters: int = 0
    unknown: int = 0
    blocks: list[tuple[int, int]] = field(default_factory=list)

    def joined(self, documents: Iterable[Iterable[str]], is_last: bool) -> Iterator[str]:
        """The pieces of all documents, with the newlines that documents and corpora are joined by."""
        end = "\n"
        for document in documents:
            self.documents += 1
            is_first = True
            for piece in filter(None, document):
                if is_first and end != "\n":
                    yield "\n"
                is_first = False
                yield piece
                end = piece[-1]
        if not is_last and end != "\n":
            yield "\n"

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Where the characters from `start` to `stop` lie in the spool: (offset, bytes a character, characters)."""
        for index in range(start // BLOCK, math.ceil(stop / BLOCK)):
            offset, width = self.blocks[index]
            first = max(start - index * BLOCK, 0)
            last = min(stop - index * BLOCK, BLOCK)
            yield offset + first * width, width, last - first


class _Numbering:
    """Numbers characters as they first appear and counts them: the text is written before its vocabulary is known.

    ASCII characters are numbered from the start, each by its code point, so that ASCII text needs no look-up.
    """

    def __init__(self) -> None:
        self._codes = list(range(128))
        self._counts = np.zeros(0x110000, np.int64)
        self._numbers = np.full(0x110000, 0xFF, "<u1")
        self._numbers[:128] = self._codes

    def number(self, text: str) -> Ids:
        """The numbers of a text's characters, in the smallest integers that have done for all text so far."""
        numbers = codes = code_points(text)
        if not text.isascii():
            numbers = self._numbers.take(codes, mode="clip")
            absent = np.iinfo(numbers.dtype).max
            if numbers.max() == absent:
                self._extend(np.unique(codes[numbers == absent]))
                numbers = self._numbers.take(codes, mode="clip")
        counted = _count(numbers)
        self._counts[: len(counted)] += counted
        return numbers

    def _extend(self, codes: Ids) -> None:
        start = len(self._codes)
        self._codes.extend(codes.tolist())
        absent = np.iinfo(self._numbers.dtype).max
        if len(self._codes) > absent:
            wider = self._numbers.astype("<u2" if len(self._codes) <= 0xFFFF else "<u4")
            wider[self._numbers == absent] = np.iinfo(wider.dtype).max
            self._numbers = wider
        self._numbers[codes] = np.arange(start, len(self._codes))

    def counts(self) -> dict[str, int]:
        """How often each character was seen."""
        return {chr(self._codes[number]): int(self._counts[number]) for number in np.flatnonzero(self._counts)}

    def table(self, vocab: Vocabulary) -> Ids:
        """The id in a vocabulary of each number; raises `VocabularyError` if a character has none."""
        seen = np.flatnonzero(self._counts)
        table = np.zeros(len(self._codes), vocab.dtype)
        table[seen] = vocab.encode("".join(chr(self._codes[number]) for number in seen))
        return table


def _spool(path: Path, sources: Sources, numbering: _Numbering, normalize: NormalForm | None) -> list[_Text]:
    """Writes the numbers of all text into one file, as it comes."""
    texts = []
    with path.open("wb") as file, tqdm(desc="reading text", unit="char", unit_scale=True, disable=None) as progress:
        for index, (spec, documents) in enumerate(sources, 1):
            text = _Text(spec)
            pieces = text.joined(documents, is_last=index == len(sources))
            for numbers in _ahead(numbering.number, _blocks(_normalized(pieces, normalize) if normalize else pieces)):
                text.blocks.append((file.tell(), numbers.itemsize))
                text.characters += len(numbers)
                file.write(numbers.data)
                progress.update(len(numbers))
            if not text.characters:
                raise CorpusError(f"{spec}: the corpus has no text")
            texts.append(text)
    return texts


def _encode(
    work: Path, texts: list[_Text], table: Ids, vocab: Vocabulary, val_fraction: float, test_fraction: float
) -> None:
    """Writes the store from the spool, whose numbers a table turns into ids."""
    store = work / "store"
    tokens = dict.fromkeys(SPLITS, 0)
    digests = [vocab.digest]
    total = sum(text.characters for text in texts)
    with (
        (work / "spool").open("rb") as spool,
        tqdm(desc="encoding text", total=total, unit="char", unit_scale=True, disable=None) as progress,
    ):
        read = partial(_read, spool, table, _pairs(table))
        for index, name in enumerate(SPLITS):
            sha = hashlib.sha256()
            with (store / f"{name}.bin").open("wb") as file:
                for text in texts:
                    start, stop = _bounds(text.characters, val_fraction, test_fraction)[index]
                    for ids in _ahead(partial(_hash, sha), _ahead(read, text.parts(start, stop))):
                        file.write(ids.data)
                        tokens[name] += len(ids)
                        if vocab.has_unknown:
                            text.unknown += len(ids) - int(np.count_nonzero(ids))
                        progress.update(len(ids))
            digests.append(sha.hexdigest())
    vocab.save(store / "vocab.json")
    reports = [
        CorpusReport(text.spec, text.documents, text.characters, text.unknown / text.characters) for text in texts
    ]
    manifest = {
        "version": VERSION,
        "dtype": vocab.dtype.name,
        "tokens": tokens,
        "corpora": [asdict(report) for report in reports],
        "digest": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
    }
    (store / "store.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8", newline="\n")


def _normalized(pieces: Iterable[str], form: NormalForm) -> Iterator[str]:
    """The text in a normal form, cut only before ASCII characters: they never combine with what is before them."""
    waiting: list[str] = []
    for piece in pieces:
        cut = next((index for index in range(len(piece) - 1, -1, -1) if piece[index].isascii()), None)
        if cut is None:
            waiting.append(piece)
        else:
            yield unicodedata.normalize(form, "".join((*waiting, piece[:cut])))
            waiting = [piece[cut:]]
    yield unicodedata.normalize(form, "".join(waiting))


def _blocks(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in strings of `BLOCK` characters, the last one shorter."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK:
            text = "".join(waiting)
            size %= BLOCK
            yield from (text[start : start + BLOCK] for start in range(0, len(text) - size, BLOCK))
            waiting = [text[len(text) - size :]]
    if size:
        yield "".join(waiting)


def _count(numbers: Ids) -> npt.NDArray[np.int64]:
    """How often each number appears."""
    if numbers.itemsize == 1 and len(numbers) % 2 == 0:
        # In pairs, which halves the slow part.
        pairs = np.bincount(numbers.view("<u2"), minlength=1 << 16).reshape(256, 256)
        return np.asarray(pairs.sum(axis=0) + pairs.sum(axis=1))
    return np.bincount(numbers)


def _pairs(table: Ids) -> Ids | None:
    """The table of two numbers of 1 byte at once, for ids of 1 byte: to look up half as often is twice as fast."""
    if table.itemsize > 1:
        return None
    one = table.take(np.arange(256), mode="clip")
    return np.stack(np.meshgrid(one, one), axis=-1).view("<u2").ravel()


def _read(file: BinaryIO, table: Ids, pairs: Ids | None, part: tuple[int, int, int]) -> Ids:
    """The ids of a part of the spool."""
    offset, width, count = part
    file.seek(offset)
    numbers = np.frombuffer(file.read(width * count), f"<u{width}")
    if pairs is not None and width == 1 and count % 2 == 0:
        return pairs.take(numbers.view("<u2"), mode="clip").view(table.dtype)
    return table.take(numbers, mode="clip")


def _hash(sha: Any, ids: Ids) -> Ids:
    sha.update(ids.data)
    return ids


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


def _bounds(characters: int, val_fraction: float, test_fraction: float) -> list[tuple[int, int]]:
    """Where the training, validation and test parts of so many characters start and stop."""
    val, test = (Fraction(str(fraction)) for fraction in (val_fraction, test_fraction))
    return list(
        pairwise([0, math.floor(characters * (1 - val - test)), math.floor(characters * (1 - test)), characters])
    )


def _check(val_fraction: float, test_fraction: float, normalize: str | None) -> None:
    if not (0 <= val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        fractions = f"val_fraction ({val_fraction}) and test_fraction ({test_fraction})"
        raise ConfigError(f"{fractions} must be at least 0 and leave something to train on")
    if normalize not in (None, *get_args(NormalForm)):
        raise ConfigError(f"{normalize!r} is no Unicode normal form: {', '.join(get_args(NormalForm))} are")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CorpusError(f"{folder.parent} has {free:,} bytes free, and the token store needs {needed:,} more")


def _map(path: Path, vocab: Vocabulary, tokens: int) -> Ids:
    size = path.stat().st_size
    if size != tokens * vocab.dtype.itemsize:
        raise ValueError(f"{path.name} has {size} bytes, not {tokens * vocab.dtype.itemsize}")
    if tokens:
        return np.memmap(path, vocab.dtype, "r")
    return np.frombuffer(b"", vocab.dtype)  # no file of 0 bytes can be mapped


def _is_store(folder: Path) -> bool:
    return (folder / "store.json").exists()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock beside a store's folder, alone among all processes; says so if it has to wait."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"), is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("waiting for another process that is building %s", folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        reason = f"{error.strerror or error}: mend that or choose another folder"
        raise CorpusError(f"cannot build the token store {folder}: {reason}") from error
