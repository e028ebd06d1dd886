"""What one process holds of a run, and what its results depend on besides the settings."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from charrnn import __version__
from charrnn.config.settings import TrainConfig
from charrnn.distributed.stopping import StopRequest
from charrnn.distributed.summation import Summation, summation_of
from charrnn.model.lstm import CharLSTM
from charrnn.run.folder import RunFolder
from charrnn.run.terminal import Terminal
from charrnn.run.tracker import Tracker
from charrnn.text.store import TokenStore
from charrnn.training.beside import Beside
from charrnn.training.captured import CapturedStep, is_captured
from charrnn.training.costs import STEPS_ALONE, Costs, run_seconds
from charrnn.training.optimizer import learning_rate_at, make_optimizer
from charrnn.training.randomness import derived_seed
from charrnn.training.rows import RowBatches
from charrnn.training.state import TrainingState
from charrnn.training.step import NUMBERS, Learner


@dataclass(frozen=True)
class Job:
    """What one process holds of a run; only the main process writes to ``run`` and ``tracker``."""

    config: TrainConfig
    store: TokenStore
    rows: RowBatches
    learner: Learner
    state: TrainingState
    stop: StopRequest
    run: RunFolder
    tracker: Tracker
    terminal: Terminal
    beside: Beside
    captured: CapturedStep | None = None
    costs: Costs = STEPS_ALONE

    @property
    def accelerator(self) -> Accelerator:
        """What knows of the other processes."""
        return self.learner.accelerator

    @property
    def model(self) -> CharLSTM:
        """The model that learns."""
        return self.learner.model

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def epoch(self) -> float:
        """How often the text has been read."""
        return self.state.time / self.rows.row_length

    @property
    def progress(self) -> float:
        """The share of the run that is done."""
        return self.progress_at(self.state.step, self.state.time)

    def progress_at(self, step: int, time: int) -> float:
        """The share of the run that is done after so many steps, and so many characters of each row."""
        if self.config.max_steps:
            return step / self.config.max_steps
        return time / (self.config.epochs * self.rows.row_length)

    def schedule_at(self, step: int, time: int) -> float:
        """The share of the learning rate's schedule that is done after the step that begins there.

        A schedule that starts later follows on another, of the same kind, from the beginning of the run.
        """
        start = round(self.config.schedule_start * self.rows.row_length)
        time_after = time + self.window_length(step)
        if not start:
            return self.progress_at(step + 1, time_after)
        if time < start:
            return time_after / start
        return (time_after - start) / (self.config.epochs * self.rows.row_length - start)

    def learning_rate_at(self, step: int, time: int) -> float:
        """The learning rate of the step, counted from 0, that begins at a time."""
        config = self.config
        return learning_rate_at(
            config.schedule,
            config.learning_rate,
            progress=self.schedule_at(step, time),
            epoch=time / self.rows.row_length,
            warmup=config.warmup,
            final=config.final_learning_rate,
        )

    def window_length(self, step: int) -> int:
        """The length of a step's window, drawn where it is random."""
        config = self.config
        if not config.min_seq_length:
            return config.seq_length
        span = config.seq_length - config.min_seq_length + 1
        return config.min_seq_length + derived_seed(config.seed, step, "window length") % span

    def total_epochs(self) -> float:
        """The epochs of the whole run; an estimate where the number of steps ends it."""
        if not self.config.max_steps:
            return self.config.epochs
        return self.config.max_steps * self.config.mean_seq_length / self.rows.row_length

    def expected_seconds(self, *, whole: bool = False) -> float:
        """Seconds that what is done of the run should have taken, or that all of it should, by what it costs."""
        steps, ends = self.state.step, math.floor(self.epoch)
        if whole:
            steps, ends = max(steps, self.total_steps()), math.ceil(self.total_epochs())
        return run_seconds(self.costs, self.config, len(self.store.val), steps, ends)

    def total_steps(self) -> int:
        """The steps of the whole run; an estimate where windows have random lengths."""
        if self.config.max_steps:
            return self.config.max_steps
        return math.ceil(self.config.epochs * self.rows.row_length / self.config.mean_seq_length)


def rows_of(config: TrainConfig, store: TokenStore, own: range) -> RowBatches:
    """The rows in which a process reads the text to train on."""
    return RowBatches(store.train, config.batch_size, config.seq_length, own, config.thin, config.start_at)


def make_learner(
    accelerator: Accelerator, model: CharLSTM, config: TrainConfig, summation: Summation | None = None
) -> Learner:
    """A model on its device, with the optimizer that the settings want; adds up as another of its size, or anew."""
    optimizer = make_optimizer(
        config.optimizer,
        model.parameters(),
        config.learning_rate,
        config.weight_decay,
        capturable=is_captured(config, accelerator.device),
    )
    summation = summation or summation_of(accelerator, model.num_parameters + NUMBERS)
    return Learner(accelerator, model, optimizer, summation)


def circumstances(learner: Learner) -> dict[str, object]:
    """What the last digits of a result depend on besides the settings."""
    accelerator = learner.accelerator
    device = accelerator.device.type
    return {
        "processes": accelerator.num_processes,
        "device": device,
        "mixed precision": learner.precision,
        "sums": learner.summation.way if accelerator.num_processes > 1 else None,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        **versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a bitwise repetition needs."""
    return {"charrnn": __version__, "torch": torch.__version__, "python": platform.python_version()}
