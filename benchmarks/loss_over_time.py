"""The validation loss of runs against the time they trained, as a picture.

    python benchmarks/loss_over_time.py PICTURE.svg RUN...

The time is what the run's metrics say of characters and speed: training alone, without evaluations and samples. A
line of the picture is named after the run's folder; the dotted lines are nanoGPT's published results on tiny
Shakespeare.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from charrnn.run.folder import METRICS, read_json, read_lines

REFERENCES = {"nanoGPT, 3 minutes of an A100": 1.4697, "nanoGPT, its small CPU configuration": 1.8982}


def curve(run: Path) -> tuple[list[float], list[float]]:
    """Minutes of training and the validation loss at each evaluation of a run."""
    config = read_json(run / "config.json")
    seconds, step, minutes, losses = 0.0, 0, [], []
    for row in read_lines(run / METRICS):
        characters = (row["step"] - step) * config["batch_size"] * config["seq_length"]
        seconds, step = seconds + characters / row["chars_per_second"], row["step"]
        if row["val_loss"] is not None:
            minutes.append(seconds / 60)
            losses.append(row["val_loss"])
    return minutes, losses


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("run", nargs="+", type=Path)
    arguments = parser.parse_args()
    # Without a date and random ids, the same runs give the same file.
    plt.rcParams["svg.hashsalt"] = "charrnn"
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for run in arguments.run:
        axes.plot(*curve(run), marker=".", label=run.name)
    for name, loss in REFERENCES.items():
        axes.axhline(loss, linestyle=":", color="gray")
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        axes.annotate(name, (0.99, loss), fontsize="small", color="gray", **place)
    axes.set(
        xlabel="minutes of training", ylabel="validation loss, nats per character", xlim=(0, None), ylim=(1.35, 2.0)
    )
    axes.legend()
    figure.savefig(arguments.picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
