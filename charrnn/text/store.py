"""The token store: the encoded text of a run's corpora, built once and whole, and mapped by every process."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs
import xxhash
from filelock import FileLock, Timeout

from charrnn.errors import CorpusError, VocabularyError
from charrnn.outside.disk import acquire, way_to_free
from charrnn.text.vocab import Ids, Vocabulary

log = logging.getLogger(__name__)

VERSION = 3
SPLITS = ("train", "val", "test")
FILES = frozenset({*(f"{name}.bin" for name in SPLITS), "vocab.json", "store.json"})
BUFFER = 1 << 20
"""Bytes of a split that are checked at a time: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class CorpusCounts:
    """What one corpus gave: its spec, how many documents and characters, and which share of these is <unk>.

    ``split`` is what it was given for: train, val or test. One that was given for training may have given to all.
    ``first_line`` is for the eye: whether that is the text that was meant.
    """

    split: str
    spec: str
    documents: int
    characters: int
    unknown_share: float
    first_line: str = ""


@dataclass(frozen=True, eq=False)
class TokenStore:
    """An open store. `train`, `val` and `test` are read-only 1-D maps of ids; `digest` says which text this is.

    `warnings` are what the loaders said of the text when they read it.
    """

    folder: Path
    vocab: Vocabulary
    digest: str
    corpora: tuple[CorpusCounts, ...]
    warnings: tuple[str, ...]
    train: Ids
    val: Ids
    test: Ids

    def check_sizes(self) -> None:
        """Raises `CorpusError` if a file has become shorter under its map, where reading on would kill the process."""
        for name in SPLITS:
            tokens = getattr(self, name)
            if isinstance(tokens.base, mmap.mmap) and tokens.base.size() < tokens.nbytes:
                path = self.folder / f"{name}.bin"
                raise CorpusError(f"{path} was cut short while it was read: start again with --resume, which mends it")


def open_store(folder: Path) -> TokenStore:
    """Maps a store; raises `CorpusError` if the folder is not a whole one of this format version."""
    try:
        return _opened(folder)
    except ValueError as error:
        raise CorpusError(f"{folder} is not a whole token store: {error}: remove it to have it built again") from error


def open_or_build(folder: Path, build: Callable[[], TokenStore]) -> TokenStore:
    """Opens a store whose text is what its digest says, and says what there was to say of it when it was built.

    Calls `build` to build it if it is not there; and if it is damaged, which is said. While one process builds, the
    others wait to open.
    """
    with suppress(OSError):  # which opening and building tell of
        for work in list(folder.parent.glob("*.building")):
            remove_unless_locked(work, work.with_suffix(".lock"))
    store = None
    with suppress(ValueError):
        store = _checked(folder)
    if store is None:
        with locked(folder):
            try:
                store = _checked(folder)  # another process may have built it by now
            except ValueError as error:
                if os.path.lexists(folder):
                    log.warning("%s is not a whole token store: %s: building it again", folder, error)
                return build()
    for warning in store.warnings:
        log.warning("%s", warning)
    return store


def _checked(folder: Path) -> TokenStore:
    """Opens a store and reads all of it; raises `ValueError` if it is not what was built."""
    store = _opened(folder)
    try:
        found = digest_of(folder, store.vocab)
    except OSError as error:
        raise CorpusError(f"cannot read the token store {folder}: {error.strerror}: {way_out(folder)}") from error
    if found != store.digest:
        raise ValueError("its text is not what its digest says")
    return store


def _opened(folder: Path) -> TokenStore:
    """Maps a store; raises `ValueError` if it is not whole, `CorpusError` if it cannot be read."""
    try:
        manifest = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise ValueError(f"it has format version {manifest['version']}, not {VERSION}")
        vocab = Vocabulary.from_json((folder / "vocab.json").read_text(encoding="utf-8"))
        splits = {name: _map(folder / f"{name}.bin", vocab, manifest["tokens"][name]) for name in SPLITS}
        corpora = tuple(CorpusCounts(**counts) for counts in manifest["corpora"])
        warnings = tuple(map(str, manifest.get("warnings", ())))  # not kept before
        return TokenStore(folder, vocab, manifest["digest"], corpora, warnings, **splits)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{Path(error.filename).name}: {error.strerror}") from error
    except OSError as error:
        raise CorpusError(f"cannot read the token store {folder}: {error.strerror}: {way_out(folder)}") from error
    except (json.JSONDecodeError, UnicodeError, VocabularyError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"store.json or vocab.json is damaged: {' '.join(str(error).split())}") from error


def digest_of(folder: Path, vocab: Vocabulary) -> str:
    """The digest of a store's content; raises `ValueError` for an id that the vocabulary does not have.

    Not against forgers: it finds mistakes, and takes a twentieth of the time of SHA-256.
    """
    digests, buffer = [vocab.digest], bytearray(BUFFER)
    ids = np.frombuffer(buffer, vocab.dtype)
    may_exceed = len(vocab) <= np.iinfo(vocab.dtype).max
    for name in SPLITS:
        digest = xxhash.xxh3_128()
        with (folder / f"{name}.bin").open("rb") as file:
            while length := file.readinto(buffer):
                digest.update(memoryview(buffer)[:length])
                if may_exceed and ids[: length // ids.itemsize].max(initial=0) >= len(vocab):
                    raise ValueError(f"{name}.bin has ids that are none of its {len(vocab)} characters")
        digests.append(digest.hexdigest())
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def ids_at(tokens: npt.NDArray[np.unsignedinteger], position_TB: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The tokens at some positions of a text, in their shape, as torch wants ids."""
    return tokens[position_TB].astype(np.int64)


def lines_of(tokens: Ids, newline: int) -> Iterator[Ids]:
    """The lines of a text, without the new lines that end them."""
    start = 0
    for first in range(0, len(tokens), BUFFER):
        for end in (first + np.flatnonzero(tokens[first : first + BUFFER] == newline)).tolist():
            yield tokens[start:end]
            start = end + 1
    if start < len(tokens):
        yield tokens[start:]


def fingerprint(keys: Sequence[str], settings: Mapping[str, object]) -> str:
    """The name of a store in a cache: equal for equal cache keys of the corpora and equal build settings."""
    content = json.dumps([VERSION, list(keys), dict(settings)], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:32]


def _map(path: Path, vocab: Vocabulary, tokens: int) -> Ids:
    size = path.stat().st_size
    if size != tokens * vocab.dtype.itemsize:
        raise ValueError(f"{path.name} has {size} bytes, not {tokens * vocab.dtype.itemsize}")
    if tokens:
        return np.memmap(path, vocab.dtype, "r")
    return np.frombuffer(b"", vocab.dtype)  # no file of 0 bytes can be mapped


def is_store(folder: Path) -> bool:
    """Whether a store is there: its manifest is the last thing that a folder gets before it has its name."""
    return os.path.exists(folder / "store.json")


def specs_of(folder: Path) -> list[tuple[str, str]] | None:
    """The corpora that a store was made of, each with the split it was given for; ``None`` if it does not say."""
    try:
        return [(counts.split, counts.spec) for counts in open_store(folder).corpora]
    except CorpusError:
        return None


def is_ours(folder: Path) -> bool:
    """Whether a folder is a store, or what a power cut left of one."""
    try:
        content = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        return {"version", "tokens", "digest"} <= content.keys()
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= FILES


def discard(folder: Path) -> None:
    """Removes a store, and leaves a folder alone that is none."""
    if is_ours(folder):
        (folder / "store.json").unlink(missing_ok=True)  # nobody takes what may remain for a store
        shutil.rmtree(folder, ignore_errors=True)


def remove_unless_locked(doomed: Path, lock: Path) -> None:
    """Removes what a process that died has left, which is what nobody holds the lock of."""
    held = FileLock(lock)
    with suppress(OSError):  # it is held, or another user's
        acquire(held, timeout=0)
        shutil.rmtree(doomed, ignore_errors=True)
        held.release()


def cache_folder() -> Path:
    """Where the stores of this user lie."""
    return platformdirs.user_cache_path("charrnn") / "stores"


def way_out(folder: Path) -> str:
    """What to do where a store cannot be."""
    elsewhere = "set XDG_CACHE_HOME to a" if folder.is_relative_to(cache_folder()) else "choose another"
    return f"mend that or {elsewhere} folder of your own"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock beside a store's folder, alone among all processes; says so if it has to wait."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"), is_singleton=True)
        try:
            # Not at once: another process may look, for a moment, whether what lies there is abandoned.
            acquire(lock, timeout=0.2)
        except Timeout:
            log.warning("waiting for another process that is building %s%s", folder, way_to_free(lock))
            acquire(lock)
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        reason = f"{error.strerror or error}: {way_out(folder)}"
        raise CorpusError(f"cannot build the token store {folder}: {reason}") from error
