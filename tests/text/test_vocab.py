"""Vocabularies: what they keep, encode, refuse, and bring back from disk."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, UserError, VocabularyError
from charrnn.text.vocab import Vocabulary

any_character = st.characters(exclude_categories=())  # lone surrogates too
any_text = st.text(any_character)
some_text = st.text(any_character, min_size=1)


def of(text: str) -> Vocabulary:
    return Vocabulary.from_counts(Counter(text))


@given(some_text)
def test_a_text_comes_back(text: str) -> None:
    vocab = of(text)
    ids = vocab.encode(text)
    assert vocab.decode(ids) == text
    assert ids.shape == (len(text),)
    assert ids.dtype == vocab.dtype
    assert int(ids.max()) < len(vocab)


@given(some_text, any_text)
def test_the_unknown_comes_back_as_the_replacement_character(known: str, text: str) -> None:
    vocab = Vocabulary("".join(sorted(set(known))), has_unknown=True)
    assert vocab.decode(vocab.encode(text)) == "".join(c if c in known else "\ufffd" for c in text)
    assert vocab.missing(text) == "".join(dict.fromkeys(c for c in text if c not in known))


@given(some_text, any_text)
def test_without_unknown_a_character_outside_is_an_error(known: str, text: str) -> None:
    vocab = of(known)
    missing = vocab.missing(text)
    assert missing == "".join(dict.fromkeys(c for c in text if c not in known))
    if missing:
        with pytest.raises(VocabularyError, match=f"U\\+{ord(missing[0]):04X}"):
            vocab.encode(text)
    else:
        assert vocab.decode(vocab.encode(text)) == text


def test_the_error_names_ten_characters_and_counts_the_rest() -> None:
    with pytest.raises(VocabularyError) as caught:
        of("a").encode("abcdefghijklmn\U0001f600")
    assert "'b' (U+0062)" in str(caught.value)
    assert "'k' (U+006B) and 4 more" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.dictionaries(any_character, st.integers(0, 5), min_size=1), st.integers(1, 5), st.none() | st.integers(1, 5))
def test_the_most_frequent_characters_are_kept(counts: dict[str, int], min_freq: int, max_size: int | None) -> None:
    seen = {c for c in counts if counts[c]}
    try:
        vocab = Vocabulary.from_counts(counts, min_freq, max_size)
    except VocabularyError:
        assert max_size == 1 or all(counts[c] < min_freq for c in seen)
        return
    assert max_size is None or len(vocab) <= max_size
    assert vocab.has_unknown == (set(vocab.characters) != seen)
    assert list(vocab.characters) == sorted(vocab.characters)
    assert all(counts[c] >= min_freq for c in vocab.characters)
    if max_size is None or len(vocab) < max_size:
        assert set(vocab.characters) == {c for c in seen if counts[c] >= min_freq}
    dropped = [(counts[c], -ord(c)) for c in seen if c not in vocab]
    assert all((counts[c], -ord(c)) > worst for c in vocab.characters for worst in dropped)


def test_unknown_is_the_first_id() -> None:
    vocab = Vocabulary.from_counts(Counter("aaabbcd"), max_size=3)
    assert vocab == Vocabulary("ab", has_unknown=True)
    assert vocab.encode("abc").tolist() == [1, 2, 0]
    assert len(vocab) == 3
    assert "a" in vocab
    assert "c" not in vocab
    assert "ab" not in vocab
    assert 1 not in vocab


@pytest.mark.parametrize(("min_freq", "max_size"), [(0, None), (1, 0), (-1, None)])
def test_settings_without_sense_are_refused(min_freq: int, max_size: int | None) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Vocabulary.from_counts({"a": 1}, min_freq, max_size)


@pytest.mark.parametrize(
    ("counts", "min_freq", "max_size"), [({}, 1, None), ({"a": 2}, 3, None), ({"a": 1, "b": 1}, 1, 1)]
)
def test_a_vocabulary_without_characters_is_refused(
    counts: dict[str, int], min_freq: int, max_size: int | None
) -> None:
    with pytest.raises(VocabularyError, match="no character is left"):
        Vocabulary.from_counts(counts, min_freq, max_size)


@pytest.mark.parametrize(
    ("size", "name"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
@pytest.mark.parametrize("has_unknown", [False, True])
def test_ids_are_of_the_smallest_type(size: int, name: str, has_unknown: bool) -> None:
    characters = "".join(map(chr, range(1, size + 1 - has_unknown)))
    vocab = Vocabulary(characters, has_unknown)
    assert len(vocab) == size
    assert vocab.dtype.name == name
    assert vocab.encode(characters).dtype.name == name
    assert vocab.encode(characters).tolist() == list(range(has_unknown, size))
    assert vocab.missing(chr(size + 1)) == chr(size + 1)


def test_ids_of_every_kind_are_decoded() -> None:
    vocab = of("ab")
    assert vocab.decode([]) == ""
    assert vocab.decode([1, 0]) == "ba"
    assert vocab.decode(np.array([0, 1], np.int64)) == "ab"
    with pytest.raises(IndexError):
        vocab.decode([2])


@given(some_text, st.booleans())
def test_json_brings_it_back(text: str, has_unknown: bool) -> None:
    vocab = Vocabulary("".join(sorted(set(text))), has_unknown)
    read = Vocabulary.from_json(vocab.to_json())
    assert read == vocab
    assert hash(read) == hash(vocab)
    assert read.digest == vocab.digest


def test_a_file_of_no_characters_is_refused() -> None:
    with pytest.raises(VocabularyError, match=r"not a vocabulary .*characters: "):
        Vocabulary.from_json(Vocabulary("", has_unknown=True).to_json())


def test_text_is_brought_to_the_normal_form_of_the_vocabulary() -> None:
    vocab = Vocabulary("aé", normal_form="NFC")
    assert vocab.encode("e\u0301a").tolist() == [1, 0]
    with pytest.raises(VocabularyError, match="U\\+0301"):
        vocab.ids_of("ae\u0301")
    read = Vocabulary.from_json(vocab.to_json())
    assert (read, read.normal_form) == (vocab, "NFC")
    assert vocab != Vocabulary("aé")
    assert vocab.digest != Vocabulary("aé").digest
    with pytest.raises(VocabularyError, match="not a vocabulary"):
        Vocabulary.from_json(vocab.to_json().replace("NFC", "NFX"))


def test_a_file_brings_back_lone_surrogates_that_would_make_a_pair(tmp_path: Path) -> None:
    vocab = of("\udbff\udc00\U0010fc00\n\u2028é")
    vocab.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == vocab
    assert "é" in (tmp_path / "vocab.json").read_text(encoding="utf-8")


def test_other_vocabularies_have_other_digests() -> None:
    vocabs = [
        of("a"),
        of("ab"),
        Vocabulary("a", has_unknown=True),
        Vocabulary("", has_unknown=True),
        of("\n"),
        of("<unk>"),
    ]
    assert len({vocab.digest for vocab in vocabs}) == len(vocabs)


GOOD: dict[str, object] = json.loads(Vocabulary("ab").to_json())

BAD: list[dict[str, object]] = [
    {"format": "text"},
    {"version": 1},
    {"version": 3},
    {"version": "1"},
    {"unknown": "?"},
    {"unknown": []},
    {"characters": "ab"},
    {"characters": ["b", "a"]},
    {"characters": ["a", "a"]},
    {"characters": ["ab"]},
    {"characters": [1]},
    {"characters": None},
]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{",
        *(json.dumps(GOOD | change).encode() for change in BAD),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        Vocabulary.load(tmp_path / "vocab.json")


@given(some_text, any_text)
def test_a_vocabulary_grows_by_what_it_lacks(known: str, text: str) -> None:
    vocab = of(known)
    grown = vocab.grown(text)
    assert set(grown.characters) == {*known, *text}
    assert grown.missing(known + text) == ""
    assert vocab.grown(known) == vocab
    assert grown.missing(vocab.missing(text)) == ""


def test_with_unknown_or_a_normal_form_it_keeps_them() -> None:
    assert Vocabulary("ab", has_unknown=True).grown("xyz") == Vocabulary("ab", has_unknown=True)
    assert Vocabulary("bx", normal_form="NFC").grown("éa") == Vocabulary("abxé", normal_form="NFC")
