"""Finding the book in a Project Gutenberg file: thirty-five years of headers and footers, as tables of shapes.

A file is a header, the book and a footer, but there never was one form for them. `strip` looks for the lines that
begin and end a book (`STARTS`, `ENDS`), takes those with nothing but the project's own wording outside of them, and
leaves it to `makers` to remove what the makers of the file say of themselves around the book.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import pairwise

from .makers import PARAGRAPH, Known, without_makers, words
from .signs import PROJECT as PG
from .signs import spaced

log = logging.getLogger(__name__)

Shapes = tuple[tuple[str, str], ...]

# In all tables a space stands for any gap between two words, one line end included (markers are often wrapped), and
# case does not matter. Each shape begins at the beginning of a line, after at most some asterisks and the like.

STARTS: Shapes = (
    (
        rf"(?:start|beginning) of (?:the |this )?(?:copyrighted )?{PG}"
        r"(?:[^\n]*(?:\n[^\n]+){0,3}?\*\*[ \t]*$|[^\n]*(?:\n(?-i:[^a-z\n]+)$){0,2})",
        "since 2001, '*** START OF THE PROJECT GUTENBERG EBOOK TITLE ***', its title over up to four lines",
    ),
    (
        r"end[ *]*(?:of )?the small print(?:[^\n]*\n?[^\n]*\*END\*[^\n]*|[^\n]*)",
        "1992-2003, '*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*', with its many variants",
    ),
    (
        r"small print!?[^\n]*\n?[^\n]*\*end\*",
        "1993-2003, '*SMALL PRINT! Ver.03.17.95 FOR COPYRIGHT PROTECTED ETEXTS*END*'",
    ),
    (r"\"?small print\"? v\.[\d.]+[^\n]*", "1991-1993, '[\"Small Print\" V.12.08.93]'"),
    (rf"to contact {PG} of australia[^\n]*(?:\n[^\n]+)*", "Australian etexts: the last paragraph of their header"),
)

LETTERS: Shapes = (
    (
        rf"michael s\. hart\n(?:[^\n]+\n)?{PG}\nexecutive director(?:\s*\n[* \t]+$)?",
        "1997-1999, a letter of the project's founder to the readers, between the small print and the book",
    ),
)

ENDS: Shapes = (
    (
        r"(?:this is )?(?:the )?(?:end|ende|fin|fine|fim|final|fino|finis|einde|slut|slutet|loppu|konec|koniec)\b"
        r"(?: (?:of|de|du|des|do|del|della|da|van|dit|av|af|på|diese[rs]?|the|this|is|copyrighted|collected|e-?texts))"
        r"{0,5}"
        r" (?:pro[jyg]e\w+ gutenberg|gutenberg(?:'s)? e-?(?:text|book))",
        "'*** END OF THE PROJECT GUTENBERG EBOOK', 'End of Project Gutenberg's', in the book's language too",
    ),
    (r"(?:end|ende) (?:of|dieses?) (?:the |this )?e-?(?:text|book)", "'End of this Etext', 'Ende dieses Etextes'"),
    (rf"this is a copyrighted {PG} e-?(?:text|book),? details above", "1993-2003, copyrighted texts"),
    (r"ce document f[uû]t pr[ée]sent[ée] en lecture", "French texts"),
)

LICENCES: Shapes = (
    (r"this file should be named", "the file's name, from 1992 on"),
    (r"updated editions will replace the previous one", "the first sentence after the book, from 2004 on"),
    (r"corrected editions of our e-?(?:text|book)s get a new number", "its forerunner"),
    (r"creating the works from (?:public domain )?print", "the licence itself"),
    (rf"(?:start:? )?(?:the )?full (?:{PG} )?license", "its title"),
    (r"start[ *]*the small print", "1992-2003, where the small print follows the book"),
    (rf"information about {PG} \(one page\)", "1992-2003"),
    (rf"(?:this is )?(?:the )?{PG}(?:'s)? e-?(?:text|book)(?: of\b|[:,])", "the title line, once more below"),
    (r"(?:more information about this book is at the top|we need your donations more than ever)", "1995-2001"),
    (rf"(?:this site is full of free e-?books|{PG} (?:of )?australia$)", "Australian etexts"),
)

INSERTS: Shapes = (
    (
        r"<<this electronic version of(?:(?!>>|\n[ \t]*\n)[\s\S])*>>",
        "the licence between Shakespeare's works in number 100; it never goes on below a blank line",
    ),
    (r"<<(?-i:THIS ELECTRONIC VERSION OF[^a-z\n]*(?:\n[^a-z\n]+)*\n)", "the same, not closed: it is all in capitals"),
    (
        rf"[\t *]*\w+,? \d{{4}} \[e-?(?:text|book) #\d+\][ *]*$\n*(?:\*+(?:the )?{PG} e-?text of [^\n]*\*$\n*)?",
        "'December, 1972 [Etext #2]' and '****The Project Gutenberg Etext of ...****': several etexts under one header",
    ),
)

_WORDING = re.compile(
    r"gutenberg|\be-?texts?\b|\be-?books?\b|small print|donat|copyright|trademark|licen[cs]e|refund|warrant|disclaim|"
    r"liab|indemni|public domain|volunteer|foundation|illinois|carnegie|character set|"
    r"^(?:title|author|editor|translator|language|edition|credits|(?:release|posting) date|last updated): |"
    r"^(?:produced|prepared|transcribed) by|www\.|https?:|ftp\b|\S@\w|proofread|\.(?:txt|zip|htm|xxx)\b|electronic|"
    r"internet|[*]{3}",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER_WORDING = re.compile(
    r"gutenberg|\be-?texts?\b|\bebooks?\b|small print|disclaim|indemni|warranty|illinois ben|carnegie-mellon|bitnet|"
    r"donations?\b",
    re.IGNORECASE,
)
# Below the last end line, this many characters at most are no book: 20,000 of a licence, or some notes or a program.
_LICENCE, _POSTSCRIPT = 30_000, 10_000
# No header and no footer between two books is longer.
_OUTSIDE = 60_000
_BLANK_LINE = re.compile(r"\n[ \t]*$", re.MULTILINE)
_STRAY = frozenset(map(chr, {*range(32), 127} - {9}))
_SENTENCES = re.compile(r"[a-z][^\n]*[.!?:,][^\w\n]*\Z")
_TITLE = re.compile(
    r"^(?:title: *|[^\n]*\be-?(?:text|book),?(?: of)? )(\w.*?)(?:,? by .*)?$", re.IGNORECASE | re.MULTILINE
)
# A mirror's page, or one saved by hand, in the place of a book.
_WEB_PAGE = re.compile(
    r"[\s\ufeff]*+(?:<\?xml|<!doctype|<html|<head|<!--|(?:error )?40[34]\b|(?:page |file )?not found\b|access denied)",
    re.IGNORECASE,
)


def _compile(*tables: Shapes, prefix: str = r"(?:[^\w\n<]|_){0,24}+(?=\w)") -> re.Pattern[str]:
    joined = "|".join(spaced(pattern) for table in tables for pattern, _ in table)
    return re.compile(rf"^{prefix}(?:{joined})", re.IGNORECASE | re.MULTILINE)


_STARTS, _LETTERS, _INSERTS = _compile(STARTS), _compile(LETTERS), _compile(INSERTS, prefix="")
_ENDS, _FOOTERS = _compile(ENDS), _compile(ENDS, LICENCES)


def strip(text: str, name: str) -> str:
    """The book in a file: no header, footer, licence or credits, no blank lines around it, one newline at its end.

    Where no line marks its start or its end, what is plainly the project's own wording goes, the rest stays, and a
    warning names the file. The text is empty if the file holds no book, as a web page does not.
    """
    if _WEB_PAGE.match(text):
        return ""
    begin = _begin(text)
    if begin is None:
        begin = _header_by_wording(text)
        found = f"the first {text[:begin].count(chr(10)) + 1} lines look like a header" if begin else "it is kept whole"
        log.warning("%s: no line marks where the book starts: %s", name, found)
    titles = set(map(words, _TITLE.findall(text[:begin]))) - {""}
    end = _end(text, begin)
    end = _end_of_title(text, begin, end, titles)
    if end == len(text):
        log.warning("%s: no line marks where the book ends: it is kept to the end of the file", name)
    known = Known(titles, _credit_copies(text[:begin], text[end:]))
    parts = (_trimmed(without_makers(_INSERTS.sub("", text[slice(*part)]), known)) for part in _parts(text, begin, end))
    return "\n\n".join(part for part in parts if part)


def _begin(text: str) -> int | None:
    """Where the header ends: below the last start line that has nothing but the project's wording above it."""
    begin, small_print = None, False
    for start in _STARTS.finditer(text):
        above = text[begin or 0 : start.start()]
        # The small print of a tiny book may stand below it.
        if len(above) > _OUTSIDE or _ENDS.search(above) or (begin is not None and not _is_wording(above)):
            break
        begin, small_print = start.end(), "small print" in start[0].casefold()
    if begin is None:
        return None
    # A letter in the book stands below a title; the project's own begins right below the small print.
    letter = _LETTERS.search(text, begin, begin + 12_000) if small_print else None
    if letter and _SENTENCES.search(next(PARAGRAPH.finditer(text, begin))[0]):
        return letter.end()
    return begin


def _end(text: str, begin: int) -> int:
    """Where the footer starts: the first line of a footer that has nothing but the project's wording below it."""
    footers = [mark for mark in _FOOTERS.finditer(text, begin) if _is_marker(text, mark)]
    end = len(text)
    ends = [mark for mark in footers if _ENDS.match(mark[0])]
    if ends and end - ends[-1].start() < (_LICENCE if ends[-1][0].lstrip().startswith("***") else _POSTSCRIPT):
        end = ends[-1].start()
    for mark in reversed([mark for mark in footers if mark.start() < end]):
        if not _is_wording(text[_paragraph_end(text, mark.start()) : end]):
            break
        end = mark.start()
    return end


def _end_of_title(text: str, begin: int, end: int, titles: set[str]) -> int:
    """Where the book ends if its last lines are 'End of TITLE, by AUTHOR': what the project wrote without its name."""
    tail = max(begin, text.rfind("\n\n", begin, max(begin, end - 1000)))
    for paragraph in PARAGRAPH.finditer(text, tail, end):
        if words(paragraph[0]).startswith(
            tuple(f"{the}end of {title} by " for title in titles for the in ("", "the "))
        ):
            return paragraph.start()
    return end


def _is_marker(text: str, mark: re.Match[str]) -> bool:
    """Whether a match is a line of its own and no prose: it is capitalised or decorated, or below a blank line."""
    above = text[text.rfind("\n", 0, max(mark.start() - 1, 0)) + 1 : mark.start()]
    return not mark[0].lstrip()[0].islower() or not above.strip()


def _parts(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches of the book's own text: files that were made of several files keep markers between them."""
    for mark in _ENDS.finditer(text, begin, end):
        if mark.start() < begin or not _is_marker(text, mark):
            continue
        yield begin, mark.start()
        begin = _paragraph_end(text, mark.start())
        start = _STARTS.search(text, begin, min(begin + _OUTSIDE, end))
        if start and _is_wording(text[begin : start.start()]):
            begin = start.end()
    yield begin, end


def _paragraph_end(text: str, start: int) -> int:
    blank = _BLANK_LINE.search(text, start)
    return blank.start() if blank else len(text)


def _header_by_wording(text: str) -> int:
    """Where the header of a file without start line ends: below its last paragraph in the project's wording."""
    end = gap = 0
    for paragraph in PARAGRAPH.finditer(text):
        if _HEADER_WORDING.search(paragraph[0]):
            end, gap = paragraph.end(), 0
        elif not _WORDING.search(paragraph[0]):
            gap += len(paragraph[0])
        if gap > 400:
            break
    return end


def _is_wording(text: str) -> bool:
    """Whether at least half of a text is paragraphs as only the project writes them."""
    if len(text) > _OUTSIDE:
        return False
    paragraphs = [paragraph[0] for paragraph in PARAGRAPH.finditer(text)]
    known = sum(len(paragraph) for paragraph in paragraphs if _WORDING.search(paragraph))
    return 2 * known >= sum(map(len, paragraphs))


def _credit_copies(header: str, footer: str) -> set[str]:
    """Credits among the header's fields and right above the licence: they prove a bare list of names to be credits."""
    fields = (paragraph[0] for paragraph in PARAGRAPH.finditer(header))
    copies = {words(field.removeprefix("Credits:")) for field in fields if field.startswith("Credits:")}
    for above, below in pairwise(paragraph[0] for paragraph in PARAGRAPH.finditer(footer)):
        if below.startswith("Updated editions"):
            copies.add(words(above))
    return copies


def _trimmed(text: str) -> str:
    """A text without blank lines and stray control characters around it; its first line keeps its indent."""
    inside = re.search(r"[^\s\x00-\x1f\x7f]", text)
    if inside is None:
        return ""
    end = len(text)
    while text[end - 1].isspace() or text[end - 1] in _STRAY:
        end -= 1
    indent = text[text.rfind("\n", 0, inside.start()) + 1 : inside.start()]
    return f"{''.join(each for each in indent if each not in _STRAY)}{text[inside.start() : end]}\n"
