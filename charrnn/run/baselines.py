"""What else makes of the text that a run has held out: letter frequencies and compressors, in bits a character."""

from __future__ import annotations

import bz2
import logging
import lzma
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charrnn.errors import UserError
from charrnn.outside.foreign import read, reason
from charrnn.run.folder import write_json
from charrnn.run.schema import Baselines
from charrnn.text.store import TokenStore
from charrnn.text.vocab import Ids, Vocabulary

LOG = logging.getLogger(__name__)

BASELINES = "baselines.json"
MOST = 5_000_000
"""Bytes of text that are compressed at most, half of them held out: eight seconds of a core, shared by two."""
FEWEST = 1000
"""Characters of held-out text with fewer of which the few bytes by which a compressor rounds would be seen."""
PIECE = 1 << 20


def record_baselines(folder: Path, store: TokenStore) -> None:
    """Measures the baselines of a run's text and keeps them in its folder, once; what prevents it is only said.

    They are the text's: it does not matter which job of a run writes them.
    """
    try:
        known = read_baselines(folder)
        if len(store.val) < FEWEST or (known and known.text == store.digest):
            return
        store.check_sizes()
        measured = measure_baselines(store.train, store.val, store.vocab)
        write_json(folder / BASELINES, {"text": store.digest, **measured})
    except (UserError, OSError, MemoryError) as error:
        LOG.warning("what compressors make of the held-out text was not measured: %s", reason(error))


def read_baselines(folder: Path) -> Baselines | None:
    """What a run folder has of them; that it cannot be read is only said."""
    try:
        return read(Baselines, folder / BASELINES, folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        LOG.warning("%s is passed over: %s", folder / BASELINES, reason(error))
        return None


def measure_baselines(train: Ids, val: Ids, vocab: Vocabulary) -> dict[str, float]:
    """Bits a character of held-out text, by names: see `Baselines`. Of long texts what lies side by side is taken."""
    val = val[: MOST // 2]
    held_out = utf8(val, vocab)[: MOST // 2]
    train = train[len(held_out) - MOST :]
    before = utf8(train, vocab)[len(held_out) - MOST :]
    # A byte that begins a character is none that goes on with one: those are 10xxxxxx.
    num_characters = int(np.count_nonzero(np.frombuffer(held_out, np.uint8) & 0xC0 != 0x80))
    return {
        "letters": bits_of_letters(counts(train, vocab), counts(val, vocab)),
        "bzip2": bits_after(bzip2, before, held_out) / num_characters,
        "xz": bits_after(xz, before, held_out) / num_characters,
    }


def bits_of_letters(train_V: npt.NDArray[np.int64], val_V: npt.NDArray[np.int64]) -> float:
    """Bits a character that knowing letter frequencies alone leaves: of V characters, each counted once more."""
    shares_V = (train_V + 1) / (train_V.sum() + len(train_V))
    return max(0.0, float(-(val_V * np.log2(shares_V)).sum() / val_V.sum()))


def bits_after(compress: Callable[[bytes], bytes], before: bytes, text: bytes) -> int:
    """Bits that a compressor needs for a text when it has been given the text before it."""
    with ThreadPoolExecutor(2) as threads:
        size, size_of_both = threads.map(lambda data: len(compress(data)), (before, before + text))
    return 8 * (size_of_both - size)


def xz(data: bytes) -> bytes:
    """As `xz -9e`, but without the 700 MB that its dictionary takes where it is larger than the text."""
    size = min(max(len(data), 1 << 16), 1 << 26)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
    return lzma.compress(data, filters=filters)


def bzip2(data: bytes) -> bytes:
    """As `bzip2 -9`."""
    return bz2.compress(data, 9)


def utf8(ids: Ids, vocab: Vocabulary) -> bytes:
    """The text of ids as UTF-8."""
    return b"".join(vocab.decode(piece).encode("utf-8", "surrogatepass") for piece in pieces(ids))


def counts(ids: Ids, vocab: Vocabulary) -> npt.NDArray[np.int64]:
    """How often each character of a vocabulary comes."""
    found = np.zeros(len(vocab), np.int64)
    for piece in pieces(ids):
        found += np.bincount(piece, minlength=len(vocab))
    return found


def pieces(ids: Ids) -> Iterator[Ids]:
    """Ids in pieces that do not take much memory when they are made something larger."""
    return (ids[start : start + PIECE] for start in range(0, len(ids), PIECE))
