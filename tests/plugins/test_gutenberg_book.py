"""The book in a file: every shape of header, footer and credits that is known, around a book that looks like them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from charrnn_plugins.gutenberg import book, decoding

BOOK = """\
          THE PRINTER'S DAUGHTER

by A. Nonymous

                    I

Produced by the sea, the fog was thick. "Credits?" asked the clerk. The words
End of the line stood on the wall, and START OF THE HARVEST on the calendar.

* * * * *

Start of the second day. Project Gutenberg was not yet thought of, so nobody
sent an electronic letter, and the printing press went on, and on, and on.

***

The end of the year came with snow; "the end of Gutenberg's trade," he said.
{}
                  THE END
""".format("\n".join(f"\nLine {number} of the tale tells how the snow fell upon the town." for number in range(120)))

SMALL_PRINT = """\
***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this "Small Print!" statement here? Lawyers may ask, so the etext tells.

By using any part of this PROJECT GUTENBERG-tm etext you say that you accept it.

LIMITED WARRANTY; DISCLAIMER OF DAMAGES
Nobody is liable to you for damages. A refund of what you paid for the etext is all.

INDEMNITY
You will hold the Project, its directors and volunteers harmless of any liability.

WHAT IF YOU *WANT* TO SEND MONEY EVEN IF YOU DON'T HAVE TO?
Money should be paid to "Project Gutenberg Association / Illinois Benedictine College".
"""
LICENCE = """\
Updated editions will replace the previous one--the old editions
will be renamed.

Creating the works from public domain print editions means that no
one owns a United States copyright in these works.

*** START: FULL LICENSE ***

THE FULL PROJECT GUTENBERG LICENSE
PLEASE READ THIS BEFORE YOU DISTRIBUTE OR USE THIS WORK

Section 1.  General Terms of Use of Project Gutenberg-tm electronic works

1.A.  By reading any part of this electronic work, you agree to the license.

Most people start at our Web site: http://www.gutenberg.org
"""
OLD_TOP = """\
**The Project Gutenberg Etext of The Printer's Daughter, by Anon**
#2 in our series by A. Nonymous

Copyright laws are changing all over the world, be sure to check
the copyright laws for your country before posting these files!!

The Printer's Daughter

by A. Nonymous

June, 1994  [Etext #99999]

*****This file should be named prntr10.txt or prntr10.zip******

"""
NEW_TOP = """\
The Project Gutenberg eBook of The Printer's Daughter

This ebook is for the use of anyone anywhere in the United States.

Title: The Printer's Daughter

Author: A. Nonymous

Release date: April 1, 2001 [eBook #99999]

Language: English

Credits: Emma Example, Bob
        and a Team

"""

HEADERS = {
    "2021": NEW_TOP + "*** START OF THE PROJECT GUTENBERG EBOOK THE PRINTER'S DAUGHTER ***\n\n",
    "2024, number": NEW_TOP + "*** START OF THE PROJECT GUTENBERG EBOOK 99999 ***\n\n",
    "2006": NEW_TOP + "*** START OF THIS PROJECT GUTENBERG EBOOK THE PRINTER'S DAUGHTER ***\n\n\n\n\n",
    "2003, no gap": NEW_TOP + "***START OF THE PROJECT GUTENBERG EBOOK THE PRINTER'S DAUGHTER***\n\n\n",
    "2002": NEW_TOP + "*** START OF THE PROJECT GUTENBERG EBOOK, THE PRINTER'S DAUGHTER ***\n\n",
    "wrapped title": NEW_TOP + "*** START OF THIS PROJECT GUTENBERG EBOOK THE PRINTER'S\nDAUGHTER, OR\nSNOW ***\n\n",
    "wrapped words": NEW_TOP + "*** START OF THE PROJECT\nGUTENBERG EBOOK THE PRINTER'S DAUGHTER ***\n\n",
    "wrapped, no end": NEW_TOP + "*** START OF THIS PROJECT GUTENBERG EBOOK THE PRINTER'S\nDAUGHTER\n\n",
    "lower case": NEW_TOP + "*** start of this project gutenberg ebook the printer's daughter ***\n\n",
    "no asterisks": NEW_TOP + "Start of the Project Gutenberg EBook The Printer's Daughter\n\n",
    "copyrighted": NEW_TOP + "*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK X ***\n\n",
    "twice": NEW_TOP + 2 * "*** START OF THIS PROJECT GUTENBERG EBOOK THE PRINTER'S DAUGHTER ***\n\n",
    "1993": OLD_TOP + SMALL_PRINT + "\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n",
    "1993, wrapped": OLD_TOP + SMALL_PRINT + "\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN\nETEXTS*Ver.04.29.93*END*\n\n",
    "2002, old": OLD_TOP + SMALL_PRINT + "\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n\n",
    "1995, copyrighted": OLD_TOP + SMALL_PRINT + "\n*SMALL PRINT! Ver.03.17.95 FOR COPYRIGHT PROTECTED ETEXTS*END*\n\n",
    "1991": OLD_TOP + SMALL_PRINT + '\n["Small Print" V.12.08.93]\n\n',
    "generated from an old text": NEW_TOP
    + "*** START OF THE PROJECT GUTENBERG EBOOK 99999 ***\n\n"
    + OLD_TOP
    + SMALL_PRINT
    + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n",
    "1971": NEW_TOP
    + "*** START OF THE PROJECT GUTENBERG EBOOK 1 ***\n\nDecember, 1971  [Etext #1]\n\n"
    + "All of the original Project Gutenberg Etexts were in\nALL CAPS.\n\n***\n\n"
    + "These original Project Gutenberg Etexts will be in one file.\n\n***\n\n",
    "Australia": "Project Gutenberg Australia\n\nTitle: The Printer's Daughter\nAuthor: A. Nonymous\n"
    "* A Project Gutenberg of Australia eBook *\neBook No.: 9999999.txt\n\n"
    "To contact Project Gutenberg of Australia go to http://gutenberg.net.au\n\n\n"
    "Title:      The Printer's Daughter\nAuthor:     A. Nonymous\n\n\n",
    "a letter": OLD_TOP
    + SMALL_PRINT
    + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n"
    + "We hope to have decent versions by August.\n\nThank you all so much for your patience.\n\n"
    + "Michael S. Hart\n[hart@pobox.com]\nProject Gutenberg\nExecutive Director\n\n\n***\n\n\n",
}
FOOTERS = {
    "2021": "*** END OF THE PROJECT GUTENBERG EBOOK THE PRINTER'S DAUGHTER ***\n\n\n" + LICENCE,
    "2006": "End of the Project Gutenberg EBook of The Printer's Daughter, by A. Nonymous\n\n"
    "*** END OF THIS PROJECT GUTENBERG EBOOK THE PRINTER'S DAUGHTER ***\n\n"
    "***** This file should be named 99999-8.txt or 99999-8.zip *****\n"
    "This and all associated files of various formats will be found in:\n"
    "        http://www.gutenberg.org/9/9/9/9/99999/\n\nProduced by Emma Example\n\n" + LICENCE,
    "2003": "***END OF THE PROJECT GUTENBERG EBOOK THE PRINTER'S\nDAUGHTER***\n\n\n"
    "******* This file should be named 99999.txt or 99999.zip *******\n\n" + LICENCE,
    "2002": "*** END OF THE PROJECT GUTENBERG EBOOK, THE PRINTER'S DAUGHTER ***\n\n"
    "This file should be named prntr10.txt or prntr10.zip\n"
    "Corrected EDITIONS of our eBooks get a new NUMBER, prntr11.txt\n\n"
    + SMALL_PRINT
    + "\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n",
    "1998": "End of Project Gutenberg's The Printer's Daughter, by A. Nonymous\n",
    "1994": "End of the Project Gutenberg Etext of The Printer's Daughter\n",
    "1995": "End of this Project Gutenberg Etext\n",
    "title below": "End of this Project Gutenberg Etext\n\nThe Printer's Daughter\n",
    "upper case": "THE END OF THE PROJECT GUTENBERG ETEXT OF THE PRINTER'S DAUGHTER\n",
    "bracketed": "[End of The Project Gutenberg Etext of The Printer's Daughter]\n\n",
    "wrapped": "End of the Project\nGutenberg EBook of The Printer's Daughter\n\n" + LICENCE,
    "title alone": "The Project Gutenberg Etext of The Printer's Daughter, by Anon\n",
    "copyrighted": "**This is a COPYRIGHTED Project Gutenberg Etext, Details Above**\n",
    "German": 'Ende dieses Projekt Gutenberg Etextes "Des Druckers Tochter", von Anonym\n',
    "German, short": "Ende dieses Etextes\n",
    "French": "Fin de Project Gutenberg's The Printer's Daughter, by A. Nonymous\n",
    "French, read": "Ce document fut présenté en lecture par l'Université.\n",
    "Dutch": "Einde van Project Gutenberg's The Printer's Daughter\n",
    "Spanish": "Fin del Proyecto Gutenberg etext de La hija\n",
    "licence only": LICENCE,
    "small print only": SMALL_PRINT,
    "end over an old end": "End of the Project Gutenberg Etext of The Printer's Daughter\n\n\n\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK 99999 ***\n\n" + LICENCE,
    "a program below": "Fin de Project Gutenberg Etext\n\n" + "perl -pe 's/é/&eacute;/g';\n\n" * 100,
    "Australia": "This site is full of FREE ebooks - Project Gutenberg Australia\n",
}
CREDITS = {
    "none": "",
    "by": "Produced by Emma Example and Bob\n",
    "proofreaders": "Produced by Emma Example and the Online Distributed\nProofreading Team at http://www.pgdp.net "
    "(This file was\nproduced from images generously made available by The\nInternet Archive/American Libraries.)\n",
    "etext": "This etext was prepared by Emma Example, email emma@example.org\nfrom the 1913 edition.\n",
    "e-text": "E-text prepared by Emma Example, Project Gutenberg Beginners Projects,\nand Bob\n\n\n"
    "Note: Project Gutenberg also has an HTML version of this\n      file which includes the illustrations.\n"
    "      See 99999-h.htm:\n      (http://www.gutenberg.org/files/99999)\n\n\n"
    "      Images of the original pages are available through\n      Internet Archive. See\n"
    "      https://archive.org/details/printer\n",
    "Price": "Transcribed from the 1887 Cassell & Company edition by Emma Example,\nemail emma@example.org\n",
    "scanned": "Scanned and proofed by Emma Example with\nOmniPage Professional OCR software\n\n"
    "Contact Bob <bob@example.org>\n",
    "two": "Produced by Emma Example.  HTML version by Bob.\n\n\nThis eBook was produced by: Bob\n",
    "title line": "The Project Gutenberg Etext of The Printer's Daughter, by Anon\n\n* * *\n\nProduced by Emma\n",
    "German": "Dieses Buch wurde uns freundlicherweise vom Projekt zur Verfügung gestellt,\n"
    "das unter http://gutenberg.spiegel.de/ erreichbar ist.\n",
    "derived": 'This text has been derived from HTML files at "Projekt Gutenberg - DE",\nprepared by Emma.\n',
    "two versions": "This Etext is in German.\n\nWe are releasing two versions of this Etext, one in 7-bit format.\n",
    "with the equipment": "This Etext was prepared by Emma Example.\n\n"
    "The equipment: an IBM-compatible 386 and a hand scanner.\n",
    "typed in": "Typed in by Emma Example, while it snowed.\n\nThis is the 7-bit version.\n",
    "Tagalog": "Produced by Emma Example.\n\nHandog ng Proyektong Gutenberg ng Pilipinas sa lahat.\n",
    "thanks": "Produced by Emma\n\nMany thanks to the Library for kindly supplying the images.\n",
}


def stripped(raw: str, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        return book.strip(raw, "gutenberg:99999")


@pytest.mark.parametrize("header", HEADERS)
def test_header_and_footer_go_and_the_book_stays(header: str, caplog: pytest.LogCaptureFixture) -> None:
    for footer in FOOTERS:
        text = stripped(f"{HEADERS[header]}{BOOK}\n\n\n\n{FOOTERS[footer]}", caplog)
        assert (footer, text) == (footer, BOOK)
        assert not caplog.messages


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("header", ["2021", "2006", "1993", "2002"])
def test_credits_go(header: str, credit: str, caplog: pytest.LogCaptureFixture) -> None:
    assert stripped(f"{HEADERS[header]}{CREDITS[credit]}\n\n\n{BOOK}\n\n{FOOTERS['2006']}", caplog) == BOOK


def test_credits_right_below_the_title_go(caplog: pytest.LogCaptureFixture) -> None:
    title, rest = BOOK.split("\n\n", 1)
    raw = f"{HEADERS['1993']}{title}\n\nThis etext was prepared by Emma Example\n\n{rest}\n{FOOTERS['1994']}"
    assert "".join(stripped(raw, caplog).split()) == "".join(BOOK.split())


def test_credits_above_the_end_go(caplog: pytest.LogCaptureFixture) -> None:
    raw = f"{HEADERS['1993']}{BOOK}\n\n\nE-text prepared by Emma Example\n\n{FOOTERS['1994']}"
    assert stripped(raw, caplog) == BOOK


def test_bookmarks_above_the_end_go(caplog: pytest.LogCaptureFixture) -> None:
    marks = "ETEXT EDITOR'S BOOKMARKS:\n\nNobody sent an electronic letter\nAnd on, and on, and on\n"
    raw = f"{HEADERS['1993']}{BOOK}\n\n\n{marks}\n\n{FOOTERS['1994']}"
    assert stripped(raw, caplog) == BOOK


def test_prose_on_proofreaders_below_the_title_stays(caplog: pytest.LogCaptureFixture) -> None:
    own = (
        "A HISTORY OF FREE BOOKS\n\nMarie Example\n\nThis report was finished in August, in the rain. The author owes "
        "a lot to\nthe volunteers of Distributed Proofreaders. They answered every question.\n"
    )
    assert stripped(f"{HEADERS['2006']}{CREDITS['by']}\n\n{own}\n\n{FOOTERS['2006']}", caplog) == own


def test_an_end_that_is_not_the_projects_stays(caplog: pytest.LogCaptureFixture) -> None:
    own = f"{BOOK}\nThe end of the Gutenberg Bible was a blank leaf.\n\nNobody read it.\n"
    assert stripped(f"{HEADERS['2006']}{own}\n\n{FOOTERS['2006']}", caplog) == own


def test_names_copied_in_the_header_are_credits(caplog: pytest.LogCaptureFixture) -> None:
    assert stripped(f"{HEADERS['2021']}Emma Example, Bob, and a Team\n\n\n{BOOK}\n{FOOTERS['2021']}", caplog) == BOOK


def test_names_copied_above_the_licence_are_credits(caplog: pytest.LogCaptureFixture) -> None:
    footer = f"*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n\nAn Anonymous Volunteer, and Bob\n\n\n{LICENCE}"
    raw = f"{HEADERS['2006']}An Anonymous Volunteer, and Bob\n\n\n\n{BOOK}\n\n{footer}"
    assert stripped(raw, caplog) == BOOK


@pytest.mark.parametrize("header", ["2021", "2002", "1993"])
@pytest.mark.parametrize("footer", ["2002", "1998", "2021"])
def test_a_tiny_book_above_a_long_footer(header: str, footer: str, caplog: pytest.LogCaptureFixture) -> None:
    tiny = "A POEM\n\nThe snow fell,\nthe press stood still.\n"
    assert stripped(f"{HEADERS[header]}{tiny}\n\n{FOOTERS[footer]}", caplog) == tiny


def test_a_file_of_several_files(caplog: pytest.LogCaptureFixture) -> None:
    raw = "".join(
        f"{HEADERS[header]}{CREDITS['by']}\n\n{BOOK}\n\n{FOOTERS[footer]}\n\n\n"
        for header, footer in (("1993", "1994"), ("2006", "2006"), ("2002, old", "1998"))
    )
    assert stripped(raw, caplog) == "\n\n".join([BOOK] * 3)


def test_an_end_line_between_volumes(caplog: pytest.LogCaptureFixture) -> None:
    raw = f"{HEADERS['1993']}{BOOK}\n\n{FOOTERS['1994']}\n\n{BOOK}\n\n{FOOTERS['1994']}"
    assert stripped(raw, caplog) == f"{BOOK}\n\n{BOOK}"


def test_a_book_about_the_project_keeps_its_words(caplog: pytest.LogCaptureFixture) -> None:
    own = (
        "PROJECT GUTENBERG (1971-2008)\n\nMARIE EXAMPLE\n\nProduced by hand, at the\nend of the Project "
        "Gutenberg years, the etexts\nof Project Gutenberg were free. Thousands of volunteers made ebooks.\n\nThe "
        "Project Gutenberg website is http://www.gutenberg.org, and its license\nlets everyone copy the ebooks.\n"
    )
    assert stripped(f"{HEADERS['2021']}{own}\n\n{FOOTERS['2021']}", caplog) == own


def test_transcribers_notes_stay(caplog: pytest.LogCaptureFixture) -> None:
    own = f"[Transcriber's note: This text has two maps.]\n\n{BOOK}\nTranscriber's notes:\n\nOne comma was moved.\n"
    assert stripped(f"{HEADERS['2006']}{CREDITS['by']}\n\n{own}\n\n{FOOTERS['2006']}", caplog) == own


def test_a_licence_between_works_goes(caplog: pytest.LogCaptureFixture) -> None:
    insert = "<<THIS ELECTRONIC VERSION OF THE WORKS IS\nCOPYRIGHT 1990-1993 BY A LIBRARY.>>\n\n"
    assert stripped(f"{HEADERS['1993']}{BOOK}\n{insert}{BOOK}\n\n{FOOTERS['1994']}", caplog) == f"{BOOK}\n\n\n{BOOK}"


def test_a_header_of_1991_without_any_marker_is_known_by_its_wording(caplog: pytest.LogCaptureFixture) -> None:
    tale = BOOK[BOOK.index("Line 0") :]
    assert (
        stripped(f"{OLD_TOP}{SMALL_PRINT}\n\n\nTHE TALE\n\n{tale}\n\n{FOOTERS['1994']}", caplog)
        == f"THE TALE\n\n{tale}"
    )
    (message,) = caplog.messages
    assert message.startswith("gutenberg:99999: no line marks where the book starts")


def test_a_text_without_any_marker_is_kept_whole(caplog: pytest.LogCaptureFixture) -> None:
    tale = BOOK[BOOK.index("Line 0") :]
    assert stripped(f"\n\n{tale}\n\n", caplog) == tale
    assert len(caplog.messages) == 2


def test_a_file_that_holds_only_a_licence_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    assert stripped(HEADERS["2021"] + FOOTERS["2021"], caplog) == ""


ACCENTED = "Él preguntó: «¿Où est l’été?» – “naïve”, Straße, cœur, señor, déjà, façon, über, Mädchen, crème. "
CHINESE = "第一回 甄士隱夢幻識通靈 賈雨村風塵懷閨秀。"
GREEK = "Μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος".replace("ῆ", "η").replace("ἄ", "α").replace("ὰ", "α").replace("Ἀ", "Α")


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        (ACCENTED, "utf-8", "UTF-8"),
        (ACCENTED, "utf-8", "UTF-9"),
        (ACCENTED, "utf-8", "ISO-8859-1"),
        (ACCENTED, "utf-8-sig", "ASCII"),
        (ACCENTED, "utf-16", "Unicode"),
        (ACCENTED, "cp1252", "ISO-8859-1"),
        (ACCENTED, "cp1252", "Windows Code-Page 1252"),
        (ACCENTED, "mac-roman", ""),
        ("Él preguntó: «¿qué?» über Mädchen", "latin-1", "ISO Latin-1"),
        ("Él preguntó: «¿qué?» über Mädchen, déjà façon", "cp850", ""),
        ("Él pregunta ¿qué? über Mädchen, crème brûlée", "cp437", "US-ASCII"),
        ("Příliš žluťoučký kůň", "iso8859-2", "ISO-8859-2"),
        ("Příliš žluťoučký kůň", "cp1250", "Codepage 1250"),
        (GREEK, "iso8859-7", "ISO-8859-7 (Greek)"),
        (CHINESE, "big5", "Big5"),
        (CHINESE, "big5", "BIG-5"),
        ("第一回 甄士隐梦幻识通灵", "gbk", "GB2312"),
        ("吾輩は猫である。名前はまだ無い。", "shift_jis", "Shift_JIS"),
        ("吾輩は猫である。", "iso2022_jp", "ISO-2022-JP"),
        ("Мой дядя самых честных правил", "koi8-r", "KOI8-R"),
        ("Мой дядя самых честных правил", "cp1251", "Windows-1251"),
    ],
)
def test_encodings(text: str, codec: str, declared: str, caplog: pytest.LogCaptureFixture) -> None:
    raw = f"Title: X\r\n\r\nCharacter set encoding: {declared}\r\n\r\n{text * 3}\r\n"
    decoded = decoding.decode(raw.encode(codec), "gutenberg:99999")
    assert decoded == raw.replace("\r\n", "\n")
    assert not caplog.messages


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    assert decoding.decode(f"one{end}two{end}{end}three{end}\x1a".encode(), "x") == "one\ntwo\n\nthree\n"


def test_broken_bytes_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    raw = ("Fünf Boote, déjà vu, außer Straße. " * 20).encode() + b"\xff\xfe broken"
    text = decoding.decode(raw, "gutenberg:99999")
    assert "Fünf Boote, déjà vu" in text
    assert caplog.messages == ["gutenberg:99999: 2 characters cannot be read and stand as U+FFFD"]


MIRROR = Path(__file__).parents[3] / "shared" / "mirror"


@pytest.mark.skipif(not MIRROR.exists(), reason="no folder of real files beside the repository")
def test_real_files(caplog: pytest.LogCaptureFixture) -> None:
    for path in MIRROR.rglob("*.txt"):
        text = stripped(decoding.decode(path.read_bytes(), path.name), caplog)
        assert not caplog.messages
        assert text == text.strip("\n") + "\n"
        assert not re.search(r"gutenberg|^produced by|\be-?text|\ufffd|\r", text, re.IGNORECASE)
