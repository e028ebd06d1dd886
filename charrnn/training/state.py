"""Where a run is: all that changes from step to step besides the weights, and how a checkpoint keeps it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.distributed.collectives import sum_over_processes
from charrnn.errors import CheckpointError
from charrnn.model.lstm import State
from charrnn.training.step import Learner, StepResult

VERSION = 1


@dataclass
class TrainingState:
    """The place of a run, the optimizer's moments, and the recurrent state of this process's own rows.

    ``step`` counts steps, ``time`` characters of each row. ``loss_sum`` adds up ``loss_count`` steps since the last
    line of metrics. ``undone`` is the gradient's norm of the last step, until all that is due after a step is done;
    ``speed`` the characters a second when they were last measured.
    """

    learner: Learner
    own_rows: range
    num_rows: int
    state: State
    loss_sum: Tensor
    loss_count: int = 0
    step: int = 0
    time: int = 0
    best_loss: float | None = None
    undone: Tensor | None = None
    speed: float = 0.0

    @classmethod
    def at_start(cls, learner: Learner, own_rows: range, num_rows: int) -> TrainingState:
        """The beginning of a run."""
        state = learner.model.zero_state(len(own_rows))
        return cls(learner, own_rows, num_rows, state, torch.zeros((), device=learner.accelerator.device))

    def advance(self, result: StepResult, length: int) -> None:
        """One step on, over a window of ``length`` characters."""
        self.state = result.state
        self.loss_sum += result.loss
        self.loss_count += 1
        self.step += 1
        self.time += length
        self.undone = result.norm

    def take_mean_loss(self) -> float:
        """The mean loss since this was called last; waits for the device."""
        mean = float(self.loss_sum) / self.loss_count
        self.loss_sum, self.loss_count = torch.zeros_like(self.loss_sum), 0
        return mean

    def improve(self, loss: float | None) -> bool:
        """Notes a validation loss, if there is one; returns whether it is the lowest so far."""
        improved = loss is not None and (self.best_loss is None or loss < self.best_loss)
        self.best_loss = loss if improved else self.best_loss
        return improved

    def state_dict(self) -> dict[str, Any]:
        """What going on needs, as tensors and what JSON can hold; all processes ask for it together.

        Of the recurrent state it has the rows of all processes.
        """
        scaler = self.learner.accelerator.scaler
        h_LBH, c_LBH = self._state_of_all_rows()
        return {
            "version": VERSION,
            "step": self.step,
            "time": self.time,
            "loss_count": self.loss_count,
            "best_loss": self.best_loss,
            # A tensor, for JSON has no infinity, which the norm of a scaled gradient may be.
            "undone": self.undone,
            "speed": self.speed,
            "scaler": scaler.state_dict() if scaler else None,
            "loss_sum": self.loss_sum,
            "state.h": h_LBH,
            "state.c": c_LBH,
            **{
                f"optimizer.{name}.{slot}": torch.as_tensor(value)
                for name, parameter in self.learner.model.named_parameters()
                for slot, value in self.learner.optimizer.state[parameter].items()
            },
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave, on any number of processes; raises `CheckpointError` if it cannot."""
        if saved.get("version", VERSION) != VERSION:  # before versions were written there was only this one
            raise CheckpointError(
                f"the state has version {saved['version']}; this charrnn reads version {VERSION}: "
                "use the charrnn that wrote it, or start a new run in another --run-dir"
            )
        optimizer, device = self.learner.optimizer, self.learner.accelerator.device
        on_device = optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")
        moments: dict[Tensor, dict[str, Tensor]] = {}
        for name, parameter in self.learner.model.named_parameters():
            prefix = f"optimizer.{name}."
            slots = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
            if not slots and saved["step"] > 0:
                raise CheckpointError(f"the state has no moments of {name}")
            moments[parameter] = {
                # A step count lives where its optimizer put it: on the CPU unless the optimizer is fused or captured.
                slot: value.to(parameter.device) if value.ndim or on_device else value
                for slot, value in slots.items()
                if _fits(prefix + slot, value, parameter.shape if slot != "step" else torch.Size())
            }
        shape = torch.Size((len(self.state[0]), self.num_rows, self.state[0].shape[2]))
        # Not there before evaluations could be stopped; a number of JSON at first.
        undone = saved.get("undone")
        undone = None if undone is None else torch.as_tensor(undone)
        for name, size in (("state.h", shape), ("state.c", shape), ("loss_sum", torch.Size())):
            _fits(name, saved.get(name), size)
        if undone is not None:
            _fits("undone", undone, torch.Size())
        optimizer.state.update(moments)
        if saved["scaler"] and self.learner.accelerator.scaler:
            self.learner.accelerator.scaler.load_state_dict(saved["scaler"])
        own = slice(self.own_rows.start, self.own_rows.stop)
        # Copies also on a CPU: sums may depend on where in memory a tensor begins.
        h_LBH, c_LBH = (saved[f"state.{name}"][:, own].to(device, copy=True) for name in "hc")
        self.state, self.loss_sum = (h_LBH, c_LBH), saved["loss_sum"].to(device)
        self.loss_count, self.best_loss = saved["loss_count"], saved["best_loss"]
        self.step, self.time = saved["step"], saved["time"]
        self.undone, self.speed = undone if undone is None else undone.to(device), saved.get("speed", 0.0)

    def is_finite(self, norm: Tensor) -> bool:
        """Whether loss and gradient are numbers; a scaled fp16 gradient may overflow. Waits for the device."""
        may_overflow = self.learner.accelerator.mixed_precision == "fp16"
        return math.isfinite(float(self.loss_sum)) and (may_overflow or math.isfinite(float(norm)))

    def _state_of_all_rows(self) -> State:
        own = torch.stack([part.float() for part in self.state])
        whole = own.new_zeros((2, own.shape[1], self.num_rows, own.shape[3]))
        whole[:, :, self.own_rows.start : self.own_rows.stop] = own
        # Each row is a sum of one state and zeros: exact.
        sum_over_processes(whole)
        return whole[0], whole[1]


def _fits(name: str, tensor: Tensor | None, shape: torch.Size) -> bool:
    """Raises `CheckpointError` unless a saved tensor has the shape and the type that this run gives it."""
    if tensor is None or tensor.shape != shape or tensor.dtype != torch.float32:
        found = f"{tensor.dtype} of {tuple(tensor.shape)}" if tensor is not None else "missing"
        raise CheckpointError(f"the state is of another run: {name} is {found}, not torch.float32 of {tuple(shape)}")
    return True
