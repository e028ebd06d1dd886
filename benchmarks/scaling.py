"""What a second process brings: the same work for each, one thread each, gradients summed over loopback (gloo).

    python benchmarks/scaling.py TEXT [any flags of charrnn.train]

trains in turns with one process and with two that have twice the rows, and prints the characters per second of both
and their ratio: medians over the turns, of neighbours in time. It does so for several numbers of rows: what is sent
between the processes, the gradient, has the same size for all of them.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from charrnn.run.folder import METRICS, read_lines

TURNS = 3
WINDOWS = 3200
"""Windows that each process reads in a turn, of all its rows together."""
ROWS = (16, 32, 64)
"""Rows of each process."""


def speed(processes: int, rows: int, text: str, flags: list[str], run_dir: Path) -> float:
    """Characters per second of a run, the median of its lines of metrics after the first."""
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", str(processes)]
    ours = ["-m", "charrnn.train", "--corpus", f"files:{text}", "--num-threads", "1", "--run-dir", str(run_dir)]
    ours += ["--max-steps", str(WINDOWS // rows), "--batch-size", str(rows * processes), "--log-every", "10"]
    ours += ["--val-fraction", "0", "--tracker", "none", "--sample-length", "0", *flags]
    subprocess.run([*torchrun, *ours], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return statistics.median(row["chars_per_second"] for row in read_lines(run_dir / METRICS)[1:])


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s TEXT [any flags of charrnn.train]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text")
    arguments, flags = parser.parse_known_args()
    print(f"{datetime.date.today()}, torch {torch.__version__}, Python {platform.python_version()}")
    print("rows of a process    one process    two processes    times")
    with tempfile.TemporaryDirectory() as folder:
        for rows in ROWS:
            pairs = [
                [speed(n, rows, arguments.text, flags, Path(folder) / f"{rows}-{turn}-{n}") for n in (1, 2)]
                for turn in range(TURNS)
            ]
            one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
            times = statistics.median(two / one for one, two in pairs)
            print(f"{rows:17} {one:>14,.0f} {two:>16,.0f} {times:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
