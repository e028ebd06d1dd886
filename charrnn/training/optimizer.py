"""Optimizer and learning rate from plain values; the rate is a function of progress, so nothing of it is state."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    *,
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or Adam, fused where torch has it, or RMSprop with char-rnn's decay of 0.95.

    Weight decay is AdamW's alone, which keeps it apart from the gradient, and that of matrices, not of biases. What is
    ``capturable`` can step in a CUDA graph: its learning rate is a tensor on the device.
    """
    parameters = list(parameters)
    weight_decay = weight_decay if name == "adamw" else 0.0
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate: Tensor | float = torch.tensor(learning_rate, device=parameters[0].device) if capturable else learning_rate
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=0.95, capturable=capturable)
    fused = parameters[0].device.type in ("cpu", "cuda", "mps", "xpu")
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, betas=(0.9, 0.99), fused=fused, capturable=capturable)


def learning_rate_at(
    schedule: str, peak: float, *, progress: float, epoch: float, warmup: float, final: float
) -> float:
    """The learning rate after a share ``progress`` of the run, ``epoch`` epochs in.

    - cosine: linear warm-up over the share ``warmup`` of the run, then a cosine (Loshchilov & Hutter 2017) down to
      ``final`` times the peak.
    - trapezoid: the same warm-up, the peak until 60 % of the run, then a straight line down to ``final`` times the peak
      (Zhai et al. 2022; Hägele et al. 2024).
    - constant: the same warm-up, then the peak.
    - char-rnn: the peak, times 0.97 for every epoch after the tenth (Karpathy's char-rnn, its defaults).
    """
    if schedule == "char-rnn":
        return float(peak * 0.97 ** max(0, math.floor(epoch) - 9))
    if progress < warmup:
        return peak * progress / warmup
    if schedule == "constant":
        return peak
    if schedule == "trapezoid":
        remaining = min(1.0, max(0.0, 1.0 - progress) / (1.0 - max(0.6, warmup)))
    else:
        remaining = 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))
    return peak * (final + (1.0 - final) * remaining)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets one learning rate for all parameters."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate
