"""One training step: loss, backward, the sum of gradients over processes, clipping, the optimizer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from charrnn.distributed.accelerator import learns_in_bf16
from charrnn.distributed.summation import Summation
from charrnn.model.lstm import CharLSTM, State

NUMBERS = 3
"""What travels with the gradient: the loss, and how many processes ask to stop and to save."""


@dataclass(frozen=True)
class Learner:
    """What learns: the model, its optimizer, and the accelerator, which knows device, precision and scaling.

    ``summation`` adds up the gradients of all processes.
    """

    accelerator: Accelerator
    model: CharLSTM
    optimizer: torch.optim.Optimizer
    summation: Summation = field(default_factory=Summation)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters, in the order in which gradients are summed and measured."""
        return list(self.model.parameters())

    @cached_property
    def precision(self) -> str:
        """What the model computes in, as Accelerate names it: not in bf16 where a processor's gradients are wrong."""
        asked: str = self.accelerator.mixed_precision
        wrong = asked == "bf16" and self.accelerator.device.type == "cpu" and not learns_in_bf16(self.model.hidden_size)
        return "no" if wrong else asked

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it the model computes in its precision."""
        return nullcontext() if self.precision == "no" else self.accelerator.autocast()


@dataclass(frozen=True)
class Batch:
    """A TBPTT window as a step reads it, with what is random about it.

    ``seams`` are pairs of time and row, in order of time, where a row forgets its state before it reads on;
    ``num_rows`` counts the rows of all processes. ``masks`` are from `CharLSTM.dropout_masks`, ``factors`` from
    `CharLSTM.drop_connect`; there are none where nothing is dropped.
    """

    x_TB: Tensor
    y_TB: Tensor
    seams: list[tuple[int, int]]
    num_rows: int
    masks: Sequence[Tensor] = ()
    factors: Sequence[Tensor] = ()


class StepResult(NamedTuple):
    """What a step computes; the numbers are 0-d tensors on the device, so that nothing waits for it.

    ``state`` is detached: the next window goes on from it, but no gradient flows back into this one. ``loss`` is the
    mean over the rows of all processes, in nats per character; ``norm`` that of the gradient before it was clipped;
    ``stop`` and ``save`` count the processes that asked for it. The next step may write over all of it.
    """

    state: State
    loss: Tensor
    norm: Tensor
    stop: Tensor
    save: Tensor


def training_step(
    learner: Learner,
    batch: Batch,
    state: State,
    *,
    last_only: bool = False,
    grad_clip: float = 0.0,
    stop: bool = False,
    save: bool = False,
) -> StepResult:
    """Learns from a window that goes on from ``state``; with ``last_only`` from each row's last character alone.

    ``grad_clip`` is the largest norm of the gradient, 0 for no limit. ``stop`` and ``save`` are what this process asks
    the job to do. Raises `LostProcessError` where another process is gone.
    """
    new_state, loss = backward(learner, batch, state, last_only=last_only)
    numbers = torch.stack([loss, *(loss.new_full((), float(asked)) for asked in (stop, save))])
    if learner.accelerator.num_processes > 1:
        numbers = _sum_over_processes(learner, numbers)
    return StepResult(new_state, numbers[0], update(learner, grad_clip), numbers[1], numbers[2])


def backward(learner: Learner, batch: Batch, state: State, *, last_only: bool) -> tuple[State, Tensor]:
    """Leaves this process's part of the gradient in the parameters; returns the new state and its part of the loss."""
    for parameter in learner.parameters:
        parameter.grad = None  # so that backward stores new gradients instead of adding to zeros
    with learner.model.multiplied(batch.factors):
        with learner.autocast():
            logits_TBV, (h_LBH, c_LBH) = forward_window(learner.model, batch, state)
        y_TB = batch.y_TB
        if last_only:
            logits_TBV, y_TB = logits_TBV[-1:], y_TB[-1:]
        loss_sum = F.cross_entropy(logits_TBV.flatten(0, 1).float(), y_TB.flatten(), reduction="sum")
        loss = loss_sum / (batch.num_rows * y_TB.shape[0])
        learner.accelerator.backward(loss)
    return (h_LBH.detach().float(), c_LBH.detach().float()), loss.detach()


def update(learner: Learner, grad_clip: float, flat: Tensor | None = None) -> Tensor:
    """Clips the gradient and lets the optimizer step; returns the norm that the gradient had.

    ``flat`` is the tensor in which all gradients lie, if they do.
    """
    scaler, optimizer = learner.accelerator.scaler, learner.optimizer
    if scaler:
        scaler.unscale_(optimizer)
    norm = clip(_gradients(learner.parameters) if flat is None else [flat], grad_clip)
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    return norm


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; nothing waits until it is there."""
    return pinned(tensor, device).to(device, non_blocking=True)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU where a device can fetch it while the CPU goes on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def forward_window(model: CharLSTM, batch: Batch, state: State) -> tuple[Tensor, State]:
    """Reads a window, in parts where a row has to forget; returns (logits_TBV, new state)."""
    parts, start = [], 0
    for time, group in itertools.groupby(batch.seams, key=itemgetter(0)):
        if time > start:
            logits, state = model(batch.x_TB[start:time], state, batch.masks)
            parts.append(logits)
            start = time
        state = forget(state, [row for _, row in group])
    logits, state = model(batch.x_TB[start:], state, batch.masks)
    return torch.cat([*parts, logits]) if parts else logits, state


def forget(state: State, rows: list[int]) -> State:
    """Sets the state of some rows to zero."""
    h_LBH, c_LBH = state[0].clone(), state[1].clone()
    for row in rows:
        h_LBH[:, row] = c_LBH[:, row] = 0.0
    return h_LBH, c_LBH


def clip(gradients: list[Tensor], max_norm: float) -> Tensor:
    """Scales gradients down to a 2-norm of at most ``max_norm`` (0: never); returns the norm they had."""
    # Not torch's norm: on a CPU it is computed by one thread, meanwhile the others fall asleep, and the
    # multiplication below waits 2 ms for them.
    flat = [gradient.flatten() for gradient in gradients]
    norm = torch.stack([gradient.dot(gradient) for gradient in flat]).sum().sqrt()
    # Only on a CPU is the norm known without waiting for it, and nearly always within the limit.
    if max_norm > 0 and not (norm.device.type == "cpu" and float(norm) < max_norm):
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert len(gradients) == len(parameters), "backward left a parameter without a gradient"
    return gradients


def _sum_over_processes(learner: Learner, numbers: Tensor) -> Tensor:
    """Adds up all gradients over all processes, in place, and some numbers that travel with them, which it returns.

    The sum is a single one over one flat tensor of one fixed layout: its order of summation never changes, neither
    between steps nor after an interruption, as it does with DistributedDataParallel's buckets. The numbers cost no
    synchronisation of their own.
    """
    parameters = learner.parameters
    flat = learner.summation([*_gradients(parameters), numbers])
    *parts, numbers = torch.split(flat, [*(parameter.numel() for parameter in parameters), len(numbers)])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)
    return numbers
