"""Draws what a run has learned: its loss, and what it wrote at four moments, as an SVG for light and dark pages.

The picture of the README comes from this run, of some five minutes on one core:

    charrnn train --corpus python:asyncio --hidden-size 256 --epochs 12 --tracker none \\
        --prompt "    async def " --sample-every 100 --eval-every 100 --run-dir runs/picture
    python docs/picture.py runs/picture docs/picture.svg
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 880, 560
LEFT, RIGHT, TOP, BOTTOM = 56, 856, 60, 240
"""The edges of the plot."""
LINES, CHARACTERS = 6, 54
"""What is shown of a sample."""

STYLE = """
  svg { --paper: #fdfcf9; --ink: #24292f; --faint: #6e7781; --line: #d8dadd; --accent: #b8480f; --soft: #a9b1ba }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #161b22; --ink: #e6edf3; --faint: #8b949e; --line: #343b44; --accent: #ff9d5c; --soft: #59626d }
  }
  text { font: 13px system-ui, sans-serif; fill: var(--ink) }
  .code { font: 12.5px ui-monospace, Menlo, Consolas, monospace; white-space: pre }
  .faint { fill: var(--faint) } .accent { fill: var(--accent) } .number { fill: var(--paper); font-weight: 600 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  path { fill: none; stroke: var(--accent); stroke-width: 2 } .soft { stroke: var(--soft); stroke-width: 1 }
  line { stroke: var(--line) } circle { fill: var(--accent) } rect { fill: var(--paper); stroke: var(--line) }
"""

Row = Mapping[str, Any]
Scale = Callable[[float], float]


def rows_of(path: Path) -> list[Row]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def text_at(x: float, y: float, text: str, style: str = "") -> str:
    """A line of text; what XML cannot hold is replaced."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}" xml:space="preserve">{escape(shown)}</text>'


def svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A picture of so many units, with its parts on a sheet of paper."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>',
            *parts,
            "</svg>\n",
        ]
    )


def curve(points: Iterable[tuple[float, float]], style: str = "") -> str:
    """A line through points."""
    return f'<path class="{style}" d="M{" L".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def marker(x: float, y: float, number: int) -> str:
    """A numbered dot."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9"/>' + text_at(x, y + 4, str(number), "number middle")


def moments(samples: list[Row]) -> list[Row]:
    """Four samples of a middling temperature: the first, the last, and two between in equal ratios of steps."""
    temperatures = sorted({row["temperature"] for row in samples})
    rows = [row for row in samples if row["temperature"] == temperatures[len(temperatures) // 2] and row["val_loss"]]
    first, last = rows[0]["step"], rows[-1]["step"]
    wanted = [first * (last / first) ** (part / 3) for part in range(4)]
    return [min(rows, key=lambda row: abs(math.log(row["step"] / step))) for step in wanted]


def shown_lines(row: Row) -> list[str]:
    """The first lines of a sample that say anything, moved to the left margin."""
    text = f"{row['prompt']}{row['text']}"
    margin = len(text) - len(text.lstrip(" "))
    lines = [line for line in text.split("\n") if line.strip()]
    return [line.removeprefix(" " * margin)[:CHARACTERS] for line in lines[:LINES]]


def plot(metrics: list[Row], x: Scale, y: Scale, lowest: float, highest: float) -> list[str]:
    """The axes and the two curves."""
    parts = []
    for loss in range(math.ceil(lowest), math.floor(highest) + 1):
        parts += [f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}"/>']
        parts += [text_at(LEFT - 8, y(loss) + 4, str(loss), "faint end")]
    for power in range(1, 10):
        if metrics[0]["step"] <= 10**power <= metrics[-1]["step"]:
            parts += [text_at(min(x(10**power), RIGHT - 30), BOTTOM + 20, f"step {10**power:,}", "faint middle")]
    measured = [row for row in metrics if row["val_loss"] is not None]
    parts += [curve(((x(row["step"]), y(row["train_loss"])) for row in metrics), "soft")]
    parts += [curve((x(row["step"]), y(row["val_loss"])) for row in measured)]
    return parts


def picture(run: Path) -> str:
    """The SVG of a run folder."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    metrics, samples = rows_of(run / "metrics.jsonl"), moments(rows_of(run / "samples.jsonl"))
    held_out = [row["val_loss"] for row in metrics if row["val_loss"]]
    losses = [row["train_loss"] for row in metrics] + held_out
    lowest, highest = min(losses) - 0.1, max(losses) + 0.1
    first, last = metrics[0]["step"], metrics[-1]["step"]

    def x(step: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(step / first) / math.log(last / first)

    def y(loss: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (loss - lowest) / (highest - lowest)

    title = f"charrnn train --corpus {' --corpus '.join(config['corpus'])}"
    parts = [text_at(24, 34, title, "code")]
    parts += [text_at(RIGHT - 112, 34, f"loss on held-out text: {min(held_out):.2f} nats a character", "accent end")]
    parts += [text_at(RIGHT, 34, "on training text", "faint end")]
    parts += plot(metrics, x, y, lowest, highest)
    for index, row in enumerate(samples):
        left, top = 24 + (index % 2) * 424, BOTTOM + 58 + (index // 2) * 134
        parts += [marker(x(row["step"]), y(row["val_loss"]), index + 1), marker(left + 9, top - 4, index + 1)]
        parts += [text_at(left + 26, top, f"step {row['step']:,}, epoch {row['epoch']:.1f}", "faint")]
        for number, line in enumerate(shown_lines(row)):
            parts += [text_at(left, top + 20 + number * 17, line, "code")]
    return svg(WIDTH, HEIGHT, f"{title}: the loss falls, and four samples get better", parts)


if __name__ == "__main__":
    run, target = map(Path, sys.argv[1:])
    target.write_text(picture(run), encoding="utf-8")
