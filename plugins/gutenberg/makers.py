"""Telling the words of a file's makers from those of the book: a judgement of paragraphs, not a list of forms.

Thirty years of volunteers wrote their credits as they liked, in a dozen languages. What they have in common is what
they talk of: that a thing was scanned, typed or provided, by whom, from where, in which format and under which number.
So the paragraphs nearest to the borders of a book are weighed by such signs, against those of title pages and prose,
and the best division into makers' and work's paragraphs is taken. Where the signs do not suffice, the work wins.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

Signs = tuple[tuple[float, str], ...]

PROJECT = r"(?:pro[jyg]e\w+ )?gutenberg"
_MAKING = (
    r"(?:(?:re-?|partially |mostly )?(?:typed|keyed|scanned|digiti[sz]ed|proof(?:ed|-?read)|o\.?c\.?r\.?'?e?d)|margination|"
    r"(?:additional |html |text )?(?:typing|keying|scanning|proof-?(?:reading|ing)|editing|formatting|markup|"
    r"digiti[sz]ation|ocr))"
)
_MADE = (
    rf"(?:{_MAKING}|(?:re-?)?(?:produced|prepared|transcribed|entered|converted|created|formatted|compiled|contributed|"
    r"provided|submitted|supplied|released|posted|updated|corrected|revised|edited|done)|corrections|html|"
    r"(?:text|html|electronic|online|digital)? ?(?:version|edition)s?)"
)
_NAME = r"(?-i:(?:(?:an?|the|our|[Mm]r|[Dd]r)\.? (?:\w+ ){0,2})?[A-ZÀ-Þ]|<|\S+@)"
_THING = r"(?:e-?(?:text|book|dition)s?|(?:electronic|digital|online|html|ascii) \w+|file|header|transcription)"

# In both tables a space stands for any gap, and case does not matter. Each sign counts once.

CLAIMS: Signs = (
    # What only someone says who speaks of this very file; without a claim the other signs do not make a credit.
    (3, rf"\A[\W_]*{_MADE}(?:(?:,| and| &|/) ?{_MADE})* (?:in \w+ )?(?:by|for|from|with|at)\b:? (?:{_NAME}|$)"),
    (2, rf"\b{_MAKING} (?:\w+,? ){{0,3}}?(?:by|from|for|with)\b"),
    (2, rf"\b(?:this|these|our|diese[rs]?|ce(?:tte)?|est[ea]|quest[oa]|dit) (?:\w+ ){{0,3}}?{_THING}"),
    (
        2,
        rf"\b(?:this|the|present) (?:text|book|work|document|edition|version) (?:\w+,? ){{0,4}}?(?:{_MADE}|derived|in german)\b",
    ),
    (2, rf"\bthis is (?:the|an?|our) (?:\S+ ){{0,4}}?(?:{PROJECT}|version|re-?transcription|release|{_THING})"),
    (2, rf"\A[\W_]*(?:the |an? )?(?:\**copyrighted\** )?(?:{PROJECT}(?:'?s)? )?{_THING}\b"),
    (2, rf"\b(?:for|to|by|from) {PROJECT}\b"),
    (3, r"\b(?:e-?(?:text|book)s?|gutenberg|pg) ?(?:no\.?|number|#) ?#?\d+|\[#\d+\]|#\d+ in our series"),
    (3, r"(?<![./\w])[\w-]+\.(?:txt|zip|html?|pdf|doc|tei|dvi)\b"),
    (3, r"\S@\S+\.\w|\bcompuserve|\be-?mail (?:me|us|to)\b|\b(?:bbs|voice/fax)\b"),
    (2, r"https?:|www\.\w|\bftp\b"),
    (2, r"\A[\W_]*(?:(?:many|special|our|with|very|much|grateful) )*(?:thanks\b|thank you|nous remercions|wir danken)"),
    (
        2,
        r"\bwe (?:also )?(?:have both|are (?:releasing|planning)|produce|are (?:very )?grateful)|\blet (?:us|me) know\b",
    ),
    (2, r"\A[\W_]*(?:title: .*\n(?:.*\n)*?author: |ebook no|credits?:|file names?:)"),
    (2, r"\A[\W_]*(?:the )?(?:(?:scanner|equipment|internet wiretap)\b|ocr\b)"),
    (
        3,
        r"\A[\W_]*e-?text (?:version )?(?:created|prepared|produced|scanned)|\bonline edition of$|\bfirst electronic edition\b",
    ),
    (
        2,
        r"\b(?:erstellt|eingescannt|gescannt|digitalisiert|zur verfügung gestellt|numéris\w+|préparé par|produit par|"
        r"digitali[sz]\w+|escane\w+|produzido|gescand|geproduceerd|skannat\w*|inskann\w+|korrekturl\w+|tuottan\w+)",
    ),
)
CONTEXT: Signs = (
    (2, rf"\b{PROJECT}\b|\bpg\b"),
    (
        2,
        r"\be-?texts?\b|\be-?books?\b|\belectronic(?:ally)? (?:text|edition|version|compared)|\bon-?line (?:book|edition)",
    ),
    (2, r"\bdistributed proof|\bpgdp\b|\bproof-?read|\binternet archive|\bgoogle (?:books|print)|\bgallica|\bwiretap"),
    (2, r"\bscann(?:ed|er|ing)\b|\bocr\b|\btextbridge|\bomnipage|\btyped\b|\bkeyed\b|\bdigiti[sz]"),
    (
        2,
        r"\b[78][ -]?(?:\[\w+\] )?bits?\b|\bascii\b|\bhtml\b|\bunicode\b|\butf-?8|\biso-?8859|\bibm\b|\bword processor",
    ),
    (1, r"\bvolunteers?\b|\bdonat\w+|\btransmitted|\bcopyright(?:ed)?\b|\bpublic domain|\btrade ?mark"),
    (1, r"\bimages?\b|\blibrar(?:y|ies)\b|\bbiblioth\w+|\bmade available|\bkindly|\bgenerously"),
    (1, r"\berrors?\b|\btypos?\b|\bcorrections?\b|\bsuggestions|\bformatt\w+|\baccents?\b|\bdiacritic"),
    (1, r"\bversions?\b|\brelease[ds]?\b|\bavailable\b|\bdownload|\bfonts?\b|\bcharacters?\b|\bmonospaced"),
    (1, r"\A[\W_]*(?:note|from|contact|see|transcri\w+)\b"),
    (1, r"\(\d{3}\) ?\d{3}-\d{4}|\b1?-?\d{3}-\d{3}-\d{4}\b"),
)
WORK: Signs = (
    # Title pages, contents, chapters and talk.
    (-6, r"\A(?-i:[^a-zß-ÿ]*[A-ZÀ-Þ]{2}[^a-zß-ÿ]*)\Z"),
    (
        -6,
        r"\A[\W_]*(?:chapter|kapitel|chapitre|cap[ií]tulo|capitolo|book|act|scene|canto|preface|introduction|"
        r"contents|illustrations|dedication|prologue|foreword|vorwort)\b[^a-z]{0,12}$",
    ),
    (-3, r"\A[\W_]*(?:by|von|par|por|di|van|av|af)\s+[\w.' -]{3,60}\Z"),
    (
        -3,
        r"\b(?:publish(?:ed|ers)|printed (?:by|in|for)|press|illustrated by|translated (?:by|from)|author of|& (?:co|sons?))\b",
    ),
    (-2, r"[?!][\"”»]|[\"”»],? (?:said|asked|cried|he|she|i)\b"),
)

_GAP = r"(?:[ \t]+(?:\n[ \t]*)?|\n[ \t]*)"


def spaced(pattern: str) -> str:
    """A pattern of the tables as a regular expression: its spaces stand for any gap, one line end included."""
    return re.sub(r"\[[^]]*\]| ", lambda match: _GAP if match[0] == " " else match[0], pattern)


def _compile(*tables: Signs) -> list[tuple[float, re.Pattern[str]]]:
    return [(weight, re.compile(spaced(pattern), re.IGNORECASE)) for table in tables for weight, pattern in table]


_CLAIMS, _CONTEXT, _WORK = _compile(CLAIMS), _compile(CONTEXT), _compile(WORK)
# Where a credit may begin within a paragraph: below a title, with no blank line between.
_BEGINS = re.compile(
    spaced(rf"[\W_]*(?:{_MADE} by\b|(?:this |the )?(?:{PROJECT} )?{_THING} (?:was|prepared|edited|should)\b)"), re.I
)
# What a transcriber tells of the text is kept, and kept whole.
_NOTE = re.compile(
    spaced(
        r"[\W_]*(?:(?:original |e-?text |electronic )*(?:transcri\w+|redactor|editor|digiti[sz]er)\W{0,2}s?\W? ?(?:end|foot)?"
        r"notes?\b|(?:information|notes) (?:about|on|to) (?:this |the )?e-?text|typographical errors|"
        r"anmerkung(?:en)? (?:zur|des) trans|notes? (?:du|de la|sur la) trans|notas? d[eo]l? trans|nota del tras|"
        r"opmerkingen van de bewerker)"
    ),
    re.IGNORECASE,
)
# 2002-2006: a maker's favourite sentences, below each of his books.
_BOOKMARKS = re.compile(
    r"^[^\w\n]*(?:the )?(?:e-?text|pg) editor['’`´]?s?['’`´]? bookmarks\b", re.IGNORECASE | re.MULTILINE
)
PARAGRAPH = re.compile(r"^[^\S\n]*\S.*(?:\n[^\S\n]*\S.*)*", re.MULTILINE)
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")

_REACH = 16
"""So many paragraphs from a border may be the makers'."""
_LONGEST = 2000
_TAIL = 30_000
_CHANGE = 1.0
"""What each change of hands costs: a credit far within the book must say twice as much as one at the border."""


class Known(NamedTuple):
    """What the header and the footer tell of the text between them, as `words`."""

    titles: Collection[str] = ()
    credits: Collection[str] = ()


class _Part(NamedTuple):
    """A paragraph, or what is judged as one: a bracket over several, the lines below a title."""

    start: int
    end: int
    text: str
    kept: bool
    """It belongs to a note that is kept whole."""


def words(text: str) -> str:
    """A text without its case, punctuation and line ends, for comparing."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def without_makers(text: str, known: Known) -> str:
    """A text without the makers' words at its borders and right below its title; nothing else is touched."""
    text = _without_bookmarks(text)
    top = list(islice(_parts(text, 0, known), _REACH))
    if not top:
        return text
    tail = text.find("\n\n", max(top[-1].end, len(text) - _TAIL))
    bottom = list(_parts(text, tail, known)) if tail >= 0 else []
    cuts = _cuts(top, known)
    # A note at the end goes on to the end.
    if not any(part.kept for part in bottom):
        cuts += _cuts(bottom[: -_REACH - 1 : -1], known)
    for start, end in sorted(cuts, reverse=True):
        text = _without(text, start, end)
    return text


def _cuts(parts: Sequence[_Part], known: Known) -> list[tuple[int, int]]:
    """What is the makers' of the parts, from a border inwards, by the division whose scores have the highest sum."""
    best: list[tuple[float, tuple[bool, ...]]] = [(0.0, ()), (0.0, ())]
    begun = False
    for part in parts:
        score = _score(part, known, begun)
        begun = begun or score < -2
        best = [
            max(
                (
                    (total - _CHANGE * (theirs != was) + score * theirs, (*path, theirs))
                    for was, (total, path) in enumerate(best)
                ),
                key=lambda each: each[0],
            )
            for theirs in (False, True)
        ]
    _, path = max(best[0], (best[1][0] - _CHANGE, best[1][1]), key=lambda each: each[0])
    theirs = list(path)
    # A row of asterisks below the credits goes with them.
    for place in range(1, len(parts)):
        theirs[place] |= all(theirs[:place]) and not words(parts[place].text)
    return [(part.start, part.end) for part, cut in zip(parts, theirs, strict=True) if cut]


def _score(part: _Part, known: Known, begun: bool) -> float:
    """How much more a part sounds like the makers than like the work; ``begun``: the work has begun above it."""
    plain = words(part.text)
    if not plain:
        return 0.0
    if plain in known.credits and " " in plain:
        return 9.0
    if part.kept or plain in known.titles or len(part.text) > _LONGEST:
        return -9.0
    claims, context, work = (
        sum(weight for weight, sign in signs if sign.search(part.text)) for signs in (_CLAIMS, _CONTEXT, _WORK)
    )
    if not claims + context:
        return -5.0
    score = claims + context + work - 1.0 - len(part.text) / 400
    return score if claims or score < 0 else -4.0 if begun else 0.5


def _parts(text: str, start: int, known: Known) -> Iterator[_Part]:
    note = body = False
    above = start
    for begin, end in _joined(text, start):
        paragraph = text[begin:end]
        # A note ends at a larger gap, unless that stands right below its heading; one in brackets ends with them.
        note = note and not (body and text.count("\n", above, begin) > 2)
        body = note
        if _NOTE.match(paragraph):
            note, body = True, len(paragraph) > 80
        for first, last in _split(text, begin, end, known):
            yield _Part(first, last, text[first:last], note)
        note = note and not paragraph.endswith("]")
        above = end


def _joined(text: str, start: int) -> Iterator[tuple[int, int]]:
    """The paragraphs, those in one pair of brackets as one."""
    end = start
    for match in PARAGRAPH.finditer(text, start):
        if match.start() < end:
            continue
        end = match.end()
        if match[0].lstrip(" *")[:1] == "[" and match[0].count("[") > match[0].count("]"):
            close = text.find("]", end, end + _LONGEST)
            if close >= 0 and text.find("[", end, close) < 0:
                end = text.find("\n", close) if "\n" in text[close:] else len(text)
        yield match.start(), end


def _split(text: str, start: int, end: int, known: Known) -> Iterator[tuple[int, int]]:
    """A short paragraph, divided where credits begin below a title or a title below credits."""
    if end - start < _LONGEST:
        lines = re.compile(r"^.*$", re.MULTILINE).finditer(text, start, end)
        for line in islice(lines, 1, None):
            if words(line[0]) in known.titles or (
                _BEGINS.match(line[0]) and not _CLAIMS[0][1].search(text, start, line.start())
            ):
                yield start, line.start() - 1
                start = line.start()
    yield start, end


def _without(text: str, start: int, end: int) -> str:
    """A text without a stretch of whole lines: of the gaps above and below it the larger one stays."""
    above, below = len(text[:start].rstrip()), _BLANK_LINES.match(text, end + 1)
    assert below is not None
    if text.count("\n", above, start) > text.count("\n", end, below.end()):
        return text[:start] + text[below.end() :]
    return text[:above] + text[end:]


def _without_bookmarks(text: str) -> str:
    """A text without the lists of bookmarks: a heading and what stands below it, up to the next larger gap."""
    for heading in reversed(list(_BOOKMARKS.finditer(text))):
        end = heading.end()
        for place, paragraph in enumerate(PARAGRAPH.finditer(text, heading.start())):
            if place > 1 and text.count("\n", end, paragraph.start()) > 2:
                break
            end = paragraph.end()
        text = _without(text, heading.start(), end)
    return text
