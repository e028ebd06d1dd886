"""Measures what training costs on this machine, by doing it: steps, an evaluation, a sample."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

from charrnn.distributed.collectives import on_main
from charrnn.model.evaluation import WINDOW, loss_sum, num_rows_for
from charrnn.model.sampling import default_prompt, generate
from charrnn.training.captured import captured_step
from charrnn.training.costs import Costs
from charrnn.training.job import Job, make_learner
from charrnn.training.loop import take_step
from charrnn.training.state import TrainingState

WARM_UP_STEPS = 2
"""Steps before the clock starts: the first ones allocate memory, choose kernels and capture graphs."""
MOST_STEPS = 100
SAMPLED = 50
"""Characters written to measure how long a sample takes."""
BYTES_PER_SECOND = 2e8
"""A cautious disk's, of checkpoints that are flushed; each has three numbers a weight."""
BESIDE = 0.1
"""What samples and checkpoints take of training's time where they are written beside it, as a share of their own."""


def measure(job: Job, seconds: float) -> Costs:
    """The costs of a job, from about so many seconds of steps on a copy of it; the main process's clock decides.

    Nothing of the job changes: what its own steps compute does not depend on whether they were rehearsed.
    """
    scaler = job.accelerator.scaler
    scale = scaler.state_dict() if scaler else {}
    rehearsal = _copy(job)
    _seconds_per_step(rehearsal, WARM_UP_STEPS)
    step = _seconds_per_step(rehearsal, 1)
    # The same number on all processes: each step is one of all of them.
    num_steps = on_main(job.accelerator, lambda: max(1, min(MOST_STEPS, round(seconds / max(step, 1e-6)))))
    if num_steps > 1:
        step = _seconds_per_step(rehearsal, num_steps)
    if scaler:
        scaler.load_state_dict(scale)
    saving = 0.05 + 12 * job.model.num_parameters / BYTES_PER_SECOND
    share = 1.0 if job.beside.at_once else BESIDE
    costs = Costs(step, _seconds_per_window(job), share * _seconds_per_character(job), share * saving)
    return on_main(job.accelerator, lambda: costs)


def _copy(job: Job) -> Job:
    # Moved to where it is: an LSTM lays its weights out for cuDNN then, which a copy does not.
    model, config = copy.deepcopy(job.model).to(job.device), job.config
    learner = make_learner(job.accelerator, model, config, job.learner.summation)
    state = TrainingState.at_start(learner, job.state.own_rows, config.batch_size)
    return replace(job, learner=learner, state=state, captured=captured_step(learner, config))


def _seconds_per_step(job: Job, num_steps: int) -> float:
    """The mean of some steps; reading the loss waits until the device has done them."""
    began = time.perf_counter()
    for _ in range(num_steps):
        take_step(job, save_due=False)
    float(job.state.loss_sum)
    return (time.perf_counter() - began) / num_steps


def _seconds_per_window(job: Job) -> float:
    num_rows = num_rows_for(len(job.store.val))
    tokens = job.store.val[: num_rows * WINDOW + 1]
    if len(tokens) < 2:
        return 0.0
    loss_sum(job.model, tokens[: num_rows + 1], range(num_rows), num_rows, warm_up=0)
    began = time.perf_counter()
    loss_sum(job.model, tokens, range(num_rows), num_rows, warm_up=0)
    return time.perf_counter() - began


def _seconds_per_character(job: Job) -> float:
    if not job.accelerator.is_main_process or not job.config.sample_length:
        return 0.0
    began = time.perf_counter()
    for _ in generate(job.model, job.store.vocab, default_prompt(job.store.vocab), length=SAMPLED, seed=0):
        pass
    return (time.perf_counter() - began) / SAMPLED
