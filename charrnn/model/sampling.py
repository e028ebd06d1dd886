"""Sampling: streams of characters from a model, stepped side by side in NumPy, without torch.

One character at a time an LSTM step is a single matrix-vector product, and the overhead of a framework's operators
costs more than the arithmetic; so the weights are taken out once, the embedding and the input matrix of the first
layer folded into one table with a row per character.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from pydantic import Field

from charrnn.config.options import AtLeast0, NotNegative, Number, Options
from charrnn.errors import CheckpointError
from charrnn.text.vocab import Vocabulary

if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM

Array = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.integer]
Weights = Mapping[str, Array]
"""The weights of a `CharLSTM` by their names."""

# Of a model that has diverged `draw` says in a line that it gives no numbers.
_QUIETLY = np.errstate(over="ignore", invalid="ignore")


class Stepper:
    """A model's weights as NumPy arrays, and the state of all streams of text that it reads side by side."""

    @_QUIETLY
    def __init__(self, model: CharLSTM | Weights) -> None:
        if isinstance(model, Mapping):
            weights = model
        else:
            weights = {name: weight.detach().float().cpu().numpy() for name, weight in model.state_dict().items()}
        layers = [f"lstms.{layer}" for layer in range(sum(name.endswith(".weight_hh_l0") for name in weights))]
        self._recurrent = [_by_gate(weights[f"{layer}.weight_hh_l0"].T) for layer in layers]
        self._inputs = [_by_gate(weights[f"{layer}.weight_ih_l0"].T) for layer in layers]
        self._biases = [_by_gate(weights[f"{layer}.bias_ih_l0"] + weights[f"{layer}.bias_hh_l0"]) for layer in layers]
        embedding = weights.get("embedding.weight")
        self._table = self._biases[0] + (self._inputs[0] if embedding is None else embedding @ self._inputs[0])
        # A file has tied weights once, as the embedding.
        self._output = np.array(weights.get("output.weight", embedding), order="F").T
        self._output_bias = np.array(weights["output.bias"])
        # One stream's fresh state; with tokens of more it becomes theirs, by broadcasting.
        self._h = [np.zeros((1, len(recurrent)), dtype=np.float32) for recurrent in self._recurrent]
        self._c = list(self._h)

    @_QUIETLY
    def step(self, tokens_B: Tokens) -> Array:
        """Reads one token in each of B streams and returns the logits of the next, shape (B, V).

        B can grow from 1 once: then all streams go on from what the one has read.
        """
        gates = self._table[tokens_B]
        for layer, recurrent in enumerate(self._recurrent):
            if layer > 0:
                gates = self._h[layer - 1] @ self._inputs[layer] + self._biases[layer]
            gates += self._h[layer] @ recurrent
            np.tanh(gates, out=gates)
            size = len(recurrent)
            sigmoids, cell = gates[:, :-size], gates[:, -size:]
            sigmoids *= 0.5
            sigmoids += 0.5
            self._c[layer] = sigmoids[:, size : 2 * size] * self._c[layer] + sigmoids[:, :size] * cell
            self._h[layer] = sigmoids[:, 2 * size :] * np.tanh(self._c[layer])
        logits: Array = self._h[-1] @ self._output + self._output_bias
        return logits


def _by_gate(weights: Array) -> Array:
    """torch's gates along the last axis (input, forget, cell, output), with the cell last and the others halved.

    One tanh then serves all four: the logistic function is (1 + tanh(x / 2)) / 2, and halving is exact.
    """
    input_gate, forget_gate, cell, output_gate = np.split(weights, 4, axis=-1)
    return np.concatenate([input_gate / 2, forget_gate / 2, output_gate / 2, cell], axis=-1)


def probabilities(
    logits: npt.NDArray[np.floating], temperature: float, top_k: int = 0, top_p: float = 1.0
) -> npt.NDArray[np.float64]:
    """The distributions to draw from, along the last axis: softmax(logits / temperature), perhaps cut.

    ``top_k`` > 0 keeps the k likeliest (Fan et al. 2018), ``top_p`` < 1 the smallest set of the likeliest that holds
    that much probability (Holtzman et al. 2020). A temperature of 0 puts everything on the likeliest.
    """
    if temperature == 0:
        certain: npt.NDArray[np.bool_] = np.arange(logits.shape[-1]) == logits.argmax(axis=-1, keepdims=True)
        return certain.astype(np.float64)
    weights = logits.astype(np.float64)
    weights -= weights.max(axis=-1, keepdims=True)
    # A lower temperature would overflow, and could change nothing: logits that differ do so by more.
    weights /= max(temperature, 1e-200)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    if top_k > 0 or top_p < 1.0:
        likeliest = np.argsort(-weights, axis=-1, kind="stable")
        ordered = np.take_along_axis(weights, likeliest, axis=-1)
        mass_before = ordered.cumsum(axis=-1) - ordered
        ordered[mass_before >= top_p] = 0.0
        if top_k > 0:
            ordered[..., top_k:] = 0.0
        np.put_along_axis(weights, likeliest, ordered, axis=-1)
        weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def default_prompt(vocab: Vocabulary) -> str:
    """What a sample starts from when no prompt is given: a new line, or else the vocabulary's first character."""
    return "\n" if "\n" in vocab else vocab.characters[:1]


class Sampling(Options):
    """How to draw: the settings of `generate`, of `charrnn sample` and of the page to play with."""

    length: AtLeast0 = 1000
    """Characters to write."""
    temperature: NotNegative = 0.8
    """Below 1 is more careful, above 1 wilder; 0 always takes the likeliest character."""
    top_k: AtLeast0 = 0
    """Choose among the k likeliest characters only; 0 for all."""
    top_p: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Choose among the likeliest characters that hold this much probability only; 1 for all."""
    seed: AtLeast0 = 0
    """The same seed writes the same text."""


class SamplingKeywords(TypedDict, total=False):
    """The fields of `Sampling` as keywords."""

    length: int
    temperature: float
    top_k: int
    top_p: float
    seed: int


def generate(
    model: CharLSTM | Weights, vocab: Vocabulary, prompt: str = "", **settings: Unpack[SamplingKeywords]
) -> Iterator[str]:
    """Yields ``length`` characters that go on from a prompt, from a fresh state; <unk> is never drawn.

    The settings are those of `Sampling`. Raises `VocabularyError` for a prompt with characters that the model never saw
    and cannot map to <unk>, and `ConfigError` for impossible settings: both at once, before the first character is
    asked for.
    """
    scored = generate_scored(model, vocab, prompt, **settings)
    return (character for character, _ in scored)


def generate_scored(
    model: CharLSTM | Weights, vocab: Vocabulary, prompt: str = "", **settings: Unpack[SamplingKeywords]
) -> Iterator[tuple[str, float]]:
    """The characters of `generate`, each with the probability that the model gave it."""
    how = Sampling.from_values(settings)
    steps = draw(model, vocab, prompt, seeds=[how.seed], how=how)
    characters = vocab.decode(range(len(vocab)))
    return ((characters[tokens_B[0]], float(scores(tokens_B, logits_BV)[0])) for tokens_B, logits_BV in steps)


def scores(tokens_B: Tokens, logits_BV: Array) -> npt.NDArray[np.float64]:
    """The probability of each token: the model's own, whatever temperature, top-k and top-p made of it."""
    return probabilities(logits_BV, 1.0)[np.arange(len(tokens_B)), tokens_B]


def draw(
    model: CharLSTM | Weights,
    vocab: Vocabulary,
    prompt: str = "",
    *,
    seeds: Sequence[int],
    how: Sampling,
) -> Iterator[tuple[Tokens, Array]]:
    """The texts of all ``seeds`` side by side: their next tokens, and the logits that these were drawn by.

    A text is its seed's, the one that `generate` writes, except that a product of matrices may be rounded in another
    way for another number of rows: a number drawn that falls within a millionth of the border between two characters
    can then be either's.
    """
    prompt_tokens = vocab.encode(prompt or default_prompt(vocab))
    stepper = Stepper(model)

    def steps() -> Iterator[tuple[Tokens, Array]]:
        rngs = [np.random.default_rng(seed) for seed in seeds]
        for token in prompt_tokens:
            logits_1V = stepper.step(token[np.newaxis])
        logits_BV = np.repeat(logits_1V, len(rngs), axis=0)
        for _ in range(how.length):
            if not np.isfinite(logits_BV).all():
                raise CheckpointError(
                    "the model gives no numbers any more: its training has diverged; use another checkpoint"
                )
            allowed_BV = logits_BV
            if vocab.has_unknown:
                allowed_BV = logits_BV.copy()
                allowed_BV[:, 0] = -np.inf
            cumulative_BV = probabilities(allowed_BV, how.temperature, how.top_k, how.top_p).cumsum(axis=-1)
            drawn_B1 = np.array([[rng.random()] for rng in rngs]) * cumulative_BV[:, -1:]
            tokens_B = (cumulative_BV <= drawn_B1).sum(axis=-1)
            yield tokens_B, logits_BV
            logits_BV = stepper.step(tokens_B)

    return steps()
