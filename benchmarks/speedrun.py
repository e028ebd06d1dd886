"""The main command against the clock: how long a loss takes, and what else a run has to show, as one JSON line.

    python benchmarks/speedrun.py RUN_DIR [any flags of charrnn.train]

starts `accelerate launch -m charrnn.train --run-dir RUN_DIR` with the flags and waits for its end. "wall" counts from
the command, "training" adds up the steps alone, as metrics.jsonl has their speed: without evaluations, samples and
checkpoints. A run that was cut off goes on, and "wall" is that of the rest; one that has finished is told of again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from charrnn.run.folder import CONFIG, METRICS, read_json, read_lines

MARK = 1.4697
"""nanoGPT's published loss on tiny Shakespeare, after three minutes of an A100."""


def trained(run: Path, flags: list[str]) -> dict[str, float]:
    """Seconds of the wall to the first line of metrics and to the end of the run."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "-m", "charrnn.train", "--resume"]
    start, first = time.perf_counter(), 0.0
    job = subprocess.Popen([*launch, "--run-dir", str(run), *flags], stdout=sys.stderr)
    while job.poll() is None:
        if not first and (run / METRICS).exists() and (run / METRICS).stat().st_size:
            first = time.perf_counter() - start
        time.sleep(0.01)
    if job.returncode:
        sys.exit(f"the run failed with {job.returncode}")
    return {"first line": first, "wall": time.perf_counter() - start}


def figures(run: Path) -> dict[str, object]:
    """What the run's folder tells."""
    config = read_json(run / CONFIG)
    seconds, step, curve = 0.0, 0, []
    for row in read_lines(run / METRICS):
        characters = (row["step"] - step) * config["batch_size"] * config["seq_length"]
        seconds, step = seconds + characters / row["chars_per_second"], row["step"]
        if row["val_loss"] is not None:
            curve.append([round(seconds, 2), step, row["val_loss"]])
    return {
        "training": round(seconds, 2),
        f"training to {MARK}": next((seconds for seconds, _, loss in curve if loss < MARK), None),
        "best": min((loss for *_, loss in curve), default=None),
        "steps": step,
        "characters a second": round(step * config["batch_size"] * config["seq_length"] / seconds),
        "curve": curve,
    }


def main() -> None:
    """Trains, and prints the line."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    run, flags = Path(sys.argv[1]), sys.argv[2:]
    status = run / "status.json"
    finished = status.exists() and read_json(status)["state"] == "finished"
    clock = {} if finished else {name: round(value, 2) for name, value in trained(run, flags).items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    about = {"run": run.name, "flags": " ".join(flags), "device": device, "torch": torch.__version__}
    print(json.dumps(about | clock | figures(run)), flush=True)


if __name__ == "__main__":
    main()
