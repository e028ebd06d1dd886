"""What training costs: seconds of a step and of what comes between steps, and of a run that is made of these."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.config.settings import TrainConfig
from charrnn.model.evaluation import WARM_UP, WINDOW, num_rows_for, part_of


@dataclass(frozen=True)
class Costs:
    """Seconds of a step, of an evaluation's window, of a character of a sample, and of a checkpoint."""

    step: float
    eval_window: float
    character: float
    checkpoint: float


STEPS_ALONE = Costs(1.0, 0.0, 0.0, 0.0)
"""What is taken for the costs where they are not known: steps alone, that all take the same time."""


def eval_seconds(costs: Costs, num_tokens: int, num_characters: int) -> float:
    """Seconds of an evaluation of a validation text, or of so many characters of it."""
    if num_tokens < 2:
        return 0.0
    per_row, _ = part_of(num_tokens, num_rows_for(num_tokens), num_characters)
    return costs.eval_window * (math.ceil(WARM_UP / WINDOW) + math.ceil(per_row / WINDOW))


def sample_seconds(costs: Costs, config: TrainConfig) -> float:
    """Seconds of the samples of all temperatures."""
    return costs.character * config.sample_length * len(config.temperatures)


def run_seconds(costs: Costs, config: TrainConfig, num_val: int, num_steps: int, ends: int) -> float:
    """Seconds of so many steps with so many ends of epochs, or of the run, and all that is due between them."""
    evaluations = ends + (num_steps // config.eval_every if config.eval_every else 0)
    samples = ends + (num_steps // config.sample_every if config.sample_every else 0)
    saves = evaluations + (num_steps // config.checkpoint_every if config.checkpoint_every else 0)
    return (
        num_steps * costs.step
        + evaluations * eval_seconds(costs, num_val, config.val_characters)
        + samples * sample_seconds(costs, config)
        + saves * costs.checkpoint
    )
