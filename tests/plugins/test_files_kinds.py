"""The corpus `files:`: packed files, files that are no text, copies, and names of every kind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, CorpusSpec, files_digest
from charrnn.text.plugins import Corpora
from tests.plugins.test_files_encodings import FRENCH, RUSSIAN, error, read, write

PACKED = {
    "gz": gzip.compress(FRENCH.encode()),
    "bz2": bz2.compress(FRENCH.encode()),
    "xz": lzma.compress(FRENCH.encode()),
    "zst": zstandard.ZstdCompressor().compress(FRENCH.encode()),
}


def archive(**members: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(
                name.replace("__", "/").replace("_xml", ".xml").replace("_txt", ".txt").replace("_md", ".md"), content
            )
    return file.getvalue()


def tape(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        member = tarfile.TarInfo(name)
        member.size = len(FRENCH.encode())
        packed.addfile(member, io.BytesIO(FRENCH.encode()))
    return file.getvalue()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpora().find(CorpusSpec.parse("files:any"))


@pytest.mark.parametrize("name", ["a.txt", "a", "a.txt.gz", "a.TXT.BZ2"])
@pytest.mark.parametrize("content", PACKED.values(), ids=PACKED)
def test_packed_files_are_read_whatever_their_name(corpus, tmp_path, content, name):
    path = write(tmp_path / name, content)
    assert read(corpus, path) == [FRENCH]
    assert corpus.num_bytes(CorpusSpec.parse(f"files:{path}")) is None


@pytest.mark.parametrize("name", ["a.zip", "a.txt"])
def test_a_zip_with_one_text_is_read(corpus, tmp_path, caplog, name):
    assert read(corpus, write(tmp_path / name, archive(one_txt=FRENCH))) == [FRENCH]
    assert not caplog.records
    mixed = archive(book__one_md=FRENCH, coverjpg=b"\xff\xd8", **{"__MACOSX/x": "x"})
    assert read(corpus, write(tmp_path / name, mixed)) == [FRENCH]
    assert "read book/one.md, left out coverjpg" in caplog.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (archive(one_txt=FRENCH, two_txt=RUSSIAN), "is a zip archive that holds 2 texts: one.txt, two.txt: unpack it"),
        (archive(), "is a zip archive that holds no file"),
        (archive(word__document_xml="<w/>", **{"[Content_Types]_xml": "<t/>"}), "is a Word document, not text"),
        (archive(mimetype="application/epub+zip", **{"META-INF__container_xml": "<c/>"}), "is an EPUB book, not text"),
        (archive(mimetype="x", content_xml="<c/>"), "is an OpenDocument text, not text"),
        (archive(one_txt=FRENCH)[:40], "is damaged"),
        (tape("a.txt"), "is a tar archive, not text: unpack it"),
        (gzip.compress(tape("a.txt")), "is a tar archive, not text: unpack it"),
        (gzip.compress(gzip.compress(b"a")), "is gzip data, not text: unpack it"),
        (b"%PDF-1.4\n%\xe2\xe3\n1 0 obj", "is a PDF document, not text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "is a JPEG image"),
        (b"GIF89a\1\0\1\0", "is a GIF image"),
        (b"RIFF\0\0\0\0WAVEfmt ", "is a sound"),
        (b"ID3\3\0\0\0", "is a sound"),
        (b"\0\0\0 ftypisom", "is a film"),
        (b"SQLite format 3\0" + bytes(50), "is an SQLite database"),
        (b"PAR1\x15\0\x15", "is a Parquet file"),
        (b"\x7fELF\2\1\1\0", "is a program"),
        (b"MZ\x90\0\3\0", "is a Windows program"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "is an old Microsoft Office document"),
        (b"{\\rtf1\\ansi hello}", "is a document in rich text format"),
        (b"7z\xbc\xaf\x27\x1c\0", "is a 7z archive"),
        (b"Rar!\x1a\x07\0", "is a rar archive"),
        (b"\x80\x04\x95\x10\0\0", "is a Python pickle"),
        (b"\x93NUMPY\1\0", "is a NumPy array"),
        (b"\0asm\1\0\0\0", "is a WebAssembly program"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # some bytes hold the time of day
)
@pytest.mark.parametrize("options", ["", "?encoding=utf-16-le", "?encoding=latin-1"])
def test_what_is_no_text_is_named_by_what_it_is(corpus, tmp_path, content, problem, options):
    assert problem in error(corpus, f"{write(tmp_path / 'a.txt', content)}{options}")


@pytest.mark.parametrize("text", ["MZ is a name.\n", "PACK my box\n", "BM, ID3, GIF89a\n", "BZh9 is no tune\n", "]\n"])
def test_texts_that_begin_like_something_else_are_texts(corpus, tmp_path, text):
    assert read(corpus, write(tmp_path / "a.txt", text)) == [text]


def test_a_name_in_brackets_is_a_name_before_it_is_a_glob(corpus, tmp_path):
    for name in ("Vol [1]/a.txt", "Vol 1/a.txt", "deep/Vol [1]/b.txt", "x[1] a.txt", "x1 a.txt", "[ab].txt", "a.txt"):
        write(tmp_path / name, name)
    assert read(corpus, f"{tmp_path}/Vol [1]/*.txt") == ["Vol [1]/a.txt"]
    assert read(corpus, f"{tmp_path}/**/Vol [1]/*.txt") == ["Vol [1]/a.txt", "deep/Vol [1]/b.txt"]
    assert read(corpus, f"{tmp_path}/d*/Vol [1]/?.txt") == ["deep/Vol [1]/b.txt"]
    assert read(corpus, f"{tmp_path}/x[1]*.txt") == ["x[1] a.txt"]
    assert read(corpus, f"{tmp_path}/x[12]*.txt") == ["x1 a.txt"]
    assert read(corpus, f"{tmp_path}/[ab].txt") == ["[ab].txt"]
    assert read(corpus, f"{tmp_path}/[abc].txt") == ["a.txt"]
    assert read(corpus, f"{tmp_path}/Vol [[]1]/*.txt") == ["Vol [1]/a.txt"]


def test_a_text_that_is_there_several_times_is_read_once(corpus, tmp_path, caplog):
    write(tmp_path / "a.txt", FRENCH)
    write(tmp_path / "b.txt.gz", PACKED["gz"])
    write(tmp_path / "c.txt.zip", archive(one_txt=FRENCH))
    write(tmp_path / "crlf.txt", FRENCH.replace("\n", "\r\n"))
    write(tmp_path / "mac.txt", FRENCH.replace("\n", "\r"))
    write(tmp_path / "mark.txt", FRENCH.encode("utf-8-sig"))
    write(tmp_path / "wide.txt", FRENCH.encode("utf-16"))
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "hard.txt").hardlink_to(tmp_path / "a.txt")
    write(tmp_path / "other.txt", FRENCH + FRENCH)
    for name in ("empty.txt", "hollow.txt"):
        write(tmp_path / name, "")
    assert read(corpus, tmp_path) == [FRENCH, "", "", FRENCH * 2]
    assert read(corpus, f"{tmp_path}/*") == [FRENCH, "", "", FRENCH * 2]
    for name in ("b.txt.gz", "c.txt.zip", "crlf.txt", "mac.txt", "mark.txt", "wide.txt", "link.txt", "hard.txt"):
        assert f"skipped {tmp_path / name}: it is the same text as {tmp_path / 'a.txt'}" in caplog.text


def test_a_large_text_that_is_there_twice_is_read_once(corpus, tmp_path, caplog):
    large = "".join(f"{number}\r\n" for number in range(1_000_000))
    write(tmp_path / "a.txt", large)
    write(tmp_path / "b.txt.gz", gzip.compress(large.replace("\r", "").encode(), 1))
    assert read(corpus, tmp_path) == [large.replace("\r", "")]
    assert "it is the same text as" in caplog.text


def test_names_that_are_not_utf8_are_read_and_shown_as_escapes(corpus, tmp_path, caplog):
    folder = os.fsencode(tmp_path)
    for name, content in ((b"caf\xe9.txt", FRENCH.encode()), (b"two\nlines\xe9.txt", b"\0"), (b"x\xe9.png", b"")):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(content)
    assert read(corpus, tmp_path) == [FRENCH]
    assert read(corpus, f"{tmp_path}/*.txt") == [FRENCH]
    assert "two\\nlines\\udce9.txt" in caplog.text
    caplog.text.encode()
    for name in (b"two\nlines\xe9.txt", b"gone\xe9\n.txt", b"gone\xe9*\n.txt"):
        error(corpus, os.fsdecode(folder + b"/" + name)).encode()
    assert corpus.fingerprint(CorpusSpec.parse(f"files:{tmp_path}"))


def test_the_cache_key_follows_what_may_be_read_and_what_replaces_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt", "one")
    keys = [files_digest([path])]
    assert files_digest([path]) == keys[0]
    times = os.stat(path)
    write(tmp_path / "new", "two")
    os.utime(tmp_path / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(tmp_path / "new", path)
    keys.append(files_digest([path]))
    monkeypatch.setattr(os, "access", lambda *_: False)
    keys.append(files_digest([path]))
    path.unlink()
    keys.append(files_digest([path]))
    assert len(set(keys)) == 4


def test_errors_is_checked(corpus, tmp_path):
    with pytest.raises(CorpusError, match="errors is one of strict, replace, ignore"):
        read(corpus, f"{write(tmp_path / 'a.txt', 'a')}?errors=maybe")
