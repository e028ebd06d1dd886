"""The bytes of a file, block by block, unpacked whatever its name is: its first bytes say how it is packed."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import CorpusError

from .kinds import document_in_zip
from .names import listed, shown

log = logging.getLogger(__name__)

BLOCK = 1 << 20
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""The names' ends of packed files, in small letters."""

_PACKED: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b\x08", ".gz"),
    *((b"BZh%d" % level + magic, ".bz2") for level in range(1, 10) for magic in (b"1AY&SY", b"\x17rE8P\x90")),
    (b"\xfd7zXZ\0", ".xz"),
    (b"\x28\xb5\x2f\xfd", ".zst"),
    *((bytes([0x50 + frame]) + b"\x2a\x4d\x18", ".zst") for frame in range(16)),
    (b"PK\x03\x04", ".zip"),
    (b"PK\x05\x06", ".zip"),
)
_FIRST = frozenset(magic[:1] for magic, _ in _PACKED)
_OPEN: dict[str, Callable[[BinaryIO], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_TEXTS = (".txt", ".text", ".md")


def packing(start: bytes) -> str | None:
    """The usual end of the names of files that are packed as one that begins so."""
    if start[:1] not in _FIRST:
        return None
    return next((suffix for magic, suffix in _PACKED if start.startswith(magic)), None)


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a file that can be opened is packed."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb", buffering=0) as raw:
            return packing(raw.read(16)) is not None
    except OSError:
        return False


def blocks(path: Path, size: int = BLOCK, quiet: bool = False, later: int | None = None) -> Generator[bytes]:
    """The bytes of a file, unpacked, block by block; raises `CorpusError` where they cannot be read.

    Those after the first two may have another size: to be recognised a text needs larger blocks than to be examined.
    """
    name = shown(path)
    try:
        mode = os.stat(path).st_mode  # first, because opening a FIFO waits for a writer
        if stat.S_ISDIR(mode):
            raise CorpusError(f"{name}: this folder cannot be opened, or has been read under another name")
        if not stat.S_ISREG(mode):
            raise CorpusError(f"{name}: is not a file but a device, pipe or socket")
        with open(path, "rb", buffering=0) as raw:
            start = raw.read(16)
            suffix = packing(start)
            raw.seek(0)
            if start and not suffix and path.suffix.lower() in SUFFIXES:
                raise CorpusError(
                    f"{name}: is not packed as its name says: unpack it as it was packed, or give it another name"
                )
            yield from _unpacked(raw, suffix, name, size, quiet, later or size)
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{name}: is damaged: {shown(error)}") from error
    except OSError as error:
        # The bz2 module has no error of its own.
        problem = "cannot be read" if error.strerror else "is damaged"
        raise CorpusError(f"{name}: {problem}: {error.strerror or shown(error)}") from error


def _unpacked(raw: Any, suffix: str | None, name: str, size: int, quiet: bool, later: int) -> Iterator[bytes]:
    if suffix == ".zst":
        yield from _unpack_zst(raw, size)
    elif suffix == ".zip":
        yield from _unpack_zip(raw, name, size, quiet)
    else:
        file = _OPEN[suffix](raw) if suffix else raw
        sizes = chain((size, size), repeat(later))
        yield from iter(lambda: file.read(next(sizes)), b"")


def _unpack_zip(raw: BinaryIO, name: str, size: int, quiet: bool) -> Iterator[bytes]:
    """The one text in a zip archive; which of several is meant, only the user knows."""
    with zipfile.ZipFile(raw) as archive:
        names = [member.filename for member in archive.infolist() if not member.is_dir()]
        if kind := document_in_zip(names):
            raise CorpusError(f"{name}: is {kind}, not text: save it as plain text")
        members = [member for member in names if not member.startswith("__MACOSX/") and not _is_hidden(member)]
        texts = [member for member in members if _is_text_name(member)] or members
        if len(texts) != 1:
            problem = f"holds {len(texts)} texts: {listed(texts)}" if texts else "holds no file"
            raise CorpusError(f"{name}: is a zip archive that {problem}: unpack it and name the file or the folder")
        others = [member for member in members if member != texts[0]]
        if others and not quiet:
            log.warning("%s: read %s, left out %s", name, shown(texts[0]), listed(others))
        member = archive.getinfo(texts[0])
        if member.flag_bits & 1:
            raise CorpusError(f"{name}: is locked by a password: unpack it")
        try:
            with archive.open(member) as file:
                yield from iter(lambda: file.read(size), b"")
        except NotImplementedError as error:
            raise CorpusError(f"{name}: is packed in a way unknown here: unpack it") from error


def _is_hidden(member: str) -> bool:
    return any(part.startswith(".") for part in member.split("/"))


def _is_text_name(member: str) -> bool:
    return member.lower().endswith(_TEXTS)


def _unpack_zst(raw: BinaryIO, size: int) -> Iterator[bytes]:
    """The contents of a .zst file, frame after frame; zstandard's own file object takes a cut file for a whole one."""
    import zstandard

    frame = None
    unpacked = bytearray()
    try:
        while packed := raw.read(1 << 12):  # a little at a time, for each byte may unpack to many thousands
            while packed:
                if frame is None or frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                unpacked += frame.decompress(packed)
                packed = frame.unused_data
            if len(unpacked) >= size:
                yield bytes(unpacked)
                unpacked.clear()
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error
    if frame and not frame.eof:
        raise EOFError("it ends in the middle")
    if unpacked:
        yield bytes(unpacked)


def start_of(path: Path) -> bytes:
    """The first block of a file, unpacked; raises `CorpusError` if it cannot be read."""
    with closing(blocks(path, quiet=True)) as some:
        return next(some, b"")
