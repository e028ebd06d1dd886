"""What must never reach a terminal raw, and words that a shell takes back."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from charrnn.outside.printable import counted, encodable, in_json, one_line, printable, quoted

BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_no_control_no_half_character_and_nothing_that_turns_or_ends_a_line_is_raw() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        is_raw = printable(character) == character
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDI_CONTROLS:
            assert is_raw == (character in "\n\t"), hex(ord(character))
        elif unicodedata.category(character) not in ("Cf", "Cn"):
            assert is_raw, hex(ord(character))


def test_what_is_escaped_is_written_as_python_writes_it() -> None:
    assert printable("a\x1b]0;t\x07\r\n\x9b\u202e\x7f") == "a\\x1b]0;t\\x07\\r\n\\x9b\\u202e\\x7f"
    assert one_line("a\n\tb") == "a\\n\\tb"
    assert printable("né 中 😀 \u05d0 क्\u200dष") == "né 中 😀 \u05d0 क्\u200dष"


def test_json_says_the_same() -> None:
    value = {"é": "\x7f\x1b\u202e\U000e0041\udcff\n"}
    shown = in_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert "é" in shown
    assert printable(shown) == shown


@pytest.mark.parametrize("name", ["run", "my run", "o'hara", 'say "no"', "übung", "a\nb", "\x1b[2J$(x)", "a\udcffb\\"])
def test_a_quoted_word_is_one_word_to_a_shell(name: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {quoted(name)}"], capture_output=True, check=True)
    assert done.stdout == name.encode("utf-8", "surrogateescape")
    assert one_line(quoted(Path(name))) == quoted(name)


def test_utf_8_takes_any_text() -> None:
    assert encodable("é\udc80\x1b").encode() == b"\xc3\xa9\\udc80\x1b"


def test_one_of_something_is_no_several() -> None:
    said = [counted(number, "document") for number in (0, 1, 2, 1_200)]
    assert said == ["0 documents", "1 document", "2 documents", "1,200 documents"]
    assert [counted(number, "process", "processes") for number in (1, 2)] == ["1 process", "2 processes"]
