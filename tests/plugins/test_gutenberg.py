"""The scheme gutenberg: from a spec to the books, with mirrors that work and mirrors that do not."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from charrnn_plugins.gutenberg import catalogue, mirror
from charrnn_plugins.gutenberg.request import Limits

from charrnn import __version__
from charrnn.errors import CorpusError
from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora

from .faulty_server import (
    Answer,
    Mirror,
    body,
    dripping,
    dripping_head,
    endless,
    gzip_bomb,
    not_http,
    reset,
    running,
    short,
    silent,
    stalled,
    status,
    to,
    web_page,
    web_page_called_text,
)

QUICK = Limits(pause=0, stall=20, deadline=40, size=1_000_000, attempts=2, wait=0.01, longest_wait=1)
IMPATIENT = replace(QUICK, stall=0.4, deadline=0.8)
TEXT = "Ein schöner Satz – über das Drucken.\n"
FILE = (
    "\ufeffThe Project Gutenberg eBook of X\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\n"
    + TEXT.replace("\n", "\r\n")
    + "\r\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\r\n"
).encode()
GENERATED, ORIGINAL = "cache/epub/1597/pg1597.txt", "1/5/9/1597/1597-0.txt"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    return mirror.cache_folder()


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    assert not cache.exists()
    with running() as faulty:
        monkeypatch.setenv(mirror.MIRROR_VARIABLE, f"{faulty.url}/")
        yield faulty


def books(text: str) -> list[str]:
    spec = CorpusSpec.parse(text)
    return ["".join(pieces) for pieces in Corpora().find(spec).documents(spec)]


def kept(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"download.lock", "last-download"}


def test_books_are_documents_and_are_fetched_once_and_with_a_pause(server: Mirror, cache: Path) -> None:
    server.answers = {GENERATED: [body(FILE)], "0/5/5.txt": [body(FILE.replace(b"Satz", b"Sinn"))]}
    before = time.monotonic()
    assert books("gutenberg:1597, 5") == [TEXT, TEXT.replace("Satz", "Sinn")]
    assert time.monotonic() - before > 1.9
    assert {request.headers["User-Agent"].split(" ")[0] for request in server.requests} == {f"charrnn/{__version__}"}
    assert kept(cache) == {"1597.txt", "5.txt"}
    requests = len(server.requests)
    assert books("gutenberg:5") == [TEXT.replace("Satz", "Sinn")]
    assert len(server.requests) == requests


def test_layouts_in_order(server: Mirror) -> None:
    server.answers = {"1/5/9/1597/1597.txt": [body(FILE)]}
    assert mirror.book_file(1597, QUICK).read_bytes() == FILE
    names = [f"1/5/9/1597/1597{suffix}.txt" for suffix in ("-0", "-8", "-5", "")]
    assert server.paths == [GENERATED, *names]


def test_a_cached_book_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mirror.MIRROR_VARIABLE, "http://127.0.0.1:1")
    cache.mkdir(parents=True)
    (cache / "7.txt").write_bytes(FILE)
    assert books("gutenberg:7") == [TEXT]


def test_the_cache_key_is_that_of_the_files_content(server: Mirror, cache: Path) -> None:
    server.answers = {GENERATED: [body(FILE)]}
    spec = CorpusSpec.parse("gutenberg:1597")
    corpus = Corpora().find(spec)
    key = corpus.fingerprint(spec)
    assert key == corpus.fingerprint(spec)
    (cache / "1597.txt").write_bytes(FILE + b"\n")
    assert key != corpus.fingerprint(spec)


@pytest.mark.parametrize("argument", ["", "abc", "0", "-5", "1597,", "1597;5", "12345678", "²"])
def test_bad_numbers(argument: str, cache: Path) -> None:
    with pytest.raises(CorpusError, match=r"^gutenberg:.*give the numbers of books[^\n]*$"):
        books(f"gutenberg:{argument}")
    assert not cache.exists()


def test_an_empty_book_is_an_error(server: Mirror) -> None:
    server.answers = {GENERATED: [body(FILE.replace(TEXT.encode().rstrip(), b""))]}
    with pytest.raises(CorpusError, match=r"^gutenberg:1597: .*1597\.txt holds no book"):
        books("gutenberg:1597")


@pytest.mark.parametrize("address", ["ftp://example.org", "file:///tmp", "aleph"])
def test_a_mirror_that_is_no_address(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mirror.MIRROR_VARIABLE, address)
    with pytest.raises(CorpusError, match=f"{mirror.MIRROR_VARIABLE}={address}: give the address"):
        mirror.book_file(1, QUICK)
    assert not cache.exists()


FAULTS: dict[str, tuple[Answer, str]] = {
    "not found": (status(404), "404"),
    "gone": (status(410), "410"),
    "forbidden": (status(403), "403"),
    "too many": (status(429, Retry_After="0"), "429"),
    "too patient": (status(429, Retry_After="3600"), "asks us to wait 3600 s"),
    "too patient, a date": (status(503, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"), "asks us to wait"),
    "odd date": (status(503, Retry_After="soon"), "503"),
    "server error": (status(500), "500"),
    "no content": (status(204), "204"),
    "web page": (web_page, "a web page instead of the file"),
    "web page called text": (web_page_called_text, "a web page instead of the file"),
    "empty": (body(b""), "an empty file"),
    "reset": (reset, "reset|closed"),
    "short": (short, "incomplete|without sending complete"),
    "stalled": (stalled, "timed out"),
    "silent": (silent, "timed out"),
    "dripping": (dripping, "no whole answer within 0.8 s"),
    "dripping head": (dripping_head, "no whole answer within 0.8 s"),
    "endless": (endless, "more than 1000000 bytes"),
    "large": (body(bytes(1_000_001)), "more than 1000000 bytes"),
    "gzip bomb": (gzip_bomb, "compressed"),
    "not HTTP": (not_http, "illegal status line"),
    "to the main site": (to("https://www.gutenberg.org/ebooks/1597.txt"), "sends us elsewhere"),
    "to a file": (to("file:///etc/passwd"), "sends us elsewhere"),
    "to nowhere": (to("http://["), "sends us elsewhere"),
    "round": (to("/" + GENERATED), "sent us on more than 5 times"),
}


SLOW = {"stalled", "silent", "dripping", "dripping head"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(fault: str, server: Mirror, cache: Path) -> None:
    answer, reason = FAULTS[fault]
    server.answers = {GENERATED: [answer], ORIGINAL: [answer]}
    with pytest.raises(CorpusError, match=reason) as error:
        mirror.book_file(1597, IMPATIENT if fault in SLOW else QUICK)
    message = str(error.value)
    assert "\n" not in message
    for part in ("gutenberg:1597", server.url, str(cache / "1597.txt"), mirror.MIRROR_VARIABLE, "files:"):
        assert part in message
    assert kept(cache) == set()


@pytest.mark.usefixtures("cache")
def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as faulty:
        url = faulty.url
    monkeypatch.setenv(mirror.MIRROR_VARIABLE, url)
    with pytest.raises(CorpusError, match="refused"):
        mirror.book_file(1597, QUICK)


@pytest.mark.parametrize("fault", ["too many", "server error", "reset", "short", "stalled", "not HTTP"])
def test_what_passes_is_tried_again(fault: str, server: Mirror) -> None:
    server.answers = {GENERATED: [FAULTS[fault][0], body(FILE)]}
    assert mirror.book_file(1597, IMPATIENT if fault in SLOW else QUICK).read_bytes() == FILE


@pytest.mark.parametrize("fault", ["not found", "web page", "empty"])
def test_another_layout_is_tried(fault: str, server: Mirror) -> None:
    server.answers = {GENERATED: [FAULTS[fault][0]], ORIGINAL: [body(FILE)]}
    assert mirror.book_file(1597, QUICK).read_bytes() == FILE
    assert server.paths == [GENERATED, ORIGINAL]


@pytest.mark.parametrize(
    "fault", ["not found", "forbidden", "server error", "stalled", "gzip bomb", "to the main site"]
)
def test_the_next_mirror_is_tried(fault: str, server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = {GENERATED: [FAULTS[fault][0]]}
    monkeypatch.delenv(mirror.MIRROR_VARIABLE)
    with running() as other:
        other.answers = {GENERATED: [body(FILE)]}
        monkeypatch.setattr(mirror, "MIRRORS", (server.url, other.url))
        assert mirror.book_file(1597, IMPATIENT if fault in SLOW else QUICK).read_bytes() == FILE
        assert server.paths[0] == GENERATED
        assert other.paths == [GENERATED]


@pytest.mark.parametrize("address", ["http://xn--/", "http://xn--a/", "http://[::1", "http://é\u2028/"])
def test_a_redirect_to_no_name_of_a_host_leaves_the_next_mirror(
    address: str, server: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = {GENERATED: [to(address, 302)]}
    monkeypatch.delenv(mirror.MIRROR_VARIABLE)
    with running() as other:
        other.answers = {GENERATED: [body(FILE)]}
        monkeypatch.setattr(mirror, "MIRRORS", (server.url, other.url))
        assert mirror.book_file(1597, QUICK).read_bytes() == FILE


def test_a_mirror_that_asks_to_wait_is_given_the_time(server: Mirror) -> None:
    server.answers = {GENERATED: [status(429, Retry_After="1"), body(FILE)]}
    before = time.monotonic()
    mirror.book_file(1597, QUICK)
    assert time.monotonic() - before >= 1


def test_a_redirect_on_the_same_host_is_followed(server: Mirror) -> None:
    server.answers = {GENERATED: [to("/elsewhere.txt", 301)], "elsewhere.txt": [body(FILE)]}
    assert mirror.book_file(1597, QUICK).read_bytes() == FILE


def test_the_main_site_is_no_mirror() -> None:
    assert not any("www.gutenberg.org" in address for address in mirror.MIRRORS)


def test_a_cache_that_cannot_be_written_is_an_error(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.raises(CorpusError, match="gutenberg:1597: cannot be stored in"):
        mirror.book_file(1597, QUICK)


def test_processes_that_want_one_book_fetch_it_once(server: Mirror) -> None:
    server.answers = {GENERATED: [body(FILE)]}
    code = "from charrnn_plugins.gutenberg import mirror; print(mirror.book_file(1597).stat().st_size)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == [f"{len(FILE)}\n".encode()] * 3
    assert server.paths == [GENERATED]


def test_importing_the_plugin_imports_no_client() -> None:
    code = "import sys, charrnn_plugins.gutenberg; print({'httpx', 'torch', 'tqdm', 'tenacity'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


CATALOGUE = """\
Text#,Type,Issued,Title,Language,Authors,Subjects,LoCC,Bookshelves
1597,Text,1999-01-01,Andersen's Fairy Tales,en,"Andersen, H. C. (Hans Christian), 1805-1875",Fairy tales,PZ,
27200,Text,2008-11-01,"Andersens Märchen
Erster Teil",de,"Andersen, H. C. (Hans Christian), 1805-1875; Somebody, Anna [Translator]",Fairy tales,PZ,
300,Sound,2008-11-01,Andersen's Fairy Tales,en,"Andersen, H. C. (Hans Christian), 1805-1875",Fairy tales,PZ,
8,Text,1979-01-01,Nothing,en,Voltaire,"Märchen -- Andersen, H. C.",PZ,
9,Text,1979-01-01,An Address,en,,Speeches,E,
"""
LIST = "cache/epub/feeds/pg_catalog.csv"


@pytest.mark.parametrize("packed", [True, False])
def test_search(packed: bool, server: Mirror) -> None:
    packed_answers: dict[str, list[Answer]] = {f"{LIST}.gz": [body(gzip.compress(CATALOGUE.encode()))]}
    server.answers = packed_answers if packed else {LIST: [body(CATALOGUE.encode())]}
    english = ("gutenberg:1597", "Andersen's Fairy Tales — Hans Christian Andersen [en]")
    german = ("gutenberg:27200", "Andersens Märchen Erster Teil — Hans Christian Andersen [de]")
    french = ("gutenberg:8", "Nothing — Voltaire [en]")
    assert catalogue.search("andersen FAIRY", QUICK) == [english, german]
    assert catalogue.search("marchen  Andersen", QUICK) == [german, french]
    assert catalogue.search("address", QUICK) == [("gutenberg:9", "An Address [en]")]
    assert catalogue.search("andersen nowhere", QUICK) == []
    assert len(server.requests) == (1 if packed else 2)


@pytest.mark.usefixtures("cache")
def test_search_for_nothing() -> None:
    with pytest.raises(CorpusError, match="at least one word"):
        catalogue.search("  ")


def test_a_catalogue_is_refreshed_after_a_week(server: Mirror, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.answers = {LIST: [body(CATALOGUE.encode()), body(CATALOGUE.replace("Address", "Speech").encode())]}
    catalogue.search("address", QUICK)
    os.utime(cache / "pg_catalog.csv", (0, time.time() - 8 * 24 * 3600))
    assert catalogue.search("speech", QUICK)
    os.utime(cache / "pg_catalog.csv", (0, 0))
    server.answers = {}
    with caplog.at_level(logging.WARNING):
        assert catalogue.search("speech", QUICK)
    assert [message.split(":")[0] for message in caplog.messages] == ["searching the catalogue of 1970-01-01"]


@pytest.mark.parametrize(
    "content",
    [
        b"no,catalogue\n1,2\n",
        b"\x1f\x8b\x08rubbish",
        gzip.compress(CATALOGUE.encode())[:-20],
        b"\xff\xfe,",
        gzip.compress(bytes(2_000_000)),
    ],
)
def test_a_broken_catalogue(content: bytes, server: Mirror) -> None:
    server.answers = {LIST: [body(content)]}
    with pytest.raises(CorpusError, match=r"pg_catalog\.csv is no catalogue"):
        catalogue.search("address", QUICK)


@pytest.mark.usefixtures("server")
def test_no_catalogue() -> None:
    with pytest.raises(CorpusError, match="the catalogue of Project Gutenberg could not be downloaded"):
        catalogue.search("address", QUICK)
