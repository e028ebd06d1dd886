"""The corpus ``files:PATH``: a file, the texts of a folder or the matches of a glob, one document a file."""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import logging
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from charrnn import hookimpl
from charrnn.errors import CorpusError

log = logging.getLogger(__name__)

_OPEN: dict[str, Callable[[BinaryIO], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BOMS = {  # in this order: UTF-32's little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BLOCK = 1 << 20
_SAMPLE = 1 << 14
_READER = 1  # part of the cache key: raise it when the same bytes become another text


@hookimpl
def register_corpora(register: Callable[..., None]) -> None:
    register("files", files, cache_key=cache_key, size=size)


def files(argument: str, encoding: str | None = None) -> Iterator[Iterator[str]]:
    """files:PATH reads a file, the .txt, .text and .md files of a folder and its subfolders, or all text files that a
    glob such as files:books/**/*.html matches, one document a file; also compressed ones (.gz, .bz2, .xz, .zst). Add
    ?encoding=NAME where the encoding is not recognised.

    Hidden files are left out, a glob's ``**`` does not enter linked folders, line ends become ``\\n``. What cannot be
    read as text raises `CorpusError` when it is named itself; in a folder or a glob it is skipped with a warning.
    """
    if encoding is not None:
        _check_encoding(encoding)
    paths, others = _find(argument)
    if others:
        kinds = ", ".join(sorted({path.suffix or path.name for path in others})[:10])
        log.info("%s: left out %d files that are not .txt, .text or .md: %s", argument, len(others), kinds)
    named_itself = paths == [_expand(argument)]
    num_read = 0
    for path in paths:
        with closing(_blocks(path)) as blocks:
            try:
                first = next(blocks, b"")
                codec = encoding or _recognise(path, first)
            except CorpusError as error:
                if named_itself:
                    raise
                log.warning("skipped %s", error)
                continue
            num_read += 1
            yield _decode(path, chain([first], blocks), codec)
    if not num_read:
        raise CorpusError(f"files:{argument}: none of the {len(paths)} files found can be read as text")


def cache_key(argument: str, encoding: str | None = None) -> str:
    """A digest of every file's path, size and time of change."""
    key = hashlib.sha256(f"{_READER} {encoding}".encode())
    for path in _find(argument)[0]:
        try:
            status = os.stat(path)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError as error:  # the loader says so and skips it
            state = f"error {error.errno}"
        key.update(os.fsencode(os.path.abspath(path)) + f"\0{state}\0".encode())
    return key.hexdigest()


def size(argument: str, encoding: str | None = None) -> int | None:
    """The bytes of all files together; ``None`` if that is not their size as UTF-8, because of packing or encoding."""
    paths = _find(argument)[0]
    if encoding or any(path.suffix.lower() in (*_OPEN, ".zst") for path in paths):
        return None
    # What cannot be opened, the loader names and skips.
    return sum(path.stat().st_size for path in paths if path.is_file())


def _check_encoding(encoding: str) -> None:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except (LookupError, ValueError) as error:
        raise CorpusError(f"no text encoding is called {encoding!r}: try utf-8, latin-1, cp1252 or cp1251") from error


def _expand(argument: str) -> Path:
    return Path(os.path.expanduser(argument))


def _find(argument: str) -> tuple[list[Path], list[Path]]:
    """The paths to read, in sorted order, and the files of a folder that are left out for their names."""
    root = _expand(argument)
    if not argument:
        raise CorpusError("files: needs a path, for example files:my.txt, files:my-folder or files:books/**/*.txt")
    if os.path.isdir(root):
        paths: list[Path] = []
        others: list[Path] = []
        for path in sorted(_walk(root, set())):
            (paths if _is_text_name(path) or os.path.isdir(path) else others).append(path)
        if not paths:
            raise CorpusError(
                f"files:{argument} holds no .txt, .text or .md files: name others by a glob such as **/*.html"
            )
        return paths, others
    if os.path.lexists(root):
        return [root], []
    paths = _glob(root)
    if not paths:
        raise CorpusError(
            f"files:{argument} matches no file: check the path, or use a glob such as files:books/**/*.txt"
        )
    return paths, []


def _is_text_name(path: Path) -> bool:
    name = path.with_suffix("") if path.suffix.lower() in (*_OPEN, ".zst") else path
    return name.suffix.lower() in (".txt", ".text", ".md")


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Every file below a folder, hidden ones left out, and, to be named later, every folder that cannot be entered."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        yield folder
        return
    seen.add(identity)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry):
            yield from _walk(entry, seen)
        else:
            yield entry


def _glob(path: Path) -> list[Path]:
    """The files that a pattern matches, sorted, hidden ones left out as in a shell."""
    parts = path.parts
    first = next((i for i, part in enumerate(parts) if any(letter in part for letter in "*?[")), len(parts))
    folder, pattern = Path(*parts[:first]), parts[first:]
    if not pattern:
        return []
    if pattern[-1] == "**":
        pattern = (*pattern, "*")
    try:
        matches = set(folder.glob("/".join(pattern)))
    except ValueError as error:
        raise CorpusError(f"files:{path}: ** stands for whole folder names, as in books/**/*.txt") from error
    hidden = any(part.startswith(".") for part in pattern)
    return sorted(
        match
        for match in matches
        if not os.path.isdir(match)
        and (hidden or not any(part.startswith(".") for part in match.relative_to(folder).parts))
    )


def _blocks(path: Path) -> Generator[bytes]:
    """The bytes of a file, unpacked, block by block; raises `CorpusError` where they cannot be read."""
    suffix = path.suffix.lower()
    try:
        mode = os.stat(path).st_mode  # first, because opening a FIFO waits for a writer
        if stat.S_ISDIR(mode):
            raise CorpusError(f"{path}: this folder cannot be opened, or has been read under another name")
        if not stat.S_ISREG(mode):
            raise CorpusError(f"{path}: is not a file but a device, pipe or socket")
        with open(path, "rb", buffering=0) as raw:
            if suffix == ".zst":
                yield from _unpack_zst(raw)
            else:
                file = _OPEN[suffix](raw) if suffix in _OPEN else raw
                yield from iter(lambda: file.read(_BLOCK), b"")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{path}: is damaged: {error}") from error


def _unpack_zst(raw: BinaryIO) -> Iterator[bytes]:
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
            if len(unpacked) >= _BLOCK:
                yield bytes(unpacked)
                unpacked.clear()
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error
    if frame and not frame.eof:
        raise EOFError("it ends in the middle")
    if unpacked:
        yield bytes(unpacked)


def _recognise(path: Path, start: bytes) -> str:
    """The encoding of a file that begins with `start`: what its mark says, UTF-8 if it is that, else the likeliest."""
    for mark, encoding in _BOMS.items():
        if start.startswith(mark):
            log.info("%s: read as %s, as its byte order mark says", path, encoding)
            return encoding
    if b"\0" in start:
        raise CorpusError(f"{path}: is not text: it holds NUL bytes; if it is UTF-16, add ?encoding=utf-16-le")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError as error:
        # Letters in UTF-8 before the first fault mean damaged UTF-8, and reading it will say where.
        return _guess(path, start, error.start) if start[: error.start].isascii() else "utf-8"
    return "utf-8"


def _guess(path: Path, start: bytes, position: int) -> str:
    """The likeliest encoding of a text whose first byte beyond ASCII is at `position`."""
    from charset_normalizer import from_bytes

    end = start.find(b"\n", position + _SAMPLE)
    sample = start[max(0, position - _SAMPLE) : end if end >= 0 else None]
    # Western text fits a dozen code pages equally well, and the library then names the first of them, cp1250.
    match = from_bytes(sample, steps=64, cp_isolation=["cp1252"]).best() or from_bytes(sample, steps=64).best()
    if match is None:
        raise CorpusError(f"{path}: is not text in any encoding known: if it is, add ?encoding=NAME")
    log.warning("%s: not UTF-8, read as %s: if that is wrong, add ?encoding=NAME", path, match.encoding)
    return match.encoding


def _decode(path: Path, blocks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """The text of the blocks, its line ends made ``\\n``, without a byte order mark."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    offset = 0
    started = False
    translating = False
    for block in chain(blocks, [b""]):
        pending = len(decoder.getstate()[0])
        try:
            piece = decoder.decode(block, final=not block)
        except UnicodeError as error:
            position = offset - pending + getattr(error, "start", 0)
            raise CorpusError(
                f"{path}: byte {position} is not {encoding}: if the file is not damaged, add ?encoding=NAME, "
                "for example ?encoding=latin-1"
            ) from error
        offset += len(block)
        # Most files have nothing to translate, and to look for it is much faster than to translate nothing.
        translating = translating or "\r" in piece
        if translating:
            piece = lines.decode(piece, final=not block)
        if piece:
            yield piece if started else piece.removeprefix("\ufeff")
            started = True
