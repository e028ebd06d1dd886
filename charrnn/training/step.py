"""One training step: loss, backward, the sum of gradients over processes, clipping, the optimizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from operator import itemgetter

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from charrnn.distributed.processes import sum_over_processes
from charrnn.model.lstm import CharLSTM, State


class Gradients:
    """Every gradient of a model, and three numbers that travel with them to be summed over processes.

    The sum is a single all-reduce over one flat tensor of one fixed layout: its order of summation never changes,
    neither between steps nor after an interruption, as it does with DistributedDataParallel's buckets. The three
    numbers are the loss, and how many processes ask the job to stop and to save: all processes learn them with the
    gradient, at no cost of their own.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.numbers = torch.zeros(3, device=self.parameters[0].device)
        self.loss, self.stop, self.save = self.numbers.unbind()

    def clear(self) -> None:
        """Drops the gradients, so that backward stores new ones instead of adding to zeros."""
        for parameter in self.parameters:
            parameter.grad = None

    def flat(self) -> Tensor:
        """All gradients and the three numbers, one after another."""
        return torch.cat([*(gradient.flatten() for gradient in self._all()), self.numbers])

    def _all(self) -> list[Tensor]:
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert len(gradients) == len(self.parameters), "backward left a parameter without a gradient"
        return gradients

    def sum_over_processes(self) -> None:
        """Adds up gradients and numbers over all processes; raises `LostProcessError` where one is gone."""
        flat = self.flat()
        sum_over_processes(flat)
        *parts, numbers = torch.split(flat, [*self.sizes, 3])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        self.numbers.copy_(numbers)

    def clip(self, max_norm: float) -> Tensor:
        """Scales the gradient down to a 2-norm of at most ``max_norm`` (0: never); returns the norm it had."""
        gradients = self._all()
        # Not torch's norm: on a CPU it is computed by one thread, meanwhile the others fall asleep, and the
        # multiplication below waits 2 ms for them.
        flat = [gradient.flatten() for gradient in gradients]
        norm = torch.stack([gradient.dot(gradient) for gradient in flat]).sum().sqrt()
        # Only on a CPU is the norm known without waiting for it, and nearly always within the limit.
        if max_norm > 0 and not (norm.device.type == "cpu" and float(norm) < max_norm):
            torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


def forget(state: State, rows: list[int]) -> State:
    """Sets the state of some rows to zero."""
    h_LBH, c_LBH = state[0].clone(), state[1].clone()
    for row in rows:
        h_LBH[:, row] = c_LBH[:, row] = 0.0
    return h_LBH, c_LBH


def forward_window(
    model: CharLSTM,
    x_TB: Tensor,
    state: State,
    seams: list[tuple[int, int]],
    masks: list[Tensor] | None,
    recurrent: list[Tensor] | None = None,
) -> tuple[Tensor, State]:
    """Reads a window, in parts where a row has to forget: ``seams`` are pairs of time and row, in order of time."""
    parts, start = [], 0
    for time, group in itertools.groupby(seams, key=itemgetter(0)):
        if time > start:
            logits, state = model(x_TB[start:time], state, masks, recurrent)
            parts.append(logits)
            start = time
        state = forget(state, [row for _, row in group])
    logits, state = model(x_TB[start:], state, masks, recurrent)
    return torch.cat([*parts, logits]) if parts else logits, state


def training_step(
    accelerator: Accelerator,
    model: CharLSTM,
    optimizer: torch.optim.Optimizer,
    gradients: Gradients,
    x_TB: Tensor,
    y_TB: Tensor,
    state: State,
    *,
    num_rows: int,
    seams: list[tuple[int, int]],
    masks: list[Tensor] | None,
    recurrent: list[Tensor] | None,
    last_only: bool,
    grad_clip: float,
    stop: bool,
    save: bool,
) -> tuple[State, Tensor]:
    """One step over this process's rows; returns the detached state and the gradient norm before clipping.

    The loss is the mean over the ``num_rows`` rows of all processes (in nats per character; with ``last_only`` of
    each window's last character). It is left in ``gradients.loss``, and how many processes asked to stop and to save
    in ``gradients.stop`` and ``gradients.save``: summed over processes.
    """
    gradients.clear()
    with accelerator.autocast():
        logits_TBV, (h_LBH, c_LBH) = forward_window(model, x_TB, state, seams, masks, recurrent)
    if last_only:
        logits_TBV, y_TB = logits_TBV[-1:], y_TB[-1:]
    loss_sum = F.cross_entropy(logits_TBV.flatten(0, 1).float(), y_TB.flatten(), reduction="sum")
    loss = loss_sum / (num_rows * y_TB.shape[0])
    accelerator.backward(loss)
    gradients.loss.copy_(loss.detach())
    gradients.stop.fill_(float(stop))
    gradients.save.fill_(float(save))
    if accelerator.num_processes > 1:
        gradients.sum_over_processes()
    scaler = accelerator.scaler
    if scaler:
        scaler.unscale_(optimizer)
    norm = gradients.clip(grad_clip)
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    return (h_LBH.detach().float(), c_LBH.detach().float()), norm
