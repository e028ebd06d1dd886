"""From the bytes of a Project Gutenberg file to its text: the bytes decide, the file's own declaration only helps."""

from __future__ import annotations

import codecs
import logging
import re
from contextlib import suppress

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
_LETTERS = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒ")
_MARKS = frozenset("‘’“”„‚«»‹›–—…•·†‡°§¶©®™£€½¼¾¹²³ªº¿¡´¨\xa0")


def decode(data: bytes, name: str) -> str:
    r"""The text of a file, its lines ended by ``\n``; never holds a U+FFFD without a warning that names the file."""
    text = _decode(data)
    bad = text.count("\ufffd")
    if bad:
        log.warning("%s: %d characters cannot be read and stand as U+FFFD", name, bad)
    # The oldest files end in a DOS end-of-file character.
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a\x00")


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
    elif _nearly_utf8(data):
        return data.decode("utf-8", errors="replace")
    if not re.search(rb"[\x80-\x9f]", data):
        return data.decode("latin-1")
    return max((data.decode(encoding, errors="replace") for encoding in _WESTERN), key=_plausibility)


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


def _nearly_utf8(data: bytes) -> bool:
    """Whether a few broken bytes spoil a text in UTF-8: by chance, no Latin-1 text has many valid sequences."""
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    return sum(character > "\x7f" for character in text) - bad > 20 * bad


def _plausibility(text: str) -> int:
    """How much of a text beyond ASCII is where letters and marks of Western languages stand."""
    score = 0
    for match in re.finditer(r"[^\x00-\x7f]", text):
        character, before = match[0], text[match.start() - 1 : match.start()]
        if character in _LETTERS:
            score += -1 if character.isupper() and before.islower() else 1
        elif character not in _MARKS:
            score -= 1
    return score
