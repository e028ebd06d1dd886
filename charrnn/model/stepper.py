"""One step of a model for many streams of text side by side, in NumPy, without torch.

One character at a time an LSTM step is a single matrix-vector product, and the overhead of a framework's operators
costs more than the arithmetic; so the weights are taken out once, the embedding and the input matrix of the first
layer folded into one table with a row per character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from charrnn.distributed.machine import share_of_cores

if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM

Array = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.integer]
Weights = Mapping[str, Array]
"""The weights of a `CharLSTM` by their names."""

TOGETHER = 32
"""Streams that one core steps: more are shared among the cores, in the same parts on every machine ..."""
LARGE = 512
"""... where a layer has so many cells: with fewer, threads wait for each other longer than a step takes."""

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
        self._begin()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor | None:
        """Threads for what is shared among cores, where there are several."""
        cores = share_of_cores()
        return ThreadPoolExecutor(cores) if cores > 1 else None

    def _begin(self) -> None:
        """One stream, in a fresh state."""
        sizes = [len(recurrent) for recurrent in self._recurrent]
        self._h, self._c = ([np.zeros((1, size), dtype=np.float32) for size in sizes] for _ in "hc")

    def read(self, texts: Sequence[Tokens]) -> Array:
        """Begins a stream for each text, which it reads, and returns the logits of what comes next, shape (B, V).

        Texts that are the same are read once.
        """
        ends: dict[bytes, tuple[list[Array], list[Array], Array]] = {}
        for text in texts:
            if text.tobytes() not in ends:
                self._begin()
                for token in text:
                    logits_1V = self.step(token[np.newaxis])
                ends[text.tobytes()] = self._h, self._c, logits_1V
        h, c, logits = zip(*(ends[text.tobytes()] for text in texts), strict=True)
        self._h, self._c = ([np.concatenate(layer) for layer in zip(*each, strict=True)] for each in (h, c))
        logits_BV: Array = np.concatenate(logits)
        return logits_BV

    def keep(self, streams: npt.NDArray[np.bool_]) -> None:
        """Drops all other streams."""
        self._h, self._c = ([layer[streams] for layer in each] for each in (self._h, self._c))

    def step(self, tokens_B: Tokens) -> Array:
        """Reads one token in each of B streams and returns the logits of the next, shape (B, V).

        One stream in a fresh state becomes B of them.
        """
        num_streams = len(tokens_B)
        if num_streams > len(self._h[0]):
            self._h, self._c = ([layer.repeat(num_streams, axis=0) for layer in each] for each in (self._h, self._c))
        if num_streams <= TOGETHER or len(self._recurrent[0]) < LARGE:
            return self._step(tokens_B, slice(None))
        first, *others = (slice(start, start + TOGETHER) for start in range(0, num_streams, TOGETHER))
        if self._threads:
            theirs = [self._threads.submit(self._step, tokens_B[part], part).result for part in others]
        else:
            theirs = [partial(self._step, tokens_B[part], part) for part in others]
        logits_BV: Array = np.concatenate([self._step(tokens_B[first], first), *(result() for result in theirs)])
        return logits_BV

    @_QUIETLY
    def _step(self, tokens_B: Tokens, part: slice) -> Array:
        """Steps some of the streams."""
        gates = self._table[tokens_B]
        for layer, recurrent in enumerate(self._recurrent):
            h, c = self._h[layer][part], self._c[layer][part]
            if layer > 0:
                gates = self._h[layer - 1][part] @ self._inputs[layer] + self._biases[layer]
            gates += h @ recurrent
            np.tanh(gates, out=gates)
            size = len(recurrent)
            sigmoids, cell = gates[:, :-size], gates[:, -size:]
            sigmoids *= 0.5
            sigmoids += 0.5
            c[:] = sigmoids[:, size : 2 * size] * c + sigmoids[:, :size] * cell
            h[:] = sigmoids[:, 2 * size :] * np.tanh(c)
        logits: Array = self._h[-1][part] @ self._output + self._output_bias
        return logits


def _by_gate(weights: Array) -> Array:
    """torch's gates along the last axis (input, forget, cell, output), with the cell last and the others halved.

    One tanh then serves all four: the logistic function is (1 + tanh(x / 2)) / 2, and halving is exact.
    """
    input_gate, forget_gate, cell, output_gate = np.split(weights, 4, axis=-1)
    return np.concatenate([input_gate / 2, forget_gate / 2, output_gate / 2, cell], axis=-1)
