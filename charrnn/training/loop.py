"""The training loop: steps, and what is due between them: metrics, evaluation, samples, checkpoints, stopping."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config.settings import TrainConfig
from charrnn.distributed.collectives import sum_over_processes
from charrnn.errors import UserError
from charrnn.model.evaluation import Loss, loss_sum, num_rows_for
from charrnn.model.sampling import default_prompt, generate_scored
from charrnn.run.folder import METRICS, SAMPLES
from charrnn.training.job import Job
from charrnn.training.optimizer import learning_rate_at, set_learning_rate
from charrnn.training.randomness import derived_seed, generator_at
from charrnn.training.rows import rows_of_rank
from charrnn.training.saving import save
from charrnn.training.step import Batch, StepResult, training_step

STOP_CHECK_STEPS = 10
"""Steps between two looks at whether to stop, on a device where a look has to wait for it."""
ADVICE = "lower --learning-rate or --grad-clip and start again (what was saved before is kept)"


class DivergedError(UserError):
    """The loss is no longer a number."""


class Pace:
    """How fast training is: the speed since the last line of metrics, and the time that is left."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began, self._began_at = time.monotonic(), job.progress
        self.restart()

    def restart(self) -> None:
        """Begins to measure the speed anew: what was done since the last step was no training."""
        self._since, self._characters = time.monotonic(), self._job.state.time

    def speed(self) -> float:
        """Characters a second, of all rows."""
        characters = (self._job.state.time - self._characters) * self._job.config.batch_size
        return characters / max(time.monotonic() - self._since, 1e-9)

    def seconds_left(self) -> float:
        """Seconds to the end of the run."""
        done = self._job.progress
        return (time.monotonic() - self._began) * (1 - done) / (done - self._began_at)


def train_to_end(job: Job) -> str:
    """Trains from where the job is to the end of the run; returns ``finished``, or ``preempted`` if told to stop."""
    config, state, pace = job.config, job.state, Pace(job)
    job.terminal.begin(job.total_steps(), state.step)
    saved_at = time.monotonic()
    while job.progress < 1.0:
        save_due = 0 < config.checkpoint_minutes * 60 < time.monotonic() - saved_at
        epochs_before = math.floor(job.epoch)
        result = take_step(job, save_due)
        job.terminal.advance()
        ended = job.progress >= 1.0
        epoch_ended = ended or math.floor(job.epoch) > epochs_before
        evaluating = epoch_ended or _every(config.eval_every, state.step)
        logging = evaluating or _every(config.log_every, state.step)
        loss, improved = None, False
        if logging:
            check_finite(job, result)
            speed, seconds_left = pace.speed(), pace.seconds_left()
            loss = measure(job) if evaluating else None
            improved = state.improve(loss.nats if loss else None)
            log_metrics(job, result, loss, speed, seconds_left)
        if epoch_ended or _every(config.sample_every, state.step):
            write_samples(job, loss)
        stop, save_asked = _requests(job, result)
        if epoch_ended or improved or stop or save_asked or _every(config.checkpoint_every, state.step):
            check_weights(job, result)
            save(job, loss)
            saved_at = time.monotonic()
        if logging:
            pace.restart()
        if stop and not ended:
            return "preempted"
    return "finished"


def _every(steps: int, step: int) -> bool:
    return steps > 0 and step % steps == 0


def _requests(job: Job, result: StepResult) -> tuple[bool, bool]:
    """Whether any process was told to stop, and whether the main one wants to save: the same answer on all."""
    if job.device.type != "cpu" and not _every(STOP_CHECK_STEPS, job.state.step):
        return False, False
    return bool(result.stop > 0), bool(result.save > 0)


def take_step(job: Job, save_due: bool) -> StepResult:
    """One training step, which moves the state of the job on."""
    config, state = job.config, job.state
    length = window_length(config, state.step)
    rate = learning_rate_at(
        config.schedule,
        config.learning_rate,
        progress=job.progress_at(state.step + 1, state.time + length),
        epoch=job.epoch,
        warmup=config.warmup,
        final=config.final_learning_rate,
    )
    set_learning_rate(job.learner.optimizer, rate)
    result = training_step(
        job.learner,
        next_batch(job, length),
        state.state,
        last_only=config.loss_on == "last",
        grad_clip=config.grad_clip,
        stop=bool(job.stop),
        save=save_due and job.accelerator.is_main_process,
    )
    state.advance(result, length)
    return result


def window_length(config: TrainConfig, step: int) -> int:
    """The length of a step's window, drawn where it is random."""
    if not config.min_seq_length:
        return config.seq_length
    span = config.seq_length - config.min_seq_length + 1
    return config.min_seq_length + derived_seed(config.seed, step, "window length") % span


def next_batch(job: Job, length: int) -> Batch:
    """The next window of this process's rows.

    What is random is drawn for the rows of all processes, so that no row's luck depends on who owns it.
    """
    config, step, device = job.config, job.state.step, job.device
    job.store.check_sizes()
    own = slice(job.state.own_rows.start, job.state.own_rows.stop)
    window = job.rows.window(job.state.time, length)
    masks, recurrent, seams = None, None, window.seams
    if config.dropout > 0:
        generator = generator_at(config.seed, step, "dropout", device)
        masks = [mask[own] for mask in job.model.dropout_masks(config.batch_size, config.dropout, generator)]
    if config.drop_connect > 0:
        generator = generator_at(config.seed, step, "drop connect", device)
        recurrent = job.model.drop_connect(config.drop_connect, generator)
    if config.state_drop > 0:
        draw = torch.rand(config.batch_size, generator=generator_at(config.seed, step, "state drop"))
        seams = [(0, row) for row, number in enumerate(draw[own].tolist()) if number < config.state_drop] + seams
    x_TB, y_TB = (_to_device(array, device) for array in (window.x_TB, window.y_TB))
    return Batch(x_TB, y_TB, seams, config.batch_size, masks, recurrent)


def _to_device(array: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def check_finite(job: Job, result: StepResult) -> None:
    """Raises `DivergedError` if the loss or the gradient is not finite."""
    if not job.state.is_finite(result):
        raise DivergedError(f"the loss is no longer a number at step {job.state.step}: {ADVICE}")


def check_weights(job: Job, result: StepResult) -> None:
    """Raises `DivergedError` if anything that a checkpoint would keep is not finite."""
    check_finite(job, result)
    if not all(bool(torch.isfinite(weight).all()) for weight in job.model.parameters()):
        raise DivergedError(f"a weight is no longer a number at step {job.state.step}: {ADVICE}")


def measure(job: Job) -> Loss | None:
    """The exact validation loss, each process evaluating its part of the rows; ``None`` without validation text.

    Raises `DivergedError` if it is not finite.
    """
    tokens = job.store.val
    if len(tokens) < 2:
        return None
    num_rows = num_rows_for(len(tokens))
    own_rows = rows_of_rank(num_rows, job.accelerator.process_index, job.accelerator.num_processes)
    total = loss_sum(job.model, tokens, own_rows, num_rows)
    if job.accelerator.num_processes > 1:
        total = total.to(job.device)
        sum_over_processes(total)
    if not math.isfinite(float(total)):
        raise DivergedError(f"the validation loss is no longer a number at step {job.state.step}: {ADVICE}")
    return Loss(float(total) / (len(tokens) - 1), len(tokens) - 1)


def log_metrics(job: Job, result: StepResult, loss: Loss | None, speed: float, seconds_left: float) -> None:
    """Writes a line of metrics to the run folder, the tracker and the terminal; begins a new mean of the loss."""
    row = {
        "step": job.state.step,
        "epoch": round(job.epoch, 6),
        "train_loss": job.state.take_mean_loss(),
        "val_loss": loss.nats if loss else None,
        "val_bpc": loss.bpc if loss else None,
        "learning_rate": job.learner.optimizer.param_groups[0]["lr"],
        "grad_norm": float(result.norm),
        "chars_per_second": speed,
    }
    if job.accelerator.is_main_process:
        job.run.append(METRICS, row)
        known = {name: value for name, value in row.items() if value is not None and name != "step"}
        job.tracker.log(known, job.state.step)
    job.terminal.progress(row, seconds_left)


def write_samples(job: Job, loss: Loss | None) -> None:
    """Samples on the main process: from a fresh state, with the same seed every time, at each temperature."""
    config = job.config
    if not job.accelerator.is_main_process or config.sample_length == 0:
        return
    prompt, seed = config.prompt or default_prompt(job.store.vocab), derived_seed(config.seed, 0, "samples")
    rows, scored = [], []
    for temperature in config.temperatures:
        characters = list(
            generate_scored(
                job.model,
                job.store.vocab,
                prompt,
                length=config.sample_length,
                temperature=temperature,
                seed=seed,
            )
        )
        scored.append(characters)
        rows.append(
            {
                "epoch": round(job.epoch, 6),
                "step": job.state.step,
                "temperature": temperature,
                "prompt": prompt,
                "text": "".join(character for character, _ in characters),
                "val_loss": loss.nats if loss else None,
            }
        )
    for row in rows:
        job.run.append(SAMPLES, row)
    job.tracker.log_samples(rows, scored, job.state.step)
    job.terminal.samples(rows)
