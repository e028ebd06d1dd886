"""The corpus `python:`: where sources are found without an import, how they are read, what cannot be."""

from __future__ import annotations

import importlib
import json
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, CorpusSpec
from charrnn.text.plugins import Corpora


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpora().find(CorpusSpec.parse("python:any"))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package whose import would be a mistake: its code raises."""
    folder = tmp_path / "teapot"
    (folder / "tests").mkdir(parents=True)
    (folder / "sub").mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder / "tests" / "test_pot.py").write_text("assert True\n")
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "sub" / "spout.py").write_bytes("# coding: latin-1\nname = 'Théière'\r\n".encode("latin-1"))
    (folder / "data.txt").write_text("no source")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def read(corpus: Corpus, argument: str) -> list[str]:
    return ["".join(document) for document in corpus.documents(CorpusSpec.parse(f"python:{argument}"))]


def test_the_standard_library_is_read_without_tests_and_strangers(corpus):
    library = Path(sysconfig.get_path("stdlib"))
    documents = set(read(corpus, "stdlib"))
    assert sum(map(len, documents)) > 5_000_000
    for name in ("os.py", "json/decoder.py", "unittest/case.py"):
        assert (library / name).read_text(encoding="utf-8") in documents
    assert Path(pytest.__file__).read_text(encoding="utf-8") not in documents
    for tests in [*library.glob("test/test_json/test_decode.py"), *library.glob("idlelib/idle_test/test_run.py")]:
        assert tests.read_text(encoding="utf-8") not in documents


@pytest.mark.usefixtures("package")
def test_a_package_is_read_in_sorted_order_by_its_declared_encodings_and_not_imported(corpus):
    imported = "raise SystemExit('imported')\n"
    spout = "# coding: latin-1\nname = 'Théière'\n"
    assert read(corpus, "teapot") == [imported, "", spout, "assert True\n"]
    assert read(corpus, "teapot.sub") == ["", spout]
    assert read(corpus, "teapot.sub.spout") == [spout]
    assert "teapot" not in sys.modules


def test_modules_of_one_file_and_frozen_ones_are_found(corpus):
    assert read(corpus, "os") == [Path(os.__file__).read_text(encoding="utf-8")]
    assert read(corpus, "json.decoder") == [Path(json.decoder.__file__).read_text(encoding="utf-8")]


def test_a_package_spread_over_folders_is_read_whole(corpus, tmp_path, monkeypatch):
    for place in ("one", "two"):
        (tmp_path / place / "spread").mkdir(parents=True)
        (tmp_path / place / "spread" / f"{place}.py").write_text(place)
        monkeypatch.syspath_prepend(tmp_path / place)
    assert sorted(read(corpus, "spread")) == ["one", "two"]


@pytest.mark.parametrize("content", [b"# coding: klingon\n", b"# coding: utf-8\n'\xff'\n"])
def test_undecodable_sources_are_named_and_skipped(corpus, package, caplog, content):
    (package / "sub" / "broken.py").write_bytes(content)
    assert len(read(corpus, "teapot")) == 4
    assert [record.levelname for record in caplog.records if "broken.py" in record.message] == ["WARNING"]


def test_dangling_links_are_named_and_skipped(corpus, package, caplog):
    (package / "gone.py").symlink_to("nowhere")
    assert corpus.fingerprint(CorpusSpec.parse("python:teapot"))
    assert len(read(corpus, "teapot")) == 4
    assert "gone.py" in caplog.text


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("no_such_package_anywhere", "no module no_such_package_anywhere is installed here: pip install it"),
        ("json.no_such_module", "has no .py files here: name another"),
        ("os.path", "has no .py files here"),
        ("sys", "has no .py files here"),
        ("specless", "no module specless is installed"),
        ("scikit-learn", "write a name as it is imported, such as python:sklearn"),
        ("../secrets", "write a name as it is imported"),
        ("", "write a name as it is imported"),
    ],
)
def test_what_has_no_sources_is_an_error_that_says_what_to_do(corpus, monkeypatch, argument, message):
    monkeypatch.setitem(sys.modules, "specless", ModuleType("specless"))
    with pytest.raises(CorpusError, match=message):
        read(corpus, argument)


def test_the_cache_key_follows_the_sources(corpus, package):
    def key() -> str | None:
        importlib.invalidate_caches()
        return corpus.fingerprint(CorpusSpec.parse("python:teapot"))

    keys = [key()]
    assert key() == keys[0]
    (package / "sub" / "spout.py").write_text("changed")
    keys.append(key())
    (package / "new.py").write_text("")
    keys.append(key())
    assert len(set(keys)) == 3
