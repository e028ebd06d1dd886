"""The exact loss of a text: every character but the first predicted once, each from all the text before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from charrnn.model.lstm import CharLSTM
from charrnn.text.store import ids_at
from charrnn.text.vocab import Ids

NUM_ROWS = 32
"""Rows in which a text is evaluated, whatever the number of processes, so that the result depends on none."""

WARM_UP = 256
"""Characters of the text before it that each row reads first; tests compare with one row that needs none."""

WINDOW = 128
"""Characters a row reads between two calls of the model: speed and memory alone."""

LINES = 4096
"""Lines that are sorted by their lengths at a time."""

ROOM = 1 << 22
"""Characters of lines that are read side by side, with what fills up the shorter ones, at most."""

TEMPERATURES = tuple(float(temperature) for temperature in np.geomspace(0.5, 2.0, 139))
"""What is tried when a temperature is fitted: steps of 1 %, with 1 among them."""


@dataclass(frozen=True)
class Loss:
    """A loss in nats per character over a number of predicted characters."""

    nats: float
    num_characters: int

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)


@dataclass(frozen=True)
class FittedTemperature:
    """The temperature that suits the first half of a text best, and the loss of the second half at 1 and at it."""

    temperature: float
    before: Loss
    after: Loss


def num_rows_for(num_tokens: int) -> int:
    """Rows for a text: fewer for a short one, where warming up would cost more than reading."""
    return max(1, min(NUM_ROWS, num_tokens // WARM_UP))


def part_of(num_tokens: int, num_rows: int, num_characters: int) -> tuple[int, int]:
    """How many targets each row predicts so that all predict ``num_characters`` (0: all there are), and their sum."""
    num_targets = num_tokens - 1
    whole = -(-num_targets // num_rows)
    part = min(whole, -(-num_characters // num_rows)) if num_characters else whole
    return part, sum(max(0, min(part, num_targets - row * whole)) for row in range(num_rows))


@torch.inference_mode()
def loss_sum(
    model: CharLSTM,
    tokens: npt.NDArray[np.unsignedinteger],
    own_rows: range,
    num_rows: int,
    warm_up: int = WARM_UP,
    temperatures: Sequence[float] = (1.0,),
    look: Callable[[], None] = lambda: None,
    per_row: int = 0,
) -> torch.Tensor:
    """The summed loss in nats over this process's own of a text's rows, at each temperature: float64, on the CPU.

    Row r predicts the targets r * L .. (r + 1) * L - 1 of the text's N - 1, with L = ceil((N - 1) / num_rows), or the
    first ``per_row`` of them, from a fresh state warmed up on the ``warm_up`` characters before. ``look`` is called
    before each window, equally often by all processes, also by one without rows; what it raises ends the evaluation.
    """
    totals = torch.zeros(len(temperatures), dtype=torch.float64)
    num_targets = len(tokens) - 1
    length = -(-num_targets // num_rows)
    rows = np.array([row for row in own_rows if row * length < num_targets], dtype=np.int64)
    device = model.output.weight.device
    part = min(per_row or length, length)
    first, last = rows * length, np.minimum(rows * length + part, num_targets)
    state = model.zero_state(len(rows))
    warm_up = min(warm_up, length)
    for start in [*range(-warm_up, 0, WINDOW), *range(0, part, WINDOW)]:
        look()
        if rows.size == 0:
            continue
        stop = min(start + WINDOW, 0 if start < 0 else part)
        position_TB = first + np.arange(start, stop, dtype=np.int64)[:, None]
        readable_TB = np.clip(position_TB, 0, num_targets - 1)
        x_TB, y_TB = (torch.from_numpy(ids_at(tokens, readable_TB + ahead)).to(device) for ahead in (0, 1))
        logits_TBV, state = model(x_TB, state)
        if start < 0:
            # The text's first row has nothing before it to warm up on: it starts afresh.
            warm = torch.from_numpy(first > 0).to(device).view(1, -1, 1)
            state = (torch.where(warm, state[0], 0.0), torch.where(warm, state[1], 0.0))
            continue
        counted = torch.from_numpy(position_TB < last).flatten()
        for index, temperature in enumerate(temperatures):
            logits_NV = logits_TBV.flatten(0, 1).float() / temperature
            nats = F.cross_entropy(logits_NV, y_TB.flatten(), reduction="none")
            totals[index] += nats.cpu().double()[counted].sum()
    return totals


@torch.inference_mode()
def line_losses(model: CharLSTM, lines: Iterable[Ids], newline: int) -> Iterator[Loss]:
    """The loss of each line for itself, in their order: of its characters and its end, after a new line and no more.

    An empty line is its end alone.
    """
    source = iter(lines)
    while batch := list(islice(source, LINES)):
        found: dict[int, Loss] = {}
        # Those of about the same length are read side by side.
        waiting = sorted(range(len(batch)), key=lambda index: -len(batch[index]))
        while waiting:
            num_rows = max(1, min(NUM_ROWS, ROOM // (len(batch[waiting[0]]) + 2)))
            rows, waiting = waiting[:num_rows], waiting[num_rows:]
            for index, nats in zip(rows, _nats(model, [batch[row] for row in rows], newline), strict=True):
                num_characters = len(batch[index]) + 1
                found[index] = Loss(float(nats) / num_characters, num_characters)
        yield from (found[index] for index in range(len(batch)))


def _nats(model: CharLSTM, lines: Sequence[Ids], newline: int) -> torch.Tensor:
    """The summed loss in nats of some lines side by side, float64, shape (B,)."""
    sizes_B, device = torch.tensor(list(map(len, lines))), model.output.weight.device
    tokens_TB = np.full((max(map(len, lines)) + 2, len(lines)), newline, np.int64)
    for row, line in enumerate(lines):
        tokens_TB[1 : 1 + len(line), row] = line
    totals, state = torch.zeros(len(lines), dtype=torch.float64), model.zero_state(len(lines))
    for start in range(0, len(tokens_TB) - 1, WINDOW):
        window_TB = torch.from_numpy(tokens_TB[start : start + WINDOW + 1]).to(device)
        logits_TBV, state = model(window_TB[:-1], state)
        nats = F.cross_entropy(logits_TBV.flatten(0, 1).float(), window_TB[1:].flatten(), reduction="none")
        nats_TB = nats.view(-1, len(lines)).cpu().double()
        is_counted_TB = torch.arange(start, start + len(nats_TB))[:, None] <= sizes_B
        totals += torch.where(is_counted_TB, nats_TB, 0.0).sum(dim=0)
    return totals


def evaluate(model: CharLSTM, tokens: npt.NDArray[np.unsignedinteger]) -> Loss:
    """The exact loss of a text of at least two tokens, in one process."""
    return _evaluate_at(model, tokens, (1.0,))[0]


def fit_temperature(model: CharLSTM, tokens: npt.NDArray[np.unsignedinteger]) -> FittedTemperature:
    """Fits the number that logits are divided by on the first half of a text of at least three tokens.

    Above 1 the model is too sure of itself, below 1 not sure enough (Guo et al. 2017).
    """
    middle = len(tokens) // 2
    losses = _evaluate_at(model, tokens[: middle + 1], TEMPERATURES)
    temperature = TEMPERATURES[min(range(len(losses)), key=lambda index: losses[index].nats)]
    return FittedTemperature(temperature, *_evaluate_at(model, tokens[middle:], (1.0, temperature)))


def _evaluate_at(model: CharLSTM, tokens: npt.NDArray[np.unsignedinteger], temperatures: Sequence[float]) -> list[Loss]:
    num_rows, num_targets = num_rows_for(len(tokens)), len(tokens) - 1
    totals = loss_sum(model, tokens, range(num_rows), num_rows, temperatures=temperatures)
    return [Loss(float(total) / num_targets, num_targets) for total in totals]
