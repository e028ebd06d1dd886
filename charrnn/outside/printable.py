"""Text that can be shown: with nothing in it that moves a cursor, sets a title, turns or hides what is written."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, C0 but for newline and tab, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # what nobody sees
    "\ud800-\udfff]"  # halves of surrogate pairs, and the bytes of names that are not UTF-8
)
_BREAKS = re.compile("[\n\t]")


def escape(character: str) -> str:
    r"""A character as Python writes it: \x1b, \u202e."""
    return character.encode("unicode_escape").decode("ascii")


def printable(text: str, mark: Callable[[str], str] = escape) -> str:
    """A text as it can be shown, lines and tabs as they are, with marks in the place of what must not be raw."""
    return _HIDDEN.sub(lambda match: mark(match[0]), text)


def one_line(text: object) -> str:
    """What has to stay on its line, such as a message or a name, as it can be shown."""
    return _BREAKS.sub(lambda match: escape(match[0]), printable(str(text)))


def counted(number: int, noun: str, several: str = "") -> str:
    """So many of something: 1 document, 1,200 documents."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def encodable(text: str) -> str:
    """A text that UTF-8 has: halves of surrogate pairs are written out, all else is as it was."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def named_in_utf8(folder: Path) -> Iterator[Path]:
    """A folder by a name that is UTF-8, that of a link to it if need be: some libraries know no others."""
    if encodable(str(folder)) == str(folder):
        yield folder
        return
    with TemporaryDirectory(prefix="charrnn-name-") as parent:
        link = Path(parent, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def in_json(text: str) -> str:
    """JSON as it can be shown, which says the same."""
    # JSON knows no character beyond U+FFFF by its number, but two halves of it.
    return printable(text, lambda raw: re.sub("....", r"\\u\g<0>", raw.encode("utf-16-be", "surrogatepass").hex()))


def quoted(word: str | Path) -> str:
    """A word as a shell takes it back when it is copied, whatever characters or bytes it has."""
    text = str(word)
    if one_line(text) == text:
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(plain)}'"
