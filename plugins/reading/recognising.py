"""Which encoding a file is in: what its mark says, UTF-8 if it is that, else the likeliest, never without a word."""

from __future__ import annotations

import codecs
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from charrnn.errors import CorpusError

from . import guessing
from .kinds import kind_of
from .names import excerpt

log = logging.getLogger(__name__)

_BOMS = {  # in this order: UTF-32's little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_SAMPLE = 1 << 16
_NO_MARK = "%s: read as %s, though it has no byte order mark: if that is wrong, add ?encoding=NAME"
_NO_C1 = dict.fromkeys(range(0x80, 0xA0), "x")
_UTF8_LETTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
ISO_2022 = {  # by the first of its escapes, that of Chinese last, which Python cannot read
    b"\x1b$)C": "iso2022_kr",
    b"\x1b$B": "iso2022_jp_2",
    b"\x1b$@": "iso2022_jp_2",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$(O": "iso2022_jp_3",
    b"\x1b$(Q": "iso2022_jp_2004",
    b"\x1b(I": "iso2022_jp_3",
    b"\x1b$(C": "iso2022_jp_2",
    b"\x1b$A": "iso2022_jp_2",
    b"\x1b.A": "iso2022_jp_2",
    b"\x1b$)A": "",
    b"\x1b$)G": "",
    b"\x1b%G": "",
}
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}")
_UTF7 = re.compile(rb"\+[A-Za-z0-9+/]{2,}-?")


def recognise(name: str, start: bytes, is_whole: bool, guess: bool = True) -> str:
    """The encoding of a file that begins with `start`, said in a warning if it is a guess.

    Raises `CorpusError` for what is no text. A text that is UTF-8 but for some bytes is UTF-8: decoding tells where.
    """
    refuse_kind(name, start)
    for mark, encoding in _BOMS.items():
        if start.startswith(mark):
            log.info("%s: read as %s, as its byte order mark says", name, encoding)
            return encoding
    if b"\0" in start:
        return _wide(name, start)
    if valid_utf8(start, is_whole):
        return _escaped(name, start) if b"\x1b" in start or start.isascii() else "utf-8"
    return "utf-8" if nearly_utf8(start) else _guess(name, start, guess)


def refuse_kind(name: str, start: bytes) -> None:
    """Raises `CorpusError` if the first bytes are those of something that is no text in any encoding."""
    if found := kind_of(start):
        kind, advice = found
        raise CorpusError(f"{name}: is {kind}, not text: {advice}")


def valid_utf8(data: bytes, is_whole: bool) -> bool:
    """Whether bytes are UTF-8; a letter may be cut at their end unless they are all there is."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, is_whole)
    except UnicodeDecodeError:
        return False
    return True


def nearly_utf8(data: bytes) -> bool:
    """Whether a few bytes spoil a text in UTF-8: no other encoding has as many letters of UTF-8 as other bytes."""
    letters = _UTF8_LETTER.findall(data)
    rest = _UTF8_LETTER.sub(b"", data)
    spoilt = len(rest) - len(re.sub(rb"[\x80-\xff]+", b"", rest))
    if letters:
        size = sum(map(len, letters))
        # Some letters of Chinese and Japanese encodings are letters of UTF-8 by chance, in a longer text.
        return size >= 4 * spoilt or (size >= spoilt and (size + spoilt < 16 or not looks_like(data, well=True)))
    # A file that was cut begins in the middle of a letter, and may have no other.
    return spoilt <= 3 and re.match(rb"[\x80-\xbf]{1,3}[A-Za-z]", data) is not None and re.search(
        rb"[\x80-\xff]", data[3:]
    ) is None  # fmt: skip


def looks_like(data: bytes, well: bool = False) -> str | None:
    """The encoding that a text which is not UTF-8 reads best in, or reads well in."""
    found = guessing.readings(guessing.sample(data))
    return found[0].encoding if found and (guessing.is_sure(found) or not well) else None


def wide_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32, if bytes without a mark make sense in it."""
    best, most = None, 0.0
    for encoding in _WIDE:
        width = 4 if "32" in encoding else 2
        text = start[: min(len(start), _SAMPLE) // width * width].decode(encoding, "replace")
        usual = sum(letter in "\n\t ,.-'e、。，\u3000" for letter in text) / (len(text) or 1)
        if usual > max(0.02, most) and odd_share(text) <= 0.01:
            best, most = encoding, usual
    return best


def odd_share(text: str) -> float:
    """The share of characters that no text has: controls, NULs, unassigned and private ones."""
    counts = Counter(text)
    for letter in "\t\n\r\f\v\x1a\ufeff":
        del counts[letter]
    none = ("Cc", "Cn", "Co", "Cs")
    odd = [letter for letter in counts if letter == "\ufffd" or unicodedata.category(letter) in none]
    return sum(counts[letter] for letter in odd) / (len(text) or 1)


def _wide(name: str, start: bytes) -> str:
    if encoding := wide_encoding(start):
        log.warning(_NO_MARK, name, encoding)
        return encoding
    codec = "utf-8" if valid_utf8(start, is_whole=False) else looks_like(start) or "NAME"
    raise CorpusError(
        f"{name}: is not text: it holds NUL bytes, the first at byte {start.index(0)}: name a text file, or add "
        f"?encoding={codec} if it is one all the same"
    )


def _escaped(name: str, start: bytes) -> str:
    """The encoding of a text of seven bits: ASCII, unless escapes in it stand for other letters."""
    for escape, encoding in ISO_2022.items() if b"\x1b" in start else ():
        if escape in start:
            if not encoding:
                raise CorpusError(
                    f"{name}: has the escapes of an encoding that is not known here, such as ISO-2022-CN: convert it "
                    "to UTF-8, or add ?encoding=utf-8 to have it as it stands"
                )
            log.warning(
                "%s: read as %s, as its escapes say: if that is wrong, add ?encoding=utf-8 to have it as it stands",
                name,
                encoding,
            )
            return encoding
    for mark, pattern, encoding in ((b"~{", _HZ, "hz"), (b"+", _UTF7, "utf-7")):
        # To look for a mark is much faster than for a pattern.
        found = pattern.findall(start) if mark in start else []
        if found and _makes_sense(start, found, encoding):
            log.warning(
                "%s: read as %s, since its escapes make letters: if that is wrong, add ?encoding=utf-8 to have it as "
                "it stands",
                name,
                encoding,
            )
            return encoding
    return "utf-8"


def _makes_sense(start: bytes, found: list[bytes], encoding: str) -> bool:
    """Whether all escapes of a text make letters: code and formulas have a few that look like escapes."""
    end = start.rfind(b"\n") + 1 or len(start)
    try:
        text = start[:end].decode(encoding)
    except UnicodeDecodeError:
        return False
    letters = re.findall(r"[^\x00-\x7f]", text)
    if not letters or any(unicodedata.category(letter)[0] not in "LMPZ" for letter in letters):
        return False
    if encoding == "hz":
        return len(letters) >= 4
    european = sum(letter < "\u0530" or "\u2000" <= letter <= "\u206f" for letter in letters)
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in letters}
    return european == len(letters) or (len(found) >= 3 and len(scripts) <= 4)


def _guess(name: str, start: bytes, guess: bool) -> str:
    """The likeliest encoding of a text that is neither Unicode nor ASCII; without `guess` it is only named."""
    if encoding := _wide_without_nul(start):
        log.warning(_NO_MARK, name, encoding)
        return encoding
    if odd_share(start[:_SAMPLE].decode("latin-1").translate(_NO_C1)) > 0.02:
        raise CorpusError(f"{name}: is not text: it is full of control characters: name a text file")
    data = guessing.sample(start)
    found = guessing.readings(data)
    if not found:
        raise CorpusError(f"{name}: is not text in any encoding known: if it is, add ?encoding=NAME")
    if not guess:
        names = dict.fromkeys([found[0].encoding, *(each.encoding for each in guessing.rivals(data, found)[:2])])
        choices = ", ".join(choices_of(data, tuple(names)))
        raise CorpusError(f"{name}: is not UTF-8: add ?encoding=NAME, for example {choices}")
    best, *near = found[0], *guessing.rivals(data, found)[:2]
    if guessing.is_sure(found) and not near:
        log.warning("%s: not UTF-8, read as %s: if that is wrong, add ?encoding=NAME", name, best.encoding)
    else:
        log.warning("%s: not UTF-8, and %s", name, doubt(data, best.encoding, [each.encoding for each in near]))
    return best.encoding


def doubt(data: bytes, chosen: str, others: list[str]) -> str:
    """One line for a user who has to decide: the same line of a text in each encoding."""
    names = (chosen, *others)
    choices = choices_of(data, names)
    if not others:
        return f"no encoding reads it well; read as {choices[0]}: if that is wrong, add ?encoding=NAME"
    flags = " or ".join(f"?encoding={name}" for name in names)
    return f"not surely known: {' or '.join(choices)}; {chosen} is taken: add {flags} to say which is right"


def choices_of(data: bytes, names: Sequence[str]) -> list[str]:
    """What a line of a text is in each of several encodings, cut to where they differ."""
    lines = list(zip(*(data.decode(name, "replace").split("\n") for name in names), strict=False))
    line = max(lines, key=lambda each: len(set(each)))
    start = max(0, _common(line) - 20)
    shown = [text[start:] for text in line]
    return [f"{excerpt(line)} as {name}" for name, line in zip(names, shown, strict=True)]


def _common(texts: Sequence[str]) -> int:
    """How many characters texts begin with that are the same in all."""
    places = zip(*texts, strict=False)
    return next((place for place, letters in enumerate(places) if len(set(letters)) > 1), 0)


def _wide_without_nul(start: bytes) -> str | None:
    """UTF-16 of a text without one letter of ASCII, such as Chinese: it has no NUL bytes to tell it by."""
    if len(start) < 8 or start.isascii():
        return None
    encoding = wide_encoding(start)
    if encoding is None or "32" in encoding:
        return None
    text = start[: len(start) // 2 * 2][:_SAMPLE].decode(encoding, "replace")
    east_asian = sum("\u3000" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ud7a3" for letter in text)
    return encoding if east_asian > 0.9 * len(text) else None
