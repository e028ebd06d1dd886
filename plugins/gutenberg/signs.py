"""The signs by which the words of a file's makers are told from those of the book, and their weights."""

from __future__ import annotations

import re

Signs = tuple[tuple[float, str, str], ...]

PROJECT = r"(?:pro[jyg]e\w+ )?gutenberg"
# Books are written of Gutenberg himself.
_ITSELF = r"(?:pro[jyg]e\w+ gutenberg|gutenberg proje[ck]t)"
_TECHNIQUE = (
    r"(?:(?:re-?|partially |mostly )?(?:typed|keyed|scanned|digiti[sz]ed|proof(?:ed|-?read)|ocr'?e?d)|"
    r"(?:typing|keying|scanning|proof-?(?:reading|ing)|additional editing|formatting|mark-?up|digiti[sz]ation|ocr))"
)
_MADE = (
    rf"(?:{_TECHNIQUE}|(?:re-?)?(?:produced|prepared|transcribed|entered|converted|created|formatted|contributed|provided|"
    r"submitted|supplied|released|posted|updated)|corrections|"
    r"(?:text|html|electronic|online|digital) (?:version|edition|transcription)s?|html)"
)
# Title pages say these too: they count only beside the others.
_ALSO = rf"(?:(?:,| and| &|/) ?(?:and )?(?:{_MADE}|edited|revised|compiled|corrected|checked|processed))*"
_NAME = r"(?-i:(?:(?:an?|the|our) (?:\w+ )?)?[A-ZÀ-Þ][\w.]|<|\S+@)"
_THING = r"(?:e-?(?:text|book)s?|(?:electronic|digital|online|html|ascii) \w+|file|header|transcription)"

# In the patterns a space stands for any gap, and case does not matter. However often a sign is found, it counts once.

CLAIMS: Signs = (
    (3, rf"\A[\W_]*{_MADE}{_ALSO} (?:in (?:\w+ )?|for (?:pg|pro\w+ gutenberg) )?(?:by|from)\b:? (?:{_NAME}|$)", "who"),
    (
        2,
        rf"\b{_TECHNIQUE}(?: (?:and|or|in|partly|again) (?:\w+ )?)?(?: by| for| with) {_NAME}",
        "'partly typed by Bob'",
    ),
    (
        2,
        rf"\b(?:this|these|our|dieser?s?|cet?(?:te)?|est[ea]|quest[oa]|dit) (?:\w+ ){{0,3}}?{_THING}\b",
        "'this etext'",
    ),
    (
        2,
        rf"\b(?:this|the|present) (?:text|book|work|document|edition|version) (?:\w+,? ){{0,6}}?"
        rf"(?:{_MADE}|derived|(?:previously|originally) published|in the public domain)\b",
        "'this work has been previously published in', 'this book scanned by'",
    ),
    (2, rf"\bthis is (?:the|an?|our) (?:\S+ ){{0,4}}?(?:{_ITSELF}|version|re-?transcription|{_THING})\b", "what it is"),
    (
        2,
        rf"\A[\W_]*(?:the |an? )?(?:\**copyrighted\** )?(?:{PROJECT}(?:'?s)? )?{_THING}\b",
        "'E-text by', a title line",
    ),
    (
        2,
        rf"\A[\W_]*(?:the )?internet wiretap|\b(?:for|to|by|from|this) (?:the )?{_ITSELF}\b|\bpgdp\.net|"
        r"online distributed proof",
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
    (2, rf"\b{_ITSELF}\b|\bpg\b|\bdistributed proof|\bpgdp\b|\bwiretap", "the project and its like"),
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


_TABLES = _compile(CLAIMS), _compile(CONTEXT), _compile(WORK)


def weigh(text: str) -> tuple[float, float, float]:
    """The weights of the claims, of the context and of the signs of a work that a text has."""
    claims, context, work = (sum(weight for weight, sign in signs if sign.search(text)) for signs in _TABLES)
    return claims, context, work


# Where credits may begin right below a title; they begin with a capital, or they are the rest of a sentence.
BEGINS = re.compile(
    rf"[\W_]*(?=[A-ZÀ-Þ])(?i:{spaced(rf'{_MADE}{_ALSO} by')}|"
    rf"{spaced(rf'(?:this |the )?(?:{PROJECT} )?(?:{_THING}|document|text)')}[ \t]+(?:was|prepared|edited|should)\b)"
)
# A heading belongs to what stands below it.
HEADING = re.compile(rf"[\W_]*(?:notes?|disclaimer|{_MADE} by)\W*", re.IGNORECASE)
# What a transcriber tells of the text is kept, and kept whole.
NOTE = re.compile(
    spaced(
        r"[\W_]*(?:(?:original |e-?text |electronic )*(?:transcri\w+|redactor|scanner|editor|digiti[sz]er|éditeur)"
        r"\W{0,2}s?\W? ?(?:end|foot)?notes?\b|editorial note|note de l'éditeur|notes from (?:pg|project)|typographical|"
        r"about (?:this|the) (?:online|electronic) edition|(?:information|notes?) (?:about|on) (?:this |the )?e-?text|"
        r"this (?:e-?)?text (?:includes|uses|contains|is intended|looks?)|"
        r"anmerkung(?:en)? (?:zur|des) trans|notes? (?:du|de la|sur la) trans|notas? d[eo]l? trans|not[ae] del tras|"
        r"opmerkingen van de bewerker)"
    ),
    re.IGNORECASE,
)
# 2002-2006: a maker's favourite sentences, below each of his books.
BOOKMARKS = re.compile(
    r"^[^\w\n]*(?:the )?(?:e-?text|pg) editor['’`´]?s?['’`´]? bookmarks\b", re.IGNORECASE | re.MULTILINE
)
