"""How far training on 2, 3 and 4 processes is from training on one, and what an interruption changes.

    python benchmarks/exactness.py TEXT

trains on a text file with 1, 2, 3 and 4 processes for 300 steps (hidden 64, batch 16, learning rate 3e-3, dropout and
state drop on) and prints the largest relative differences of every step's loss and gradient norm and of the validation
loss. Then each run is started once more, stopped half-way with SIGTERM and resumed, and its weights are compared.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

STEPS = 300
FLAGS = ("--hidden-size", "64", "--batch-size", "16", "--learning-rate", "3e-3", "--max-steps", str(STEPS))
FLAGS += (
    "--log-every",
    "1",
    "--eval-every",
    "100",
    "--num-threads",
    "1",
    "--tracker",
    "none",
    "--sample-length",
    "100",
)


def command(processes: int, text: Path, run_dir: Path) -> list[str]:
    """The command that trains in so many processes."""
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", str(processes)]
    launcher = [sys.executable] if processes == 1 else torchrun
    return [*launcher, "-m", "charrnn.train", "--corpus", f"files:{text}", *FLAGS, "--run-dir", str(run_dir)]


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics."""
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def furthest(one: Path, other: Path, name: str) -> float:
    """The largest relative difference of a figure over all rows."""
    pairs = [(a[name], b[name]) for a, b in zip(metrics(one), metrics(other), strict=True) if a[name] is not None]
    return max(abs(a - b) / abs(a) for a, b in pairs)


def interrupted(processes: int, text: Path, run_dir: Path) -> int:
    """Trains with one interruption half-way; returns the step at which the run stopped."""
    process = subprocess.Popen(command(processes, text, run_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(metrics(run_dir)) < STEPS // 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait()
    step = json.loads((run_dir / "status.json").read_text())["step"]
    subprocess.run([*command(processes, text, run_dir), "--resume"], check=True, capture_output=True)
    return int(step)


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    text = parser.parse_args().text
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "flags": " ".join(FLAGS),
        "text": text.name,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for processes in (1, 2, 3, 4):
            whole, broken = folder / f"whole-{processes}", folder / f"broken-{processes}"
            subprocess.run(command(processes, text, whole), check=True, capture_output=True)
            stopped = interrupted(processes, text, broken)
            weights = [max((run / "checkpoints").iterdir()) / "model.safetensors" for run in (whole, broken)]
            result[f"{processes} processes"] = {
                "train_loss": furthest(folder / "whole-1", whole, "train_loss"),
                "grad_norm": furthest(folder / "whole-1", whole, "grad_norm"),
                "val_loss": furthest(folder / "whole-1", whole, "val_loss"),
                "interrupted at step": stopped,
                "weights bitwise equal after resuming": weights[0].read_bytes() == weights[1].read_bytes(),
            }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
