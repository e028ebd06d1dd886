"""The likeliest encoding of a text that is not Unicode, and how near the next one comes.

Every code page of one byte a letter reads every file, so that a decoder's success says nothing. What is compared is how
each reading stands beside words: whether its letters belong to one language, capitals begin words, and quotation marks
stand at their edges. Code pages of several bytes a letter are left to charset-normalizer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import NamedTuple

from .alphabets import BETWEEN, CLOSING, LANGUAGES, MARKS, OPENING, SINGLE_BYTE

_ENOUGH = 4000  # bytes beyond ASCII that are looked at
_GOOD = 0.75  # the score of a reading that needs no second look
_POOR = 0.35  # the score below which no reading is believed
_NEAR = 0.2  # the distance within which two readings are close
_MULTIBYTE = ("gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949", "johab")


class Reading(NamedTuple):
    """One way to read bytes: by which encoding, and how much it looks like a language (at best about 1)."""

    encoding: str
    score: float


def sample(start: bytes) -> bytes:
    """The first lines with bytes beyond ASCII, as many as the judgement needs."""
    found, size, count = [], 0, 0
    for match in re.finditer(rb"[^\n]*[\x80-\xff][^\n]*\n?", start):
        line = match[0]
        if len(line) > 4 * _ENOUGH:  # one line may be the whole file
            first = re.search(rb"[\x80-\xff]", line)
            begin = max(0, first.start() - 40) if first else 0
            line = line[begin : begin + 4 * _ENOUGH]
        found.append(line)
        size += len(line)
        count += len(line) - len(re.sub(rb"[\x80-\xff]+", b"", line))
        if count >= _ENOUGH or size > 16 * _ENOUGH:
            break
    return b"".join(found)


def readings(data: bytes) -> list[Reading]:
    """The ways to read a sample that look like a language, the likeliest first; empty if none does."""
    ascii_letters = Counter(re.sub(rb"[^A-Za-z]+", b"", data).decode())
    trigrams = Counter(
        (data[place - 1] if place else 32, data[place], data[place + 1] if place + 1 < len(data) else 32)
        for place in (match.start() for match in re.finditer(rb"[\x80-\xff]", data))
    )
    scored = [Reading(name, _score(trigrams, ascii_letters, name) + prior) for name, prior in SINGLE_BYTE.items()]
    scored = sorted((reading for reading in scored if reading.score > _POOR), key=lambda each: -each.score)
    if not scored or scored[0].score < _GOOD + 0.1:
        scored = sorted([*_several_bytes(data), *scored], key=lambda each: -each.score)
    return scored


def rivals(data: bytes, found: list[Reading]) -> list[Reading]:
    """The readings close to the best that make another text of the sample.

    Only where two texts differ can one of them be wrong: Spanish has the same vowels in many code pages, and its ñ
    alone tells them apart.
    """
    best, *others = found
    text = data.decode(best.encoding, "replace")
    beyond = sum(letter > "\x7f" for letter in text)
    seen = {text}
    near = []
    for reading in others:
        other = data.decode(reading.encoding, "replace")
        if other in seen:
            continue
        seen.add(other)
        differing = sum(map(str.__ne__, text, other)) if len(text) == len(other) else beyond
        prior, other_prior = SINGLE_BYTE.get(best.encoding, 0), SINGLE_BYTE.get(reading.encoding, 0)
        evidence = (best.score - prior - reading.score + other_prior) * beyond / (differing or 1)
        if evidence + prior - other_prior < _NEAR:
            near.append(reading)
    return near


def is_sure(found: list[Reading]) -> bool:
    """Whether the best reading is good in itself."""
    return found[0].score >= _GOOD


@cache
def _table(encoding: str) -> tuple[str, ...]:
    """What each byte is in an encoding; the empty string where it is nothing."""
    return tuple(bytes([byte]).decode(encoding, "ignore") for byte in range(256))


def _script(letter: str) -> str:
    """The script of a letter, as far as it matters: letters of two scripts do not stand in one word."""
    return unicodedata.name(letter, "? ").split()[0] if letter > "\x7f" else "LATIN"


_script = cache(_script)


def _score(trigrams: Counter[tuple[int, int, int]], ascii_letters: Counter[str], encoding: str) -> float:
    table = _table(encoding)
    letters: Counter[str] = Counter()
    total = 0.0
    for (before, byte, after), count in trigrams.items():
        here = table[byte]
        if not here:
            return -1.0
        left, right = table[before] or " ", table[after] or " "
        if here.isalpha() or unicodedata.combining(here):
            flaw = _flaw(left, here, right)
            if flaw:
                total -= flaw * count
            else:
                letters[here] += count
        else:
            total += _symbol(left, here, right) * count
    return (total + _language(letters, ascii_letters)) / (sum(trigrams.values()) or 1)


def _flaw(left: str, here: str, right: str) -> float:
    """What speaks against a letter where it stands: small before capital, or two scripts in one word."""
    if left.isalpha() and (left.islower() and here.isupper()):
        return 1.0
    if right.isalpha() and here.islower() and right.isupper():
        return 1.0
    neighbours = [letter for letter in (left, right) if letter.isalpha() and letter not in "ªº"]
    if here not in "ªº" and any(_script(letter) != _script(here) for letter in neighbours):
        return 1.5
    if here in "ªº" and right.isalpha():
        return 1.0
    return 0.0


def _symbol(left: str, here: str, right: str) -> float:
    """How well a symbol stands where it does, between -1.5 and 1.2."""
    if unicodedata.category(here) in ("Cc", "Cn", "Co"):
        return -1.5
    if left.isalpha() and right.isalpha():
        if here == "’":
            return 1.2 if right in "stdmlrvSTDMLRVaeiouhyéêàâ" else 0.9
        return 0.6 if here in BETWEEN else -1.0
    if here not in MARKS:
        return -0.5
    if here in OPENING and here not in CLOSING and left.isalpha():
        return -0.3
    if here in CLOSING and here not in OPENING and right.isalpha():
        return 0.5
    return 1.0


def _language(letters: Counter[str], ascii_letters: Counter[str]) -> float:
    """How much letters are those of one language, the best; others, and letters that it does without, speak against."""
    count = letters.total()
    most = -0.6 * count
    for language in LANGUAGES:
        total = sum(language.worth.get(letter, -0.6) * times for letter, times in letters.items())
        if language.unused:
            alien = sum(ascii_letters[letter] for letter in language.unused) / (ascii_letters.total() or 1)
            total -= min(0.3, 8 * alien) * count
        elif ascii_letters.total() > 8 * count:  # a letter of another script now and then, in a text of Latin letters
            total -= 0.3 * count
        most = max(most, total)
    return most


def _several_bytes(data: bytes) -> list[Reading]:
    """What charset-normalizer makes of a sample in the encodings of several bytes a letter."""
    fitting = []
    for encoding in _MULTIBYTE:
        text = data[: data.rfind(b"\n") + 1 or None].decode(encoding, "replace")
        beyond = sum(letter > "\x7f" for letter in text) or 1
        if text.count("\ufffd") * 50 <= beyond:
            fitting.append(Reading(encoding, _east_asian(text, encoding)))
    return [reading for reading in fitting if reading.score > _POOR]


def _east_asian(text: str, encoding: str) -> float:
    """How much a text looks like Chinese, Japanese or Korean: kana and hangul, and common characters among the rest."""
    total = good = 0.0
    kana = hangul = ideographs = common = 0
    for letter in text:
        if letter <= "\x7f":
            continue
        total += 1
        if "\u3040" <= letter <= "\u30ff":
            kana += 1
        elif "\uac00" <= letter <= "\ud7a3":
            hangul += 1
        elif "\u4e00" <= letter <= "\u9fff":
            ideographs += 1
            common += _is_common(letter, encoding)
        elif "\u3000" <= letter <= "\u3020" or "\uff01" <= letter <= "\uff5e" or letter in MARKS:
            good += 1
        elif letter == "\ufffd" or unicodedata.category(letter) in ("Cn", "Co", "Cc"):
            good -= 2
    if encoding in ("cp932", "euc_jis_2004"):
        good += kana + (common if kana * 8 > ideographs else 0.5 * common) - 0.5 * hangul
    elif encoding in ("cp949", "johab"):
        good += hangul - kana
        good += 0.5 * ideographs if hangul > 3 * ideographs else -0.5 * ideographs
    else:
        good += common - 0.5 * (kana + hangul)
        # Chinese has no spaces between words, and Korean has: its bytes are common Chinese characters as well.
        good -= min(total / 2, 5 * len(re.findall("[^\x00-\x7f] [^\x00-\x7f]", text)))
    return good / (total or 1)


@cache
def _is_common(letter: str, encoding: str) -> bool:
    """Whether an ideograph is in the first, frequent half of its country's character set."""
    narrow = {"gb18030": "gb2312", "big5hkscs": "big5", "cp932": "euc_jp", "euc_jis_2004": "euc_jp"}.get(encoding)
    if narrow is None:
        return True
    encoded = letter.encode(narrow, "ignore")
    low, high = {"gb2312": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "euc_jp": (0xB0, 0xCF)}[narrow]
    return len(encoded) == 2 and low <= encoded[0] <= high
