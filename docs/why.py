"""Draws the pictures of why.md from the results of benchmarks/why.py, and prints its tables.

python docs/why.py benchmarks/records/2026-11-26-why.jsonl docs
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from how_it_learns import LEFT, RIGHT, line, svg
from picture import curve, text_at

LADDER = {
    "as printed": "as printed, gradients never cleared",
    "one letter at a time": "cleared; cut after every letter",
    "cleared": "cleared; loss on a chunk's last letter",
    "every letter": "loss on every letter",
    "first weights": "forget gates open at first",
    "16 rows": "16 rows, the same learning rate",
    "fast row": "or one row, learning rate 4e-3",
    "windows of 32": "16 rows, windows of 32",
    "learning rate": "or both: 16 rows, 4e-3",
    "schedule": "which falls along a cosine",
    "embedding": "and an embedding",
    "dropout": "and dropout 0.3",
    "weight decay": "and weight decay",
    "two layers": "that, with two layers",
    "512 cells": "that, with 512 cells instead of 256",
    "more text": "that, with the Grimms' tales too",
    "planned": "as charrnn plans it",
}
"""Rungs from below, and what each changes in the words of the picture."""

Row = Mapping[str, Any]


def loss_at(row: Row, seconds: float) -> float | None:
    """The held-out loss of a rung after so many CPU seconds; a run has only that of its own end."""
    if row["seconds"] == seconds:
        return float(row["loss"])
    if "trace" in row:
        return next((float(point["loss"]) for point in row["curve"] if point["seconds"] == seconds), None)
    return None


def ladder(rows: Sequence[Row], seconds: float) -> str:
    """A dot for each rung, as far to the right as its loss is high."""
    found = {row["name"]: loss for row in rows if (loss := loss_at(row, seconds)) is not None}
    names = [name for name in LADDER if name in found]
    low, high, left = 1.2, 3.5, LEFT + 8
    bottom = 84 + 40 * len(names)

    def x(loss: float) -> float:
        return left + (RIGHT - 52 - left) * math.log(min(loss, high) / low) / math.log(high / low)

    parts = [text_at(LEFT, 30, f"Loss on text not seen, nats a letter, after {seconds:g} CPU")]
    parts += [text_at(LEFT, 49, "seconds of one core, one change after another:")]
    for tick in (1.5, 2.0, 3.0):
        parts += [line(x(tick), 62, x(tick), bottom), text_at(x(tick), bottom + 18, f"{tick:g}", "small faint middle")]
    for number, name in enumerate(names):
        y = 82 + 40 * number
        parts += [text_at(LEFT, y, LADDER[name], "small")]
        parts += [curve([(left, y + 14), (x(found[name]), y + 14)])]
        if found[name] <= high:
            parts += [f'<circle cx="{x(found[name]):.1f}" cy="{y + 14}" r="4.5"/>']
        else:  # it goes on beyond the picture
            parts += [curve([(x(high) - 5, y + 9), (x(high), y + 14), (x(high) - 5, y + 19)])]
        parts += [text_at(x(found[name]) + 10, y + 19, f"{found[name]:.2f}", "bold")]
    return svg(bottom + 34, "The loss falls with each change of the recipe", parts)


def gradients(rows: Sequence[Row]) -> str:
    """Loss, gradient and weights of the loop as printed and of the one that clears its gradients."""
    traces = {row["name"]: row["trace"] for row in rows if row["name"] in ("as printed", "cleared")}
    steps = max(point["step"] for trace in traces.values() for point in trace)
    parts = [text_at(LEFT, 30, "Gradients never cleared", "accent bold")]
    parts += [text_at(LEFT + 196, 30, "and cleared:", "faint")]
    panels = ("loss", "loss in training"), ("gradient", "norm of the gradient"), ("weights", "norm of the weights")
    left, height = LEFT + 52, 90
    for panel, (key, title) in enumerate(panels):
        bottom = 164 + 148 * panel
        highest = max(point[key] for trace in traces.values() for point in trace)
        parts += [text_at(LEFT, bottom - height - 14, title)]
        for tick in (0.0, highest):
            y = bottom - height * tick / highest
            parts += [line(left, y, RIGHT, y), text_at(left - 6, y + 4, f"{tick:,.0f}", "small faint end")]
        for name, style in (("cleared", "soft"), ("as printed", "")):
            points = [
                (left + (RIGHT - left) * point["step"] / steps, bottom - height * point[key] / highest)
                for point in traces[name]
            ]
            parts += [curve(points, style)]
    parts += [
        text_at(left, bottom + 20, "step 0", "small faint"),
        text_at(RIGHT, bottom + 20, f"{steps:,}", "small faint end"),
    ]
    return svg(bottom + 36, "Without clearing, gradient and weights grow and the loss with them", parts)


def table(rows: Sequence[Row]) -> str:
    """What was measured, for the record."""
    lines = ["| rung | loss | CPU seconds | steps | epochs | training loss |", "|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: [*LADDER].index(row["name"])):
        training = row["trace"][-1]["loss"] if "trace" in row else row["train_loss"]
        figures = f"{row['cpu_seconds']:.0f} | {row['steps']:,} | {row['epochs']:.2f} | {training:.4f}"
        lines += [f"| {row['name']} | {row['loss']:.4f} | {figures} |"]
    return "\n".join(lines)


def told(row: Row) -> str:
    """What the trace of a variant of the post's loop says, in a sentence."""
    first, last = row["trace"][0], row["trace"][-1]
    recent = sum(point["loss"] for point in row["trace"][-10:]) / 10
    return (
        f"{row['name']}: the gradient is {first['gradient'] / first['own_gradient']:.0f} times the step's own after "
        f"{first['step']:,} steps, {last['gradient'] / last['own_gradient']:.0f} times after {last['step']:,}; "
        f"the norm of the weights is then {last['weights']:,.0f}; the loss in training {recent:.2f} (ten lines), "
        f"{last['loss']:.2f} (the last), its highest {last['highest']:.1f}; after "
        + ", ".join(f"{point['seconds']:g} s {point['loss']:.3f}" for point in row["curve"])
    )


def main() -> None:
    """Draws the pictures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("target", type=Path, help="the folder of the pictures")
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds at which all rungs are compared")
    arguments = parser.parse_args()
    results, target = arguments.results, arguments.target
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    (target / "why-ladder.svg").write_text(ladder(rows, arguments.seconds), encoding="utf-8")
    (target / "why-gradient.svg").write_text(gradients(rows), encoding="utf-8")
    print(table(rows))
    for row in rows:
        if row.get("trace"):
            print(f"\n{told(row)}")
    for row in rows:
        print(f"\n{row['name']}: {row['command']}\n\n{row['sample']}")


if __name__ == "__main__":
    main()
