"""Token stores: what is in them, and what is left behind when their building ends badly."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import termios
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charrnn.text.store_builder
from charrnn.errors import ConfigError, CorpusError, UserError, VocabularyError
from charrnn.text.store import TokenStore, fingerprint, open_or_build, open_store
from charrnn.text.store_builder import build_store
from charrnn.text.vocab import NormalForm, Vocabulary

PRINTABLE = "".join(map(chr, range(0x20, 0x7E)))
MANY = "".join(map(chr, range(0x100, 0x300)))
"""More characters than ids of 1 byte can number."""
SHAKESPEARE = Path(__file__).parents[3] / "shared" / "text" / "tinyshakespeare.txt"

any_character = st.characters(exclude_categories=())  # lone surrogates too
pieces = st.lists(st.text(any_character | st.sampled_from("ab\n"), max_size=8), max_size=4)
corpora = st.lists(st.lists(pieces, min_size=1, max_size=4), min_size=1, max_size=3)
blocks = st.sampled_from([4, charrnn.text.store_builder.BLOCK])  # so small that a short text has many, or as it is
fractions = st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: sum(pair) < 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for stores."""
    path = tmp_path / "stores"
    path.mkdir()
    return path


def build(folder: Path, *texts: str, **options: Any) -> TokenStore:
    """A store of texts, each a corpus of one document of one piece, in a folder called store."""
    sources = [(f"files:{index}", [[text]]) for index, text in enumerate(texts)]
    return build_store(folder / "store", sources, **options)


def texts(store: TokenStore) -> list[str]:
    return [store.vocab.decode(split) for split in (store.train, store.val, store.test)]


def left(folder: Path) -> set[str]:
    """What lies in a folder, but for the lock's file, which may stay."""
    return {path.name for path in folder.iterdir()} - {"store.lock"}


def joined(documents: Iterable[str]) -> str:
    """What documents should be joined to."""
    text = ""
    for document in filter(None, documents):
        text += "\n" * (bool(text) and not text.endswith("\n")) + document
    return text


def cut(texts: list[str], val: Fraction, test: Fraction) -> list[str]:
    """The training, validation and test text of corpora."""
    cuts = [(text, floor(len(text) * (1 - val - test)), floor(len(text) * (1 - test))) for text in texts]
    return [
        "".join(text[:val] for text, val, _ in cuts),
        "".join(text[val:test] for text, val, test in cuts),
        "".join(text[test:] for text, _, test in cuts),
    ]


@given(corpora, fractions, blocks)
@settings(deadline=None)
def test_no_character_is_lost_or_in_two_splits(
    documents: list[list[list[str]]], tenths: tuple[int, int], block: int
) -> None:
    wanted = [joined(map("".join, corpus)) for corpus in documents]
    wanted = [text + "\n" * (not text.endswith("\n")) for text in wanted[:-1]] + wanted[-1:]
    val, test = (Fraction(tenth, 10) for tenth in tenths)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(charrnn.text.store_builder, "BLOCK", block)
        sources = [(f"files:{index}", iter(corpus)) for index, corpus in enumerate(documents)]

        def build() -> TokenStore:
            where = Path(folder, "store")
            return build_store(where, sources, val_fraction=tenths[0] / 10, test_fraction=tenths[1] / 10)

        if not all(any(map(any, corpus)) for corpus in documents):
            with pytest.raises(CorpusError, match=r"^files:\d: the corpus has no text$"):
                build()
            assert left(Path(folder)) == set()
            return
        store = build()
        assert texts(store) == cut(wanted, val, test)
        assert store.vocab == Vocabulary("".join(sorted(set("".join(wanted)))))
        assert [(report.spec, report.documents, report.characters) for report in store.corpora] == [
            (f"files:{index}", len(corpus), len(text))
            for index, (corpus, text) in enumerate(zip(documents, wanted, strict=True))
        ]


@given(
    st.lists(st.text(st.sampled_from("ab\n e\u0301\u0323\u1100\u1161\u11a8가ﬁ\u0344\u09c7\u09be漢") | any_character)),
    st.sampled_from(get_args(NormalForm)),
)
@settings(deadline=None)
def test_a_normal_form_is_that_of_the_whole_text(pieces: list[str], form: NormalForm) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(Path(folder, "store"), [("files:x", [["."], pieces])], val_fraction=0, normalize=form)
        assert texts(store)[0] == unicodedata.normalize(form, joined([".", "".join(pieces)]))


def test_held_out_text_of_its_own(folder: Path) -> None:
    def sources(*parts: str) -> list[tuple[str, list[list[str]]]]:
        return [(f"files:{part}", [[part]]) for part in parts]

    given = (sources("abc", "d"), sources("xy", "z"), sources("w"))
    store = build_store(folder / "store", *given, val_fraction=0)
    assert texts(store) == ["abc\nd", "xy\nz", "w"]
    assert store.vocab.characters == "\nabcdwxyz"
    assert [(report.split, report.spec, report.characters) for report in store.corpora] == [
        *(("train", "files:abc", 4), ("train", "files:d", 1)),
        *(("val", "files:xy", 3), ("val", "files:z", 1), ("test", "files:w", 1)),
    ]
    for part, fractions in (("val", {}), ("test", {"val_fraction": 0, "test_fraction": 0.1})):
        with pytest.raises(ConfigError, match=f"{part}_sources leave no {part}_fraction"):
            build_store(folder / "both", *given, **fractions)


def test_a_vocabulary_brings_its_normal_form_along(folder: Path) -> None:
    vocab = build(folder, "aé", val_fraction=0, normalize="NFC").vocab
    assert vocab.normal_form == "NFC"
    again = build_store(folder / "again", [("files:x", [["e\u0301a"]])], vocab=vocab, val_fraction=0)
    assert texts(again)[0] == "éa"
    with pytest.raises(ConfigError, match="in NFC: it cannot be NFD"):
        build_store(folder / "other", [("files:x", [["éa"]])], vocab=vocab, normalize="NFD")


def test_the_usual_split_of_the_usual_text(folder: Path) -> None:
    store = build(folder, "x" * 1_115_394)
    assert (len(store.train), len(store.val), len(store.test)) == (1_003_854, 111_540, 0)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"{SHAKESPEARE} is not here")
def test_tiny_shakespeare(folder: Path) -> None:
    text = SHAKESPEARE.read_text(encoding="utf-8")
    store = build(folder, text)
    assert len(store.vocab) == 65
    assert "".join(texts(store)) == text


def test_text_of_every_width_in_one_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charrnn.text.store_builder, "BLOCK", 1 << 10)
    widths = ["ascii " * 400, "".join(map(chr, range(0xA0, 0x200))) * 3, "".join(map(chr, range(0x1_0000, 0x2_4000)))]
    text = "".join([*widths, *widths])
    for characters, name in ((text[:2500], "uint8"), (text[:4000], "uint16"), (text, "uint32")):
        store = build(folder, characters, val_fraction=0.3)
        assert store.train.dtype.name == name
        assert "".join(texts(store)) == characters


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_freq": 40},
        {"max_size": 90},
        {"max_size": 300},
        {"vocab": Vocabulary(PRINTABLE + MANY, has_unknown=True)},
        {"vocab": Vocabulary(PRINTABLE, has_unknown=True)},
        {"vocab": Vocabulary("".join(map(chr, range(0x1_0000))))},
    ],
    ids=str,
)
@pytest.mark.parametrize("late", ["", "~", MANY], ids=["none", "one", "so many that ids are wider"])
def test_characters_that_come_late_are_numbered_like_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], late: str
) -> None:
    corpora = [f"{PRINTABLE[20:50] * 90}\n", f"{PRINTABLE * 30}{late * 3}{PRINTABLE * 41}\n", f"{MANY[0]}{late}"]
    vocab = options.get("vocab") or Vocabulary.from_counts(Counter("".join(corpora)), **options)
    shown = ["".join(character if character in vocab else "\ufffd" for character in text) for text in corpora]
    digests = set()
    for block in (100, charrnn.text.store_builder.BLOCK):
        monkeypatch.setattr(charrnn.text.store_builder, "BLOCK", block)
        store = build(folder, *corpora, val_fraction=0.1, test_fraction=0.2, **options)
        assert store.vocab == vocab
        assert texts(store) == cut(shown, Fraction(1, 10), Fraction(2, 10))
        assert [report.unknown_share for report in store.corpora] == [
            text.count("\ufffd") / len(text) for text in shown
        ]
        digests.add(store.digest)
    assert len(digests) == 1


def test_splits_are_read_only_maps_of_files(folder: Path) -> None:
    store = build(folder, "some text", val_fraction=0.5)
    assert isinstance(store.train, np.memmap)
    assert [split.ndim for split in (store.train, store.val, store.test)] == [1, 1, 1]
    assert len(store.test) == 0
    assert store.test.dtype == store.vocab.dtype
    for split in (store.train, store.val, store.test):
        assert not split.flags.writeable
    assert (folder / "store/train.bin").read_bytes() == store.train.tobytes()


def test_opening_gives_what_building_gave(folder: Path) -> None:
    built = build(folder, "one text", "another", test_fraction=0.2)
    opened = open_store(folder / "store")
    assert texts(opened) == texts(built)
    assert (opened.vocab, opened.digest, opened.corpora) == (built.vocab, built.digest, built.corpora)
    assert left(folder) == {"store"}


def test_the_digest_says_which_text_this_is(folder: Path) -> None:
    def digest(*documents: list[str], **options: object) -> str:
        return build_store(folder / "store", [("files:x", documents)], **options).digest  # type: ignore[arg-type]

    assert digest(["some text"]) == digest(["some", "", " text"])
    assert digest(["some"], ["text"]) == digest(["some\ntext"])
    others = [
        digest(["some text"]),
        digest(["some texT"]),
        digest(["same text"]),
        digest(["some text"], val_fraction=0),
    ]
    others.append(digest(["some text"], vocab=Vocabulary(" emostxz")))
    assert len(set(others)) == len(others)


def test_the_fingerprint_is_that_of_keys_and_settings() -> None:
    name = fingerprint(["a", "b"], {"val_fraction": 0.1, "min_freq": 1})
    assert name == fingerprint(["a", "b"], {"min_freq": 1, "val_fraction": 0.1})
    others = [fingerprint(["b", "a"], {}), fingerprint(["ab"], {}), fingerprint(["a", "b"], {"min_freq": 2}), name]
    assert len(set(others)) == len(others)
    assert name.isalnum()


def test_rare_characters_become_unknown(folder: Path) -> None:
    store = build(folder, "aaabbb-é", "aaa", min_freq=2, val_fraction=0)
    assert store.vocab == Vocabulary("ab", has_unknown=True)
    assert texts(store)[0] == "aaabbb\ufffd\ufffd\ufffdaaa"
    assert [report.unknown_share for report in store.corpora] == [3 / 9, 0]
    assert len(build(folder, "aaabbb-é", max_size=3).vocab) == 3


def test_a_given_vocabulary_is_used_as_it_is(folder: Path) -> None:
    vocab = Vocabulary("abcxyz")
    assert build(folder, "abc", vocab=vocab).vocab == vocab
    assert texts(build(folder, "abcd", vocab=Vocabulary("abc", has_unknown=True), val_fraction=0))[0] == "abc\ufffd"
    with pytest.raises(VocabularyError, match=r"no 'd' \(U\+0064\), '😀' \(U\+1F600\),"):
        build(folder / "other", "abcd😀", vocab=vocab)
    assert left(folder / "other") == set()


def test_a_given_vocabulary_grows_only_if_it_may(folder: Path) -> None:
    store = build(folder, "badge", vocab=Vocabulary("bdx"), grow=True, val_fraction=0.4)
    assert store.vocab == Vocabulary("abdegx")
    assert texts(store) == ["bad", "ge", ""]
    assert store.digest == build(folder, "badge", vocab=Vocabulary("abdegx"), val_fraction=0.4).digest
    unknown = Vocabulary("bdx", has_unknown=True)
    assert build(folder, "badge", vocab=unknown, grow=True).vocab == unknown
    # The normal form of the vocabulary comes first.
    composed = Vocabulary("ab", normal_form="NFC")
    assert build(folder, "ae\u0301", vocab=composed, grow=True).vocab == Vocabulary("abé", normal_form="NFC")


@pytest.mark.parametrize(
    "options",
    [
        {"val_fraction": 1.0},
        {"val_fraction": -0.1},
        {"val_fraction": float("nan")},
        {"test_fraction": 1.5},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"normalize": "nfc"},
        {"min_freq": 0},
    ],
)
def test_settings_without_sense_are_refused(folder: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(folder, "text", **options)
    assert left(folder) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CorpusError("gone"), OSError(errno.EIO, "broken disk")])
def test_an_interrupted_build_leaves_nothing(folder: Path, error: BaseException) -> None:
    def documents() -> Iterator[list[str]]:
        yield ["text"]
        raise error

    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CorpusError):
        build_store(folder / "store", [("files:x", documents())])
    assert left(folder) == set()
    assert texts(build(folder, "text", val_fraction=0))[0] == "text"


def test_a_failed_build_leaves_the_store_that_was_there(folder: Path) -> None:
    build(folder, "old text")
    with pytest.raises(CorpusError, match="files:0: the corpus has no text"):
        build(folder, "")
    assert "".join(texts(open_store(folder / "store"))) == "old text"


def test_a_store_is_replaced_and_its_readers_read_on(folder: Path) -> None:
    old = build(folder, "old text")
    new = build(folder, "new text")
    assert "".join(texts(old)) == "old text"
    assert "".join(texts(new)) == "".join(texts(open_store(folder / "store"))) == "new text"
    assert left(folder) == {"store"}


def test_a_folder_that_is_something_else_is_left_alone(folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "store/thesis.txt").touch()
    with pytest.raises(CorpusError, match="not a token store"):
        build(folder, "text")
    assert left(folder / "store") == {"thesis.txt"}


def test_a_place_where_no_folder_can_be_is_one_line(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(CorpusError, match="cannot build the token store") as caught:
        build(folder / "file", "text")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        "truncate -s -1 train.bin",
        "rm val.bin",
        "rm vocab.json",
        "truncate -s 10 vocab.json",
        "rm store.json",
        "truncate -s 10 store.json",
        "echo [] > store.json",
        "echo '{}' > store.json",
        'sed -i \'s/"version": [0-9]*/"version": 1/\' store.json',
        'sed -i \'s/"train"/"trian"/\' store.json',
    ],
)
def test_a_damaged_store_is_refused(folder: Path, damage: str) -> None:
    build(folder, "text")
    subprocess.run(damage, shell=True, check=True, cwd=folder / "store")
    with pytest.raises(UserError, match=str(folder)) as caught:
        open_store(folder / "store")
    assert "\n" not in str(caught.value)


def test_a_store_is_built_once_and_opened_then(folder: Path) -> None:
    def never() -> TokenStore:
        raise AssertionError("built twice")

    first = open_or_build(folder / "store", lambda: build(folder, "text"))
    assert open_or_build(folder / "store", never).digest == first.digest


PROGRAM = """
import logging, sys, time
from pathlib import Path
from charrnn.text.store import open_or_build
from charrnn.text.store_builder import build_store

folder = Path(sys.argv[1])
class Waiting(logging.Handler):
    def emit(self, record):
        (folder / "waiting").write_text(record.getMessage())
logging.getLogger("charrnn").addHandler(Waiting())

def documents():
    yield ["half of the text " * 100_000]
    print("half", file=sys.__stdout__, flush=True)
    while not (folder / "waiting").exists():
        time.sleep(0.01)
    yield ["the other half"]

def build():
    print("building", flush=True)
    return build_store(folder / "store", [("files:x", documents())])

print(open_or_build(folder / "store", build).digest)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_build_once(folder: Path) -> None:
    with start(folder) as one:
        assert one.stdout is not None
        assert [one.stdout.readline(), one.stdout.readline()] == ["building\n", "half\n"]
        with start(folder) as two:
            digests = [one.communicate(timeout=60)[0], two.communicate(timeout=60)[0]]
    assert digests == [f"{open_store(folder / 'store').digest}\n"] * 2
    assert (folder / "waiting").read_text() == (f"waiting for another process that is building {folder / 'store'}")


def test_the_progress_bar_shows_bytes_and_the_time_left(folder: Path) -> None:
    code = "import sys; from pathlib import Path; from charrnn.text.store_builder import build_store\n"
    code += "build_store(Path(sys.argv[1]), [('files:x', [['é' * 1_500_000]])], num_bytes=3_000_000)"
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 100))
    subprocess.run([sys.executable, "-c", code, str(folder / "store")], check=True, stderr=stderr)
    os.close(stderr)
    bar = b""
    with suppress(OSError):  # what the end of a terminal reads as
        while part := os.read(terminal, 1 << 12):
            bar += part
    os.close(terminal)
    assert re.search(rb"reading text: 100%.* 3\.00M/3\.00M \[\d\d:\d\d<\d\d:\d\d, .*B/s\]", bar)


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(folder: Path) -> None:
    with start(folder) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["building\n", "half\n"]
        process.send_signal(signal.SIGKILL)
    assert left(folder) == {"store.building"}
    with pytest.raises(CorpusError, match="not a whole token store"):
        open_store(folder / "store")
    assert "".join(texts(open_or_build(folder / "store", lambda: build(folder, "text")))) == "text"
    assert left(folder) == {"store"}


LIMITED = """
import resource, sys
from pathlib import Path
from charrnn.errors import CorpusError
from charrnn.text.store_builder import build_store

resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
text = sys.stdin.read()
try:
    build_store(Path(sys.argv[1]), [("files:x", [[text]])], val_fraction=0)
except CorpusError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 1_600_000, id="reading"),
        # Characters of which 256 are not enough come late: 1 byte a character until then, 2 once it is encoded.
        pytest.param("a" * 1_100_000 + "".join(map(chr, range(0x20, 0x20 + 300))), id="encoding"),
    ],
)
def test_a_file_that_cannot_grow_is_one_line(folder: Path, text: str) -> None:
    run = [sys.executable, "-c", LIMITED, str(folder / "store")]
    done = subprocess.run(run, input=text, check=True, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.count("\n") == 1
    assert "File too large" in done.stdout
    assert left(folder) == set()


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("text", "num_bytes", "message"),
    [
        pytest.param("a" * 5_000_000, None, "No space left on device", id="size unknown"),
        pytest.param("a" * 5_000_000, 5_000_000, r"has [\d,]+ bytes free, .* needs 5,500,000 more", id="size known"),
        pytest.param("é" * 2_500_000 + MANY, 5_001_024, r"needs 4,500,9\d\d more", id="wider ids come late"),
    ],
)
def test_a_full_disk_is_one_line(small_disk: Path, text: str, num_bytes: int | None, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        build(small_disk, text, num_bytes=num_bytes)
    assert "\n" not in str(caught.value)
    assert left(small_disk) == set()


def test_a_text_takes_no_more_of_the_disk_than_its_store(small_disk: Path) -> None:
    store = build(small_disk, "a" * 3_000_000, num_bytes=3_000_000)
    assert (len(store.train), len(store.val)) == (2_700_000, 300_000)


def test_a_manifest_is_readable(folder: Path) -> None:
    build(folder, "some text", val_fraction=0.5)
    manifest = json.loads((folder / "store/store.json").read_text(encoding="utf-8"))
    assert manifest["tokens"] == {"train": 4, "val": 5, "test": 0}
    assert manifest["corpora"] == [
        {
            "split": "train",
            "spec": "files:0",
            "documents": 1,
            "characters": 9,
            "unknown_share": 0.0,
            "first_line": "some text",
        }
    ]
