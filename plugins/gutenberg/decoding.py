"""From the bytes of a Project Gutenberg file to its text: the bytes decide, the file's own declaration only helps."""

from __future__ import annotations

import codecs
import logging
import re
from contextlib import suppress
from itertools import islice

log = logging.getLogger(__name__)

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARATION = re.compile(rb"character set(?: encoding)?:[ \t]*([^\r\n]+)", re.IGNORECASE)
_CODE_PAGE = re.compile(r"(?:cp|ibm|windows|code[ -]?page)[ -]*(\d{3,4})")

# What files declare is often a part of what they use: these codecs read all that their narrower kin read.
_WIDER = {"big5": "big5hkscs", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
# Declared by habit, whatever the bytes are: no evidence.
_MEANINGLESS = {"iso8859-1", "cp1252"}
_ONE_BYTE = ("iso8859", "cp125", "cp4", "cp8", "mac", "koi8")
_ESCAPING = ("iso2022", "hz")
_FAMILIES = (*_ONE_BYTE, *_ESCAPING, "big5", "gb", "shift_jis", "cp9", "euc")
_WESTERN = ("cp1252", "cp850", "cp437", "mac-roman")
_LETTERS = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßšžÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒŠŽ"
_MARKS = "‘’“”„‚«»‹›–—…•·†‡°§¶©®™£€½¼¾¹²³ªº¿¡´¨\xa0"
# The licence is in another encoding than the book where somebody put a new one below an old book.
_LICENCE = re.compile(
    rb"end of (?:the|this) project gutenberg|updated editions will replace|full license", re.IGNORECASE
)
_LINE_END = re.compile(r"\r*\n|\r")
_STRAY = dict.fromkeys(map(ord, "\x00\x1a\ufeff"))


def decode(data: bytes, name: str) -> str:
    r"""The text of a file, its lines ended by ``\n``; never holds a U+FFFD without a warning that names the file."""
    text = _decode(data)
    bad = text.count("\ufffd")
    if bad:
        log.warning("%s: %d characters cannot be read and stand as U+FFFD", name, bad)
    # The oldest files end in a DOS end-of-file character, and files that were joined have marks between them.
    return _LINE_END.sub("\n", text.translate(_STRAY))


def _decode(data: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    declared = _declared(data)
    # Codecs with escapes write everything in ASCII bytes, which are valid UTF-8 too.
    if declared is None or not declared.startswith(_ESCAPING):
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8")
    if declared is not None:
        text = data.decode(declared, errors="replace")
        if not declared.startswith(_ONE_BYTE) or not re.search("[\x80-\x9f\ufffd]", text):
            return text
    licence = _LICENCE.search(data)
    book = data[: licence.start()] if licence else data
    return data.decode(_likeliest(data if book.isascii() else book), errors="replace")


def _likeliest(data: bytes) -> str:
    """The encoding whose reading is the most plausible; of equally plausible ones, the most usual."""
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    # Almost no text in another encoding has a valid sequence by chance: each counts for several broken bytes.
    good = sum(character > "\x7f" for character in text) - bad
    if good > 20 * bad:
        return "utf-8"
    scores = {"utf-8": 3 * _plausibility(text.replace("\ufffd", "")) - bad}
    for encoding in _WESTERN if re.search(rb"[\x80-\x9f]", data) else _WESTERN[:1]:
        scores[encoding] = _plausibility(data.decode(encoding, errors="replace"))
    return max(scores, key=lambda encoding: (scores[encoding], encoding == "cp1252"))


def _declared(data: bytes) -> str | None:
    """The codec that the file declares, where that says something the bytes do not."""
    match = _DECLARATION.search(data[:20_000])
    if match is None:
        return None
    words = match[1].decode("latin-1").split("(")[0].strip().lower()
    page = _CODE_PAGE.search(words)
    try:
        codec = codecs.lookup(f"cp{page[1]}" if page else words.replace("big-5", "big5")).name
    except LookupError:
        return None
    return _WIDER.get(codec, codec) if codec.startswith(_FAMILIES) and codec not in _MEANINGLESS else None


def _plausibility(text: str) -> int:
    """How many of the first characters beyond ASCII stand where letters and marks of the West do, less the others.

    A letter is no capital within a word, and no small one before a capital; alone it stands as a word does. A mark
    within a word is an apostrophe or a dash. ``“It’s`` read as Mac Roman is ``ìItís``: its first letter betrays it.
    """
    score = 0
    for match in islice(re.finditer(r"[^\x00-\x7f]", text), 20_000):
        character = match[0]
        before, after = text[max(match.start() - 1, 0) : match.start()], text[match.end() : match.end() + 1]
        if character in _LETTERS:
            if before.isalpha() or after.isalpha():
                fits = not (before.islower() if character.isupper() else after.isupper())
            else:
                fits = (before.isspace() or before in "'’(«-") and not (character.isupper() and after in _MARKS)
        else:
            fits = character in _MARKS and not (before.isalpha() and after.isalpha() and character not in "’‘–—…·")
        score += 1 if fits else -1
    return score
