"""What a slow network costs a step: the laptop preset over nodes made of network namespaces, their links limited.

    python -m benchmarks.cluster_bandwidth

runs from the project's folder, as root, with Debian's iproute2. For each number of nodes and each bandwidth it prints
the time of the fastest step, how much longer that is than with an unlimited link, and what the arithmetic expects: in
a ring of n nodes each sends 2 (n - 1) / n of the gradient, at the bandwidth of its link.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
from pathlib import Path

import torch

from charrnn.run.folder import METRICS, read_lines
from tests.cluster.hosts import Cluster
from tests.conftest import make_text, program

STEPS = 12
ROWS, WINDOW = 16, 32
MEGABITS = (None, 100, 10)


def measure(nodes: int, megabits: int | None) -> tuple[float, int]:
    """The seconds of the fastest step after the first, and the bytes of a gradient."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text(make_text(100_000))
        command = [program("torchrun"), "--nnodes", str(nodes), "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
        command += ["--rdzv-endpoint", "node0:29400", "-m", "charrnn.train", "--corpus", f"files:{folder}/text.txt"]
        command += ["--run-dir", f"{folder}/run", "--batch-size", str(ROWS), "--seq-length", str(WINDOW)]
        command += ["--max-steps", str(STEPS), "--log-every", "1", "--num-threads", "1", "--tracker", "none"]
        command += ["--val-fraction", "0", "--sample-length", "0"]
        cluster = Cluster(nodes, folder)
        try:
            for host in cluster.hosts if megabits else []:
                host.limit(megabits or 0)
            started = [host.start(command) for host in cluster.hosts]
            if any(process.wait() for process in started):
                sys.exit("\n".join(host.output() for host in cluster.hosts))
        finally:
            cluster.close()
        rows = read_lines(folder / "run" / METRICS)
        (weights,) = folder.glob("run/checkpoints/*/model.safetensors")
        size = weights.stat().st_size  # a gradient is as large as the weights
    return min(ROWS * WINDOW / row["chars_per_second"] for row in rows[1:]), size


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(f"{datetime.date.today()}, torch {torch.__version__}, Python {platform.python_version()}, one thread a node")
    print(f"{'nodes':>5} {'Mbit/s':>9} {'s/step':>8} {'network':>8} {'expected':>8}")
    for nodes in (2, 4):
        unlimited = 0.0
        for megabits in MEGABITS:
            seconds, size = measure(nodes, megabits)
            if megabits is None:
                unlimited = seconds
                print(f"{nodes:>5} {'unlimited':>9} {seconds:>8.3f}{'':>18} gradient {size / 1e6:.2f} MB", flush=True)
            else:
                expected = 2 * (nodes - 1) / nodes * size * 8 / (megabits * 1e6)
                row = f"{nodes:>5} {megabits:>9} {seconds:>8.3f} {seconds - unlimited:>8.3f} {expected:>8.3f}"
                print(row, flush=True)


if __name__ == "__main__":
    main()
