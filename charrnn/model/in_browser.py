"""A model for a browser: its weights in 8 bits, as lstm.js reads them, and what the rounding costs."""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.errors import CheckpointError
from charrnn.model.evaluation import Loss, evaluate
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import Sampling, draw_own
from charrnn.model.shape import Shape
from charrnn.model.stepper import Array
from charrnn.outside.page import marked
from charrnn.text.vocab import Ids, Vocabulary

OWN_TEXTS, OWN_LENGTH = 32, 320
"""How much text the model writes to be measured on, where there is no other."""
MAX_CHARACTERS = 20_000
"""Of a text that are measured."""

NO_NUMBERS = "the model gives no numbers: its training has diverged; use another checkpoint"


@dataclass(frozen=True)
class Rounded:
    """A matrix in 8 bits: whole numbers from -127 to 127, and for each row what one of them is worth in it."""

    wholes: npt.NDArray[np.int8]
    worth: Array

    @classmethod
    def of(cls, matrix: Array) -> Rounded:
        """The nearest to a matrix of shape (rows, columns): no weight moves by more than half a step."""
        worth: Array = np.abs(matrix).max(axis=1) / np.float32(127)
        # A row of zeros is worth nothing.
        wholes = np.rint(matrix / np.where(worth > 0, worth, 1)[:, np.newaxis])
        return cls(wholes.clip(-127, 127).astype(np.int8), worth)

    def matrix(self) -> Array:
        """What is left of the matrix."""
        kept: Array = self.wholes * self.worth[:, np.newaxis]
        return kept


@dataclass(frozen=True)
class Cost:
    """What rounding does to the loss on a text, which may be the model's own."""

    before: Loss
    after: Loss
    on_own_text: bool

    @property
    def nats(self) -> float:
        """What rounding adds to the loss."""
        return self.after.nats - self.before.nats


def model_in_browser(model: CharLSTM, vocab: Vocabulary) -> dict[str, Any]:
    """What the classes of lstm.js are made from, as JSON can hold it; base64 makes 10.7 bits of the 8 of a weight.

    Raises `CheckpointError` for a model that has diverged.
    """
    _check_numbers(model)
    floats, wholes = [], []
    for weight in _in_order(model):
        if weight.ndim == 2:
            matrix = Rounded.of(weight.detach().cpu().numpy())
            floats.append(matrix.worth)
            wholes.append(matrix.wholes.ravel())
        else:
            floats.append(weight.detach().cpu().numpy())
    return {
        "shape": {name: getattr(model, name) for name in Shape.model_fields},
        "characters": list(vocab.characters),
        "unknown": vocab.has_unknown,
        "normal_form": vocab.normal_form,
        "marks": {character: mark for character in vocab.characters if (mark := marked(character)) != character},
        "floats": _base64(np.concatenate(floats).astype("<f4")),
        "bytes": _base64(np.concatenate(wholes)),
    }


def _in_order(model: CharLSTM) -> Iterator[Tensor]:
    """The weights as lstm.js reads them; an LSTM has two biases, of which only the sum counts."""
    if model.embedding is not None:
        yield model.embedding.weight
    for lstm in model.lstms:
        yield lstm.get_parameter("weight_ih_l0")
        yield lstm.get_parameter("weight_hh_l0")
        yield lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
    if not model.tie_weights:
        yield model.output.weight
    yield model.output.bias


def script() -> str:
    """lstm.js."""
    return (resources.files("charrnn.model") / "lstm.js").read_text(encoding="utf-8")


@torch.no_grad()
def rounded(model: CharLSTM) -> CharLSTM:
    """A model with what rounding leaves of the weights of another."""
    copied = copy.deepcopy(model).cpu()
    for weight in copied.parameters():
        if weight.ndim == 2:
            weight.copy_(torch.from_numpy(Rounded.of(weight.numpy()).matrix()))
    return copied


def rounding_cost(model: CharLSTM, vocab: Vocabulary, held_out: Ids | None = None) -> Cost:
    """Measures a model before and after on a text that it has not learnt from, or else on one that it writes.

    Raises `CheckpointError` for a model that has diverged.
    """
    _check_numbers(model)
    if held_out is not None and len(held_out) > 1:
        tokens, on_own_text = held_out[: MAX_CHARACTERS + 1], False
    else:
        tokens, on_own_text = _own_text(model, vocab), True
    before, after = (evaluate(each, tokens) for each in (model, rounded(model)))
    if not (math.isfinite(before.nats) and math.isfinite(after.nats)):
        raise CheckpointError(NO_NUMBERS)
    return Cost(before, after, on_own_text)


def _own_text(model: CharLSTM, vocab: Vocabulary) -> Ids:
    how = Sampling(length=OWN_LENGTH, temperature=1.0)
    return np.stack(list(draw_own(model, vocab, OWN_TEXTS, how)), axis=1).ravel().astype(vocab.dtype)


def _check_numbers(model: CharLSTM) -> None:
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise CheckpointError(NO_NUMBERS)


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()
