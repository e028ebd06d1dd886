"""Items: new lines only, each another, each with what the model needs for it, and an end to trying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.errors import ConfigError, VocabularyError
from charrnn.model.evaluation import line_losses
from charrnn.model.items import Item, TooFewError, write_items
from charrnn.model.lstm import CharLSTM
from charrnn.text.vocab import Vocabulary

LETTERS = Vocabulary("\n ab")

pytestmark = pytest.mark.usefixtures("one_thread")


def make_model(wishes: Mapping[str, float], vocab: Vocabulary = LETTERS) -> CharLSTM:
    """A model that gives the same weights to characters after any text."""
    model = CharLSTM(len(vocab), hidden_size=4, embedding_size=2)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([wishes.get(character, 1e-30) for character in vocab.characters]).log())
    return model


def written(wishes: Mapping[str, float], number: int, text: str, **settings: Any) -> list[Item]:
    return list(
        write_items(make_model(wishes), LETTERS, number, [LETTERS.encode(text)], **{"temperature": 1.0, **settings})
    )


EVEN = {"a": 0.4, "b": 0.4, "\n": 0.2}


def test_no_item_stands_in_the_text_or_comes_twice() -> None:
    text = "aab\nb\nabba\n"
    items = [item.text for item in written(EVEN, 40, text)]
    assert len(set(items)) == len(items) == 40
    assert not [item for item in items if item in text or not item or "\n" in item]


def test_white_space_at_the_ends_makes_no_other_line() -> None:
    items = [item.text.strip() for item in written({"a": 1, " ": 1, "\n": 0.5}, 12, "a\naa\n")]
    assert len(set(items)) == 12
    assert not {"", "a", "aa"} & set(items)


def test_the_same_seed_writes_the_same_items_and_fewer_of_them_first() -> None:
    ten = written(EVEN, 10, "a", seed=7)
    assert ten == written(EVEN, 10, "a", seed=7)
    assert ten[:4] == written(EVEN, 4, "a", seed=7)
    assert ten != written(EVEN, 10, "a", seed=8)


def test_bits_are_those_of_the_line_and_its_end_whatever_the_temperature() -> None:
    torch.manual_seed(0)
    model = CharLSTM(len(LETTERS), hidden_size=8, embedding_size=4)
    text = LETTERS.encode("ab")
    items = list(write_items(model, LETTERS, 20, [text], temperature=1.3, top_k=3))
    losses = line_losses(model, [LETTERS.encode(item.text) for item in items], LETTERS.newline)
    np.testing.assert_allclose([item.bits for item in items], [loss.bpc for loss in losses], atol=1e-4)


def test_items_begin_with_the_last_line_of_a_prompt() -> None:
    items = written(EVEN, 5, "bbbbb", prompt="a\nbab")
    assert all(item.text.startswith("bab") for item in items)
    assert all(item.given == "bab" for item in items)


@pytest.mark.parametrize(
    ("wishes", "text", "settings", "said"),
    [
        ({"a": 1, "\n": 1}, "a" * 100, {}, r"^0 of 3 items: .* 500 are empty|stand in the text"),
        ({"a": 1, "\n": 1e-30}, "b", {"length": 5}, "1,000 do not end within 5 characters: a higher --length"),
        ({"\n": 1}, "b", {}, "1,000 are empty: give a --prompt"),
        (EVEN, "ab", {"temperature": 0.0, "prompt": "ba"}, "do not end within"),
        (
            {"a": 1e-30, "\n": 1},
            "b",
            {"prompt": "a"},
            "^1 of 3 items: .* 1,000 had been written before: a higher --temp",
        ),
        (EVEN, "ab", {"length": 0}, "do not end within 0 characters"),
    ],
)
def test_there_is_an_end_to_trying(wishes: Mapping[str, float], text: str, settings: Any, said: str) -> None:
    with pytest.raises(TooFewError, match=said) as caught:
        written(wishes, 3, text, **settings)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_is_said_at_once() -> None:
    model, text = make_model(EVEN), [LETTERS.encode("ab")]
    for number in (0, -1, "x", 2.5):
        with pytest.raises(ConfigError, match=r"must be a whole number, 1 or more"):
            write_items(model, LETTERS, number, text)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leave out stop"):
        write_items(model, LETTERS, 1, text, stop="a")
    with pytest.raises(VocabularyError, match="'z'"):
        write_items(model, LETTERS, 1, text, prompt="z")
    one_line = Vocabulary("ab")
    with pytest.raises(VocabularyError, match="knows no new line"):
        write_items(make_model(EVEN, one_line), one_line, 1, [one_line.encode("ab")])
