"""The corpus `hf:`: which files and which column are read, each value as it stands, and what is said of the rest."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.test_hf import HUB, NOWHERE, Reader, environment, reader

SENTENCES = [f"the evening was quiet and nobody came to the door number {number}" for number in range(20)]
JAPANESE = [f"夕方から雨が降り始めたので、家にいた{number}" for number in range(9)]


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Iterator[Reader]:
    with reader(tmp_path_factory.mktemp("hf")) as process:
        yield process


def fill(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def jsonl(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(*header: str, sign: str = ",", texts: Iterable[str] = SENTENCES) -> str:
    """Two columns, a number and a text."""
    rows = [sign.join(header)] if header else []
    return "\n".join([*rows, *(f"{number}{sign}{text}" for number, text in enumerate(texts, 1))]) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("t.csv", table("id", "text"), ""),
        ("t.csv", table("id", "text", sign=";"), ""),
        ("t.csv", table("id", "text", sign="\t"), ""),
        ("t.csv", table("id", "text", sign="|"), ""),
        ("t.tsv", table("id", "text", sign="\t"), ""),
        ("T.CSV", table("id", "text"), ""),
        ("t.csv.gz", gzip.compress(table("id", "text").encode()), ""),
        ("t.csv", gzip.compress(table("id", "text").encode()), ""),
        ("t.csv", table("id", "text").replace("\n", "\r\n").encode("utf-8-sig"), ""),
        ("t.csv", table("id", "text", sign="\t").encode("utf-16"), ""),
        ("t.csv", table("id", "text", sign="\t").encode("utf-16-le"), ""),
        ("t.csv", table("id", "text", sign=";"), "?delimiter=%3B"),
        ("t.csv", table("id", "text", sign=";"), "?delimiter=semicolon"),
        ("t.csv", table("id", "text", sign="^"), "?delimiter=^"),
        ("t.csv", table(), ""),
        ("t.csv", table(sign=";"), ""),
        ("t.csv", table("no", "1 of them"), "?header=true"),
        ("t.csv", "\n".join(SENTENCES), ""),
        ("t.csv", "sentence\n" + "\n".join(SENTENCES), ""),
        ("t.jsonl", jsonl({"id": f"a{n}", "body": text} for n, text in enumerate(SENTENCES)), ""),
        ("t.JSON", json.dumps([{"body": text} for text in SENTENCES], indent=1), ""),
        ("t.json", json.dumps({"version": 1, "data": [{"body": text} for text in SENTENCES]}), ""),
        ("t.json", json.dumps({"body": SENTENCES, "n": list(range(20))}), ""),
    ],
)
def test_every_row_of_a_table_is_read_whatever_its_layout(local, tmp_path, name, content, options):
    answer = local(f"hf:{fill(tmp_path, {name: content})}{options}")
    assert answer["error"] == ""
    assert answer["documents"] == SENTENCES


def test_a_first_line_that_is_no_header_is_said(local, tmp_path):
    answer = local(f"hf:{fill(tmp_path, {'t.csv': table()})}")
    assert any("its first line is read as a row" in notice for notice in answer["notices"])
    assert local(f"hf:{tmp_path}?header=true")["documents"] == SENTENCES[1:]
    assert not any("first line" in notice for notice in local(f"hf:{tmp_path}?header=false")["notices"])


def test_commas_are_kept_where_another_sign_delimits(local, tmp_path):
    texts = [f"{text}, or so, it seemed" for text in SENTENCES]
    fill(tmp_path, {"t.csv": table("id", "text", sign=";", texts=texts)})
    assert local(f"hf:{tmp_path}")["documents"] == texts


RAIN = [f"Rain again, so we stayed in and read, number {number}" for number in range(1, 81)]


def test_rows_with_more_fields_than_the_header_are_refused_with_advice_that_works(local, tmp_path):
    fill(tmp_path, {"t.csv": "text,likes\n" + "".join(f"{text},3\n" for text in RAIN)})
    error = local(f"hf:{tmp_path}")["error"]
    assert "t.csv: line 2 has 4 fields, and there are 2 columns (text, likes): put texts that hold a comma in" in error
    assert local(f"hf:{tmp_path}?delimiter=tab&header=false")["documents"][1:] == [f"{text},3" for text in RAIN]
    fill(tmp_path, {"t.csv": "text,likes\n" + "".join(f'"{text}",3\n' for text in RAIN)})
    assert local(f"hf:{tmp_path}")["documents"] == RAIN


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("text\n" + "\n".join(RAIN), "line 2 has 3 fields, and there are 1 columns"),
        (f"text,n,m\n{SENTENCES[0]},1,2\nonly\n", "line 3 has 1 field, and there are 3 columns"),
        (f"text,n\n{SENTENCES[0]},1\n{RAIN[0]},1\n", "line 3 has 4 fields"),
        (f'text,n\n"Yes," he said,1\n{SENTENCES[0]},2\n', "line 2: a quotation mark"),
        (f'text,n\n{SENTENCES[0]},2\n"never closed,1\n', "line 3: a quotation mark"),
        ("text,text\n1,2\n", "names a column twice"),
        (b"text,n\ncaf\xe9 au lait,1\n", "is not UTF-8: add ?encoding=NAME"),
        (b"text,n\n" + "café,1\n".encode() * 9 + b"\xe9,1\n", "line 11 holds b'\\xe9'"),
        (b"PK\3\4", "t.csv: is damaged"),
    ],
)
def test_a_broken_csv_is_named_with_its_line(local, tmp_path, content, problem):
    assert problem in local(f"hf:{fill(tmp_path, {'t.csv': content})}?column=text")["error"]


def test_only_an_empty_field_is_missing(local, tmp_path):
    words = ["NA", "None", "nan", "null", "NULL", "#N/A", "-", "0", " ", "N/A"]
    content = "text,n\n" + "".join(f"{word},1\n" for word in words) + ',1\n"",1\n' + f"{SENTENCES[0]},1\n"
    answer = local(f"hf:{fill(tmp_path, {'t.csv': content})}")
    assert answer["documents"] == [*words, SENTENCES[0]]
    assert any("left out 2 rows without a text in column text" in notice for notice in answer["notices"])


def test_a_field_keeps_its_lines_and_quotation_marks(local, tmp_path):
    content = f'text,n\n"{SENTENCES[0]}\n\n""second"" line",1\n{SENTENCES[1]},2,\n'
    answer = local(f"hf:{fill(tmp_path, {'t.csv': content})}")
    assert answer["documents"] == [f'{SENTENCES[0]}\n\n"second" line', SENTENCES[1]]


def test_files_of_other_columns_are_refused_and_of_another_order_read(local, tmp_path):
    fill(tmp_path, {"a.csv": f"text,n\n{SENTENCES[0]},1\n", "b.csv": f"n,text\n2,{SENTENCES[1]}\n"})
    assert local(f"hf:{tmp_path}")["documents"] == SENTENCES[:2]
    fill(tmp_path, {"c.csv": f"x,y\n2,{SENTENCES[1]}\n"})
    assert "c.csv: has the columns x, y, and files before it text, n" in local(f"hf:{tmp_path}")["error"]


@pytest.mark.parametrize(
    ("names", "read", "said"),
    [
        (["chapter1.txt", "the-test-of-time.txt", "training-days.txt"], [0, 1, 2], ""),
        (["dev-diary.txt", "valid.reasons.txt"], [0, 1], ""),
        (["train.txt", "test.txt"], [0], "the split test (1): test.txt"),
        (["train.txt", "dev.txt", "eval.txt"], [0], "the split validation (1): dev.txt"),
        (["tales_train.txt", "tales_test.txt"], [0], "the split test (1): tales_test.txt"),
        (["train/a.txt", "train/b.txt", "test/a.txt"], [0, 1], "the split test (1): test/a.txt"),
        (["train-00000-of-00002.txt", "train-00001-of-00002.txt", "test-00000-of-00001.txt"], [0, 1], "split test (1)"),
        (["train.txt", "notes.txt"], [0], "left out 1 whose names are no split's: notes.txt"),
        (["chapter1.txt", "test.txt"], [0], "the split test (1): test.txt"),
        (["B.TXT", "C.Txt", "a.txt"], [0, 1, 2], ""),
        (["a.txt", "b.txt", "t.csv"], [0, 1], "read 2 files of text, left out 1: t.csv: add ?data_files=*.csv"),
        (["a.txt", "b.log", "c.xml", ".hidden.txt"], [0], "read 1 files of text, left out 2: b.log, c.xml"),
        (["a.txt", "README.md", "LICENSE.txt"], [0], ""),
    ],
)
def test_what_is_read_of_a_folder_is_what_is_said(local, tmp_path, names, read, said):
    fill(tmp_path, {name: f"{name}\n" for name in names})
    answer = local(f"hf:{tmp_path}")
    assert answer["documents"] == [f"{names[number]}\n" for number in read]
    assert said in " ".join(answer["notices"])
    assert said or not answer["notices"]


def test_a_folder_of_two_halves_asks_and_its_advice_works(local, tmp_path):
    fill(tmp_path, {"a.txt": "line\n", "t.csv": table("id", "text")})
    assert "add ?data_files=*.txt or ?data_files=*.csv" in local(f"hf:{tmp_path}")["error"]
    assert local(f"hf:{tmp_path}?data_files=*.csv")["documents"] == SENTENCES
    assert local(f"hf:{tmp_path}?data_files=*.txt")["documents"] == ["line\n"]


def test_parts_of_splits_can_be_taken(local, tmp_path):
    fill(tmp_path, {"train.txt": "a\nb\nc\nd\n", "test.txt": "x\ny\n"})
    assert local(f"hf:{tmp_path}?split=train[:50%25]%2Btest[1:]")["documents"] == ["a\n", "b\n", "y\n"]
    assert "is no part of a split" in local(f"hf:{tmp_path}?split=train[oops]")["error"]
    assert "no split 'nope[:1]': add ?split=NAME, one of train, test" in local(f"hf:{tmp_path}?split=nope[:1]")["error"]


TURNS = [{"id": f"a{n}", "turns": [{"role": "user", "content": text}]} for n, text in enumerate(SENTENCES)]
PAIRS = [{"translation": {"en": text, "fr": text.upper()}} for text in SENTENCES]


@pytest.mark.parametrize(
    ("rows", "options", "documents"),
    [
        (TURNS, "?column=turns.content", SENTENCES),
        ([{"turns": [text, "yes"]} for text in SENTENCES], "?column=turns", [f"{text}\nyes" for text in SENTENCES]),
        (PAIRS, "?column=translation.en", SENTENCES),
        ([{"a.b": text, "a": {"b": "no"}} for text in SENTENCES], "?column=a.b", SENTENCES),
        ([{"id": f"x{n}", "honbun": text} for n, text in enumerate(JAPANESE)], "", JAPANESE),
        ([{"url": f"https://a.org/{n}", "body": text} for n, text in enumerate(SENTENCES)], "", SENTENCES),
        ([{"text": str(n), "body": text} for n, text in enumerate(SENTENCES)], "", SENTENCES),
        ([{"text": text, "summary": text.upper()} for text in SENTENCES], "", SENTENCES),
        ([{"text": "ä"}, {"text": "b"}], "", ["ä", "b"]),
    ],
)
def test_the_column_that_is_asked_for_or_reads_like_text_is_read(local, tmp_path, rows, options, documents):
    answer = local(f"hf:{fill(tmp_path, {'t.jsonl': jsonl(rows)})}{options}")
    assert answer["error"] == ""
    assert answer["documents"] == documents


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        (TURNS, "", "add ?column=NAME, one of id, turns.role, turns.content (id: 'a0'; turns.role: 'user'; turns.con"),
        (TURNS, "?column=turns", "has no column of strings 'turns': add ?column=NAME, one of id, turns.role, turns"),
        (
            PAIRS,
            "",
            "has texts only within other columns: add ?column=NAME, one of translation.en, translation.fr (tra",
        ),
        (
            [{"url": f"https://a.org/{n}"} for n in range(9)],
            "",
            "which does not read like text: add ?column=NAME, one of",
        ),
        ([{"id": f"0a1b2c3d4e5f{n}"} for n in range(9)], "", "does not read like text"),
        ([{"label": "a very long label it is"} for _ in range(30)], "", "does not read like text"),
        (
            [{"q": text, "a": text.upper()} for text in SENTENCES],
            "",
            "has several columns of strings: add ?column=NAME",
        ),
        ([{"n": 1}], "", "has no column of strings: its columns are n"),
        ([{"n": 1}], "?column=n", "has no column of strings"),
    ],
)
def test_columns_are_listed_with_an_example_each_where_none_reads_like_text(local, tmp_path, rows, options, problem):
    assert problem in local(f"hf:{fill(tmp_path, {'t.jsonl': jsonl(rows)})}{options}")["error"]


def test_rows_of_another_type_are_counted_and_said(local, tmp_path):
    rows = [{"text": SENTENCES[0]}, {"text": 5}, {"text": None}, {"other": 1}, {"text": {"a": 1}}]
    answer = local(f"hf:{fill(tmp_path, {'t.jsonl': jsonl(rows)})}")
    assert answer["documents"] == SENTENCES[:1]
    notices = " ".join(answer["notices"])
    assert "left out 2 rows without a text in column text" in notices
    assert "left out 2 rows whose text is no text, such as the int '5'" in notices


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.txt": ""}, "has no rows: it is empty"),
        ({"a.csv": ""}, "has no rows"),
        ({"a.csv": "text,n\n"}, "has no rows"),
        ({"a.jsonl": ""}, "has no rows"),
        ({"a.json": "[]"}, "has no rows"),
        ({"a.parquet": ""}, "a.parquet: is empty"),
        ({"a.parquet": "PAR1junk"}, "a.parquet: is cut or no Parquet file"),
        ({"a.xml": "<a/>", "b.xml": "<b/>"}, "of .xml (2) nothing is a data file"),
        ({"a.jsonl": '{"text": "a"}\n{oops\n'}, "a.jsonl: line 2 is not JSON"),
        ({"a.json": "[1,"}, "a.json: the file is not JSON"),
        ({"a.txt": "a\n" * 900_000 + "\0"}, "a.txt: is not text: it holds NUL bytes"),
        ({"a.txt": b"\x89PNG\r\n\x1a\n\0"}, "a.txt: is a PNG image"),
        ({"a.txt": "naïve\ncafé\n".encode() + b"\xe9\n"}, "line 3 holds b'\\xe9'"),
    ],
)
def test_what_cannot_be_read_is_an_error_in_our_words(local, tmp_path, files, problem):
    assert problem in local(f"hf:{fill(tmp_path, files)}")["error"]


def test_saved_sets_without_rows_or_text_are_errors_in_our_words(local, tmp_path):
    program = f"""
from datasets import Dataset
Dataset.from_dict({{"text": []}}).save_to_disk({str(tmp_path / "empty")!r})
Dataset.from_dict({{"id": ["a1"], "turns": [[{{"c": "one two three"}}]]}}).save_to_disk({str(tmp_path / "nested")!r})
"""
    subprocess.run([sys.executable, "-c", program], env=environment(tmp_path / "hf"), check=True)
    assert "was saved without rows" in local(f"hf:{tmp_path}/empty")["error"]
    assert "add ?column=NAME, one of id, turns.c" in local(f"hf:{tmp_path}/nested")["error"]
    assert local(f"hf:{tmp_path}/nested?column=turns.c")["documents"] == ["one two three"]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "iso2022_jp"])
def test_text_files_in_encodings_that_show_are_read(local, tmp_path, codec):
    text = "".join(f"{line}\n" for line in JAPANESE)
    assert local.text(f"hf:{fill(tmp_path, {'a.txt': text.encode(codec)})}") == text


def test_damage_is_replaced_where_that_is_asked_for(local, tmp_path):
    fill(tmp_path, {"a.txt": "café".encode() + b" \xe9t\n"})
    answer = local(f"hf:{tmp_path}?errors=replace")
    assert answer["documents"] == ["café \ufffdt\n"]
    assert sum("stand as U+FFFD" in notice for notice in answer["notices"]) == 1


def test_files_outside_of_the_folder_are_read_and_watched(local, tmp_path):
    fill(tmp_path, {"in/x.txt": "x\n", "out/a.txt": "one\n"})
    spec = f"hf:{tmp_path}/in?data_files=../out/a.txt"
    first = local(spec)
    assert first["documents"] == ["one\n"]
    (tmp_path / "out/a.txt").write_text("two\n")
    os.utime(tmp_path / "out/a.txt", ns=(0, 0))
    second = local(spec)
    assert second["documents"] == ["two\n"]
    assert first["key"] != second["key"]


def test_names_that_are_not_utf8_are_read_and_shown_as_escapes(tmp_path):
    from charrnn.errors import CorpusError
    from charrnn.text.corpus import CorpusSpec
    from charrnn.text.plugins import Corpora

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    path.write_text(table("id", "text"))
    spec = CorpusSpec.parse(f"hf:{tmp_path}")
    corpus = Corpora().find(spec)
    assert ["".join(document) for document in corpus.documents(spec)] == SENTENCES
    assert corpus.fingerprint(spec)
    path.write_bytes(b"\0\0\1")
    with pytest.raises(CorpusError, match="udce9") as caught:
        list(corpus.documents(spec))
    str(caught.value).encode()


@pytest.mark.parametrize("options", ["?delimiter=ab", "?header=maybe", "?errors=maybe"])
def test_options_of_tables_are_checked(local, tmp_path, options):
    error = local(f"hf:{fill(tmp_path, {'t.csv': table()})}{options}")["error"]
    assert options.strip("?").split("=")[0] in error


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory) -> Iterator[str]:
    """A hub with a CSV data set and one of texts of which two have a split's name."""
    if not HUB.exists():
        pytest.skip("no loopback hub beside this checkout")
    repositories = tmp_path_factory.mktemp("repositories")
    fill(repositories / "me/table", {"data/train.csv": table("id", "text", sign=";"), "data/test.csv": table()})
    fill(repositories / "me/books", {"chapter1.txt": "one\n", "training-days.txt": "two\n"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, HUB / "serve.py", str(port), repositories]) as server:
        try:
            for _ in range(500):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.mark.slow
def test_csv_of_the_hub_is_read_as_that_of_a_folder_also_without_the_hub(endpoint, tmp_path):
    with reader(tmp_path / "home", HF_ENDPOINT=endpoint) as online:
        known = online("hf:me/table")
        assert (known["documents"], known["error"]) == (SENTENCES, "")
        assert online("hf:me/table?split=test")["documents"] == SENTENCES
    with reader(tmp_path / "home", HF_ENDPOINT=NOWHERE) as offline:
        answer = offline("hf:me/table")
        assert answer["documents"] == SENTENCES
        assert answer["key"] == known["key"]
    with reader(tmp_path / "other", HF_ENDPOINT=endpoint) as streaming:
        assert streaming("hf:me/table?streaming=true")["documents"] == SENTENCES
    shutil.rmtree(tmp_path / "other")


def test_files_of_the_hub_that_are_left_out_for_their_names_are_said(endpoint, tmp_path):
    with reader(tmp_path, HF_ENDPOINT=endpoint) as online:
        answer = online("hf:me/books")
        assert answer["documents"] == ["two\n"]
        assert any("left out 1 data files" in notice and "chapter1.txt" in notice for notice in answer["notices"])
        assert online("hf:me/books?data_files=*.txt")["documents"] == ["one\n", "two\n"]
