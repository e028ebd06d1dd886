"""From the bytes of a file to its text, for the plugins that read files: unpacked, recognised, decoded, checked."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .decoding import FaultError, Look, decode, recognised
from .names import shown
from .unpacking import BLOCK, blocks


def text_of(
    path: Path,
    encoding: str | None = None,
    errors: str = "strict",
    guess: bool = True,
    size: int = BLOCK,
    known: dict[Path, str] | None = None,
    quiet: bool = False,
) -> Generator[str]:
    """The text of a file in pieces; raises `CorpusError`, at the latest at its end, if it is none.

    What encoding a file has is kept in `known`, so that it is said but once; who only looks at its beginning is
    `quiet`.
    """
    name = shown(path)
    with closing(blocks(path, size, quiet)) as packed, counting(path):
        codec, unpacked = recognised(name, packed, (known or {}).get(path) or encoding, guess)
        if known is not None:
            known[path] = codec
        yield from decode(name, unpacked, codec, errors, None if quiet else Look(name, codec, bool(encoding)))


@contextmanager
def counting(path: Path) -> Iterator[None]:
    """Adds the number of the line to what is wrong in a text."""
    try:
        yield
    except FaultError as fault:
        with closing(blocks(path, quiet=True)) as unpacked:
            raise fault.in_line(unpacked) from fault
