"""From the recipe of a first post about character models to charrnn's: one change at a time, equal CPU time each.

    python benchmarks/why.py RESULTS.jsonl [--seconds 120] [--only NAME...]

trains every rung of the ladder for so many CPU seconds of one core, evaluations among them and start-up not, and
appends a JSON line to the file: the command, the steps, the exact loss on the last tenth of Andersen's fairy tales, its
curve, and a sample; the runs lie in a folder beside it. A rung that the file has is passed over, so it can be
interrupted, and one rung be measured anew by taking its line out. CPU time is right on a busy machine too, but for what
programs take from each other's caches.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import the_post

import charrnn
import charrnn.train
from charrnn.model.evaluation import evaluate

TEXT, MORE_TEXT = "gutenberg:1597", "gutenberg:2591"
"""Andersen's fairy tales; the Grimms'."""
PROMPT = "There was once "
PROBE = 200
"""Steps by which the speed of a run is measured."""

POST = {"as printed": "printed", "one letter at a time": "letters", "cleared": "cleared", "every letter": "every"}
"""Rungs that are programs of their own: variants of the_post.py."""

BLOG = "--preset blog --hidden-size 256 --loss-on all"
FAST = "--learning-rate 4e-3 --grad-clip 1"
ROWS = f"{BLOG} --batch-size 16"
WINDOWS = f"{ROWS} --min-seq-length 0 --seq-length 32"
RATE = f"{WINDOWS} {FAST}"
SCHEDULE = f"{RATE} --schedule cosine --warmup 0.01"
EMBEDDING = f"{SCHEDULE} --embedding-size 64"
DROPOUT = f"{EMBEDDING} --dropout 0.3"
LAPTOP = f"{DROPOUT} --optimizer adamw --weight-decay 0.1 --state-drop 0.02"
PLAN = ""
CHARRNN = {
    "first weights": BLOG,
    "fast row": f"{BLOG} {FAST}",
    "16 rows": ROWS,
    "windows of 32": WINDOWS,
    "learning rate": RATE,
    "schedule": SCHEDULE,
    "embedding": EMBEDDING,
    "dropout": DROPOUT,
    "weight decay": LAPTOP,
    "512 cells": f"{LAPTOP} --hidden-size 512",
    "two layers": f"{LAPTOP} --num-layers 2",
    "more text": f"{LAPTOP} --corpus {MORE_TEXT}",
    "planned": PLAN,
}
"""Rungs that are flags of `charrnn train`."""


def train(flags: str, length: str, run: Path) -> float:
    """Trains with `charrnn train` in this process; returns the CPU seconds that it took."""
    usual = f"--num-threads 1 --sample-length 0 --tracker none --run-dir {run}"
    began = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        code = charrnn.train.main(["--corpus", TEXT, *f"{flags} {length} {usual}".split()])
    assert code == 0, "the run was told to stop"
    return time.process_time() - began


@functools.cache
def start_up() -> float:
    """CPU seconds of a run of a single step: the second of two, which has nothing left to import."""
    with TemporaryDirectory() as folder:
        return [train(LAPTOP, "--max-steps 1", Path(folder) / name) for name in ("first", "second")][1]


def by_charrnn(flags: str, seconds: float, run: Path) -> dict[str, Any]:
    """Trains as many steps as fit the CPU seconds, by the speed of a short run, or as many as are planned."""
    with TemporaryDirectory() as folder:
        idle = start_up()
        if flags == PLAN:
            length = f"--minutes {seconds / 60:g}"
        else:
            steps = round(PROBE * seconds / (train(flags, f"--max-steps {PROBE}", Path(folder) / "probe") - idle))
            length = f"--max-steps {steps}"
    spent = train(flags, length, run) - idle
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    measured, last = [row for row in rows if row["val_loss"] is not None], rows[-1]
    model = charrnn.load(run, "last")
    return {
        "command": f"charrnn train --corpus {TEXT} {flags} {length} --num-threads 1",
        "loss": evaluate(model.lstm, the_post.text_of(TEXT, model.vocab).val).nats,
        "train_loss": last["train_loss"],
        "lowest": min(row["val_loss"] for row in measured),
        "steps": last["step"],
        "epochs": last["epoch"],
        "cpu_seconds": spent,
        "curve": [{"seconds": spent * row["step"] / last["step"], "loss": row["val_loss"]} for row in measured],
        "config": {name: config[name] for name in ("hidden_size", "num_layers", "dropout", "drop_connect")},
        "sample": model.generate(PROMPT, length=300, temperature=0.8),
    }


def by_post(variant: str, seconds: float) -> dict[str, Any]:
    """Trains a variant of the post's program."""
    figures = the_post.run(variant, TEXT, seconds)
    return {"command": f"python benchmarks/the_post.py {variant} {TEXT} --seconds {seconds:g}", **figures}


def main() -> None:
    """Trains what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--only", nargs="+", choices=[*POST, *CHARRNN], default=[*POST, *CHARRNN])
    arguments = parser.parse_args()
    lines = arguments.results.read_text(encoding="utf-8").splitlines() if arguments.results.exists() else []
    done = {(row["name"], row["seconds"]) for row in map(json.loads, lines)}
    for name in arguments.only:
        if (name, arguments.seconds) in done:
            continue
        if name in POST:
            figures = by_post(POST[name], arguments.seconds)
        else:
            run = arguments.results.with_suffix("") / f"{name.replace(' ', '-')}-{arguments.seconds:g}"
            shutil.rmtree(run, ignore_errors=True)  # of a run that was interrupted
            figures = by_charrnn(CHARRNN[name], arguments.seconds, run)
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "seconds": arguments.seconds, **figures}) + "\n")
        print(f"{name}: {figures['loss']:.4f}", flush=True)


if __name__ == "__main__":
    main()
