"""What one process holds of a run, where the run is, and how a checkpoint keeps that place."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from charrnn import __version__
from charrnn.config.settings import TrainConfig
from charrnn.distributed.processes import StopRequest, on_main, sum_over_processes
from charrnn.errors import CheckpointError
from charrnn.model.card import model_card
from charrnn.model.evaluation import Loss
from charrnn.model.lstm import CharLSTM, State
from charrnn.run import checkpoint
from charrnn.run.folder import RunFolder
from charrnn.run.trackers import Terminal, Tracker
from charrnn.text.store import TokenStore
from charrnn.training.rows import RowBatches
from charrnn.training.step import Gradients


@dataclass(frozen=True)
class Job:
    """What one process holds of a run; only the main process writes to ``run`` and ``tracker``."""

    config: TrainConfig
    accelerator: Accelerator
    text: TokenStore
    share: range
    rows: RowBatches
    model: CharLSTM
    optimizer: torch.optim.Optimizer
    gradients: Gradients
    stop: StopRequest
    run: RunFolder
    tracker: Tracker
    terminal: Terminal

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    def progress(self, step: int, time: int) -> float:
        """The share of the run that is done at a position, which the learning rate follows."""
        if self.config.max_steps:
            return step / self.config.max_steps
        return time / (self.config.epochs * self.rows.row_length)

    def total_steps(self) -> int:
        """The steps of the whole run; an estimate where windows have random lengths."""
        if self.config.max_steps:
            return self.config.max_steps
        shortest = self.config.min_seq_length or self.config.seq_length
        mean_length = (shortest + self.config.seq_length) / 2
        return math.ceil(self.config.epochs * self.rows.row_length / mean_length)


@dataclass
class Position:
    """Where a run is: with weights and moments, all that changes from step to step, and all that a checkpoint holds.

    ``state`` is that of this process's rows; ``loss_sum`` adds up ``loss_count`` steps since the last line of metrics.
    """

    state: State
    loss_sum: Tensor
    loss_count: int = 0
    step: int = 0
    time: int = 0
    best_loss: float | None = None


def fresh_position(job: Job) -> Position:
    """The beginning of a run."""
    return Position(job.model.zero_state(len(job.share)), torch.zeros((), device=job.device))


def save_position(job: Job, at: Position, loss: Loss | None) -> None:
    """Saves a checkpoint, with the state of all rows, and removes those no longer wanted."""
    state = _state_of_all_rows(job, at.state)

    def save() -> None:
        tensors = checkpoint.optimizer_tensors(job.model, job.optimizer)
        tensors |= {"state.h": state[0], "state.c": state[1], "loss_sum": at.loss_sum}
        training: dict[str, Any] = {
            "time": at.time,
            "loss_count": at.loss_count,
            "val_loss": loss.nats if loss else None,
            "best_loss": at.best_loss,
            "files": job.run.lengths(),
            "text": job.text.digest,
            "scaler": job.accelerator.scaler.state_dict() if job.accelerator.scaler else None,
            "config": asdict(job.config),
            "circumstances": circumstances(job.accelerator),
        }
        card = model_card(job.config.corpus, at.step, loss)
        checkpoint.save_checkpoint(job.run.checkpoints, at.step, job.model, job.text.vocab, card, tensors, training)
        checkpoint.retain(job.run.checkpoints, job.config.keep)

    on_main(job.accelerator, save)


def restored_position(job: Job, folder: Path) -> Position:
    """The position a checkpoint holds, its weights and moments put into the model and the optimizer."""
    training, tensors = checkpoint.restore(folder, job.model, job.text.vocab, job.optimizer)
    if training["text"] != job.text.digest:
        raise CheckpointError(
            f"{folder} was trained on another text: the corpus has changed since; bring it back or start a new run"
        )
    if training["scaler"] and job.accelerator.scaler:
        job.accelerator.scaler.load_state_dict(training["scaler"])
    own = slice(job.share.start, job.share.stop)
    # Copies also on a CPU: sums may depend on where in memory a tensor begins.
    h_LBH, c_LBH = (tensors[f"state.{name}"][:, own].to(job.device, copy=True) for name in "hc")
    return Position(
        state=(h_LBH, c_LBH),
        loss_sum=tensors["loss_sum"].to(job.device),
        loss_count=training["loss_count"],
        step=training["step"],
        time=training["time"],
        best_loss=training["best_loss"],
    )


def circumstances(accelerator: Accelerator) -> dict[str, object]:
    """What the last digits of a result depend on besides the configuration."""
    device = accelerator.device.type
    return {
        "processes": accelerator.num_processes,
        "device": device,
        "mixed precision": accelerator.mixed_precision,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        **versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a bitwise repetition needs."""
    return {"charrnn": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _state_of_all_rows(job: Job, state: State) -> State:
    """The state of the rows of all processes, from each process's own: (h_LBH, c_LBH) with B = all rows."""
    own = torch.stack([part.float() for part in state])
    whole = own.new_zeros((2, own.shape[1], job.config.batch_size, own.shape[3]))
    whole[:, :, job.share.start : job.share.stop] = own
    # Each row is a sum of one state and zeros: exact.
    sum_over_processes(whole)
    return whole[0], whole[1]
