"""Whether a run's model is good, in plain words: beside other ways to expect its text, and how to make it better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.run.baselines import read_baselines
from charrnn.run.schema import Baselines

RISE = 0.03
"""Nats by which the loss may rise and fall within an epoch (benchmarks/records/2026-11-24-techniques.md)."""
FLAT = 0.01
"""Nats that are a seed's luck, by the same record."""
CARRIED = 0.25
"""The share of what the loss falls on training text that it has to fall on other text, or a model learns by heart."""
OFTEN = 11.0
"""Readings of a text after which more of them are worth little: fewer than any at which a plan stops for that."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """How a run ended, in the words of `charrnn runs`, and in a few more that say what to do."""

    state: str
    advice: str


@dataclass(frozen=True)
class Quality:
    """What is known of a run's model; the loss is the lowest on held-out text, in bits a character."""

    bits: float | None
    baselines: Baselines | None
    verdict: Verdict | None

    def sentence(self) -> str:
        """All of it in a line; nothing for a run that has measured nothing."""
        if self.bits is None:
            return ""
        known, beside = self.baselines, ""
        if known:
            beside = f" (letter frequencies {known.letters:.2f}, bzip2 {known.bzip2:.2f}, xz {known.xz:.2f})"
        advice = f"; {self.verdict.advice}" if self.verdict else ""
        return f"{self.bits:.2f} bits a character on text it has not seen{beside}{advice}"


def quality_of(folder: Path, rows: Sequence[Row], *, finished: bool) -> Quality:
    """The quality of the run in a folder, by the rows of its metrics.jsonl."""
    losses = [row["val_loss"] for row in rows if _is_number(row.get("val_loss"))]
    bits = min(losses) / math.log(2) if losses else None
    return Quality(bits, read_baselines(folder), judge(rows) if finished else None)


@dataclass(frozen=True)
class _Point:
    """A measurement: the loss on held-out text, and the mean loss in training just before.

    Just before is the last quarter of the lines since the measurement before it: at first the loss falls so fast that
    the mean of all would make much of what was learnt long ago.
    """

    epoch: float
    held_out: float
    training: float


def judge(rows: Sequence[Row]) -> Verdict | None:
    """How a run ended, by the rows of its metrics.jsonl; None if they do not tell.

    The second half of the run decides, not its end: there the learning rate goes down to nothing, and the loss is
    flat whatever could still be learnt. A text that was read often has no more to teach, however the loss fell.
    """
    points = _points(rows)
    if len(points) < 2:
        return None
    last, best = points[-1], min(points, key=lambda point: point.held_out)
    if last.held_out - best.held_out >= RISE:
        if not last.training < min(best.training, last.held_out):
            return None  # it has not learnt its text either
        since = f"began to learn by heart at epoch {best.epoch:.1f}"
        return Verdict("by heart", f"{since}: more text helps more than more minutes")
    half = min(points[:-1], key=lambda point: abs(point.epoch - last.epoch / 2))
    gained, trained = half.held_out - last.held_out, half.training - last.training
    if gained < FLAT and last.epoch < 1:
        return None  # it has hardly begun, or there is nothing to learn
    if gained < FLAT or gained < CARRIED * trained or last.epoch >= OFTEN:
        return Verdict("finished", "done learning: more text would help, more minutes hardly")
    return Verdict("more time", "still learning: more minutes would help (--resume --minutes +10)")


def _points(rows: Sequence[Row]) -> list[_Point]:
    points, losses = [], []
    for row in rows:
        if _is_number(row.get("train_loss")):
            losses.append(row["train_loss"])
        if _is_number(row.get("val_loss")) and losses:
            latest = losses[-math.ceil(len(losses) / 4) :]
            points.append(_Point(row["epoch"], row["val_loss"], sum(latest) / len(latest)))
            losses = []
    return points


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
