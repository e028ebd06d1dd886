"""What the makers of a file say around a book, and what only looks like it: in shapes that real files have."""

from __future__ import annotations

import logging

import pytest
from charrnn_plugins.gutenberg import book, decoding
from hypothesis import example, given
from hypothesis import strategies as st

TITLE = "THE SALT ROAD\n\nby Ida Marsh"
STORY = "The carts left before dawn, and the dogs ran after them.\n\nAt noon the first wheel broke."
START = "*** START OF THE PROJECT GUTENBERG EBOOK THE SALT ROAD ***\n\n\n"
END = "\n\n\n\n*** END OF THE PROJECT GUTENBERG EBOOK THE SALT ROAD ***\n"
OLD_START = (
    "**The Project Gutenberg Etext of The Salt Road, by Ida Marsh**\n\nThis etext comes without any warranty.\n\n"
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"
)
OLD_END = "\n\n\nEnd of the Project Gutenberg Etext of The Salt Road\n"
WORK = f"{TITLE}\n\n\n{STORY}"


def kept(raw: str | bytes) -> str:
    text = raw if isinstance(raw, str) else decoding.decode(raw, "gutenberg:99999")
    return book.strip(text, "gutenberg:99999")


TOPS = {
    "by chapters": "[Chapters 1-4:  partly scanned by Kim Example,\nkim@example.org, proofread by\n"
    "Lee, lee@example.org.]",
    "by chapters, not closed": "[Chapters 1-4:  scanned by Kim Example,\nkim@example.org. Proofread by Lee, 5/94.",
    "editing": "(Additional editing by Kim Example)",
    "entered twice": "Entered twice and compared by Kim Example, kim@example.org",
    "a method": "This etext was typed twice and electronically compared\n"
    "by Kim Example (kim@example.org), so that few errors are left.",
    "prepared": "Prepared by Kim Example.",
    "created": "Created by Kim Example, Springfield",
    "revised": "E-text revised by Kim Example",
    "updated": "This eBook was updated by Kim Example [kim@example.org]\nfrom another production of July 1994",
    "from a page": "From www.example.org with small changes by Kim Example.",
    "published before": "NOTE:  This work was previously published in [Etext #9991]\nThe Works of Ida Marsh Volume 2,\n"
    "2mrsh10.txt or 2mrsh10.zip",
    "another version": "[Project Gutenberg Editor's Note: There is another version of\n"
    "this work, etext97/slrdx10.txt, from a different edition]",
    "produced for": "This text was produced for Project Gutenberg\nby Kim Example and Lee.\n\n"
    "This is the 8-bit version.",
    "thanks for finding": "Thanks are due to Kim Example for finding\nold books.\n\nThis Etext is in German.",
    "both versions": "[We have both a 7 bit version and an 8 bit version.  Only the 8 [binary]\n"
    "bit version has accents]\n\n"
    "This is the 7 bit version.",
    "two versions": "We produce two versions of our Etexts, an 8 bit version\nwith accents and a 7 bit version.\n\n"
    "This is the 7 bit version!",
    "wiretap": "The Internet Wiretap 1st Online Edition of",
    "wiretap, electronic": "   The INTERNET WIRETAP First Electronic Edition of",
    "a club": "From The Night Readers Club, Springfield (555) 555-0100 (BBS)\n             Voice/Fax (555) 555-0101",
    "other volumes": "E-text prepared by Kim Example\n\n\n\nNote: Images of the pages are available through\n"
    "      Internet Archive. See\n"
    "      https://archive.org/details/road\n\n\n      Project Gutenberg has the other volume of this work.\n"
    "      Volume II: see http://www.gutenberg.org/ebooks/99998",
    "two links": "E-text prepared by Kim Example\n\nNote: Project Gutenberg also has an HTML version. See 9-h.htm:\n"
    "      (http://www.gutenberg.org/files/9/9-h.htm)\n\n      or\n\n      (http://www.gutenberg.org/files/9/9-h.zip)",
    "book scanned": "This book scanned and processed for Project Gutenberg by Kim\n"
    "Example, from the 1890 Marsh & Co\nedition.",
    "typed by": "This book was TYPED in by Kim Example\n  kim@example.org on Internet",
    "donors": "This etext was prepared with a program\ndonated by:\n\nExample Systems\n12 High Street\n"
    "1-555-555-0100\nsales@example.com",
    "a heading": "NOTE:\n\nThis edition was not prepared in the normal Project Gutenberg way: it is\n"
    "scanner output, with all its errors.",
    "disclaimer": "Disclaimer:\n\nAll persons concerned disclaim any responsibility\nthat this etext is accurate.",
    "retranscription": "All of the original Project Gutenberg Etexts from the\n1970's were in ALL CAPS.\n\n\n"
    "This is a retranscription of one of the first Project\nGutenberg Etexts, dated December 30, 1974.",
    "copyrighted": "The ***Copyrighted*** Project Gutenberg Etext of:",
    "a release": "This is the Project Gutenberg 1.5 release of",
    "a team": "Kim Example, Lee and the Online Distributed Proofreading Team.",
    "German": "Dieses Buch wurde uns zur Verfügung gestellt, siehe http://example.org/buecher.",
    "German, made": "Dieses Etext wurde eingescannt und erstellt von Kim Example.",
    "French": "Nous remercions la Bibliothèque Nationale qui a mis à disposition\nles images dans www://gallica.bnf.fr",
    "Dutch": "Geproduceerd en gescand door Kim Example, kim@example.org",
    "Spanish": "Este texto electrónico fue digitalizado por Kim Example",
    "Swedish": "Denna text skannades och korrekturlästes av Kim, se http://example.org",
    "unknown between": "E-text prepared by Kim Example\n\nScanned by Lee\n\nlee@example.org",
}


@pytest.mark.parametrize("credit", TOPS)
def test_credits_at_the_top_go(credit: str) -> None:
    assert kept(f"{START}{TOPS[credit]}\n\n\n\n{WORK}{END}") == f"{WORK}\n"


def test_an_unknown_paragraph_does_not_end_the_search() -> None:
    raw = f"{START}Produced by Kim Example\n\n\nFor Grandmother\n\n\nHTML by Lee, lee@example.org\n\n\n{WORK}{END}"
    assert kept(raw) == f"For Grandmother\n\n\n{WORK}\n"


HEADERS = {
    "brackets": "[Portions of this header are copyright (C) 2002 by A. B.\nand may be reprinted only for free.]\n"
    "[Project Gutenberg is a TradeMark.]\n\n\nThis etext was produced by Kim Example",
    "donations": "We are planning on changing our donation structure\n"
    "in 2001, so you might want to email me, kim@example.org",
    "editions": "Corrected EDITIONS of our etexts get a new NUMBER, slrda11.txt.\n"
    "VERSIONS get a new LETTER, slrda10a.txt.",
    "a letter": "We hope to have a better version soon.\n\nWE WOULD ***LOVE*** YOUR HELP!\n\nfollowed by:\n\nand\n\n"
    "Michael S. Hart\nProject Gutenberg\nExecutive Director",
}


@pytest.mark.parametrize("header", HEADERS)
def test_header_lines_below_the_small_print_go(header: str) -> None:
    assert kept(f"{OLD_START}{HEADERS[header]}\n\n{WORK}{OLD_END}") == f"{WORK}\n"


BELOW = {
    "edition": "This electronic edition was edited and prepared by\n"
    "Kim Example (Kim@EXAMPLE.ORG), May 1996.  Scanning\nby Lee.",
    "digitized": 'Digitized by Kim Example. "The Salt Road" was published in 1702.\n'
    "This text is taken from the paperback; none of its\n"
    "notes is in the Etext below.",
    "entered": "Entered by Kim of the Road\nkim@example.org",
    "see also": 'Note: See also "The Salt Road" by Marsh, eBook #151',
    "transcribed": "Transcribed by Kim Example (kim example.org)\nProofread by Lee <lee@example.org>",
    "wiretap": "Electronic Edition by <kim@example.org>\n       Released to the public May 1994",
    "brackets": "[This electronic edition has been copied from the printed edition, see\n"
    "http://www.example.org/road\n\n"
    "They have given Project Gutenberg permission, for more see their web site.]",
    "etext": "Etext prepared by Kim Example, kim@example.org",
    "number": "[Etext #9999]",
}


@pytest.mark.parametrize("credit", BELOW)
def test_credits_below_the_title_go(credit: str) -> None:
    assert kept(f"{START}{TITLE}\n\n\n{BELOW[credit]}\n\n\n{STORY}{END}") == f"{WORK}\n"


@pytest.mark.parametrize(
    "credit",
    [
        "This etext was prepared by Kim Example of Springfield.",
        "Scanned and proofed by Kim Example, kim@example.org",
        "Etext prepared by Kim Example, kim@example.org",
        "    This file should be named slrda10.txt or slrda10.zip",
    ],
)
def test_credits_within_the_title_go(credit: str) -> None:
    raw = f"{START}The Salt Road by Ida Marsh\n{credit}\n\n\n\n{WORK}{END}"
    assert kept(raw) == f"The Salt Road by Ida Marsh\n\n\n\n{WORK}\n"


def test_a_title_right_below_credits_stays() -> None:
    assert kept(f"{START}Scanned by Kim Example\nThe Salt Road\nby Ida Marsh\n\n{STORY}{END}").startswith(
        "The Salt Road\nby Ida"
    )


NOTES = {
    "heading": "Transcriber's Note:\n\n    This etext was produced from _Road Stories_ June 1956.\n"
    "    Research did not "
    "uncover any evidence that the copyright was renewed.",
    "at once": "Transcriber's note: This etext was produced from _Road Stories_,\nproofread by Kim.",
    "several": "[Transcriber's Note: The maps are left out.\n\nThis etext was scanned by Kim Example.\n\n"
    "See http://example.org]",
    "on the e-text": "NOTES ON THE E-TEXT:\n\n\nThis E-text was prepared from the first edition by Kim.\n\n"
    "Italics are lost.",
    "editorial": "Editorial note:\n\n  The road was first published in 1864.\n\n"
    "  See 9-h.htm (http://www.example.org/9-h.htm)",
    "electronic": "About the online edition.\n\nItalics are shown as _italics_, see kim@example.org.",
    "box": "+-----------------+\n| Transcriber's Note: |\n| Scanned by Kim. |\n+-----------------+",
}


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("place", ["top", "end"])
def test_notes_of_transcribers_stay_whole(note: str, place: str) -> None:
    own = f"{NOTES[note]}\n\n\n\n{WORK}\n" if place == "top" else f"{WORK}\n\n\n\n\n{NOTES[note]}\n"
    assert kept(f"{START}{own}{END}") == own


def test_credits_at_the_end_go() -> None:
    line = "Nobody asked the driver for the way, and he did not tell.\n\n"
    own = f"{TITLE}\n\n\n{line * 40}THE END\n"
    assert kept(f"{START}{own}\n\n\nThis etext was scanned by Kim Example\n\nkim@example.org{END}") == own


BOOKMARKS = [
    "ETEXT EDITOR’S BOOKMARKS:",
    "     ETEXT EDITOR'S BOOKMARKS:",
    "THE ETEXT EDITOR'S BOOKMARKS:",
    "PG Editor's Bookmarks:",
]


@pytest.mark.parametrize("heading", BOOKMARKS)
def test_bookmarks_go_below_each_book(heading: str) -> None:
    indent = heading[: len(heading) - len(heading.lstrip())]
    marks = f"\n\n\n\n{heading}\n\n{indent}Before dawn\n{indent}The dogs ran\n\n{indent}A wheel broke"
    assert kept(f"{START}{WORK}{marks}{END}") == f"{WORK}\n"
    second = WORK.replace("SALT", "SILK")
    assert kept(f"{START}{WORK}{marks}\n\n\n\n{second}{marks}{END}") == f"{WORK}\n\n\n\n{second}\n"


def test_several_etexts_under_one_header() -> None:
    tale = "".join(f"Mile {number} of the road was as white as the one before.\n\n" for number in range(60))
    first, second = f"THE SALT ROAD\n\n\n{tale}", f"THE SILK ROAD\n\n\n{tale}"
    raw = (
        f"{OLD_START}\n\nMay, 1973  [Etext #3]\n\n\n**The Project Gutenberg Etext of The Salt Road**\n\n{first}\n\n"
        f"June, 1974  [Etext #4]\n\n\n****The Project Gutenberg Etext of The Silk Road****\n\n{second}\n"
        "***End of the Collected Etexts of Project Gutenberg of the 1970's***\n\n**We hope for your support**\n"
    )
    assert kept(raw) == f"{first}\n\n{second.rstrip()}\n"


@pytest.mark.parametrize(
    "end", ["End of\nThe Salt Road, by Ida Marsh\n(C) 1998-1999 by Ida Marsh", "The End of The Salt Road by Ida"]
)
def test_an_end_that_names_the_title_alone_goes(end: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert kept(f"{OLD_START}\n\n{WORK}\n\n\n\n{end}\n") == f"{WORK}\n"
    assert not caplog.messages


def test_a_printed_end_with_the_title_stays() -> None:
    own = f"{WORK}\n\n\nEND OF THE SALT ROAD\n"
    assert kept(f"{START}{own}{END}") == own


@pytest.mark.parametrize("start", [START, f"{OLD_START}\n"])
def test_a_letter_inside_the_book_cuts_nothing(start: str) -> None:
    signed = "Michael S. Hart\nProject Gutenberg\nExecutive Director"
    own = f"THE ROAD LETTERS\n\nContents\n\nMAY\n\n\nMAY\n\nDear readers, they rest.\n\n{signed}\n\nJUNE\n\nThey go.\n"
    assert kept(f"{start}{own}{END}") == own


def test_a_licence_that_is_not_closed_goes_alone() -> None:
    insert = "<<THIS ELECTRONIC VERSION OF THE ROAD IS\nCOPYRIGHT 1990-1993 BY A LIBRARY, FOR PERSONAL USE ONLY.\n"
    assert kept(f"{START}{insert}\n\n{WORK}{END}") == f"{WORK}\n"
    assert (
        kept(f"{START}{insert}\n\n{WORK}\n\nHe wrote >>no<< on the wall.{END}")
        == f"{WORK}\n\nHe wrote >>no<< on the wall.\n"
    )


PAGES = [
    "<!DOCTYPE html>\n<html><head><title>404 | Project Gutenberg</title></head>\n"
    "<body><p>no ebook</p>\n\n</body></html>\n",
    "\ufeff\n  <html>\n<body>Blocked</body>\n</html>",
    '<?xml version="1.0"?>\n<error/>',
    "404 Not Found\n\nnginx\n",
    "Not Found\n\nThe requested file was not found on this server.\n",
]


@pytest.mark.parametrize("page", PAGES)
def test_a_web_page_is_no_book(page: str) -> None:
    assert kept(page.encode()) == ""


@pytest.mark.parametrize("stray", ["\ufeff", "\x0c", "\x1a", "\x00\x00", "\x08\n\x0c", "\ufeff\n\n"])
def test_stray_characters_at_the_borders_go(stray: str) -> None:
    raw = f"{START}Produced by Kim Example\n\n\n{stray}\n{WORK}\n\n{stray}{END}\x1a\r\n"
    assert kept(raw.encode()) == f"{WORK}\n"
    assert kept(f"{START}{stray}   {WORK}\r\n{stray}{END}".encode()).strip("\n") == f"   {WORK}"


def test_an_end_of_file_below_a_book_without_footer_goes() -> None:
    assert kept(f"{OLD_START}\r\n\r\n{WORK}\r\n\x1a\r\n".encode()) == f"{WORK}\n"


def test_doubled_carriage_returns() -> None:
    raw = f"{OLD_START}\n\n{WORK}\n\n\nEnd of\nProject Gutenberg's Etext of The Salt Road by Ida Marsh\n"
    assert kept(raw.replace("\n", "\r\r\n").encode()) == f"{WORK}\n"


QUOTES = "“I don’t know,” said Ida. “It’s Law’s road …”"


@pytest.mark.parametrize("declared", ["ISO-8859-1", "UTF-8", "windows-1252", "ASCII", "Unicode"])
@pytest.mark.parametrize(
    "text", [QUOTES, f"{QUOTES} – déjà vu", "The Town’s", "‘No,’ he said—‘never.’", "£20,000 – Müller’s"]
)
def test_windows_quotes(text: str, declared: str) -> None:
    raw = f"Character set encoding: {declared}\r\n\r\n{START}{text}{END}"
    assert kept(raw.encode("cp1252")) == f"{text}\n"


@pytest.mark.parametrize("codec", ["mac-roman", "cp437", "cp850", "latin-1"])
def test_the_other_encodings_are_still_told_apart(codec: str) -> None:
    text = "Él preguntó: ¿qué es? Le garçon était là, über Mädchen, à côté. L'été finit."
    assert kept(f"{START}{text}{END}".encode(codec)) == f"{text}\n"


def test_the_licence_does_not_decide_about_the_book() -> None:
    licence = "Project Gutenberg™ is a trademark. " * 50
    raw = f"{START}Le garçon était là.{END}".encode("latin-1") + licence.encode()
    assert kept(raw) == "Le garçon était là.\n"


@pytest.mark.parametrize("text", ["It cost £20,000.", "déjà vu", "“No,” he said."])
def test_one_wrong_byte_does_not_make_another_encoding(text: str) -> None:
    assert kept(f"{START}{text} ".encode() + b"\xe9 end" + END.encode()) == f"{text} \ufffd end\n"


LOOKALIKES = [
    "Scanned the sky, did the driver, and typed his name in the dust. He was prepared for the worst.",
    "Produced by hand, the salt was white. It was released from the pans and transcribed into a book.",
    "The young lady scanned him from head to foot, and provided him with a chair.",
    "Thanks to the rain, the road was empty. Many thanks, said the driver.",
    "Prepared by long practice, she entered. The volunteers had donated a flag.",
    "To the memory of my brother",
    "In the dark of the room she scanned Aunt Mary's face.",
    "They sat by Gutenberg's couch, and his press was donated to the library.",
    "In this order they filed aboard, and the driver said:",
    "This book is for Emma, who made it.",
    "Printed by Marsh & Co, at the Press in Springfield",
    "COPYRIGHT, 1911\n\nBY IDA MARSH",
    "With images of salt in the library of the duke, generously made available to nobody.",
]


@pytest.mark.parametrize("text", LOOKALIKES)
@pytest.mark.parametrize("place", ["top", "below the title", "end"])
def test_what_only_sounds_like_makers_stays(text: str, place: str) -> None:
    own = {
        "top": f"{text}\n\n\n{WORK}\n",
        "below the title": f"{TITLE}\n\n\n{text}\n\n\n{STORY}\n",
        "end": f"{WORK}\n\n\n{text}\n",
    }
    credit = "Produced by Kim Example\n\n\n"
    assert kept(f"{START}{own[place]}{END}") == own[place]
    assert kept(f"{START}{credit}{own[place]}{END}") == own[place]


def test_nothing_goes_once_the_work_has_clearly_begun() -> None:
    prose = "The carts went on and on, and no one of the drivers knew how far it was to the sea. " * 4
    own = f"{TITLE}\n\n{prose}\n\nScanned by Kim Example, kim@example.org, for Project Gutenberg.\n\n{prose.strip()}\n"
    assert kept(f"{START}{own}{END}") == own


WORDS = st.lists(
    st.sampled_from(
        ["salt", "road", "dawn", "white", "He", "said", "nobody", "I", "THE", "CHAPTER", "by", "von", "1864"]
    ),
    min_size=1,
    max_size=40,
)
PARAGRAPHS = st.lists(
    st.builds(lambda words, end: " ".join(words) + end, WORDS, st.sampled_from([".", "", "?", '."'])),
    min_size=1,
    max_size=40,
)


@given(PARAGRAPHS, st.sampled_from(["\n\n", "\n\n\n", "\n"]))
@example(["by road"], "\n\n")
def test_a_book_without_makers_words_comes_out_whole(paragraphs: list[str], gap: str) -> None:
    own = gap.join(paragraphs) + "\n"
    assert "".join(kept(f"{START}{own}{END}").split()) == "".join(own.split())


@pytest.mark.parametrize(
    ("title_page", "credit"),
    [
        ("Edited by W. Marsh", "Scanned by Kim Example, kim@example.org"),
        ("Revised and corrected by the Author", "Transcribed by Kim Example (kim@example.org)"),
        ("Compiled from the best authorities", "E-text prepared by Kim Example"),
        ("Entered at Stationers' Hall", "Etext scanned by Kim Example"),
        ("Entered according to Act of Congress, in the year 1872", "Typed by Kim Example, kim@example.org"),
        ("Prepared for the Use of Schools", "This etext was prepared by Kim Example"),
        ("Copyright, 1887", "Digitized by Kim Example, kim@example.org"),
    ],
)
def test_title_pages_between_credits_stay(title_page: str, credit: str) -> None:
    raw = f"{START}Produced by Kim Example\n\n\n{TITLE}\n\n{title_page}\n\n{credit}\n\n\n{STORY}{END}"
    assert kept(raw) == f"{TITLE}\n\n{title_page}\n\n\n{STORY}\n"


@pytest.mark.parametrize("heading", ["Produced by", "Produced by:", "NOTE:", "Scanned by"])
def test_a_heading_without_credits_takes_no_title_with_it(heading: str) -> None:
    assert kept(f"{START}{heading}\n\nThe Salt Road\n\nby Ida Marsh\n\n\n{STORY}{END}").endswith(
        f"The Salt Road\n\nby Ida Marsh\n\n\n{STORY}\n"
    )
    assert kept(f"{START}{heading}\n\nSONGS OF SALT\n\n\n{STORY}{END}").endswith(f"SONGS OF SALT\n\n\n{STORY}\n")
