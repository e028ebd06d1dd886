"""Names and excerpts as a message may show them: on one line, whatever bytes a file's name or its text holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_EXCERPT = 60
_LISTED = 8


def shown(name: object) -> str:
    """A name with what cannot be printed, such as the stand-ins for bytes that are not UTF-8, written as escapes."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def excerpt(text: str) -> str:
    """The beginning of a text on one line, in quotation marks."""
    words = shown(" ".join(text[: 4 * _EXCERPT].split()))
    return f"'{words[:_EXCERPT]}…'" if len(words) > _EXCERPT else f"'{words}'"


def listed(names: Iterable[object]) -> str:
    """The first few of many names, and how many more there are."""
    every: Sequence[object] = list(names)
    more = f" and {len(every) - _LISTED:,} more" if len(every) > _LISTED else ""
    return ", ".join(map(shown, every[:_LISTED])) + more
