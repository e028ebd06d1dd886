"""Telling the words of a file's makers from those of the book: a judgement of paragraphs, not a list of forms.

Thirty years of volunteers wrote their credits as they liked, in a dozen languages. What they have in common is what
they talk of: that a thing was scanned, typed or provided, by whom, from where, in which format and under which number.
So the paragraphs nearest to the borders of a book are weighed by such signs, against those of title pages and prose,
and the best division into makers' and work's paragraphs is taken. Where the signs do not suffice, the work wins.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

Signs = tuple[tuple[float, str, str], ...]

PROJECT = r"(?:pro[jyg]e\w+ )?gutenberg"
_TECHNIQUE = (
    r"(?:(?:re-?|partially |mostly )?(?:typed|keyed|scanned|digiti[sz]ed|proof(?:ed|-?read)|ocr'?e?d)|"
    r"(?:typing|keying|scanning|proof-?(?:reading|ing)|additional editing|formatting|mark-?up|digiti[sz]ation|ocr))"
)
_MADE = (
    rf"(?:{_TECHNIQUE}|(?:re-?)?(?:produced|prepared|transcribed|entered|converted|created|formatted|compiled|"
    r"contributed|provided|submitted|supplied|released|posted|updated|corrected|revised|edited)|corrections|"
    r"(?:text|html|electronic|online|digital) (?:version|edition|transcription)s?|html)"
)
_NAME = r"(?-i:(?:(?:an?|the|our) (?:\w+ )?)?[A-ZÀ-Þ][\w.]|<|\S+@)"
_THING = r"(?:e-?(?:text|book)s?|(?:electronic|digital|online|html|ascii) \w+|file|header|transcription)"

# In the patterns a space stands for any gap, and case does not matter. However often a sign is found, it counts once.

CLAIMS: Signs = (
    (3, rf"\A[\W_]*{_MADE}(?:(?:,| and| &|/) ?{_MADE})* (?:in (?:\w+ )?)?(?:by|for|from|with|at)\b:? (?:{_NAME}|$)", "who"),
    (2, rf"\b{_TECHNIQUE}(?: (?:and|or|in|partly|again) (?:\w+ )?)?(?: by| for)? {_NAME}", "'partly typed by Bob'"),
    (2, rf"\b(?:this|these|our|dieser?s?|cet?(?:te)?|est[ea]|quest[oa]|dit) (?:\w+ ){{0,3}}?{_THING}", "'this etext'"),
    (
        2,
        rf"\b(?:this|the|present) (?:text|book|work|document|edition|version) (?:\w+,? ){{0,6}}?"
        rf"(?:{_MADE}|derived|(?:previously|originally) published|in the public domain)\b",
        "'this work has been previously published in', 'this book scanned by'",
    ),
    (2, rf"\bthis is (?:the|an?|our) (?:\S+ ){{0,4}}?(?:{PROJECT}|version|re-?transcription|{_THING})", "what it is"),
    (
        2,
        rf"\A[\W_]*(?:the |an? )?(?:\**copyrighted\** )?(?:{PROJECT}(?:'?s)? )?{_THING}\b",
        "'E-text by', a title line",
    ),
    (
        2,
        rf"\A[\W_]*(?:the )?internet wiretap|\b(?:for|to|by|from) {PROJECT}\b|\bpgdp\.net|online distributed proof",
        "whose",
    ),
    (
        3,
        r"\b(?:e-?(?:text|book)s?|gutenberg|pg) ?(?:no\.?|number|#) ?#?\d+|\[#\d+\]|#\d+ in our series",
        "'eBook #150'",
    ),
    (4, r"\b[\w-]+\.(?:txt|zip|html?|pdf|doc|tei)\b", "'gmill10.zip'"),
    (3, r"\S@\S+\.\w|\bcompuserve|\be-?mail (?:me|us|to)\b|\b(?:bbs|voice/fax)\b", "how to reach somebody"),
    (
        2,
        r"(?:\A|\n[ \t]*|\b(?:from|at|see|visit|via|on) |address |[(:<] ?)(?:https?:|www[.:]|ftp\b)",
        "where it comes from",
    ),
    (
        2,
        rf"\A[\W_]*(?:(?:many|special|our|with|very|much|grateful|we|i) )*"
        rf"(?:thanks?|nous remercions|wir danken)\b(?: (?:are|is|you|due|given|so|much|to|la|le|der|dem))* {_NAME}",
        "thanks, to those who found or lent a book",
    ),
    (2, r"\bwe (?:also )?(?:have both|are (?:releasing|planning)|produce)|\blet (?:us|me) know\b", "plans"),
    (3, r"\A[\W_]*(?:title: .*\n(?:.*\n)*?author: |ebook no|credits?:|(?:the )?equipment\b|ocr\b)", "a field"),
    (
        3,
        r"\b(?:erstellt|ein?gescannt|digitali[sz]\w+|zur verfügung gestellt|numéris\w+|(?:préparé|produit) par|"
        r"escane\w+|produzido|gescand|geproduceerd|skannat\w*|inskann\w+|korrekturl\w+|tuottan\w+|handog ng)",
        "in other languages",
    ),
)
"""What only someone says who speaks of this very file: without a claim, the other signs do not make a credit."""
CONTEXT: Signs = (
    (2, rf"\b{PROJECT}\b|\bpg\b|\bdistributed proof|\bpgdp\b|\bwiretap", "the project and its like"),
    (
        2,
        r"\be-?(?:text|book)s?\b|\belectronic(?:ally)? (?:text|edition|version|compared)|\bon-?line (?:book|edition)",
        "text",
    ),
    (2, r"\bscann(?:ed|er|ing)\b|\bocr\b|\bomnipage|\btyped\b|\bkeyed\b|\bdigiti[sz]|\bproof-?read", "technique"),
    (2, r"\b[78][ -]?(?:\[\w+\] )?bits?\b|\bascii\b|\bhtml\b|\bunicode\b|\butf-?8|\biso-?8859|\bibm\b", "formats"),
    (2, r"\binternet archive|\bgoogle (?:books|print)|\bgallica|\bbiblioth\w+ nationale", "where the images are from"),
    (1, r"\bvolunteers?\b|\bdonat\w+|\btransmitted|\bcopyright(?:ed)?\b|\bpublic domain|\btrade ?mark", "rights"),
    (1, r"\bimages?\b|\blibrar(?:y|ies)\b|\bmade available|\bkindly|\bgenerously", "sources"),
    (1, r"\berrors?\b|\btypos?\b|\bcorrections?\b|\bsuggestions|\bformatt\w+|\baccents?\b|\bdiacritic", "quality"),
    (1, r"\bversions?\b|\brelease[ds]?\b|\bavailable\b|\bdownload|\bfonts?\b|\bcharacters?\b|\bmonospaced", "state"),
    (1, r"\A[\W_]*(?:note|from|contact|see|transcri\w+)\b|\(\d{3}\) ?\d{3}-\d{4}|\b\d{3}-\d{3}-\d{4}\b", "the rest"),
)
WORK: Signs = (
    (-6, r"\A(?-i:[^a-zß-ÿ]*[A-ZÀ-Þ]{2}[^a-zß-ÿ]*)\Z", "all in capitals"),
    (
        -6,
        r"\A[\W_]*(?:chapter|kapitel|chapitre|cap[ií]tulo|capitolo|book|act|scene|canto|preface|introduction|"
        r"contents|illustrations|dedication|prologue|foreword|vorwort)\b[^a-z]{0,12}$",
        "a heading",
    ),
    (-3, r"\A[\W_]*(?:by|von|par|por|di|van|av|af)\s+[\w.' -]{3,60}\Z", "an author"),
    (
        -3,
        r"\bpublish(?:ers|ing)|\bprinted (?:by|in|for)|\bpress\b|\billustrated by|\btranslated (?:by|from)|\bauthor of|"
        r"& (?:co|sons?)\b|copyright,? (?:\(c\)|©)? ?1[6-9]\d\d",
        "a title page",
    ),
    (-3, r"[?!][\"”»]|[\"”»],? (?:said|asked|cried|he|she|i)\b", "talk"),
    (
        -4,
        r"\b(?:follows?|following|below|such as)\W*\Z",
        "the beginning of something longer, of which all or nothing goes",
    ),
)

_GAP = r"(?:[ \t]+(?:\n[ \t]*)?|\n[ \t]*)"


def spaced(pattern: str) -> str:
    """A pattern of the tables as a regular expression: its spaces stand for any gap, one line end included."""
    return re.sub(r"\[[^]]*\]| ", lambda match: _GAP if match[0] == " " else match[0], pattern)


def _compile(*tables: Signs) -> list[tuple[float, re.Pattern[str]]]:
    return [(weight, re.compile(spaced(pattern), re.IGNORECASE)) for table in tables for weight, pattern, _ in table]


_CLAIMS, _CONTEXT, _WORK = _compile(CLAIMS), _compile(CONTEXT), _compile(WORK)
# Where credits may begin right below a title; they begin with a capital, or they are the rest of a sentence.
_BEGINS = re.compile(
    rf"[\W_]*(?=[A-ZÀ-Þ])(?i:{spaced(rf'{_MADE}(?:(?:,| and| &|/) {_MADE})* by')}|"
    rf"{spaced(rf'(?:this |the )?(?:{PROJECT} )?(?:{_THING}|document|text)')}[ \t]+(?:was|prepared|edited|should)\b)"
)
# A heading belongs to what stands below it.
_HEADING = re.compile(rf"[\W_]*(?:notes?|disclaimer|{_MADE} by)\W*", re.IGNORECASE)
# What a transcriber tells of the text is kept, and kept whole.
_NOTE = re.compile(
    spaced(
        r"[\W_]*(?:(?:original |e-?text |electronic )*(?:transcri\w+|redactor|scanner|editor|digiti[sz]er|éditeur)"
        r"\W{0,2}s?\W? ?(?:end|foot)?notes?\b|editorial note|note de l'éditeur|notes from (?:pg|project)|typographical|"
        r"about (?:this|the) (?:online|electronic) edition|(?:information|notes?) (?:about|on) (?:this |the )?e-?text|"
        r"this (?:e-?)?text (?:includes|uses|contains|is intended|looks?)|"
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
_GAP_BELOW = re.compile(r"(?:[^\S\n]*\n)+")

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
    return _without(text, cuts)


def _cuts(parts: Sequence[_Part], known: Known) -> list[tuple[int, int]]:
    """What is the makers' of the parts, from a border inwards, by the division whose scores have the highest sum."""
    best: list[tuple[float, tuple[bool, ...]]] = [(0.0, ()), (0.0, ())]
    begun = False
    for part in parts:
        score = _score(part, known, begun)
        if _is_prose(part, score):
            break
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
    for place in range(1, len(theirs)):
        theirs[place] |= all(theirs[:place]) and not words(parts[place].text)
    runs = groupby(zip(parts, theirs, strict=False), key=lambda each: each[1])
    stretches = [[part for part, _ in run] for cut, run in runs if cut]
    return [(min(part.start for part in run), max(part.end for part in run)) for run in stretches]


def _score(part: _Part, known: Known, begun: bool) -> float:
    """How much more a part sounds like the makers than like the work; ``begun``: the work has begun above it."""
    plain = words(part.text)
    # A row of asterisks, and what links two addresses, belong to what stands around them.
    if plain in ("", "or", "and"):
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
    score = claims + context + work - 1.0 - len(part.text) / 300
    if claims or score < 0:
        return score
    return 0.5 if context > 2 and not begun else -4.0


def _is_prose(part: _Part, score: float) -> bool:
    """Whether the work has clearly begun: from here on, nothing is the makers'."""
    return score < 0 and len(part.text) > 250 and not part.kept


def _parts(text: str, start: int, known: Known) -> Iterator[_Part]:
    note = body = False
    above = start
    for begin, end in _joined(text, start):
        paragraph = text[begin:end]
        # A note ends at a larger gap, unless that stands right below its heading; one in brackets ends with them.
        note = note and not (body and text.count("\n", above, begin) > 2)
        body = note
        if _NOTE.match(paragraph[:200]):
            note, body = True, len(paragraph) > 80
        for first, last in _split(text, begin, end, known):
            yield _Part(first, last, text[first:last], note)
        note = note and not paragraph.endswith("]")
        above = end


def _joined(text: str, start: int) -> Iterator[tuple[int, int]]:
    """The paragraphs, those in one pair of brackets as one, and a heading with what it stands above."""
    end = start
    headed: int | None = None
    for match in PARAGRAPH.finditer(text, start):
        if match.start() < end:
            continue
        begin, end = headed if headed is not None else match.start(), match.end()
        headed = None
        if match[0].lstrip(" *")[:1] == "[" and match[0].count("[") > match[0].count("]"):
            close = text.find("]", end, end + _LONGEST)
            if close >= 0 and text.find("[", end, close) < 0:
                line_end = text.find("\n", close)
                end = line_end if line_end >= 0 else len(text)
        elif begin == match.start() and len(match[0]) < 60 and _HEADING.fullmatch(match[0]):
            headed = begin
            continue
        yield begin, end


def _split(text: str, start: int, end: int, known: Known) -> Iterator[tuple[int, int]]:
    """A short paragraph, divided where credits begin below a title or a title below credits."""
    if end - start < _LONGEST and "\n\n" not in text[start:end]:
        lines = re.compile(r"^.*$", re.MULTILINE).finditer(text, start, end)
        titled = not _BEGINS.match(text, start)
        for place, line in enumerate(lines):
            if place and (words(line[0]) in known.titles or (titled and place < 4 and _BEGINS.match(line[0]))):
                yield start, line.start() - 1
                start = line.start()
    yield start, end


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """A text without some stretches of whole lines: of the gaps above and below each the larger one stays."""
    pieces, begin = [], 0
    for start, end in sorted(spans):
        above, below = text[begin:start], _GAP_BELOW.match(text, end)
        body = above.rstrip()
        longer = below is not None and above.count("\n", len(body)) > below[0].count("\n")
        pieces.append(above if longer else body)
        begin = below.end() if below is not None and longer else end
    return "".join((*pieces, text[begin:]))


def _without_bookmarks(text: str) -> str:
    """A text without the lists of bookmarks: a heading and what stands below it, up to the next larger gap."""
    spans: list[tuple[int, int]] = []
    for heading in _BOOKMARKS.finditer(text):
        if spans and heading.start() < spans[-1][1]:
            continue
        end = heading.end()
        for place, paragraph in enumerate(PARAGRAPH.finditer(text, heading.start())):
            if place > 1 and text.count("\n", end, paragraph.start()) > 2:
                break
            end = paragraph.end()
        spans.append((heading.start(), end))
    return _without(text, spans)
