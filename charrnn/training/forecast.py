"""Before the first step: the plan of a run that has minutes, and for every run how long it will take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from accelerate import Accelerator

from charrnn.config.options import flag
from charrnn.config.settings import TrainConfig
from charrnn.distributed.collectives import on_each, on_main
from charrnn.distributed.stopping import StopRequest
from charrnn.outside.printable import counted, quoted
from charrnn.run.baselines import MOST
from charrnn.run.folder import CONFIG, RunFolder
from charrnn.run.terminal import duration
from charrnn.training import planning
from charrnn.training.costs import Costs
from charrnn.training.job import Job, rows_of
from charrnn.training.planning import Task
from charrnn.training.preparation import Earlier, Inputs, prepare
from charrnn.training.rehearsal import measure

PROBED = (256, 512)
"""Cells whose speed is measured before a plan; that of other sizes is a power of the size through these."""
PROBE, LONGEST_PROBE = 0.005, 0.3
"""The share of the time for which each of these is measured, and the most, in seconds."""
FINAL_PROBE, LONGEST_FINAL_PROBE = 0.01, 2.0
"""The same for the size that is chosen; each can show that another is better, which is measured then ..."""
PROBING = 0.03
"""... unless this share of the time is over."""
COMPRESSED_PER_SECOND = 1_000_000
"""Characters that the compressors at the end of a run take in a second, more or less."""
FORECAST_SECONDS = 0.3
"""How long the speed of a run is measured whose settings are known."""
SHAPES = {"cpu": ((16, 32),), "cuda": ((64, 64), (16, 32))}
"""Rows and windows of a plan, by the kind of device. Smaller steps learn more from each reading; larger ones let a GPU
read faster ..."""
SPARE = 0.4
"""... so it takes smaller ones where larger ones would be done in this share of the time, if it reads as often then."""
LATE = 1.1
"""The share of the time from which on a run is said not to fit in it."""
NO_MORE_TIME = "more time would not help with a text of this size: more text would"
A_GUESS = Costs(step=0.03, eval_window=0.03, character=3e-4, checkpoint=0.1)


@dataclass(frozen=True)
class Planned:
    """A plan, and what it was made from."""

    config: TrainConfig
    task: Task
    costs: Mapping[int, Costs]

    @classmethod
    def of(cls, config: TrainConfig, task: Task, costs: Mapping[int, Costs]) -> Planned:
        """The plan that is best for a task, with what the settings leave free."""
        return cls(planning.plan(config, task, costs), task, costs)

    @property
    def cost(self) -> Costs:
        """What a model of its size costs."""
        return planning.cost_of(self.config.hidden_size, self.costs)

    @property
    def seconds(self) -> float:
        """The seconds of the whole run."""
        return planning.seconds_of(self.config, self.task, self.cost)


def make_plan(
    accelerator: Accelerator, run: RunFolder, inputs: Inputs, stop: StopRequest, began: float
) -> tuple[Inputs, list[str]]:
    """The inputs with the settings that are best for their minutes, which began at a time of the monotonic clock.

    Returns the lines that say it, too. All processes measure together, and the main one's clock decides.
    """
    best = _best(accelerator, run, inputs, stop, began)
    config, minutes = inputs.config, float(inputs.config.minutes)
    later = Planned.of(config, replace(best.task, seconds=10 * best.task.seconds), best.costs)
    lines = [f"planned for {in_words(minutes)}: {said(best.config)}"]
    if best.seconds > LATE * best.task.seconds:
        lines.append(f"it takes {duration(best.seconds)}: this text and what was given leave no shorter way")
    elif said(later.config) != said(best.config):
        lines.append(f"with {in_words(10 * minutes)}: {said(later.config)}")
    elif "epochs" in planning.free(config):
        lines.append(NO_MORE_TIME)
    lines.append(f"the same again: charrnn train --config {quoted(run.path / CONFIG)}")
    planned = best.config.model_copy(update={"minutes": ""})
    TrainConfig.from_values(planned.model_dump(), flag)  # what was given may not go with what was planned
    return replace(inputs, config=planned), lines


def _best(accelerator: Accelerator, run: RunFolder, inputs: Inputs, stop: StopRequest, began: float) -> Planned:
    config, store = inputs.config, inputs.store
    whole = 60 * float(config.minutes)

    def left() -> float:
        """The seconds that are left to train, without those of the compressors at the end."""
        at_end = min(MOST, len(store.train) + len(store.val)) / COMPRESSED_PER_SECOND
        return max(1.0, on_main(accelerator, lambda: began + whole - time.monotonic()) - at_end)

    def probe(task: Task, size: int, cost: Costs, seconds: float) -> Costs:
        """What a model of a size costs, planned with a guess of it."""
        sized = planning.plan(config.model_copy(update={"hidden_size": size}), task, {size: cost})
        job = on_each(
            accelerator, lambda: (prepare(accelerator, run, replace(inputs, config=sized), Earlier(), stop), {})
        )
        return measure(job, seconds)

    shape, *smaller = SHAPES.get(accelerator.device.type, SHAPES["cpu"])
    # What has no text to train on is refused when it is prepared, in words of its own.
    task = Task(max(1, len(store.train)), len(store.val), left(), *shape)
    first_probe = min(LONGEST_PROBE, PROBE * task.seconds)
    final_probe = min(LONGEST_FINAL_PROBE, FINAL_PROBE * task.seconds)
    until = (1 - PROBING) * task.seconds
    sizes = PROBED if "hidden_size" in planning.free(config) else (config.hidden_size,)
    costs = {size: probe(task, size, A_GUESS, first_probe) for size in sizes}
    best = Planned.of(config, replace(task, seconds=left()), costs)
    probed: set[int] = set()
    while (size := best.config.hidden_size) not in probed and (best.task.seconds > until or not probed):
        probed.add(size)
        costs = costs | {size: probe(best.task, size, best.cost, final_probe)}
        best = Planned.of(config, replace(task, seconds=left()), costs)
    for rows, window in smaller:
        if best.seconds > SPARE * best.task.seconds:
            break
        task = replace(best.task, rows=rows, window=window)
        share = probe(task, best.config.hidden_size, best.cost, final_probe).step / best.cost.step
        costs = {size: replace(cost, step=share * cost.step) for size, cost in best.costs.items()}
        other = Planned.of(config, task, costs)
        if other.config.epochs >= best.config.epochs and other.seconds <= task.seconds:
            best = other
    return best


def in_words(minutes: float) -> str:
    """Minutes in words."""
    return f"{minutes:g} minute{'s' * (minutes != 1)}"


def said(config: TrainConfig) -> str:
    """A plan in words."""
    share = f"{100 / config.thin:.3g}% of the text, from all over it, " if config.thin > 1 else "the text "
    how_often = f"read {config.epochs:g} times" if config.epochs > 1 else f"of which {100 * config.epochs:.3g}% is read"
    shares = {"dropout": config.dropout, "DropConnect": config.drop_connect}
    dropped = "".join(f", {name} {value:g}" for name, value in shares.items() if value)
    layers = f"{config.num_layers} layers of " if config.num_layers > 1 else ""
    return f"{layers}{config.hidden_size} cells, {share}{how_often}{dropped}"


def forecast(job: Job) -> tuple[Job, str]:
    """The job with what it costs, and in words how many steps are left and how long they take; for all processes."""
    if job.progress >= 1.0 and job.state.undone is None:
        return job, "nothing is left of this run; --minutes +10 goes on with it"
    job = replace(job, costs=measure(job, FORECAST_SECONDS))
    left = job.expected_seconds(whole=True) - job.expected_seconds()
    at = time.strftime("%H:%M", time.localtime(time.time() + left))
    steps = max(0, job.total_steps() - job.state.step)
    return job, f"{counted(steps, 'step')}, about {duration(left)}: done at {at}"


def extended(job: Job, minutes: float) -> tuple[Job, list[str]]:
    """The job of a finished run with a schedule of its own for more minutes; all processes call it.

    Returns the lines, too, that say it, if there is anything to say.
    """
    task = Task(len(job.store.train), len(job.store.val), 60 * minutes)
    cost = measure(job, min(LONGEST_FINAL_PROBE, FINAL_PROBE * task.seconds))
    config, later = (
        planning.extended(job.config, job.state.time, replace(task, seconds=seconds), cost)
        for seconds in (task.seconds, 10 * task.seconds)
    )
    lines = [NO_MORE_TIME] if later == config else []
    return replace(job, config=config, rows=rows_of(config, job.store, job.state.own_rows)), lines
