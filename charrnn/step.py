"""One training step: loss, backward, the sum of gradients over processes, clipping, the optimizer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from charrnn.model import CharLSTM, State
from charrnn.processes import sum_over_processes


class FlatGradients:
    """Every gradient of a model, as views of one flat tensor, and three numbers that travel with them.

    One buffer of one fixed layout makes the sum over processes a single all-reduce whose order of summation never
    changes, neither between steps nor after an interruption, as it does with DistributedDataParallel's buckets. Its
    last three elements are the loss, and how many processes ask the job to stop and to save: all processes learn them
    with the gradient, at no cost of their own.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        parameters = list(parameters)
        count = sum(parameter.numel() for parameter in parameters)
        self.flat = torch.zeros(count + 3, device=parameters[0].device)
        self.gradient = self.flat[:count]
        self.loss, self.stop, self.save = self.flat[count:].unbind()
        offset = 0
        for parameter in parameters:
            parameter.grad = self.gradient[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    def clip(self, max_norm: float) -> Tensor:
        """Scales the gradient down to a 2-norm of at most ``max_norm`` (0: never); returns the norm it had."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient)
        if max_norm > 0:
            # No branch on the norm's value: the host would have to wait for the device.
            self.gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


def forget(state: State, keep_B: Tensor) -> State:
    """Sets to zero the state of the rows where ``keep_B`` is 0 (not by a product, which would keep a NaN)."""
    kept = keep_B.view(1, -1, 1) != 0
    return torch.where(kept, state[0], 0.0), torch.where(kept, state[1], 0.0)


def forward_window(
    model: CharLSTM, x_TB: Tensor, state: State, seams: list[tuple[int, int]], masks: list[Tensor] | None
) -> tuple[Tensor, State]:
    """Reads a window, in parts where a row passes the seam from the text's end to its beginning and has to forget."""
    parts, start = [], 0
    for time, row in seams:
        if time > start:
            logits, state = model(x_TB[start:time], state, masks)
            parts.append(logits)
            start = time
        keep_B = torch.ones(x_TB.shape[1], device=x_TB.device)
        keep_B[row] = 0.0
        state = forget(state, keep_B)
    logits, state = model(x_TB[start:], state, masks)
    return torch.cat([*parts, logits]) if parts else logits, state


def training_step(
    accelerator: Accelerator,
    model: CharLSTM,
    optimizer: torch.optim.Optimizer,
    gradients: FlatGradients,
    x_TB: Tensor,
    y_TB: Tensor,
    state: State,
    *,
    num_rows: int,
    seams: list[tuple[int, int]],
    masks: list[Tensor] | None,
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
    gradients.flat.zero_()
    logits_TBV, state = forward_window(model, x_TB, state, seams, masks)
    if last_only:
        logits_TBV, y_TB = logits_TBV[-1:], y_TB[-1:]
    loss_sum = F.cross_entropy(logits_TBV.flatten(0, 1).float(), y_TB.flatten(), reduction="sum")
    loss = loss_sum / (num_rows * y_TB.shape[0])
    accelerator.backward(loss)
    gradients.loss.copy_(loss.detach())
    gradients.stop.fill_(float(stop))
    gradients.save.fill_(float(save))
    sum_over_processes(gradients.flat)
    accelerator.unscale_gradients()
    norm = gradients.clip(grad_clip)
    optimizer.step()
    return (state[0].detach(), state[1].detach()), norm
