"""Opening a run's text: what its loaders warned of is said every time, and corpora may be spelled otherwise."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from charrnn.errors import VocabularyError
from charrnn.text import opening
from charrnn.text.opening import open_text
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore
from charrnn.text.vocab import Vocabulary
from tests.conftest import make_text

PLUGIN = """
import logging
import charrnn

@charrnn.hookimpl
def register_corpora(register):
    register("poems", poems)

def poems(argument):
    "poems:FOLDER, all of it."
    logging.warning("nameless")
    logging.getLogger("poems.deep").warning("of %s,\\nof two lines", argument)
    logging.getLogger("poems").info("not worth keeping")
    logging.getLogger("somebody.else").warning("a library's")
    logging.getLogger("poems").warning("wrong %d", "format") if argument == "wrong" else None
    yield "text " * 500
"""


def opened(*specs: str, run_dir: str = "run", plugins: tuple[str, ...] = ()) -> TokenStore:
    return open_text([specs, [], []], Corpora(plugins), Path(run_dir), None)


def said(caplog: pytest.LogCaptureFixture, *specs: str, **options: object) -> list[str]:
    """What is warned of while a text is opened."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        opened(*specs, **options)  # type: ignore[arg-type]
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def books() -> None:
    """A folder with a text, one of a guessed encoding, and one that is none."""
    folder = Path("books")
    folder.mkdir()
    (folder / "a.txt").write_text(make_text(2_000))
    (folder / "b.txt").write_bytes("Die Straße ist schön, die Bäume blühen. ".encode("latin-1") * 50)
    (folder / "c.txt").write_bytes(b"\0" * 100)


@pytest.mark.usefixtures("books")
def test_what_was_said_at_the_building_is_said_at_every_opening(caplog: pytest.LogCaptureFixture) -> None:
    first = said(caplog, "files:books")
    assert len(first) == 2
    assert "not UTF-8, read as" in first[0]
    assert "skipped books/c.txt" in first[1]
    assert said(caplog, "files:books") == first
    assert said(caplog, "files:books", run_dir="another") == first


@pytest.mark.usefixtures("books")
def test_a_process_that_says_nothing_keeps_what_the_main_one_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("charrnn_plugins")
    before = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    try:
        caplog.clear()
        opened("files:books")
        assert [record for record in caplog.records if record.name.startswith("charrnn_plugins")] == []
        assert (logger.level, logger.propagate) == (logging.ERROR, before[1])
    finally:
        logger.setLevel(before[0])
    assert len(said(caplog, "files:books")) == 2


def test_a_strangers_warnings_are_kept_and_a_librarys_are_not(caplog: pytest.LogCaptureFixture) -> None:
    Path("poems.py").write_text(PLUGIN)
    first = said(caplog, "poems:mine", plugins=("poems",))
    assert len(first) == 3
    assert said(caplog, "poems:mine", plugins=("poems",)) == ["nameless", "of mine, of two lines"]


def test_a_wrong_format_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("poems.py").write_text(PLUGIN)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        assert opened("poems:wrong", plugins=("poems",)).warnings == ("nameless", "of wrong, of two lines")


def test_a_thousand_warnings_are_a_hundred_and_a_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_WARNINGS", 3)
    Path("books").mkdir()
    Path("books/z.txt").write_text(make_text(1_000))
    for number in range(10):
        Path(f"books/{number}.txt").write_bytes(b"\0")
    assert len(said(caplog, "files:books")) == 10
    assert said(caplog, "files:books")[3:] == ["and 7 warnings more, which were said when the text was read"]


@pytest.mark.usefixtures("books")
def test_handlers_are_given_back() -> None:
    before = list(logging.getLogger("charrnn_plugins").handlers), list(logging.getLogger().handlers)
    opened("files:books")
    assert (logging.getLogger("charrnn_plugins").handlers, logging.getLogger().handlers) == before


# The same corpora in other words.


def test_a_store_of_a_run_is_that_of_its_corpora_alone() -> None:
    Path("word.py").write_text(
        "import charrnn\n"
        "@charrnn.hookimpl\n"
        "def register_corpora(register):\n    register('word', word)\n"
        "def word(argument):\n    'word:WORD, many times.'\n    yield f'{argument.strip()} ' * 500\n"
    )
    first = opened("word:one", plugins=("word",))
    same = opened("word: one", plugins=("word",))
    other = opened("word:two", plugins=("word",))
    assert first.digest == same.digest != other.digest
    assert len({first.folder, same.folder, other.folder}) == 3
    assert opened("word:one", plugins=("word",)).folder == first.folder == Path("run/store").absolute()


def test_a_run_that_keeps_its_text_reads_a_respelled_one_from_the_cache() -> None:
    Path("a.txt").write_text(make_text(2_000))
    Path("run").mkdir()
    first = opened("files:a.txt")
    os.rename(first.folder, "run/store")
    assert opened("files:a.txt").folder == Path("run/store").absolute()
    respelled = opened(f"files:{Path('a.txt').absolute()}")
    assert respelled.folder != Path("run/store").absolute()
    assert respelled.digest == first.digest


def test_a_vocabulary_that_grew_has_a_store_of_its_own() -> None:
    Path("a.txt").write_text("badge " * 100)
    specs, corpora, run_dir = [["files:a.txt"], [], []], Corpora(), Path("run")
    grown = open_text(specs, corpora, run_dir, Vocabulary("bx"), grow=True)
    assert grown.vocab == Vocabulary(" abdegx")
    assert open_text(specs, corpora, run_dir, Vocabulary("bx"), grow=True).folder == grown.folder
    assert open_text(specs, corpora, run_dir, Vocabulary("by"), grow=True).vocab == Vocabulary(" abdegy")
    with pytest.raises(VocabularyError, match="'a'"):
        open_text(specs, corpora, run_dir, Vocabulary("bx"))
