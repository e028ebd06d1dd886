"""Specs, and what a corpus makes of its loader's documents and failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import CacheKey, Corpus, CorpusSpec, Document, Loader


def corpus(loader: Loader, cache_key: CacheKey | None = None) -> Corpus:
    return Corpus("some", loader, cache_key, None, "some-plugin", "1.2")


def read(loader: Loader, spec: str = "some:thing") -> list[list[str]]:
    return [list(document) for document in corpus(loader).documents(CorpusSpec.parse(spec))]


any_text = st.text(st.characters(exclude_categories=()))
like_a_spec = st.lists(st.sampled_from(["a", "files", "_", ":", "?", "=", "&", "%26", "\n", " ", "é"])).map("".join)


@given(any_text | like_a_spec)
def test_any_string_is_a_spec_or_an_error_of_one_line(text: str) -> None:
    try:
        spec = CorpusSpec.parse(text)
    except CorpusError as caught:
        message = str(caught)
    else:
        message = repr(text)
        assert str(spec) == text
        assert text.startswith(f"{spec.scheme}:{spec.argument}")
        assert (text == f"{spec.scheme}:{spec.argument}") == (not spec.options)
    assert repr(text) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "scheme", "argument", "options"),
    [
        ("gutenberg:1597", "gutenberg", "1597", ()),
        ("files:a/?.txt", "files", "a/?.txt", ()),
        ("files:a/?.txt?encoding=latin-1", "files", "a/?.txt", (("encoding", "latin-1"),)),
        ("hf:a/b?split=train&field=text", "hf", "a/b", (("split", "train"), ("field", "text"))),
        ("hf:a?split=a%26b%3D", "hf", "a", (("split", "a&b="),)),
        ("files:C:\\texts", "files", "C:\\texts", ()),
        ("files:", "files", "", ()),
    ],
)
def test_the_parts_of_a_spec(text: str, scheme: str, argument: str, options: tuple[tuple[str, str], ...]) -> None:
    assert CorpusSpec.parse(text) == CorpusSpec(text, scheme, argument, options)


def test_a_path_without_a_scheme_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"did you mean files:{tmp_path}"):
        CorpusSpec.parse(str(tmp_path))


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(CorpusError, match="twice"):
        CorpusSpec.parse("hf:a?split=a&split=b")


def test_documents_are_pieces_of_text_without_empty_ones() -> None:
    def loader(argument: str) -> Iterator[Document]:
        yield argument
        yield ""
        yield ["a", "", "b"]
        yield iter(["c"])

    assert read(loader) == [["thing"], [], ["a", "b"], ["c"]]


def test_options_reach_the_loader_and_unknown_ones_are_refused_with_those_it_takes() -> None:
    def loader(argument: str, *, split: str = "train", field: str = "text") -> list[str]:
        return [f"{argument} {split} {field}"]

    assert read(loader, "some:thing?field=body") == [["thing train body"]]
    with pytest.raises(CorpusError, match="no option 'feild': did you mean field"):
        read(loader, "some:thing?feild=body")
    with pytest.raises(CorpusError, match="no option 'lines': it takes split, field"):
        read(loader, "some:thing?lines=body")


@pytest.mark.parametrize("where", ["call", "documents", "pieces"])
def test_a_failure_of_the_plugin_is_blamed_on_it(where: str) -> None:
    def fail(_: str) -> Iterator[str]:
        yield str(1 // 0)

    def loader(argument: str) -> Iterable[Document]:
        return 1 // 0 if where == "call" else fail(argument) if where == "documents" else [fail(argument)]  # type: ignore[return-value]

    with pytest.raises(CorpusError, match=r"^some:thing: the plugin some-plugin 1\.2 failed: ZeroDivisionError: "):
        read(loader)


def test_an_error_meant_for_the_user_passes_as_it_is() -> None:
    def loader(argument: str) -> Iterator[str]:
        if argument:
            raise ConfigError("set a key")
        yield argument

    with pytest.raises(ConfigError, match=r"^set a key$"):
        read(loader)


def test_a_size_that_fails_is_blamed_on_the_plugin() -> None:
    def size(argument: str) -> int:
        return int(argument)

    offered = Corpus("some", lambda _: [], None, None, "some-plugin", "1.2", size)
    assert offered.num_bytes(CorpusSpec.parse("some:12")) == 12
    with pytest.raises(CorpusError, match=r"the plugin some-plugin 1\.2 failed: ValueError"):
        offered.num_bytes(CorpusSpec.parse("some:much"))
    assert corpus(lambda _: []).num_bytes(CorpusSpec.parse("some:12")) is None


@pytest.mark.parametrize("size", ["12", float("nan"), float("inf"), -1, b"1"])
def test_a_size_that_is_no_number_of_bytes_is_blamed_on_the_plugin(size: Any) -> None:
    offered = Corpus("some", lambda _: [], None, None, "some-plugin", "1.2", lambda _: size)
    with pytest.raises(CorpusError, match=r"some-plugin 1\.2 failed: TypeError: its size is .*, not a number of bytes"):
        offered.num_bytes(CorpusSpec.parse("some:12"))


def test_a_cache_key_that_is_no_text_is_blamed_on_the_plugin() -> None:
    key: Any = lambda _: 12  # noqa: E731
    with pytest.raises(CorpusError, match=r"its cache key is int, not text"):
        corpus(lambda _: [], key).fingerprint(CorpusSpec.parse("some:12"))


def test_a_piece_that_is_no_text_is_blamed_on_the_plugin() -> None:
    def loader(_: str) -> list[list[Any]]:
        return [[b"bytes"]]

    with pytest.raises(CorpusError, match="some-plugin yielded bytes, not text"):
        read(loader)


def test_the_fingerprint_ties_the_cache_key_to_plugin_and_spec() -> None:
    spec = CorpusSpec.parse("some:thing")
    assert corpus(lambda _: [], lambda argument: f"size of {argument}").fingerprint(spec) == (
        "some-plugin 1.2 some:thing size of thing"
    )
    assert corpus(lambda _: [], lambda _: None).fingerprint(spec) is None
    assert corpus(lambda _: []).fingerprint(spec) is None
