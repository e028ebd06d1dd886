"""A model with more characters: what it knew stays bit for bit, and what is new is as in a new model."""

from __future__ import annotations

import pytest
import torch

from charrnn.errors import VocabularyError
from charrnn.model.growing import take_weights
from charrnn.model.lstm import CharLSTM
from charrnn.text.vocab import Vocabulary
from tests.model.test_lstm import SHAPES

KNOWN, MORE = Vocabulary("bdf"), Vocabulary("abcdefg")

pytestmark = pytest.mark.usefixtures("one_thread")


def make(vocab: Vocabulary, seed: int, **shape: int | bool) -> CharLSTM:
    torch.manual_seed(seed)
    return CharLSTM(len(vocab), **shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_of_known_characters_is_read_as_before(shape: dict[str, int]) -> None:
    small, large = make(KNOWN, 1, **shape), make(MORE, 2, **shape)
    take_weights(large, MORE, small, KNOWN)
    text = "bdffdbbdfb"
    with torch.inference_mode():
        expected, state = small(torch.tensor(KNOWN.encode(text).tolist())[:, None], small.zero_state(1))
        logits, new_state = large(torch.tensor(MORE.encode(text).tolist())[:, None], large.zero_state(1))
    places = torch.tensor(MORE.encode("bdf").tolist())
    torch.testing.assert_close(logits[..., places], expected)
    torch.testing.assert_close(new_state, state)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_new_begins_as_in_a_new_model(shape: dict[str, int]) -> None:
    small, large, new = make(KNOWN, 1, **shape), make(MORE, 2, **shape), make(MORE, 2, **shape)
    take_weights(large, MORE, small, KNOWN)
    old, added = (torch.tensor(MORE.encode(text).tolist()) for text in ("bdf", "aceg"))
    weights, its_own, fresh = large.state_dict(), small.state_dict(), new.state_dict()
    for name, weight in weights.items():
        if name in ("embedding.weight", "output.weight", "output.bias"):
            assert torch.equal(weight[old], its_own[name])
            assert torch.equal(weight[added], fresh[name][added])
        elif weight.shape != its_own[name].shape:  # the columns of one-hot characters
            assert (name, shape["embedding_size"]) == ("lstms.0.weight_ih_l0", 0)
            assert torch.equal(weight[:, old], its_own[name])
            assert torch.equal(weight[:, added], fresh[name][:, added])
        else:
            assert torch.equal(weight, its_own[name])
    assert large.tie_weights == (large.embedding is not None and large.output.weight is large.embedding.weight)


@pytest.mark.parametrize("shape", SHAPES)
def test_with_the_same_characters_it_is_the_same_model(shape: dict[str, int]) -> None:
    for vocab in (KNOWN, Vocabulary("bdf", has_unknown=True)):
        model, copy = make(vocab, 1, **shape), make(vocab, 2, **shape)
        take_weights(copy, vocab, model, vocab)
        assert all(torch.equal(weight, copy.state_dict()[name]) for name, weight in model.state_dict().items())


def test_a_character_that_is_gone_is_an_error() -> None:
    small, other = make(KNOWN, 1, hidden_size=4), make(Vocabulary("abc"), 2, hidden_size=4)
    with pytest.raises(VocabularyError, match="'d'"):
        take_weights(other, Vocabulary("abc"), small, KNOWN)
