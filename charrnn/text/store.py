"""The token store: the encoded text of a run's corpora, built once and whole, and mapped by every process."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from charrnn.errors import CorpusError
from charrnn.text.vocab import Ids, Vocabulary

log = logging.getLogger(__name__)

VERSION = 3
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CorpusCounts:
    """What one corpus gave: its spec, how many documents and characters, and which share of these is <unk>.

    ``split`` is what it was given for: train, val or test. One that was given for training may have given to all.
    """

    split: str
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
    corpora: tuple[CorpusCounts, ...]
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
        corpora = tuple(CorpusCounts(**counts) for counts in manifest["corpora"])
        return TokenStore(folder, vocab, manifest["digest"], corpora, **splits)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CorpusError(f"{folder} is not a whole token store: {error}: remove it to have it built again") from error


def ids_at(tokens: npt.NDArray[np.unsignedinteger], position_TB: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The tokens at some positions of a text, in their shape, as torch wants ids."""
    return tokens[position_TB].astype(np.int64)


def open_or_build(folder: Path, build: Callable[[], TokenStore]) -> TokenStore:
    """Opens a store, or calls `build` to build it there; while one process builds, the others wait to open."""
    if not is_store(folder):
        with locked(folder):
            if not is_store(folder):
                return build()
    return open_store(folder)


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
    """Whether a whole store is there: its manifest is the last thing that a folder gets before it has its name."""
    return (folder / "store.json").exists()


def discard(folder: Path) -> None:
    """Removes a store, and leaves a folder alone that is none."""
    manifest = folder / "store.json"
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(content, dict) and {"version", "tokens", "digest"} <= content.keys():
        manifest.unlink()  # nobody takes what may remain for a store
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
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
