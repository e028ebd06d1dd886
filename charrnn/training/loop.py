"""The training loop: steps, and between them what is due, saving, showing and stopping."""

from __future__ import annotations

import gc
import time
from functools import partial

import torch
from torch import Tensor

from charrnn.training.due import (
    Due,
    EvaluationStopped,
    check_finite,
    check_weights,
    every,
    log_metrics,
    measure,
    write_samples,
)
from charrnn.training.job import Job
from charrnn.training.optimizer import set_learning_rate
from charrnn.training.randomness import generator_at
from charrnn.training.saving import save
from charrnn.training.step import Batch, StepResult, to_device, training_step

STOP_CHECK_STEPS = 10
"""Steps between two looks at whether to stop, on a device where a look has to wait for it."""


class Pace:
    """How fast training is: the speed since the last line of metrics, and the time that is left."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began, self._expected = time.monotonic(), job.expected_seconds()
        self.restart()

    def restart(self) -> None:
        """Begins to measure the speed anew: what was done since the last step was no training."""
        self._since, self._characters = time.monotonic(), self._job.state.time

    def speed(self) -> float:
        """Characters a second, of all rows."""
        characters = (self._job.state.time - self._characters) * self._job.config.batch_size
        return characters / max(time.monotonic() - self._since, 1e-9)

    def seconds_left(self) -> float | None:
        """Seconds to the end of the run, once a step is done: what is expected, as right or wrong as it was so far."""
        expected, whole = self._job.expected_seconds(), self._job.expected_seconds(whole=True)
        if expected <= self._expected:
            return None
        return (time.monotonic() - self._began) * (whole - expected) / (expected - self._expected)


def train_to_end(job: Job) -> str:
    """Trains from where the job is to the end of the run; returns ``finished``, or ``preempted`` if told to stop.

    What the run folder keeps is written before anything is shown: a terminal or a tracker may fail.
    """
    # Of what is there now nothing goes before the end: no collection of garbage need look at it.
    gc.freeze()
    try:
        with job.beside:
            return _train(job)
    finally:
        gc.unfreeze()


def _train(job: Job) -> str:
    config, state, pace = job.config, job.state, Pace(job)
    job.terminal.begin(job.total_steps(), state.step)
    saved_at = time.monotonic()
    while state.undone is not None or job.progress < 1.0:
        stop = save_asked = False
        if state.undone is None:  # else the run goes on from an evaluation that was stopped
            save_due = 0 < config.checkpoint_minutes * 60 < time.monotonic() - saved_at
            stop, save_asked = _requests(job, save_due, take_step(job, save_due))
            job.terminal.advance()
        due = Due.after_step(job)
        assert state.undone is not None
        norm, loss, improved, row = state.undone, None, False, None
        if due.metrics:
            check_finite(job, norm)
            state.speed, seconds_left = pace.speed() or state.speed, pace.seconds_left()
            try:
                if stop and due.evaluation:
                    raise EvaluationStopped
                loss = measure(job) if due.evaluation else None
            except EvaluationStopped:
                save(job, None)
                return "preempted"
            improved = state.improve(loss.nats if loss else None)
            row = log_metrics(job, norm, loss)
        samples = write_samples(job, loss) if due.samples else []
        state.undone = None
        if due.epoch_ended or improved or stop or save_asked or every(config.checkpoint_every, state.step):
            check_weights(job, norm)
            save(job, loss)
            saved_at = time.monotonic()
        if row:
            job.beside.do(partial(job.terminal.progress, row, seconds_left))
            pace.restart()
        if due.samples:
            job.beside.do(partial(job.terminal.samples, samples))
        if stop and not due.ended:
            return "preempted"
    return "finished"


def _requests(job: Job, save_due: bool, result: StepResult) -> tuple[bool, bool]:
    """Whether any process was told to stop, and whether the main one wants to save: the same answer on all."""
    if job.accelerator.num_processes == 1:
        return bool(job.stop), save_due  # known without waiting for the device
    if job.device.type != "cpu" and not every(STOP_CHECK_STEPS, job.state.step):
        return False, False
    return bool(result.stop > 0), bool(result.save > 0)


def take_step(job: Job, save_due: bool) -> StepResult:
    """One training step, which moves the state of the job on."""
    config, state = job.config, job.state
    length = job.window_length(state.step)
    set_learning_rate(job.learner.optimizer, job.learning_rate_at(state.step, state.time))
    make = partial(next_batch, job, length)
    batch = job.captured.ahead(make) if job.captured else make()
    stop, save = bool(job.stop), save_due and job.accelerator.is_main_process
    if job.captured and job.captured.takes(batch):
        result = job.captured(batch, state.state, stop=stop, save=save)
    else:
        last_only, grad_clip = config.loss_on == "last", config.grad_clip
        result = training_step(
            job.learner, batch, state.state, last_only=last_only, grad_clip=grad_clip, stop=stop, save=save
        )
    state.advance(result, length)
    return result


def next_batch(job: Job, length: int) -> Batch:
    """The next window of this process's rows.

    What is random is drawn for the rows of all processes, so that no row's luck depends on who owns it.
    """
    config, step, device = job.config, job.state.step, job.device
    job.store.check_sizes()
    own = slice(job.state.own_rows.start, job.state.own_rows.stop)
    window = job.rows.window(job.state.time, length)
    masks: list[Tensor] = []
    factors: list[Tensor] = []
    seams = window.seams
    if config.dropout > 0:
        generator = generator_at(config.seed, step, "dropout", device)
        masks = [mask[own] for mask in job.model.dropout_masks(config.batch_size, config.dropout, generator)]
    if config.drop_connect > 0:
        generator = generator_at(config.seed, step, "drop connect", device)
        factors = job.model.drop_connect(config.drop_connect, generator)
    if config.state_drop > 0:
        draw = torch.rand(config.batch_size, generator=generator_at(config.seed, step, "state drop"))
        seams = [(0, row) for row, number in enumerate(draw[own].tolist()) if number < config.state_drop] + seams
    x_TB, y_TB = (to_device(torch.from_numpy(array), device) for array in (window.x_TB, window.y_TB))
    return Batch(x_TB, y_TB, seams, config.batch_size, masks, factors)
