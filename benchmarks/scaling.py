"""What a second process brings: the same work for each, one thread each, gradients summed over loopback (gloo).

    python benchmarks/scaling.py TEXT [any flags of charrnn.train]

trains in turns with one process and with two that have twice the rows, and prints the characters per second of both
and their ratio: medians over the turns, of neighbours in time.
"""

from __future__ import annotations

import datetime
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from charrnn.run import METRICS, read_lines

TURNS = 5
STEPS = 250
ROWS = 16
"""Rows of each process."""


def speed(processes: int, text: str, flags: list[str], run_dir: Path) -> float:
    """Characters per second of a run, the median of its lines of metrics after the first."""
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", str(processes)]
    ours = ["-m", "charrnn.train", "--corpus", f"files:{text}", "--num-threads", "1", "--max-steps", str(STEPS)]
    ours += ["--batch-size", str(ROWS * processes), "--log-every", "25", "--val-fraction", "0"]
    ours += ["--tracker", "none", "--sample-length", "0", "--run-dir", str(run_dir), *flags]
    subprocess.run([*torchrun, *ours], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return statistics.median(row["chars_per_second"] for row in read_lines(run_dir / METRICS)[1:])


def main() -> None:
    """Prints the figures."""
    text, *flags = sys.argv[1:] or sys.exit(__doc__)
    print(
        f"{datetime.date.today()}, torch {torch.__version__}, Python {platform.python_version()}, {ROWS} rows a process"
    )
    with tempfile.TemporaryDirectory() as folder:
        pairs = [[speed(n, text, flags, Path(folder) / f"{turn}-{n}") for n in (1, 2)] for turn in range(TURNS)]
    for processes, column in enumerate(zip(*pairs, strict=True), 1):
        print(f"{processes} process(es): {statistics.median(column):>8,.0f} characters/s")
    print(f"two against one: {statistics.median(two / one for one, two in pairs):.2f} times")


if __name__ == "__main__":
    main()
