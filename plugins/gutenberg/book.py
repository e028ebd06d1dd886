"""Finding the book in a Project Gutenberg file: thirty-five years of headers, footers and credits, as tables of shapes.

A file is a header, the book and a footer, but there never was one form for them. `strip` looks for the lines that
begin and end a book (`STARTS`, `ENDS`), takes those with nothing but the project's own wording outside of them, and
then removes what the makers of the file say of themselves around the book (`CREDITS`). Nothing else is touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import pairwise

log = logging.getLogger(__name__)

PG = r"(?:pro[jyg]e\w+ )?gutenberg"
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
        r"(?: (?:of|de|du|des|do|del|della|da|van|dit|av|af|på|diese[rs]?|the|this|is|copyrighted)){0,4}"
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

_SCANNED = (
    r"(?:(?:re-?)?(?:produced|typed|keyed|scanned|transcribed|digiti[sz]ed|proofed|proof-?read|proofing|ocr'?e?d))"
)
# As far as the end of a sentence, within a paragraph ("See" goes on after the name of an archive).
_SENTENCE = r"(?:(?!(?-i:[a-zà-ÿ)]{2})\.\s+(?!See\b)(?-i:[A-ZÀ-Þ]))(?:[^\n]|\n(?!\n)))*?"
_MADE = rf"(?:{_SCANNED}|prepared|created|entered|converted|reformatted|contributed|provided|submitted|released)"

# Those that name the project or its proofreaders are tried first: they are credits also below the book's title.
CREDITS: Shapes = (
    (
        rf"(?:this |the |an? |diese[rs] )?(?:{PG} )?(?:e-?(?:text|book|dition)|(?:electronic|digital|online) \w+|"
        r"(?:text |html )?(?:file|version)|html|transcription|ocr)s?\b[^.\n]{0,60}(?:\n[^.\n]{1,60})??"
        rf"\b(?:{_MADE}|erstellt|versions?|editions?|conversion) (?:\w+ ){{0,4}}(?:by|from|durch|von)\b",
        "'This etext was prepared by', 'E-text prepared by', 'HTML version by', 'Dieses Etext wurde'",
    ),
    (
        rf"{_SENTENCE}(?:distributed proof|pgdp\.net|generously made available|images generously|"
        r"scanned images|page images|archive\.org/|gallica\.bnf|google (?:print|books) project|"
        r"digitized by google|gutenberg projekt-de|gutenberg\.spiegel\.de|gutenberg2000\.de|"
        r"(?:html|illustrated) (?:version|edition) of this)",
        "where the page images came from, and who proofread them",
    ),
    (
        rf"{_SCANNED}(?:[ ,&/]+(?:and|{_SCANNED}|edited|corrected)){{0,4}}(?: in \w+)? (?:by|from|for)\b",
        "'Produced by', 'Scanned and proofread by', 'Transcribed from the 1887 edition by'",
    ),
    (rf"{_MADE} (?:by|from)\b(?:[^\n]|\n(?!\n))*?\S@\S", "'Prepared by', which books say too, with an address"),
    (r"(?:credits?|proof-?(?:ing|reading)|scann?(?:ing|s)|typing|ocr)(?::| by\b)", "'Credits:', 'Proofreading by'"),
    (
        r"(?:many |special |our )?(?:thanks|thank you|nous remercions)\b(?:[^\n]|\n(?!\n))*?"
        rf"(?:proof|scan|e-?text|e-?book|{PG}|images?\b|volunteer)",
        "thanks for the making",
    ),
    (rf"(?:the |this is (?:the|a) )?(?:copyrighted )?{PG}(?:'s|s)? e-?(?:text|book|dition)\b", "the title once more"),
    (r"#?\d+ in our series", "'#2 in our series by'"),
    (rf"note: {PG} (?:also )?has", "'Note: Project Gutenberg also has an HTML version of this file'"),
    (r"note: there (?:is|are) a short list of bookmarks", "2002-2006, a note to readers of the collected editions"),
    (
        r"(?:this text (?:has been derived|was originally produced)|project runeberg publishes)",
        "its sources",
    ),
    (
        r"(?:handog ng proyektong gutenberg|the equipment: an ibm-compatible|this is the [78]-bit version|"
        r"\[?this file was first posted on|(?:html|typed in|text (?:prepared|scanned|typed|transcribed)) by\b)",
        "paragraphs of their own beside other credits",
    ),
    (r"text encoding is", "1996-1998, French texts"),
    (r"(?:this e-?text is in|we are releasing two versions)", "1999-2002, plain and accented versions of one text"),
    (r"title:[^\n]+\n(?:[ \t]+[^\n]+\n)*author:", "Australian etexts repeat these fields"),
    (rf"(?:all of the|these) original {PG} e-?texts", "notes to the texts of the 1970s"),
    (r"\w+,? \d{4} \[e-?(?:text|book) #\d+\]", "'December, 1971 [Etext #1]'"),
    (r"contact [^\n]*\S@\S", "'Contact Mike Lough <...>', of the makers of a program that reads page images"),
    (r"\S+@\S+\W*$(?!\n.)", "an address that belongs to the credits above it"),
    (r"https?://\S+\W*$(?!\n.)", "the same"),
)

INSERTS: Shapes = (
    (r"<<this electronic version of(?:[^>]|>(?!>)){0,2000}>>", "the licence between Shakespeare's works in number 100"),
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
_MAKERS_WORDING = re.compile(rf"e-?text|e-?book|distributed proof|pgdp|{PG}", re.IGNORECASE)
# 2002-2006: a maker's favourite sentences, below each of his books.
_BOOKMARKS = re.compile(r"^(?:e-?text|pg) editor'?s'? bookmarks\b", re.IGNORECASE | re.MULTILINE)
_PARAGRAPH = re.compile(r"^[^\S\n]*\S.*(?:\n[^\S\n]*\S.*)*", re.MULTILINE)

# Below the last end line, this many characters at most are no book: 20,000 of a licence, or some notes or a program.
_LICENCE, _POSTSCRIPT = 30_000, 10_000
_BLANK_LINE = re.compile(r"\n[ \t]*$", re.MULTILINE)
_GAP = r"(?:[ \t]+(?:\n[ \t]*)?|\n[ \t]*)"


def _compile(*tables: Shapes) -> re.Pattern[str]:
    patterns = (pattern for table in tables for pattern, _ in table)
    joined = "|".join(re.sub(r"\[[^]]*\]| ", lambda m: _GAP if m[0] == " " else m[0], each) for each in patterns)
    return re.compile(rf"^(?:[^\w\n<]|_){{0,24}}(?:{joined})", re.IGNORECASE | re.MULTILINE)


_STARTS, _LETTERS, _CREDITS = _compile(STARTS), _compile(LETTERS), _compile(CREDITS)
_ENDS, _FOOTERS = _compile(ENDS), _compile(ENDS, LICENCES)
_INSERTS = re.compile("|".join(pattern for pattern, _ in INSERTS), re.IGNORECASE)


def strip(text: str, name: str) -> str:
    """The book in a file: no header, footer, licence or credits, no blank lines around it, one newline at its end.

    Where no line marks its start or its end, what is plainly the project's own wording goes, the rest stays, and a
    warning names the file. The text is empty if the file holds no book.
    """
    begin = _begin(text)
    if begin is None:
        begin = _header_by_wording(text)
        found = f"the first {text[:begin].count(chr(10)) + 1} lines look like a header" if begin else "it is kept whole"
        log.warning("%s: no line marks where the book starts: %s", name, found)
    end = _end(text, begin)
    if end == len(text):
        log.warning("%s: no line marks where the book ends: it is kept to the end of the file", name)
    copies = _credit_copies(text[:begin], text[end:])
    parts = (_without_credits(text[slice(*part)], copies) for part in _parts(text, begin, end))
    return "\n\n".join(part for part in parts if part)


def _begin(text: str) -> int | None:
    """Where the header ends: below the last start line that has nothing but the project's wording above it."""
    begin = None
    for start in _STARTS.finditer(text):
        above = text[begin or 0 : start.start()]
        # The small print of a tiny book may stand below it.
        if _ENDS.search(above) or (len(above) > 60_000 if begin is None else not _is_wording(above)):
            break
        begin = start.end()
    if begin is None:
        return None
    letter = _LETTERS.search(text, begin, begin + 12_000)
    return letter.end() if letter else begin


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


def _is_marker(text: str, mark: re.Match[str]) -> bool:
    """Whether a match is a line of its own and no prose: it is capitalised or decorated, or below a blank line."""
    return not mark[0].lstrip()[0].islower() or not text[: mark.start() - 1].rpartition("\n")[2].strip()


def _parts(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches of the book's own text: files that were made of several files keep markers between them."""
    for mark in _ENDS.finditer(text, begin, end):
        if mark.start() < begin or not _is_marker(text, mark):
            continue
        yield begin, mark.start()
        begin = _paragraph_end(text, mark.start())
        start = _STARTS.search(text, begin, end)
        if start and _is_wording(text[begin : start.start()]):
            begin = start.end()
    yield begin, end


def _paragraph_end(text: str, start: int) -> int:
    blank = _BLANK_LINE.search(text, start)
    return blank.start() if blank else len(text)


def _header_by_wording(text: str) -> int:
    """Where the header of a file without start line ends: below its last paragraph in the project's wording."""
    end = gap = 0
    for paragraph in _PARAGRAPH.finditer(text):
        if _HEADER_WORDING.search(paragraph[0]):
            end, gap = paragraph.end(), 0
        elif not _WORDING.search(paragraph[0]):
            gap += len(paragraph[0])
        if gap > 400:
            break
    return end


def _is_wording(text: str) -> bool:
    """Whether at least half of a text is paragraphs as only the project writes them."""
    paragraphs = [paragraph[0] for paragraph in _PARAGRAPH.finditer(text)]
    known = sum(len(paragraph) for paragraph in paragraphs if _WORDING.search(paragraph))
    return 2 * known >= sum(map(len, paragraphs))


def _credit_copies(header: str, footer: str) -> set[str]:
    """Credits among the header's fields and right above the licence: they prove a bare list of names to be credits."""
    fields = (paragraph[0] for paragraph in _PARAGRAPH.finditer(header))
    copies = {_words(field.removeprefix("Credits:")) for field in fields if field.startswith("Credits:")}
    for above, below in pairwise(paragraph[0] for paragraph in _PARAGRAPH.finditer(footer)):
        if below.startswith("Updated editions"):
            copies.add(_words(above))
    return copies


def _without_credits(text: str, copies: set[str]) -> str:
    """A text without the credits above and below it, and without those that stand right below its title."""
    begin, end, in_book = 0, len(text), False
    for bookmarks in _BOOKMARKS.finditer(text, max(0, len(text) - _LICENCE)):
        end = bookmarks.start()
    paragraphs = list(_PARAGRAPH.finditer(text, 0, end))
    cuts: list[tuple[int, int]] = []
    for paragraph in paragraphs[:16]:
        words = _words(paragraph[0])
        credit = _credit(paragraph[0])
        # A row of asterisks may follow credits.
        if not in_book and (credit or (words in copies and " " in words) or (begin and not words)):
            begin = paragraph.end()
        else:
            in_book = in_book or bool(words)
            if credit and _MAKERS_WORDING.search(credit):
                cuts.append(paragraph.span())
    for paragraph in reversed(paragraphs[16:]):
        credit = _credit(paragraph[0])
        if not credit or not _MAKERS_WORDING.search(credit):
            break
        end = paragraph.start()
    bounds = [begin, *(bound for cut in cuts for bound in cut), end]
    text = "".join(text[start:stop] for start, stop in zip(bounds[::2], bounds[1::2], strict=True))
    # The first line keeps its indent.
    text = re.sub(r"\A(?:[^\S\n]*\n)+", "", _INSERTS.sub("", text)).rstrip()
    return text + "\n" if text else ""


def _credit(paragraph: str) -> str:
    """The words that tell that a paragraph is credits, or none; a long paragraph is not."""
    credit = _CREDITS.match(paragraph) if len(paragraph) < 1500 else None
    return credit[0] if credit else ""


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
