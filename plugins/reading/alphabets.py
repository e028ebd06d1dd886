"""The letters beyond ASCII that languages are written with: what tells a right reading of bytes from a wrong one."""

from __future__ import annotations

from typing import NamedTuple

# Of Latin script: the letters in any order, the rare ones behind a bar, then the letters of ASCII that the language
# does without. Of other scripts: all letters by frequency, for there the order tells code pages apart.
_LATIN = {
    "English": ("éèïöç|àâêîôûùëüœæñä", ""),
    "French": ("éèàçêâîôûùœ|ëïüæÿ", "kw"),
    "German": ("äöüß|éàè", ""),
    "Spanish": ("áéíóúñ|üªº", "kw"),
    "Catalan": ("àèéíòóúç|ïü·ñ", "kw"),
    "Portuguese": ("ãáçéíóêõâúô|àüªº", "kwy"),
    "Italian": ("àèéìòù|îóª", "jkwxy"),
    "Dutch": ("éëïè|öüóêçáä", ""),
    "Swedish": ("äåö|éà", "wz"),
    "Finnish": ("äö|åšžé", "cqwxz"),
    "Danish, Norwegian": ("æøåé|óòôêèä", "qwxz"),
    "Icelandic, Faroese": ("áðéíóúýþæö|ø", "cqwz"),
    "Irish, Scottish": ("áéíóúàèìòù", "jkqwxyz"),
    "Welsh": ("âêîôûŵŷ|ïöáéàë", "kqvxz"),
    "Polish": ("ąćęłńóśźż|é", "qvx"),
    "Czech": ("áčěéířšůúýž|ďňóťöü", "qwx"),
    "Slovak": ("áčéíľňôšťúýž|äďĺóŕö", "qwx"),
    "Hungarian": ("áéíóöőúüű|ä", "qwx"),
    "Romanian": ("ăâîşţșț|é", "kqwy"),
    "Croatian, Slovene, Bosnian": ("čćđšž|é", "qwxy"),
    "Albanian": ("ëç|é", "w"),
    "Turkish": ("çğıİöşü|âîû", "qwx"),
    "Azerbaijani": ("çğıİöşüə", "w"),
    "Lithuanian": ("ąčęėįšųūž", "qwx"),
    "Latvian": ("āčēģīķļņšūž|ōŗ", "qwxy"),
    "Estonian": ("äõöü|šžé", "cqwxyz"),
    "Esperanto": ("ĉĝĥĵŝŭ", "qwxy"),
    "Maltese": ("ċġħż|àèìòù", "cy"),
    "Vietnamese": ("ăâđêôơưàáãèéìíòóõùúýĩũ\u0300\u0309\u0303\u0301\u0323", "fjwz"),
}
_OTHER = {
    "Russian": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
    "Ukrainian": "оаиніврктелсмдупзьяйбгчхцшжюїєщфґё",
    "Belarusian": "анірыекоствлпмдзуяйцьбхгючўжшфёэ",
    "Bulgarian": "аоиетнрсвлкдпмзъугяйбчжхщшцюфь",
    "Serbian, Macedonian": "аоиенртсјукдмвплзбгчшхжцњћђљџфѓќѕ",
    "Greek": "αοιετσνηυρπκμλωςίόάέήγδύώθχφβξζψϊΐϋΰ",
    "Hebrew": "יוהלאתרבמשנםכדעפקחצטגסזןךץףםְֱֲֳִֵֶַָֹֻּׁׂ",
    "Arabic": "اليمنوتربعدهسفكقحةجشصىطخزضأإذغثءؤئظآًٌٍَُِّْ",
    "Persian": "اینرمدوهتسبشکلگزقفخعپجحچطصآذضظغژثئ\u200c",
    "Thai": "านรกอเงมยลวดทสตะปบคหแจพชขใไโผศธซณฟภถญษฉึีิุูำัๆ็่้์ฤฐฎฏฆ",
}


class Language(NamedTuple):
    """What a letter beyond ASCII is worth as one of a language, and the letters of ASCII that it does without."""

    worth: dict[str, float]
    unused: frozenset[str]


def _latin(letters: str, unused: str) -> Language:
    common, _, rare = letters.partition("|")
    worth = dict.fromkeys(common, 1.0) | dict.fromkeys(rare, 0.7)
    capitals = {letter.upper(): value for letter, value in worth.items() if len(letter.upper()) == 1}
    return Language(capitals | worth, frozenset(unused + unused.upper()))


def _other(letters: str) -> Language:
    third = len(letters) / 3
    worth = {letter: (1.25, 0.85, 0.5)[int(place // third)] for place, letter in enumerate(letters)}
    # A text is mostly small letters: in the wrong code page of Cyrillic it often is mostly capitals.
    capitals = {letter.upper(): value - 0.15 for letter, value in worth.items() if len(letter.upper()) == 1}
    return Language(capitals | worth, frozenset())


LANGUAGES = tuple([_latin(*letters) for letters in _LATIN.values()] + [_other(letters) for letters in _OTHER.values()])

OPENING = frozenset("“„«‘‚‹¿¡")
CLOSING = frozenset("”»’›“‘")  # in German the curly ones of English open and close the other way round
BETWEEN = frozenset("’–—…‐‑·\u00ad")
"""What may stand between two letters."""

MARKS = OPENING | CLOSING | BETWEEN | frozenset("•†‡°§©®™€£№½¼¾²³¹ªº×\xa0«»")
"""What texts hold beside letters; other symbols mostly show a wrong reading."""

SINGLE_BYTE = {
    "cp1252": 0.10,
    "cp1251": 0.06,
    "koi8_r": 0.06,
    "cp1250": 0.06,
    "cp1254": 0.05,
    "cp1253": 0.05,
    "cp1255": 0.05,
    "cp1256": 0.05,
    "cp1257": 0.05,
    "iso8859_2": 0.05,
    "iso8859_15": 0.04,
    "koi8_u": 0.05,
    "cp866": 0.04,
    "iso8859_5": 0.03,
    "iso8859_7": 0.04,
    "iso8859_3": -0.15,
    "iso8859_4": -0.15,
    "iso8859_6": 0.03,
    "iso8859_8": 0.03,
    "cp874": 0.03,
    "cp1258": -0.15,
    "mac_roman": 0.02,
    "cp850": 0.02,
    "cp437": 0.01,
    "cp852": 0.01,
    "cp857": 0.01,
    "cp737": 0.01,
    "cp775": -0.15,
    "mac_latin2": -0.15,
    "mac_turkish": -0.15,
    "mac_cyrillic": -0.05,
    "mac_greek": -0.15,
}
"""The code pages of one byte a letter, each with what it is worth to be a common one."""
