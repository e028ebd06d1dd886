"""Draws how low a planned run gets in so many minutes, for texts of several sizes: what benchmarks/planned.py found.

python docs/minutes.py planned.jsonl docs/minutes.svg
"""

from __future__ import annotations

import json
import math
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from picture import curve, svg, text_at

WIDTH, HEIGHT = 520, 420
LEFT, RIGHT, TOP, BOTTOM = 48, 350, 52, 370
"""The edges of the plot; the texts' names stand to its right."""
NAMES = {
    "alice20.txt": "20 kB of Alice",
    "alice60.txt": "60 kB of Alice",
    "alice.txt": "Alice, 150 kB",
    "ts.txt": "Shakespeare, 1.1 MB",
    "wp.txt": "War and Peace, 3.2 MB",
}


def curves(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Minutes and losses of the planned runs of each text, the first seed's."""
    planned = [row for row in rows if row["what"] == "planned" and row["text"] in NAMES and row["seed"] == 0]
    planned.sort(key=lambda row: (row["text"], row["minutes"]))
    return {
        NAMES[text]: [(row["minutes"], row["loss"]) for row in group]
        for text, group in groupby(planned, key=lambda row: row["text"])
    }


def picture(texts: dict[str, list[tuple[float, float]]]) -> str:
    """The SVG."""
    points = [point for each in texts.values() for point in each]
    first, last = (extreme(minutes for minutes, _ in points) for extreme in (min, max))
    lowest = math.floor(10 * min(loss for _, loss in points)) / 10
    highest = math.ceil(10 * max(loss for _, loss in points)) / 10

    def x(minutes: float) -> float:
        return LEFT + 12 + (RIGHT - LEFT - 24) * math.log(minutes / first) / math.log(last / first)

    def y(loss: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (loss - lowest) / (highest - lowest)

    parts = [text_at(16, 28, "loss on held-out text, nats a character", "faint")]
    for step in range(round(10 * lowest), round(10 * highest) + 1):
        height = y(step / 10)
        parts += [f'<line x1="{LEFT}" x2="{RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>']
        parts += [text_at(LEFT - 8, height + 4, f"{step / 10:g}", "faint end")] if step % 2 == 0 else []
    for minutes in sorted({minutes for minutes, _ in points}):
        parts += [text_at(x(minutes), BOTTOM + 20, f"{minutes:g}", "faint middle")]
    parts += [text_at((LEFT + RIGHT) / 2, BOTTOM + 40, "minutes", "faint middle")]
    above = -math.inf
    for name, ends in sorted(texts.items(), key=lambda text: -text[1][-1][1]):
        height = max(above + 18, y(ends[-1][1]) + 4)
        above = height
        end = f'x1="{x(ends[-1][0]):.1f}" y1="{y(ends[-1][1]):.1f}"'
        parts += [f'<line {end} x2="{RIGHT + 6}" y2="{height - 4:.1f}" stroke-dasharray="2 4"/>']
        parts += [curve((x(minutes), y(loss)) for minutes, loss in ends)]
        parts += [f'<circle cx="{x(minutes):.1f}" cy="{y(loss):.1f}" r="3.5"/>' for minutes, loss in ends]
        parts += [text_at(RIGHT + 10, height, name)]
    title = "The loss of planned runs against their minutes: larger texts gain more from more minutes"
    return svg(WIDTH, HEIGHT, title, parts)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    target.write_text(picture(curves(rows)), encoding="utf-8")
