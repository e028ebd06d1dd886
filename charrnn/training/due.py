"""What is due between two steps: metrics, evaluation, samples; and whether there is still a number to go on with."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.distributed.collectives import sum_over_processes
from charrnn.errors import UserError
from charrnn.model.evaluation import Loss, loss_sum, num_rows_for, part_of
from charrnn.model.sampling import default_prompt, generate_scored
from charrnn.run.folder import METRICS, SAMPLES
from charrnn.training.job import Job
from charrnn.training.randomness import derived_seed
from charrnn.training.rows import rows_of_rank

STOP_CHECK_WINDOWS = 4
"""Windows of an evaluation between two agreements of several processes on whether to stop."""
ADVICE = "lower --learning-rate or --grad-clip and start again (what was saved before is kept)"


class DivergedError(UserError):
    """The loss is no longer a number."""


class EvaluationStopped(Exception):  # noqa: N818  # no error: the job was told to stop
    """A process was told to stop while all of them evaluated."""


@dataclass(frozen=True)
class Due:
    """What is due after a step: a function of the settings and the place alone, so that it can be done later."""

    ended: bool
    epoch_ended: bool
    evaluation: bool
    metrics: bool
    samples: bool

    @classmethod
    def after_step(cls, job: Job) -> Due:
        """What is due where the job is."""
        config, state = job.config, job.state
        time_before = state.time - job.window_length(state.step - 1)
        ended = job.progress >= 1.0
        epoch_ended = ended or math.floor(job.epoch) > math.floor(time_before / job.rows.row_length)
        evaluation = epoch_ended or every(config.eval_every, state.step)
        metrics = evaluation or every(config.log_every, state.step)
        return cls(ended, epoch_ended, evaluation, metrics, epoch_ended or every(config.sample_every, state.step))


def every(steps: int, step: int) -> bool:
    """Whether something is due that comes every so many steps, or never."""
    return steps > 0 and step % steps == 0


def check_finite(job: Job, norm: Tensor) -> None:
    """Raises `DivergedError` if the loss or the gradient is not finite."""
    if not job.state.is_finite(norm):
        raise DivergedError(f"the loss is no longer a number at step {job.state.step}: {ADVICE}")


def check_weights(job: Job, norm: Tensor) -> None:
    """Raises `DivergedError` if anything that a checkpoint would keep is not finite."""
    check_finite(job, norm)
    if not all(bool(torch.isfinite(weight).all()) for weight in job.model.parameters()):
        raise DivergedError(f"a weight is no longer a number at step {job.state.step}: {ADVICE}")


def measure(job: Job) -> Loss | None:
    """The exact loss of the validation text, or of the part of it that settings say; ``None`` if there is none.

    Each process evaluates its part of the rows.

    Raises `DivergedError` if it is not finite, and `EvaluationStopped` on all processes if one is told to stop.
    """
    tokens = job.store.val
    if len(tokens) < 2:
        return None
    num_rows = num_rows_for(len(tokens))
    per_row, num_targets = part_of(len(tokens), num_rows, job.config.val_characters)
    own_rows = rows_of_rank(num_rows, job.accelerator.process_index, job.accelerator.num_processes)
    windows = itertools.count()

    def look() -> None:
        if job.accelerator.num_processes == 1:
            told = bool(job.stop)
        elif next(windows) % STOP_CHECK_WINDOWS:
            return
        else:
            asked = torch.tensor(float(bool(job.stop)), device=job.device)
            sum_over_processes(asked)
            told = float(asked) > 0
        if told:
            raise EvaluationStopped

    total = loss_sum(job.model, tokens, own_rows, num_rows, look=look, per_row=per_row)
    if job.accelerator.num_processes > 1:
        total = total.to(job.device)
        sum_over_processes(total)
    if not math.isfinite(float(total)):
        raise DivergedError(f"the validation loss is no longer a number at step {job.state.step}: {ADVICE}")
    return Loss(float(total) / num_targets, num_targets)


def log_metrics(job: Job, norm: Tensor, loss: Loss | None) -> dict[str, Any]:
    """Has a line of metrics written to run folder and tracker, and returns it; begins a new mean of the loss."""
    step = job.state.step
    row = {
        "step": step,
        "epoch": round(job.epoch, 6),
        "train_loss": job.state.take_mean_loss(),
        "val_loss": loss.nats if loss else None,
        "val_bpc": loss.bpc if loss else None,
        "learning_rate": job.learning_rate_at(step - 1, job.state.time - job.window_length(step - 1)),
        "grad_norm": float(norm),
        "chars_per_second": job.state.speed,
    }
    known = {name: value for name, value in row.items() if value is not None and name != "step"}

    def write() -> None:
        job.run.append(METRICS, row)
        job.tracker.log(known, step)

    if job.accelerator.is_main_process:
        job.beside.do(write)
    return row


def write_samples(job: Job, loss: Loss | None) -> list[dict[str, Any]]:
    """Has samples written on the main process, to the run folder and the tracker, and to what is returned.

    They begin from a fresh state, with the same seed every time, at each temperature.
    """
    config, step, samples = job.config, job.state.step, list[dict[str, Any]]()
    if not job.accelerator.is_main_process or config.sample_length == 0:
        return samples
    prompt, seed = config.prompt or default_prompt(job.store.vocab), derived_seed(config.seed, 0, "samples")
    about = {"epoch": round(job.epoch, 6), "step": step}
    texts = [
        # Takes the weights out, and so writes with those of now whenever it is asked for characters.
        generate_scored(
            job.model, job.store.vocab, prompt, length=config.sample_length, temperature=temperature, seed=seed
        )
        for temperature in config.temperatures
    ]

    def write() -> None:
        # Where a GPU trains, cores are free: each temperature has one, for a large model takes long.
        with nullcontext() if job.beside.at_once else ThreadPoolExecutor() as pool:
            scored = list((pool.map if pool else map)(list[tuple[str, float]], texts))
        for temperature, characters in zip(config.temperatures, scored, strict=True):
            text = "".join(character for character, _ in characters)
            row = {**about, "temperature": temperature, "prompt": prompt, "text": text}
            samples.append({**row, "val_loss": loss.nats if loss else None})
        for row in samples:
            job.run.append(SAMPLES, row)
        job.tracker.log_samples(samples, scored, step)

    job.beside.do(write, has_copy=True)
    return samples
