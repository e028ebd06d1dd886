"""The text of a file's bytes, and a word about whatever in it looks wrong."""

from __future__ import annotations

import codecs
import io
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from charrnn.errors import CorpusError

from . import guessing
from .alphabets import SINGLE_BYTE
from .names import excerpt
from .recognising import ISO_2022, choices_of, looks_like, nearly_utf8, odd_share, recognise, refuse_kind

log = logging.getLogger(__name__)

_C1 = re.compile("[\x80-\x9f]")
_TWICE = re.compile("[ÂÃ][\x80-\xbf‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\x80-\xbf‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
_BEYOND = re.compile("[^\x00-\x7f]")
_LOOK = 1 << 16  # characters of a text that are looked at closely
_WORSE = 0.4  # how much worse than the best an encoding that was asked for may read the text
_ERRORS = ("strict", "replace", "ignore")


class _Faults:
    """An error handler that counts what it replaces; texts are read one at a time."""

    def __init__(self, stand_in: str) -> None:
        self.count = 0
        self.stand_in = stand_in

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        self.count += 1
        return self.stand_in, error.end


_FAULTS = {"replace": _Faults("\ufffd"), "ignore": _Faults("")}
for _name, _handler in _FAULTS.items():
    codecs.register_error(f"charrnn_{_name}", _handler)


def check_options(encoding: str | None, errors: str) -> None:
    """Raises `CorpusError` for an encoding or a way with errors that there is not."""
    if errors not in _ERRORS:
        raise CorpusError(f"errors is one of {', '.join(_ERRORS)}, not {errors!r}")
    try:
        io.TextIOWrapper(io.BytesIO(), encoding or "utf-8")
        codecs.getincrementaldecoder(encoding or "utf-8")()
    except (LookupError, ValueError, TypeError) as error:
        raise CorpusError(f"no text encoding is called {encoding!r}: try utf-8, latin-1, cp1252 or cp1251") from error


def recognised(
    name: str, blocks: Iterator[bytes], encoding: str | None = None, guess: bool = True
) -> tuple[str, Iterator[bytes]]:
    """The encoding of a text, the one asked for or what it is recognised as, and its blocks."""
    start, second = next(blocks, b""), next(blocks, b"")
    if encoding:
        refuse_kind(name, start)
    codec = encoding or recognise(name, start, not second, guess)
    return codec, chain([start, second] if second else [start], blocks)


def decode(
    name: str,
    blocks: Iterable[bytes],
    codec: str,
    errors: str = "strict",
    look: Look | None = None,
    skip_ascii: bool = False,
) -> Iterator[str]:
    r"""The text of the blocks in pieces, its line ends made ``\n``, without a byte order mark.

    Raises `CorpusError` where the bytes are no text, at the latest when that is seen, so that a text has to be read to
    its end before it is believed. One that has been needs no second `look`. Who only wants to know whether bytes are
    UTF-8 has `skip_ascii` leave out the blocks that need no decoding.
    """
    handler = "strict" if errors == "strict" else f"charrnn_{errors}"
    if faults := _FAULTS.get(errors):
        faults.count = 0
    decoder = codecs.getincrementaldecoder(codec)(handler)
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset = 0
    started = translating = beyond_ascii = False
    for block in chain(blocks, [b""]):
        pending = len(decoder.getstate()[0])
        if skip_ascii and block and not pending and b"\0" not in block and block.isascii():
            offset += len(block)
            if look:
                look.at(block, "")
            continue
        try:
            piece = decoder.decode(block, final=not block)
        except UnicodeError as error:
            position = offset - pending + getattr(error, "start", 0)
            raise FaultError(name, codec, error, position, beyond_ascii) from error
        offset += len(block)
        # Most files have nothing to translate, and to look for it is much faster than to translate nothing.
        translating = translating or "\r" in piece
        if translating:
            piece = newlines.decode(piece, final=not block)
        beyond_ascii = beyond_ascii or not piece.isascii()
        if look:
            look.at(block, piece)
        if piece:
            yield piece if started else piece.removeprefix("\ufeff")
            started = True
    if look:
        look.finish()
        if faults and faults.count:
            done = "stand as U+FFFD" if errors == "replace" else "are left out"
            log.warning("%s: bytes that are not %s %s, in %d places, as you say", name, codec, done, faults.count)


class FaultError(CorpusError):
    """The first bytes that an encoding does not have: where they are, and what would read them.

    Its line is not counted before it is asked for: to count all lines of all texts takes as long as to read them.
    """

    def __init__(self, name: str, codec: str, error: UnicodeError, position: int, beyond_ascii: bool) -> None:
        self.position = position
        self.codec = codec
        self.where = f"{name}: byte {position} is not {codec}"
        if not isinstance(error, UnicodeDecodeError):
            self.seen, self.advice = "", "if the file is not damaged, add ?encoding=NAME, else ?errors=replace"
        else:
            before = error.object[: error.start].decode(codec, "replace")
            after = error.object[error.start : error.start + 40].decode(codec, "replace")
            line = before[-20:].rpartition("\n")[2] + after.partition("\n")[0]
            self.seen = f"holds {error.object[error.start : error.end]!r} in {excerpt(line)}: "
            self.advice = _advice(codec, error, beyond_ascii)
        super().__init__(f"{self.where}: {self.seen}{self.advice}")

    def in_line(self, blocks: Iterable[bytes]) -> CorpusError:
        """The same with the number of the line, counted in the blocks of the file."""
        decoder = codecs.getincrementaldecoder(self.codec)("replace")
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        line, left = 1, self.position
        for block in blocks:
            line += newlines.decode(decoder.decode(block[:left])).count("\n")
            left -= len(block)
            if left <= 0:
                break
        line += newlines.decode("", final=True).count("\n")
        return CorpusError(f"{self.where}: line {line} {self.seen}{self.advice}")


def _advice(codec: str, error: UnicodeDecodeError, beyond_ascii: bool) -> str:
    """What to do about bytes that an encoding does not have."""
    if codecs.lookup(codec).name not in ("utf-8", "utf-8-sig"):
        if nearly_utf8(error.object):
            return f"it is UTF-8: leave out ?encoding={codec}"
        return (
            "add another ?encoding=NAME, or, if the file is damaged there, ?errors=replace (or ignore) to go on without"
        )
    is_late = not beyond_ascii and error.reason != "unexpected end of data" and not nearly_utf8(error.object)
    if is_late and (likely := looks_like(error.object)):
        return (
            f"from there on it reads as {likely}: add ?encoding={likely} if all of it is, or ?errors=replace (or "
            "ignore) if it is UTF-8 and damaged"
        )
    return (
        "the text is UTF-8 and damaged there: mend it, add ?errors=replace (or ignore) to go on without, or "
        "?encoding=NAME if it is not UTF-8"
    )


def _is_like_ascii(codec: str) -> bool:
    """Whether an encoding reads ASCII as it is, apart from escapes; UTF-16 and EBCDIC do not."""
    try:
        return b"A letter.\n".decode(codec) == "A letter.\n"
    except UnicodeError:
        return False


class Look:
    """What is seen of a text while it goes by: it is refused for NUL bytes and escapes, and the rest is said."""

    def __init__(self, name: str, codec: str, is_explicit: bool) -> None:
        self.name = name
        self.codec = codec
        self.is_explicit = is_explicit
        self.is_utf8 = codecs.lookup(codec).name in ("utf-8", "utf-8-sig")
        self.controls = self.nuls = self.twice = 0
        self.seen = 0
        self.looked = False
        # Of an encoding that was asked for: whether the bytes are UTF-8 all the same.
        self.utf8 = codecs.getincrementaldecoder("utf-8")() if is_explicit and not self.is_utf8 else None
        self.differs = not _is_like_ascii(codec)

    def at(self, block: bytes, piece: str) -> None:
        """Looks at a block and its text."""
        # In bytes it is found thirty times faster than in text.
        if b"\0" in block and "\0" in piece:
            self._nul(piece)
        if self.is_utf8 and not self.is_explicit and self.seen and b"\x1b" in block:
            self._escape(block)
        self.seen += len(piece) or len(block)
        if piece.isascii() and (self.is_utf8 or (block.isascii() and not self.differs)):
            return
        if not self.is_utf8:
            self.controls += len(_C1.findall(piece))
            self.twice += len(_TWICE.findall(piece)) if "Ã" in piece else 0
        if self.utf8:
            self._is_utf8_all_the_same(block)
        if not self.looked:
            self.looked = True
            self._closely(block, piece)

    def _nul(self, piece: str) -> None:
        if not self.is_explicit:
            place = piece.index("\0")
            raise CorpusError(
                f"{self.name}: is not text: it holds NUL bytes, the first at character {self.seen + place}, after "
                f"{excerpt(piece[max(0, place - 20) : place])}: mend it, or add ?encoding={self.codec} to have them in "
                "the text"
            )
        self.nuls += piece.count("\0")

    def _escape(self, block: bytes) -> None:
        for escape, encoding in ISO_2022.items():
            if encoding and escape in block:
                raise CorpusError(
                    f"{self.name}: has escapes of {encoding} far into the text: add ?encoding={encoding}, or "
                    "?encoding=utf-8 to have it as it stands"
                )

    def _is_utf8_all_the_same(self, block: bytes) -> None:
        assert self.utf8
        self.differs = self.differs or not block.isascii()
        try:
            self.utf8.decode(block)
        except UnicodeDecodeError:
            self.utf8 = None
        if b"\0" in block:
            self.utf8 = None

    def _closely(self, block: bytes, piece: str) -> None:
        """Looks at the first piece with letters beyond ASCII, said at once."""
        text = piece[max(0, _BEYOND.search(piece).start() - _LOOK // 2) :][:_LOOK] if not piece.isascii() else ""  # type: ignore[union-attr]
        twice = len(_TWICE.findall(text)) if "Ã" in text or "â€" in text else 0
        if self.is_explicit and not self.is_utf8:
            if not self.utf8 and block.count(b"\0") * 8 < len(block) and nearly_utf8(block):
                self._warn("but most of its letters beyond ASCII are UTF-8: without ?encoding it is read as that")
            elif not self.utf8 and self.codec_name in SINGLE_BYTE:
                self._compare(block)
            elif not self.utf8 and odd_share(text) > 0.001:
                self._warn(f"but that makes characters that no text has: {excerpt(text)}")
        elif twice >= 3 and twice * 4 > len(_BEYOND.findall(text)):
            log.warning(
                "%s: holds %s, which is UTF-8 that was once read in another encoding: mend the file if that is wrong",
                self.name,
                excerpt(text[_TWICE.search(text).start() :]),  # type: ignore[union-attr]
            )

    @property
    def codec_name(self) -> str:
        """The encoding by the name it has among those that are guessed."""
        name = codecs.lookup(self.codec).name.replace("-", "_")
        return {"iso8859_1": "cp1252", "iso8859_9": "cp1254"}.get(name, name)

    def _compare(self, block: bytes) -> None:
        data = guessing.sample(block)
        found = guessing.readings(data)
        mine = next((each.score for each in found if each.encoding == self.codec_name), 0.0)
        if found and guessing.is_sure(found) and found[0].score - mine > _WORSE:
            best = found[0].encoding
            mine_text, best_text = choices_of(data, (self.codec, best))
            self._warn(f"but it looks wrong: {mine_text}, {best_text}: add ?encoding={best} if that is right")

    def _warn(self, problem: str) -> None:
        log.warning("%s: read as %s, as you say, %s", self.name, self.codec, problem)

    def finish(self) -> None:
        """Says what only the whole text shows."""
        if self.utf8 and self.seen and self.differs:
            self._warn("but it is valid UTF-8: without ?encoding it is read as that")
        if self.controls:
            log.warning(
                "%s: read as %s, it holds %d control characters (U+0080 to U+009F), which no text does: another "
                "?encoding=NAME may be right, such as cp1252",
                self.name,
                self.codec,
                self.controls,
            )
        if self.twice > 2 and not self.is_explicit:
            log.warning(
                "%s: read as %s, it holds %d letters such as Ã©, which are UTF-8: parts of it may be of another file",
                self.name,
                self.codec,
                self.twice,
            )
        if self.nuls:
            log.warning("%s: read as %s, it holds %d NUL characters: is it text?", self.name, self.codec, self.nuls)
