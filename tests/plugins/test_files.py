"""The corpus `files:`: which files it takes, how it decodes them, and what it says about those it cannot read."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import os
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, CorpusSpec
from charrnn.text.plugins import Corpora

MIB = 1 << 20
PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}
FRENCH = (
    "Le garçon a mangé une pâtisserie à Noël ; où est l'élève ? « Ça va très bien », dit-il. Déjà vu, n'est-ce pas.\n"
)
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpora().find(CorpusSpec.parse("files:any"))


def read(corpus: Corpus, spec: object) -> list[str]:
    return ["".join(document) for document in corpus.documents(CorpusSpec.parse(f"files:{spec}"))]


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_folder_gives_its_texts_in_sorted_order_and_says_what_it_leaves_out(corpus, tmp_path, caplog):
    for name in ("b.md", "a/z.text", "a/y.txt.gz", "C.TXT"):
        write(tmp_path / name, gzip.compress(name.encode()) if name.endswith(".gz") else name)
    write(tmp_path / "picture.png", b"\0\1")
    write(tmp_path / ".git/notes.txt", "hidden")
    caplog.set_level(logging.INFO)
    assert read(corpus, tmp_path) == ["C.TXT", "a/y.txt.gz", "a/z.text", "b.md"]
    assert "left out 1 files" in caplog.text
    assert ".png" in caplog.text


def test_a_glob_takes_every_text_it_matches(corpus, tmp_path):
    for name in ("a1.html", "a2.html", "deep/er/a3.html", "deep/b.html", ".hidden/a4.html"):
        write(tmp_path / name, name)
    assert read(corpus, f"{tmp_path}/a?.html") == ["a1.html", "a2.html"]
    assert read(corpus, f"{tmp_path}/**/a*.html?encoding=utf-8") == ["a1.html", "a2.html", "deep/er/a3.html"]
    assert read(corpus, f"{tmp_path}/deep/**") == ["deep/b.html", "deep/er/a3.html"]
    assert read(corpus, f"{tmp_path}/.hid*/*") == [".hidden/a4.html"]


def test_a_name_that_exists_is_no_glob(corpus, tmp_path):
    write(tmp_path / "what [1].txt", "brackets")
    write(tmp_path / "what 1.txt", "none")
    assert read(corpus, tmp_path / "what [1].txt") == ["brackets"]


def test_the_home_folder_is_expanded(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "my.txt", "mine")
    assert read(corpus, "~/my.txt") == read(corpus, "~/*.txt") == ["mine"]


def test_an_empty_file_is_an_empty_document(corpus, tmp_path):
    assert read(corpus, write(tmp_path / "empty.txt", "")) == [""]


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_files_are_unpacked_also_when_joined_of_several(corpus, tmp_path, suffix):
    pack = PACK[suffix]
    path = write(tmp_path / f"a.txt.{suffix}", pack(b"one\r") + pack(b"\ntwo ") + pack("drei für".encode()))
    assert read(corpus, path) == ["one\ntwo drei für"]
    path = write(tmp_path / f"b.txt.{suffix}", pack(b"a" * (MIB // 2)) + pack("é".encode("latin-1") + b"b" * 2 * MIB))
    assert read(corpus, path) == ["a" * (MIB // 2) + "é" + "b" * 2 * MIB]


@pytest.mark.parametrize("suffix", PACK)
def test_a_damaged_compressed_file_is_an_error(corpus, tmp_path, suffix):
    text = os.urandom(100_000).hex()
    cut = write(tmp_path / f"cut.txt.{suffix}", PACK[suffix](text.encode())[:-1000])
    with pytest.raises(CorpusError, match=r"cut\.txt.* is damaged"):
        read(corpus, cut)
    other = write(tmp_path / f"other.txt.{suffix}", "this was never compressed")
    with pytest.raises(CorpusError, match=r"other\.txt"):
        read(corpus, other)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_recognised_and_its_mark_removed(corpus, tmp_path, codec):
    assert read(corpus, write(tmp_path / "a.txt", "naïve\r\n日本".encode(codec))) == ["naïve\n日本"]


@pytest.mark.parametrize(("text", "codec"), [(FRENCH, "latin-1"), (RUSSIAN, "koi8-r"), (RUSSIAN, "cp1251")])
def test_other_encodings_are_recognised_each_file_for_itself_and_said(corpus, tmp_path, caplog, text, codec):
    texts = [text * number for number in (20, 21, 22)]  # each another, for the same text is read once
    write(tmp_path / "a.txt", texts[0].encode(codec))
    write(tmp_path / "b.txt", texts[1].encode())
    write(tmp_path / "c.txt", texts[2].encode("utf-16"))
    assert read(corpus, tmp_path) == texts
    assert [record.levelname for record in caplog.records if "a.txt: not UTF-8" in record.message] == ["WARNING"]
    assert "b.txt" not in caplog.text


def test_an_encoding_can_be_named(corpus, tmp_path, caplog):
    path = write(tmp_path / "a.txt", "ÿþ œuvre".encode("cp1252"))
    assert read(corpus, f"{path}?encoding=cp1252") == ["ÿþ œuvre"]
    assert not caplog.records
    path = write(tmp_path / "b.txt", "no mark".encode("utf-16-be"))
    assert read(corpus, f"{path}?encoding=utf-16-be") == ["no mark"]


@pytest.mark.parametrize("name", ["klingon", "rot13", "hex", "a%00b"])
def test_an_unknown_encoding_is_an_error(corpus, tmp_path, name):
    with pytest.raises(CorpusError, match="no text encoding is called"):
        read(corpus, f"{write(tmp_path / 'a.txt', 'a')}?encoding={name}")


@pytest.mark.parametrize("position", [0, 5, MIB - 1, MIB, 2 * MIB])
def test_a_byte_that_is_not_utf8_is_named_and_never_replaced(corpus, tmp_path, position):
    content = bytearray("ü".encode() + b"a" * (3 * MIB))
    content[2 + position] = 0xFF
    path = write(tmp_path / "late.txt", bytes(content))
    with pytest.raises(CorpusError, match=rf"late\.txt: byte {2 + position} is not utf-8: .*\?encoding="):
        read(corpus, path)


def test_a_letter_cut_off_at_the_end_is_named(corpus, tmp_path):
    with pytest.raises(CorpusError, match="byte 3 is not utf-8"):
        read(corpus, write(tmp_path / "cut.txt", "üaü".encode()[:-1]))


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.text(st.sampled_from("ab\r\nü日🙂"), max_size=6), max_size=6), size=st.integers(1, 6))
def test_line_ends_and_letters_survive_the_borders_of_blocks(corpus, tmp_path_factory, pieces, size):
    content = "".join(pieces).encode()
    path = write(tmp_path_factory.getbasetemp() / "borders.txt", content)
    with patch("charrnn_plugins.files._BLOCK", size):
        assert read(corpus, f"{path}?encoding=utf-8") == [io.TextIOWrapper(io.BytesIO(content), "utf-8").read()]


def test_a_line_end_across_the_border_of_a_plain_files_block(corpus, tmp_path):
    path = write(tmp_path / "a.txt", b"a" * (MIB - 1) + b"\r\n" + b"b" * (MIB - 2) + b"\r" + b"c\r")
    assert read(corpus, path) == ["a" * (MIB - 1) + "\n" + "b" * (MIB - 2) + "\nc\n"]


def test_a_huge_line_is_read_in_bounded_memory(corpus, tmp_path):
    path = write(tmp_path / "line.txt", "ä".encode() * (32 * MIB))
    tracemalloc.start()
    try:
        length = sum(
            len(piece) for document in corpus.documents(CorpusSpec.parse(f"files:{path}")) for piece in document
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == 32 * MIB
    assert peak < 16 * MIB


@pytest.fixture
def trouble(tmp_path) -> dict[str, Path]:
    """A folder with one good text and one of each kind of path that is not a readable text."""
    folder = tmp_path / "trouble"
    write(folder / "good.txt", "good")
    os.mkfifo(folder / "fifo.txt")
    (folder / "dangling.txt").symlink_to("nowhere")
    (folder / "self.txt").symlink_to("self.txt")
    (folder / "sub").mkdir()
    (folder / "sub" / "loop").symlink_to(folder)
    write(folder / "binary.txt", b"MZ\0\0\xff")
    write(folder / "noise.txt", bytes(range(1, 256)) * 40)
    return {path.name: path for path in (*folder.glob("*.txt"), folder / "sub" / "loop")}


def test_what_cannot_be_read_in_a_folder_is_named_and_skipped(corpus, trouble, caplog):
    assert read(corpus, trouble["good.txt"].parent) == ["good"]
    skipped = [record.message for record in caplog.records if record.levelname == "WARNING"]
    for name in trouble.keys() - {"good.txt"}:
        assert sum(f"{trouble[name]}: " in message for message in skipped) == 1, (name, skipped)


def test_what_cannot_be_read_in_a_glob_is_named_and_skipped(corpus, trouble, caplog):
    assert read(corpus, trouble["good.txt"].parent / "**" / "*.txt") == ["good"]
    for name in trouble.keys() - {"good.txt", "loop"}:
        assert f"{trouble[name]}: " in caplog.text


@pytest.mark.parametrize("name", ["fifo.txt", "dangling.txt", "self.txt", "binary.txt", "noise.txt"])
def test_what_cannot_be_read_is_refused_when_it_is_named(corpus, trouble, name):
    with pytest.raises(CorpusError, match=name) as caught:
        read(corpus, trouble[name])
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission_are_skipped_in_a_folder(corpus, tmp_path, caplog):
    write(tmp_path / "good.txt", "good")
    write(tmp_path / "locked.txt", "locked").chmod(0)
    assert read(corpus, tmp_path) == ["good"]
    assert "locked.txt: cannot be read: Permission denied" in caplog.text


def test_a_folder_of_nothing_readable_is_an_error(corpus, tmp_path):
    write(tmp_path / "binary.txt", b"\0\0")
    with pytest.raises(CorpusError, match="none of the 1 files found can be read"):
        read(corpus, tmp_path)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "needs a path"),
        ("{}", "holds no .txt, .text or .md files: name others by a glob"),
        ("{}/missing.txt", "matches no file: check the path"),
        ("{}/*.txt", "matches no file"),
    ],
)
def test_nothing_found_is_an_error_that_says_what_to_do(corpus, tmp_path, argument, message):
    write(tmp_path / "page.html", "<p>")
    with pytest.raises(CorpusError, match=message):
        read(corpus, argument.format(tmp_path))


def test_the_size_is_told_where_it_is_that_of_the_files(corpus, tmp_path):
    write(tmp_path / "a.txt", "one")
    write(tmp_path / "b.md", "für")
    (tmp_path / "c.txt").symlink_to("nowhere")
    assert corpus.num_bytes(CorpusSpec.parse(f"files:{tmp_path}")) == 7
    assert corpus.num_bytes(CorpusSpec.parse(f"files:{tmp_path}?encoding=latin-1")) is None
    write(tmp_path / "d.txt.gz", gzip.compress(b"packed"))
    assert corpus.num_bytes(CorpusSpec.parse(f"files:{tmp_path}")) is None


def test_the_cache_key_follows_files_and_options(corpus, tmp_path):
    def key(options: str = "") -> str | None:
        return corpus.fingerprint(CorpusSpec.parse(f"files:{tmp_path}{options}"))

    write(tmp_path / "a.txt", "one")
    keys = [key(), key("?encoding=latin-1")]
    write(tmp_path / "a.txt", "longer")
    keys.append(key())
    os.utime(tmp_path / "a.txt", ns=(0, 0))
    keys.append(key())
    (tmp_path / "b.txt").symlink_to("nowhere")
    keys.append(key())
    assert key() == keys[-1]
    write(tmp_path / "unrelated.png", "")
    assert key() == keys[-1]
    assert len(set(keys)) == len(keys)
