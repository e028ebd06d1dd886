"""The token store: the encoded text of a run's corpora, built once and whole, and mapped by every process."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

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
THREADS = 2
"""Threads that count and encode beside the one that reads, hashes and writes."""

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
    sources: Sequence[tuple[str, Iterable[Iterable[str]]]],
    *,
    vocab: Vocabulary | None = None,
    min_freq: int = 1,
    max_size: int | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.0,
    normalize: str | None = None,
) -> TokenStore:
    """Builds a store from (spec, documents) pairs, each document an iterable of pieces, and opens it.

    Each source is read once. Its text is its documents, one newline between two unless the first ends in one; the
    sources are joined in the same way. The last `val_fraction` of each, and then `test_fraction`, are set apart from
    training. Without a `vocab` one is made of all characters, as `Vocabulary.from_counts` does. `normalize` is a
    Unicode normal form, such as NFC. A store that is there already is replaced once the new one is whole.

    Raises `CorpusError` for a source without text and for a full disk, `VocabularyError` for characters outside `vocab`,
    `ConfigError` for settings that make no sense; whatever is raised, nothing is left behind.
    """
    _check(val_fraction, test_fraction, normalize)
    with _locked(folder):
        if folder.exists() and not _is_store(folder):
            raise CorpusError(f"{folder} is there and is not a token store: remove it or choose another folder")
        work = folder.with_name(f"{folder.name}.building")
        # Only who holds the lock builds: a folder that is there was left by a build that died.
        shutil.rmtree(work, ignore_errors=True)
        try:
            (work / "store").mkdir(parents=True)
            texts, counts = _spool(work / "spool", sources, normalize)
            if vocab is None:
                vocab = Vocabulary.from_counts(counts, min_freq, max_size)
            elif not vocab.has_unknown and (missing := vocab.missing("".join(counts))):
                raise vocab.complaint(missing)
            _check_space(work, sum(text.characters for text in texts) * vocab.dtype.itemsize)
            _encode(work, texts, vocab, val_fraction, test_fraction)
            if folder.exists():
                folder.rename(work / "replaced")
            (work / "store").rename(folder)
        except OSError as error:
            raise CorpusError(f"cannot build the token store {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return open_store(folder)


def fingerprint(keys: Sequence[str], settings: Mapping[str, object]) -> str:
    """The name of a store in a cache: equal for equal cache keys of the corpora and equal build settings."""
    content = json.dumps([VERSION, list(keys), dict(settings)], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:32]


@dataclass
class _Text:
    """A corpus in the spool: blocks of code points, each with its offset in the file and its bytes a character."""

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


def _spool(
    path: Path, sources: Sequence[tuple[str, Iterable[Iterable[str]]]], normalize: str | None
) -> tuple[list[_Text], dict[str, int]]:
    """Writes all text into one file as it comes, since its vocabulary is known only at its end, and counts it."""
    texts = []
    counts = np.zeros(0x110000, np.int64)
    with path.open("wb") as file, tqdm(desc="reading text", unit="char", unit_scale=True, disable=None) as progress:
        for number, (spec, documents) in enumerate(sources, 1):
            text = _Text(spec)
            pieces = text.joined(documents, is_last=number == len(sources))
            blocks = _blocks(_normalized(normalize, pieces) if normalize else pieces)
            for codes, counted in _ahead(_count, map(code_points, blocks)):
                counts[: len(counted)] += counted
                text.blocks.append((file.tell(), codes.itemsize))
                text.characters += len(codes)
                file.write(codes.data)
                progress.update(len(codes))
            if not text.characters:
                raise CorpusError(f"{spec}: the corpus has no text")
            texts.append(text)
    return texts, {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _encode(work: Path, texts: list[_Text], vocab: Vocabulary, val_fraction: float, test_fraction: float) -> None:
    """Writes the store from the spool."""
    store = work / "store"
    sha = {name: hashlib.sha256() for name in SPLITS}
    tokens = dict.fromkeys(SPLITS, 0)
    total = sum(text.characters for text in texts)
    with (
        (work / "spool").open("rb") as spool,
        ThreadPoolExecutor(1) as pool,
        tqdm(desc="encoding text", total=total, unit="char", unit_scale=True, disable=None) as progress,
    ):

        def read(part: tuple[int, int, int]) -> Ids:
            offset, width, count = part
            codes = np.frombuffer(os.pread(spool.fileno(), width * count, offset), f"<u{width}")
            return vocab.lookup(codes).astype(vocab.dtype, copy=False)

        for index, name in enumerate(SPLITS):
            with (store / f"{name}.bin").open("wb") as file:
                for text in texts:
                    start, stop = _bounds(text.characters, val_fraction, test_fraction)[index]
                    for ids in _ahead(read, text.parts(start, stop)):
                        hashing = pool.submit(sha[name].update, ids.data)
                        file.write(ids.data)
                        hashing.result()
                        tokens[name] += len(ids)
                        if vocab.has_unknown:
                            text.unknown += len(ids) - int(np.count_nonzero(ids))
                        progress.update(len(ids))
    vocab.save(store / "vocab.json")
    reports = [
        CorpusReport(text.spec, text.documents, text.characters, text.unknown / text.characters) for text in texts
    ]
    digests = [vocab.digest, *(sha[name].hexdigest() for name in SPLITS)]
    manifest = {
        "version": VERSION,
        "dtype": vocab.dtype.name,
        "tokens": tokens,
        "corpora": [asdict(report) for report in reports],
        "digest": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
    }
    (store / "store.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8", newline="\n")


def _normalized(form: str, pieces: Iterable[str]) -> Iterator[str]:
    """The text in a normal form. It is cut only before ASCII characters: they never combine with what is before them."""
    waiting: list[str] = []
    for piece in pieces:
        cut = next((index for index in range(len(piece) - 1, -1, -1) if piece[index].isascii()), None)
        if cut is None:
            waiting.append(piece)
        else:
            yield unicodedata.normalize(form, "".join((*waiting, piece[:cut])))  # type: ignore[arg-type]
            waiting = [piece[cut:]]
    yield unicodedata.normalize(form, "".join(waiting))  # type: ignore[arg-type]


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


def _count(codes: Ids) -> tuple[Ids, npt.NDArray[np.int64]]:
    """The code points, and how often each appears."""
    if codes.itemsize > 1 or len(codes) % 2:
        return codes, np.bincount(codes)
    # Counted in pairs, which halves the slow part.
    pairs = np.bincount(codes.view("<u2"), minlength=1 << 16).reshape(256, 256)
    return codes, pairs.sum(axis=0) + pairs.sum(axis=1)


def _ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields function(item) for each item, in order, while threads work a few items ahead."""
    with ThreadPoolExecutor(THREADS) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * THREADS:
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
        raise ConfigError(
            f"val_fraction ({val_fraction}) and test_fraction ({test_fraction}) must be at least 0 and less than 1 together"
        )
    if normalize not in (None, "NFC", "NFD", "NFKC", "NFKD"):
        raise ConfigError(f"{normalize!r} is no Unicode normal form: NFC, NFD, NFKC and NFKD are")


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
