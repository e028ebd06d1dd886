"""The corpus ``files:PATH``: a file, the texts of a folder or the matches of a glob, one document a file."""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import xxhash

from charrnn import hookimpl
from charrnn.errors import CorpusError
from charrnn.text.corpus import files_digest

from ..reading import counting, text_of
from ..reading.decoding import Look, check_options, decode, recognised
from ..reading.names import listed, shown
from ..reading.unpacking import blocks, is_packed
from .finding import expand, find

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_HELD = 1 << 22  # bytes of a text that are kept while it is examined, so that most files are read but once
_SLICE = 1 << 16  # bytes that are decoded at a time to be examined: more leave the processor's cache
_READER = 2  # part of the cache key: raise it when the same bytes become another text


@hookimpl
def register_corpora(register: Callable[..., None]) -> None:
    register("files", files, cache_key=cache_key, size=size)


def files(argument: str, encoding: str | None = None, errors: str = "strict") -> Iterator[Iterator[str]]:
    """files:PATH reads a file, the .txt, .text and .md files of a folder and its subfolders, or all text files that a
    glob such as files:books/**/*.html matches, one document a file; also compressed ones (.gz, .bz2, .xz, .zst, .zip).
    Add ?encoding=NAME where the encoding is not recognised, ?errors=replace (or ignore) where a file is damaged.

    Hidden files are left out, a glob's ``**`` does not enter linked folders, line ends become ``\\n``. What cannot be
    read as text raises `CorpusError` when it is named itself; in a folder or a glob it is skipped with a warning, and
    so is a text that was there before under another name. Each file of those is read to its end before a word of it is
    yielded, since damage may lie anywhere.
    """
    check_options(encoding, errors)
    paths, others = find(argument)
    if others:
        kinds = listed(sorted({path.suffix or path.name for path in others}))
        log.info("%s: left out %d files that are not .txt, .text or .md: %s", shown(argument), len(others), kinds)
    if paths == [expand(argument)]:
        yield text_of(paths[0], encoding, errors, size=_BLOCK)
        return
    known: dict[bytes, Path] = {}
    for path in paths:
        try:
            text, digest = _examined(path, encoding, errors)
        except CorpusError as error:
            log.warning("skipped %s", error)
            continue
        first = known.setdefault(digest or os.fsencode(path), path)
        if first is path:
            yield text
        else:
            log.warning("skipped %s: it is the same text as %s", shown(path), shown(first))
    if not known:
        raise CorpusError(f"files:{shown(argument)}: none of the {len(paths)} files found can be read as text")


def cache_key(argument: str, encoding: str | None = None, errors: str = "strict") -> str:
    """A digest of every file's path, size and time of change, and of whether it may be read."""
    return f"{_READER} {encoding} {errors} {files_digest(find(argument)[0])}"


def size(argument: str, encoding: str | None = None, **_options: str) -> int | None:
    """The bytes of all files together; ``None`` if that is not their size as UTF-8, because of packing or encoding."""
    paths = find(argument)[0]
    if encoding or any(map(is_packed, paths)):
        return None
    # What cannot be opened, the loader names and skips.
    return sum(path.stat().st_size for path in paths if path.is_file())


def _examined(path: Path, encoding: str | None, errors: str) -> tuple[Iterator[str], bytes]:
    """A text that was read to its end once, and a digest of it, empty if the text is.

    Raises `CorpusError` if it is none.
    """
    digest = _TextDigest()
    held: list[bytes] = []
    size = 0
    name = shown(path)
    with closing(blocks(path, _BLOCK, later=_SLICE)) as packed, counting(path):
        codec, unpacked = recognised(name, packed, encoding)
        is_utf8 = errors == "strict" and codecs.lookup(codec).name == "utf-8"

        def watched() -> Iterator[bytes]:
            nonlocal size
            for block in unpacked:
                size += len(block)
                if size <= _HELD:
                    held.append(block)
                if is_utf8:  # to encode it again would take as long as to decode it
                    digest.add(block)
                yield block

        look = Look(name, codec, bool(encoding))
        for piece in decode(name, watched(), codec, errors, look, skip_ascii=is_utf8):
            if not is_utf8:
                digest.add(piece.encode("utf-8", "surrogatepass"))
    text = decode(name, held, codec, errors) if size <= _HELD else _again(path, codec, errors)
    return text, digest.value()


def _again(path: Path, codec: str, errors: str) -> Iterator[str]:
    with closing(blocks(path, _BLOCK, quiet=True)) as unpacked:
        yield from decode(shown(path), unpacked, codec, errors)


class _TextDigest:
    r"""A digest of a text from its UTF-8, the same with and without a byte order mark, for ``\r\n`` and for ``\n``."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self._size = 0
        self._waiting = b""  # an \r that may be the first half of a line end

    def add(self, block: bytes) -> None:
        """Takes what follows."""
        if not self._size:
            block = block.removeprefix(codecs.BOM_UTF8)
        if self._waiting or b"\r" in block:
            block = self._waiting + block
            self._waiting = b"\r" if block.endswith(b"\r") else b""
            block = block[: len(block) - len(self._waiting)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._size += len(block)
        self._digest.update(block)

    def value(self) -> bytes:
        """The digest; empty for an empty text."""
        if self._waiting:
            self._digest.update(b"\n")
        return self._digest.digest() if self._size or self._waiting else b""
