"""Curves: the lines of a chart in per cent of its width and height, for an SVG that stretches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_POINTS = 300
"""Points of a line; more are averaged, neighbours with neighbours."""

Points = npt.NDArray[np.float64]
"""Shape (N, 2): x and y."""


@dataclass(frozen=True)
class Line:
    """A line: its points in per cent, y downwards, and its first, last and lowest value, as they are shown."""

    name: str
    points: list[tuple[float, float]]
    first: str
    last: str
    lowest: str


@dataclass(frozen=True)
class Level:
    """A height to compare lines with: its place in per cent, and its name and value as they are shown."""

    place: float
    name: str
    value: str


@dataclass(frozen=True)
class Chart:
    """Lines, and levels from the highest down, over the same axes; a tick is its place in per cent and its label."""

    title: str
    note: str
    lines: list[Line]
    levels: list[Level]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def draw(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    note: str = "",
    levels: Mapping[str, float] | None = None,
) -> Chart | None:
    """A chart over the epochs of some columns of metrics.jsonl, each with the name of its line; None without values.

    ``note`` says what is seen, ``levels`` are values to compare with by their names.
    """
    series = {name: _points(rows, column) for column, name in columns.items()}
    series = {name: points for name, points in series.items() if len(points)}
    if not series:
        return None
    levels = levels or {}
    together = np.concatenate(list(series.values()))
    heights = [*together[:, 1].tolist(), *levels.values()]
    x_ticks, y_ticks = _ticks(0.0, together[:, 0].max()), _ticks(min(heights), max(heights))
    right = float(together[:, 0].max()) or 1.0
    bottom, top = y_ticks[0], y_ticks[-1]

    def place(height: Any) -> Any:
        return 100 * (top - height) / (top - bottom)

    def scaled(points: Points) -> list[tuple[float, float]]:
        x, y = 100 * points[:, 0] / right, place(points[:, 1])
        return list(zip(x.round(2).tolist(), y.round(2).tolist(), strict=True))

    return Chart(
        title,
        note,
        [
            Line(name, scaled(_thinned(points)), *map(_number, (points[0, 1], points[-1, 1], points[:, 1].min())))
            for name, points in series.items()
        ],
        [
            Level(place(height), name, f"{height:.2f}")
            for name, height in sorted(levels.items(), key=lambda pair: -pair[1])
        ],
        [(100 * tick / right, _number(tick)) for tick in x_ticks if tick <= right],
        [(place(tick), _number(tick)) for tick in y_ticks],
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _points(rows: Iterable[Mapping[str, Any]], column: str) -> Points:
    """The values that were measured; those of a run that diverged have no place."""
    found = [(row["epoch"], row[column]) for row in rows if row.get(column) is not None]
    return np.array([point for point in found if all(map(_has_place, point))], dtype=np.float64).reshape(-1, 2)


def _has_place(value: float) -> bool:
    return value == 0 or 1e-30 < abs(value) < 1e30


def _thinned(points: Points) -> Points:
    return np.array([part.mean(axis=0) for part in np.array_split(points, min(MAX_POINTS, len(points)))])


def _ticks(low: float, high: float) -> list[float]:
    """Some round numbers, the first at or below ``low``, the last at or above ``high``."""
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= 5)
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
