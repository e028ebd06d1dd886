"""What letter frequencies and compressors make of held-out text: the arithmetic, and the file that keeps it."""

from __future__ import annotations

import json
import logging
import lzma
import random
from pathlib import Path

import numpy as np
import pytest

from charrnn.run import baselines
from charrnn.run.baselines import bits_after, bzip2, measure_baselines, read_baselines, record_baselines, xz
from charrnn.text.store import TokenStore
from charrnn.text.store_builder import build_store
from charrnn.text.vocab import Vocabulary
from tests.conftest import make_text

NOISE = "".join(random.Random(0).choices("abcdefgh", k=20_000))


def measured(train: str, val: str, vocab: Vocabulary | None = None) -> dict[str, float]:
    vocab = vocab or Vocabulary("".join(sorted(set(train + val))))
    return measure_baselines(vocab.encode(train), vocab.encode(val), vocab)


def store_of(text: str, name: str = "store") -> TokenStore:
    return build_store(Path(name), [("files:words.txt", [[text]])], val_fraction=0.5)


def test_letter_frequencies_leave_their_entropy() -> None:
    assert measured("ab" * 5_000, "ba" * 2_000)["letters"] == pytest.approx(1, abs=1e-6)
    assert measured(NOISE, NOISE[:5_000])["letters"] == pytest.approx(3, abs=0.01)
    # Three of four are a; a character that training did not have costs a lot, but not everything.
    assert measured("aaab" * 2_500, "aaab" * 500)["letters"] == pytest.approx(0.8113, abs=1e-3)
    assert str(measured("a" * 9_998, "a" * 1_000)["letters"]) == "0.0"
    assert measured("a" * 9_998, "b" * 1_000)["letters"] == pytest.approx(np.log2(10_000))


def test_compressors_know_what_they_were_given_before() -> None:
    text = make_text(8_000)
    known, unknown = measured(text, text[:4_000]), measured(make_text(8_000, seed=1), text[:4_000])
    assert known["xz"] < 0.1 < unknown["xz"]
    assert known["bzip2"] < unknown["bzip2"]
    # Of eight characters without order nothing is left to find.
    noise = measured(NOISE, "".join(random.Random(1).choices("abcdefgh", k=5_000)))
    assert noise["xz"] == pytest.approx(3, abs=0.3)
    assert noise["bzip2"] == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("data", [b"", b"a", make_text(30_000).encode(), NOISE.encode()])
def test_xz_writes_as_much_as_its_highest_preset_and_it_comes_back(data: bytes) -> None:
    written = xz(data)
    assert lzma.decompress(written) == data
    assert len(written) == pytest.approx(len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)), abs=8)


def test_bits_are_those_of_both_texts_without_those_of_the_first() -> None:
    before, text = make_text(5_000).encode(), make_text(1_000, seed=2).encode()
    assert bits_after(bzip2, before, text) == 8 * (len(bzip2(before + text)) - len(bzip2(before)))


def test_bits_are_of_characters_whatever_their_bytes() -> None:
    other = str.maketrans("abcdefgh", "äöüß中文字😀")
    plain, wide = (measured(NOISE.translate(table), NOISE[:4_000].translate(table)) for table in ({}, other))
    assert wide["letters"] == plain["letters"]
    assert wide["xz"] == pytest.approx(plain["xz"], rel=0.2, abs=0.1)


def test_any_characters_and_unknown_ones_are_measured() -> None:
    strange = "a\ud800b\x00\U0010ffff" * 400
    assert all(np.isfinite(value) for value in measured(strange, strange).values())
    vocab = Vocabulary("ab", has_unknown=True)
    assert measured("abc" * 1_000, "abd" * 1_000, vocab) == measured("ab\ufffd" * 1_000, "ab\ufffd" * 1_000, vocab)


def test_of_a_long_text_what_lies_side_by_side_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = make_text(50_000), make_text(30_000, seed=1)
    vocab = Vocabulary("".join(sorted(set(train + val))))
    expected = measured(train[-10_000:], val[:10_000], vocab)
    monkeypatch.setattr(baselines, "MOST", 20_000)
    monkeypatch.setattr(baselines, "PIECE", 777)
    assert measured(train, val, vocab) == expected
    # Of characters with several bytes so many as fit.
    wide = measured("é" * 50_000, "é" * 30_000)
    assert wide == pytest.approx(measured("é" * 5_000, "é" * 5_000), abs=0.01)


def test_they_are_kept_and_measured_once_for_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(make_text(4_000))
    record_baselines(Path(), store)
    kept = read_baselines(Path())
    assert kept is not None
    assert kept.text == store.digest
    assert 0 < kept.xz < kept.letters < 8
    content = Path("baselines.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "measure_baselines", None)  # which cannot be called
        record_baselines(Path(), store)
    assert Path("baselines.json").read_bytes() == content
    record_baselines(Path(), store_of(make_text(4_000, seed=1), "other"))
    assert Path("baselines.json").read_bytes() != content


def test_too_little_text_is_not_compressed() -> None:
    record_baselines(Path(), store_of(make_text(1_998)))
    assert not Path("baselines.json").exists()
    assert read_baselines(Path()) is None


def test_what_prevents_it_is_said_in_a_line_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    record_baselines(Path("gone"), store_of(make_text(4_000)))
    (message,) = caplog.messages
    assert message.startswith("what compressors make of the held-out text was not measured: cannot write gone")
    assert "\n" not in message


DAMAGED = ["", "[]", "{}", '{"text": "x", "letters": NaN, "bzip2": 1, "xz": 1}', "\0", "[" * 10_000, '{"xz": 1e99}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_a_line_and_is_measured_again(content: str, caplog: pytest.LogCaptureFixture) -> None:
    Path("baselines.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert read_baselines(Path()) is None
    (message,) = caplog.messages
    assert message.startswith("baselines.json is passed over: ")
    assert "\n" not in message
    record_baselines(Path(), store_of(make_text(4_000)))
    assert json.loads(Path("baselines.json").read_text())["letters"] > 1
