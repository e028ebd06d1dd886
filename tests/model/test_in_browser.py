"""A model for a browser: how far rounding moves a weight and a loss, and that every weight is in what is written."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn.errors import CheckpointError
from charrnn.model.evaluation import evaluate
from charrnn.model.in_browser import (
    MAX_CHARACTERS,
    OWN_LENGTH,
    OWN_TEXTS,
    Rounded,
    model_in_browser,
    rounded,
    rounding_cost,
)
from charrnn.model.lstm import CharLSTM
from charrnn.model.stepper import Array
from charrnn.text.vocab import Vocabulary

pytestmark = pytest.mark.usefixtures("one_thread")

LETTERS = Vocabulary("\nabcdefg")
SHAPES: list[dict[str, Any]] = [
    {},
    {"num_layers": 3},
    {"embedding_size": 0},
    {"embedding_size": 0, "num_layers": 2},
    {"embedding_size": 18, "tie_weights": True},
]


def make_model(vocab: Vocabulary = LETTERS, **shape: Any) -> CharLSTM:
    """A model of cells that do not go in fours, sure enough of itself that something depends on its weights."""
    torch.manual_seed(0)
    model = CharLSTM(len(vocab), **{"hidden_size": 18, "embedding_size": 5, **shape})
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


finite = st.floats(-(2.0**100), 2.0**100, width=32)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=finite))
def test_no_weight_moves_by_more_than_half_a_step_of_its_row(matrix: Array) -> None:
    found = Rounded.of(matrix)
    steps = np.abs(matrix).max(axis=1, keepdims=True).astype(np.float64) / 127
    assert found.wholes.dtype == np.int8
    assert int(np.abs(found.wholes.astype(int)).max()) <= 127
    # The smallest numbers there are have steps of their own.
    assert (np.abs(found.matrix() - matrix.astype(np.float64)) <= steps * 0.5001 + 1e-44 * 127).all()


def test_the_largest_weight_of_a_row_and_a_row_of_zeros_stay_as_they_are() -> None:
    matrix = np.array([[0.0, 0.0, 0.0], [0.5, -2.0, 0.1]], dtype=np.float32)
    kept = Rounded.of(matrix).matrix()
    assert (kept[0] == 0).all()
    assert kept[1, 1] == pytest.approx(-2.0, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_weight_is_written_once(shape: dict[str, Any]) -> None:
    model = make_model(**shape)
    written = model_in_browser(model, LETTERS)
    floats, wholes = (len(base64.b64decode(written[name])) // size for name, size in (("floats", 4), ("bytes", 1)))
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    assert wholes == sum(weight.numel() for weight in matrices)
    # A float for each row of a matrix, one bias for each gate, where torch has two, and those of the output.
    assert floats == sum(len(weight) for weight in matrices) + model.num_layers * 4 * 18 + len(LETTERS)
    assert written["shape"] == {
        "vocab_size": len(LETTERS),
        "hidden_size": 18,
        "num_layers": 1,
        "embedding_size": 5,
        "tie_weights": False,
        **shape,
    }


def test_512_cells_take_less_than_two_megabytes() -> None:
    vocab = Vocabulary("".join(map(chr, range(0x20, 0x20 + 100))))
    for shape in ({}, {"embedding_size": 0}):
        written = model_in_browser(CharLSTM(len(vocab), **{"hidden_size": 512, **shape}), vocab)
        assert len(written["floats"]) + len(written["bytes"]) < 1_900_000


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_it_is_measured_on_and_by(shape: dict[str, Any]) -> None:
    model = make_model(**shape)
    tokens = np.random.default_rng(0).integers(0, len(LETTERS), 3_000).astype(np.uint8)
    cost = rounding_cost(model, LETTERS, tokens)
    assert not cost.on_own_text
    assert cost.before == evaluate(model, tokens)
    assert cost.after == evaluate(rounded(model), tokens)
    assert cost.before != cost.after
    assert abs(cost.after.nats - cost.before.nats) < 0.01
    own = rounding_cost(model, LETTERS, tokens[:1])
    assert own.on_own_text
    assert own.after.num_characters == OWN_TEXTS * OWN_LENGTH - 1
    assert own == rounding_cost(model, LETTERS)
    assert rounding_cost(model, LETTERS, np.tile(tokens, 8)).after.num_characters == MAX_CHARACTERS


def test_measuring_leaves_the_model_as_it_is() -> None:
    model = make_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rounding_cost(model, LETTERS)
    assert all(bool((before[name] == weight).all()) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_a_model_that_has_diverged_is_refused(value: float) -> None:
    model = make_model()
    with torch.no_grad():
        model.output.weight[:] = value
        model.lstms[-1].get_parameter("bias_ih_l0")[:] = 50.0  # every cell gives nearly 1: no sum is finite by chance
    with pytest.raises(CheckpointError, match="has diverged; use another checkpoint"):
        rounding_cost(model, LETTERS)
    if not math.isfinite(value):
        with pytest.raises(CheckpointError, match="has diverged"):
            model_in_browser(model, LETTERS)
