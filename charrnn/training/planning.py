"""The plan: which model, how often to read the text and how much to regularise, for a text, a machine and a time.

The rules are arithmetic between anchor points that were found by trials (benchmarks/records/2026-11-26-plan.md, and
2026-11-27-plan.md, which overrules it). What the user gave stays, and the plan works around it.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.config.settings import TrainConfig
from charrnn.model.evaluation import NUM_ROWS, WINDOW
from charrnn.training.costs import Costs, eval_seconds, run_seconds, sample_seconds
from charrnn.training.rows import thinned

CHOSEN = (
    *("hidden_size", "epochs", "thin", "start_at", "batch_size", "seq_length", "dropout", "drop_connect"),
    *("learning_rate", "schedule", "weight_decay", "eval_every", "val_characters", "sample_every", "sample_length"),
)
"""The settings that a plan chooses, if they are not given."""

SIZES = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Cells that a plan chooses from."""

EPOCHS: tuple[float, ...] = tuple(
    round(mantissa / 100 * 10**power, 6)
    for power in (-2, -1, 0, 1)
    for mantissa in (*range(100, 200, 5), *range(200, 500, 10), *range(500, 1000, 20))
)
"""Epochs that a plan chooses from: coarse, so that machines that are much alike get the same plan."""

FEWEST, SHARE = 5, 0.1
"""Evaluations and samples that a run has at least, and the share of the time that either may take."""
MOST_OF_STEPS = 0.5
"""What either may take at most, as a share of what the steps take: in the shortest runs there are fewer."""
SHORTEST_SAMPLE = 40
"""Characters of a sample at least, however little time there is."""
SECONDS_BETWEEN = {"eval_every": (30, 10), "sample_every": (15, 20)}
"""Seconds from one to the next, and how many there are at most, where epochs do not bring half as many ..."""
LONGEST_PAUSE, SHARE_OF_MORE = 600, 0.03
"""... but no fewer than one in so many seconds, for whoever watches a night's run, or loses its machine; and the share
of the time that more than the fewest may take."""


@dataclass(frozen=True)
class Task:
    """What a plan is for: characters to train on and to validate, seconds, and the device's rows and window."""

    train: int
    val: int
    seconds: float
    rows: int = 16
    window: int = 32


def free(config: TrainConfig) -> set[str]:
    """The settings that a plan may choose: those that neither the user nor a preset gave."""
    names = {"epochs"} if config.preset else set(CHOSEN)
    names -= {"hidden_size"} if config.tie_weights else set()
    names -= {"epochs", "thin", "start_at"} if config.max_steps else set()
    return names - config.model_fields_set


def plan(config: TrainConfig, task: Task, costs: Mapping[int, Costs]) -> TrainConfig:
    """The settings with the lowest held-out loss that is to be had; ``costs`` are those of one or more sizes."""
    sizes = _sizes(config, task) if "hidden_size" in free(config) else [config.hidden_size]
    plans = [_longest(config, task, size, cost_of(size, costs)) for size in sizes]
    in_time = [each for each in plans if seconds_of(each, task, cost_of(each.hidden_size, costs)) <= task.seconds]
    return min(in_time or plans[:1], key=lambda each: expected_loss(each, task))


def _sizes(config: TrainConfig, task: Task) -> list[int]:
    """The sizes that are not too large for the text; the smallest for a text of a few lines."""
    sizes = [size for size in SIZES if size <= between(LARGEST, task.train)]
    fitting = [size for size in sizes if _num_weights(config, size) <= MOST_WEIGHTS * task.train]
    return fitting or [SIZES[0]]


def _num_weights(config: TrainConfig, size: int) -> int:
    return 4 * config.num_layers * size * (size + config.embedding_size)


def read_by(config: TrainConfig, task: Task) -> int:
    """The characters that a run reads."""
    return round(num_steps(config, task.train) * config.batch_size * config.mean_seq_length)


def num_steps(config: TrainConfig, num_train: int) -> int:
    """The steps of a run over a text of so many characters to train on."""
    if config.max_steps:
        return config.max_steps
    row_length = thinned(num_train - 1, config.thin) // config.batch_size
    return max(1, math.ceil(config.epochs * row_length / config.mean_seq_length))


def _longest(config: TrainConfig, task: Task, size: int, cost: Costs) -> TrainConfig:
    """The plan for a model of a size: the most epochs that fit the time and are of use."""
    names = free(config)

    def with_(base: TrainConfig, **values: object) -> TrainConfig:
        return base.model_copy(update={name: value for name, value in values.items() if name in names})

    rows = min(task.rows, max(1, (task.train - 1) // task.window))
    window = max(1, min(task.window, (task.train - 1) // rows))
    base = with_(config, hidden_size=size, batch_size=rows, seq_length=window)
    base = with_(base, thin=_thin(base, task, cost), val_characters=_val_characters(task, cost))

    if config.max_steps:
        readings = read_by(base, task) / thinned(task.train - 1, base.thin)
        base = base.model_copy(update={"epochs": max(EPOCHS[0], round(readings, 2))})

    def lasting(epochs: float) -> TrainConfig:
        found = with_(base, epochs=epochs, start_at=_start_at(epochs))
        found = with_(found, sample_length=_sample_length(found, task, cost))
        return with_(found, **regularisation(found, task), **_pauses(found, task, cost))

    return lasting(_most(task, cost, lasting))


def seconds_of(config: TrainConfig, task: Task, cost: Costs) -> float:
    """The seconds of a whole run."""
    return run_seconds(cost, config, task.val, num_steps(config, task.train), math.ceil(config.epochs))


def extended(config: TrainConfig, time: int, task: Task, cost: Costs) -> TrainConfig:
    """The settings that go on, after ``time`` characters of each row, with a schedule for the seconds of the task.

    It ends where the text ends, as plans do, at half the rate (benchmarks/records/2026-11-27-plan.md), and if the text
    was thinned, it is thinned by no more than the time wants: what was not read teaches more.
    """
    base = config.model_copy(update={"thin": min(config.thin, _thin(config, task, cost)), "max_steps": 0})
    done = time / (thinned(task.train - 1, base.thin) // base.batch_size)

    def lasting(more: float) -> TrainConfig:
        part = base.model_copy(update={"epochs": more})
        return part.model_copy(update=_pauses(part, task, cost))

    more = _most(task, cost, lasting)
    rate = config.learning_rate * (1.0 if config.schedule_start else AGAIN)
    changes = {"epochs": done + more, "schedule_start": done, "start_at": _start_at(done + more), "learning_rate": rate}
    return lasting(more).model_copy(update=changes)


def _thin(config: TrainConfig, task: Task, cost: Costs) -> int:
    """One in so many pieces of the text is what can be read in the time."""
    affordable = task.seconds / cost.step * config.batch_size * config.seq_length
    return max(1, int(task.train / affordable))


def _most(task: Task, cost: Costs, lasting: Callable[[float], TrainConfig]) -> float:
    """The most epochs that are of use and fit the time, for settings that last so many; the fewest, if none fit."""
    choice = [epochs for epochs in EPOCHS if epochs <= between(MOST_EPOCHS, task.train)]
    too_long = bisect(choice, task.seconds, key=lambda epochs: seconds_of(lasting(epochs), task, cost))
    return choice[max(0, too_long - 1)]


def _start_at(epochs: float) -> float:
    """Where rows begin so that they end with the end of the text: what is read last is remembered best."""
    return round(math.ceil(epochs) - epochs, 6)


def _sample_length(config: TrainConfig, task: Task, cost: Costs) -> int:
    """Characters of a sample: as many as there are by default, unless all samples take more than their share."""
    number = max(FEWEST, math.ceil(config.epochs)) * len(config.temperatures)
    affordable = SHARE * task.seconds / max(1e-9, number * cost.character)
    return min(config.sample_length, max(SHORTEST_SAMPLE, coarse(affordable)))


def _val_characters(task: Task, cost: Costs) -> int:
    """Characters of the validation text to measure: all, unless that takes more than its share of the time."""
    if FEWEST * eval_seconds(cost, task.val, 0) <= SHARE * task.seconds:
        return 0
    windows = SHARE * task.seconds / FEWEST / cost.eval_window
    return coarse(NUM_ROWS * WINDOW * max(1.0, windows - 2))


def _pauses(config: TrainConfig, task: Task, cost: Costs) -> dict[str, int]:
    """Evaluations and samples between the ends of epochs, where there are few."""
    steps = num_steps(config, task.train)
    whole = steps * cost.step
    seconds = {
        "eval_every": eval_seconds(cost, task.val, config.val_characters) + cost.checkpoint,
        "sample_every": sample_seconds(cost, config),
    }
    pauses = {}
    for name, (apart, most) in SECONDS_BETWEEN.items():
        wanted = max(min(whole / apart, most), whole / LONGEST_PAUSE)
        fitting = whole / max(1e-9, seconds[name])
        more = min(wanted, SHARE_OF_MORE * fitting)
        number = max(1, int(min(max(FEWEST, more), MOST_OF_STEPS * fitting)))
        if config.epochs < max(FEWEST, number / 2):
            pauses[name] = max(1, steps // number)
    return pauses


def coarse(number: float) -> int:
    """A whole number with two digits that count, rounded down."""
    unit = 10 ** max(0, math.floor(math.log10(max(1.0, number))) - 1)
    return int(number // unit * unit)


def cost_of(size: int, costs: Mapping[int, Costs]) -> Costs:
    """The costs of a model of so many cells: between and beyond those that were measured, powers of the size."""
    sizes = sorted(costs)
    if len(sizes) == 1:
        return costs[sizes[0]]
    right = min(max(1, int(np.searchsorted(sizes, size))), len(sizes) - 1)
    low, high = sizes[right - 1], sizes[right]
    share = math.log(size / low) / math.log(high / low)
    pairs = zip(vars(costs[low]).values(), vars(costs[high]).values(), strict=True)
    return Costs(*(a ** (1 - share) * b**share if a and b else 0.0 for a, b in pairs))


# The rules.


def between(points: Sequence[tuple[float, float]], x: float) -> float:
    """A value on the lines between points, against the logarithm of x; beyond the ends that of the end."""
    return float(np.interp(math.log(x), [math.log(at) for at, _ in points], [value for _, value in points]))


SIZE, SIZE_POWER = 0.1, 2 / 3
"""What a model of 512 cells loses for want of cells, and the power of the size with which that falls."""
READING = 0.26
"""What a model that has read a million characters loses for want of more; it falls with their root."""
LASTING = 3.0
"""Readings that all readings of a text are worth in the end: the more often it was read, the less it teaches."""

MOST_EPOCHS = ((5e3, 25.0), (20e3, 12.0), (150e3, 16.0), (1e6, 12.0))
"""Epochs after which little is gained, however much is left out, by characters to train on."""
LARGEST = ((150e3, 512), (1e6, 1024), (2.5e6, 1536), (1e7, 2048))
"""Cells with more of which nothing is gained, whatever the time, by characters to train on."""
MOST_WEIGHTS = 75
"""Weights for each character of the text, beyond which a larger model is no better."""

DROPOUT = ((1.5, 0.0), (3.0, 0.07), (5.0, 0.11), (7.5, 0.19), (10.0, 0.3), (14.0, 0.42), (20.0, 0.5), (50.0, 0.6))
DROP_CONNECT = ((12.0, 0.0), (18.0, 0.1), (24.0, 0.1), (35.0, 0.2))
"""Dropout, and that of recurrent weights, by `temptation`."""

FINE_TUNING = 0.25
"""What is left of the learning rate for a model that has learnt already."""
FAMILIAR = 12.0
"""The most temptation of such a model: it knows more than the text, and would only forget it."""
AGAIN = 0.5
"""What is left of the learning rate for a run that goes on after its end."""
SHORT_TEXT = 100_000
"""Characters of a text with fewer of which the learning rate follows a cosine: at its peak for long, it learns little
text by heart."""


def expected_loss(config: TrainConfig, task: Task) -> float:
    """What a run's loss has in it for want of cells and of characters read, in nats of an average text.

    The sum of a term for each is that of Hoffmann et al. 2022 (equation 2); that a text teaches ever less when read
    again is from Muennighoff et al. 2023. With a factor and a constant for each text it fits 51 runs over six texts, of
    192 to 1,024 cells, to 0.006 nats on average (benchmarks/records/2026-11-27-plan.md). The factor is from 0.6 for a
    tale of 130,000 characters to 1.7 for source code; which of two runs is better does not depend on it.
    """
    text = LASTING * task.train / 1e6
    millions = text * -math.expm1(-read_by(config, task) / 1e6 / text)
    return SIZE * math.pow(512 / config.hidden_size, SIZE_POWER) + READING / math.sqrt(millions)


def temptation(config: TrainConfig, task: Task) -> float:
    """How much a model is tempted to learn a text by heart: readings after the first, and weights a character."""
    again = max(0.0, config.epochs - 1.0)
    return again * math.sqrt(_num_weights(config, config.hidden_size) * config.thin / task.train)


def peak_rate(size: int, num_characters: int) -> float:
    """The learning rate that suits a model of so many cells, which reads so many characters a step."""
    return 4e-3 * math.pow(512 / max(SIZES[0], size), 0.7) * math.pow(num_characters / 512, 0.2)


def weight_decay(num_characters: int) -> float:
    """The weight decay for a model that reads so many characters a step: more, where there are fewer steps.

    For 64 rows of 64 from one pair of runs on a GPU (benchmarks/records/2026-11-27-gpu.md).
    """
    return 0.1 * math.sqrt(num_characters / 512)


def regularisation(config: TrainConfig, task: Task) -> dict[str, object]:
    """Dropout, DropConnect, learning rate, schedule and weight decay of a model that reads a text so often."""
    rate = peak_rate(config.hidden_size, config.batch_size * config.seq_length)
    rate *= FINE_TUNING if config.init_from else 1.0
    tempted = max(1.0, min(temptation(config, task), FAMILIAR if config.init_from else math.inf))
    return {
        "dropout": round(between(DROPOUT, tempted), 2),
        "drop_connect": round(between(DROP_CONNECT, tempted), 2),
        "learning_rate": float(f"{rate:.2g}"),
        "schedule": "trapezoid" if task.train >= SHORT_TEXT else "cosine",
        "weight_decay": round(weight_decay(config.batch_size * config.seq_length), 2),
    }
