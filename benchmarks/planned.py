"""Planned runs against the presets with their schedules squeezed into the same minutes.

    python benchmarks/planned.py SPEC... [--minutes 1 5] [--presets laptop laptop-long ...] [--seeds 0 1] [FLAGS]

trains each text (a corpus spec, such as files:alice.txt) once without a preset and once with each, and prints for each
run a line of a table: the exact loss of all held-out text, the minutes from the command to its end, and what was
trained. Lines come as runs end, so a table that was cut off is what there is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from charrnn.config.presets import PRESETS

SHOWN = ("hidden_size", "epochs", "thin", "dropout", "drop_connect", "learning_rate", "weight_decay")


def trial(spec: str, minutes: float, flags: list[str]) -> tuple[float, float, dict[str, object]]:
    """A run's loss over all its validation text, its minutes, and its settings."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        began = time.monotonic()
        command = ["train", "--corpus", spec, "--minutes", f"{minutes:g}", "--tracker", "none", "--run-dir", str(run)]
        charrnn(*command, *flags)
        took = (time.monotonic() - began) / 60
        loss = json.loads(charrnn("eval", str(run), "--split", "val"))["loss"]
        return loss, took, json.loads((run / "config.json").read_text(encoding="utf-8"))


def charrnn(*args: str) -> str:
    """What a command prints; ends with its error if it fails."""
    command = [Path(sys.executable).with_name("charrnn"), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments, rest = parser.parse_known_args()
    print("| text | minutes | preset | seed | loss | minutes it took | " + " | ".join(SHOWN) + " |")
    print("|---" * (6 + len(SHOWN)) + "|", flush=True)
    for minutes in arguments.minutes:
        for spec in arguments.specs:
            for seed in arguments.seeds:
                for preset in ("", *arguments.presets):
                    flags = [*(("--preset", preset) if preset else ()), "--seed", str(seed), *rest]
                    loss, took, config = trial(spec, minutes, flags)
                    about = [
                        Path(spec).name,
                        f"{minutes:g}",
                        preset or "planned",
                        str(seed),
                        f"{loss:.4f}",
                        f"{took:.2f}",
                    ]
                    print("| " + " | ".join([*about, *(str(config[name]) for name in SHOWN)]) + " |", flush=True)


if __name__ == "__main__":
    main()
