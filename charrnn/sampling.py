"""Sampling: one stream of characters from a model, stepped in NumPy.

One character at a time an LSTM step is a single matrix-vector product, and the overhead of a framework's operators
costs more than the arithmetic; so the weights are taken out once, the embedding and the input matrix of the first
layer folded into one table with a row per character.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charrnn.errors import CheckpointError, ConfigError
from charrnn.model import CharLSTM
from charrnn.vocab import Vocabulary

Array = npt.NDArray[np.float32]


class Stepper:
    """A model's weights as NumPy arrays, and the state of one stream of text."""

    def __init__(self, model: CharLSTM) -> None:
        weights: dict[str, Array] = {
            name: weight.detach().float().cpu().numpy().copy() for name, weight in model.state_dict().items()
        }
        self._hidden_size = model.hidden_size
        self._recurrent = [weights[f"lstms.{layer}.weight_hh_l0"] for layer in range(model.num_layers)]
        self._inputs = [weights[f"lstms.{layer}.weight_ih_l0"] for layer in range(model.num_layers)]
        self._biases = [
            weights[f"lstms.{layer}.bias_ih_l0"] + weights[f"lstms.{layer}.bias_hh_l0"]
            for layer in range(model.num_layers)
        ]
        embedding = weights.get("embedding.weight")
        table = self._inputs[0].T if embedding is None else embedding @ self._inputs[0].T
        self._table = np.ascontiguousarray(table + self._biases[0])
        self._output, self._output_bias = weights["output.weight"], weights["output.bias"]
        self._h = [np.zeros(self._hidden_size, dtype=np.float32) for _ in range(model.num_layers)]
        self._c = [np.zeros(self._hidden_size, dtype=np.float32) for _ in range(model.num_layers)]

    def step(self, token: int) -> Array:
        """Reads one token and returns the logits of the next, shape (V,)."""
        size = self._hidden_size
        gates = self._table[token]
        for layer, recurrent in enumerate(self._recurrent):
            if layer > 0:
                gates = self._inputs[layer] @ self._h[layer - 1] + self._biases[layer]
            gates = gates + recurrent @ self._h[layer]
            # The logistic function by tanh, which cannot overflow: s(x) = (1 + tanh(x / 2)) / 2.
            sigmoids = 0.5 * np.tanh(0.5 * gates) + 0.5
            cell = np.tanh(gates[2 * size : 3 * size])
            self._c[layer] = sigmoids[size : 2 * size] * self._c[layer] + sigmoids[:size] * cell
            self._h[layer] = sigmoids[3 * size :] * np.tanh(self._c[layer])
        logits: Array = self._output @ self._h[-1] + self._output_bias
        return logits


def probabilities(
    logits: npt.NDArray[np.floating], temperature: float, top_k: int = 0, top_p: float = 1.0
) -> npt.NDArray[np.float64]:
    """The distribution to draw from, shape (V,): softmax(logits / temperature), perhaps cut.

    ``top_k`` > 0 keeps the k likeliest (Fan et al. 2018), ``top_p`` < 1 the smallest set of the likeliest that holds
    that much probability (Holtzman et al. 2020). A temperature of 0 puts everything on the likeliest.
    """
    if temperature == 0:
        certain = np.zeros(len(logits))
        certain[int(np.argmax(logits))] = 1.0
        return certain
    with np.errstate(over="ignore"):
        weights: npt.NDArray[np.float64] = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    weights /= weights.sum()
    if top_k > 0 or top_p < 1.0:
        likeliest = np.argsort(-weights, kind="stable")
        mass_before = np.cumsum(weights[likeliest]) - weights[likeliest]
        dropped = mass_before >= top_p
        if top_k > 0:
            dropped[top_k:] = True
        weights[likeliest[dropped]] = 0.0
        weights /= weights.sum()
    return weights


def default_prompt(vocab: Vocabulary) -> str:
    """What a sample starts from when no prompt is given: a new line, or else the vocabulary's first character."""
    return "\n" if "\n" in vocab else vocab.characters[:1]


def check_sampling(length: int, temperature: float, top_k: int, top_p: float, seed: int) -> None:
    """Raises `ConfigError` for values that no distribution can be made from."""
    if length < 0 or seed < 0:
        raise ConfigError(f"the length is {length} and the seed {seed}: both must be 0 or more")
    if not 0 <= temperature < float("inf"):
        raise ConfigError(f"the temperature is {temperature}: it must be 0 (always the likeliest) or more")
    if top_k < 0:
        raise ConfigError(f"top-k is {top_k}: it must be 0 (off) or more")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top-p is {top_p}: it must be above 0 and at most 1 (off)")


def generate(
    model: CharLSTM,
    vocab: Vocabulary,
    prompt: str = "",
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """Yields ``length`` characters that go on from a prompt, from a fresh state; <unk> is never drawn.

    Raises `VocabularyError` for a prompt with characters that the model never saw and cannot map to <unk>, and
    `ConfigError` for impossible settings: both at once, before the first character is asked for.
    """
    draws = _draws(model, vocab, prompt, length, temperature, top_k, top_p, seed)
    return (vocab.decode([token]) for token, _ in draws)


def generate_scored(
    model: CharLSTM,
    vocab: Vocabulary,
    prompt: str = "",
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[tuple[str, float]]:
    """The characters of `generate`, each with the probability that the model gave it.

    It is the model's own, whatever temperature, top-k and top-p made of it.
    """
    draws = _draws(model, vocab, prompt, length, temperature, top_k, top_p, seed)
    return ((vocab.decode([token]), float(probabilities(logits, 1.0)[token])) for token, logits in draws)


def _draws(
    model: CharLSTM,
    vocab: Vocabulary,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> Iterator[tuple[int, Array]]:
    """Each token drawn, with the model's logits for it and all others."""
    check_sampling(length, temperature, top_k, top_p, seed)
    tokens = vocab.encode(prompt or default_prompt(vocab))
    stepper = Stepper(model)

    def draws() -> Iterator[tuple[int, Array]]:
        rng = np.random.default_rng(seed)
        for token in tokens:
            logits = stepper.step(int(token))
        for _ in range(length):
            if not np.isfinite(logits).all():
                raise CheckpointError(
                    "the model gives no numbers any more: its training has diverged; use another checkpoint"
                )
            allowed = np.append(-np.inf, logits[1:]) if vocab.has_unknown else logits
            cumulative = np.cumsum(probabilities(allowed, temperature, top_k, top_p))
            drawn = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
            yield drawn, logits
            logits = stepper.step(drawn)

    return draws()
