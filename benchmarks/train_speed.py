"""How close training is to the machine: a matrix product, a bare loop over nn.LSTM, and the trainer with all it does.

    python benchmarks/train_speed.py TEXT [any flags of charrnn.train]

prints, from one process and in turns, the rate of a large matrix product, the speed of a loop that does nothing but
forward, backward and optimizer at the run's shape, and that of the trainer's own loop with everything on: windows from
the store, locked dropout, state drop, clipping, schedule, metrics, tracker (wandb offline), and checkpoints: one in
every turn, and where an epoch ends. Then it starts `accelerate launch -m charrnn.train` anew, a few times, and says
where the time to the first step goes. The store is built before anything is timed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import charrnn  # noqa: F401  # isort: skip  # before torch, as training does, so that threads wait as they do there
import torch
import torch.nn.functional as F
from torch import nn

from charrnn.config.settings import TrainConfig
from charrnn.config.sources import parse
from charrnn.distributed.accelerator import precision_of, start_accelerator
from charrnn.distributed.machine import settings_of_training
from charrnn.distributed.stopping import StopRequest
from charrnn.run.folder import RunFolder
from charrnn.training.due import measure
from charrnn.training.job import Job
from charrnn.training.loop import train_to_end
from charrnn.training.preparation import begin, claim, prepare, read_inputs, wanted_precision


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, on a GPU until its work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matrix_product(device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """Twenty products of square matrices, of 1024 on a CPU and 8192 on a GPU: (2 * 20 * size ** 3) operations."""
    size = matrix_size(device)
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    out = torch.empty_like(a)

    def run() -> None:
        for _ in range(20):
            torch.mm(a, b, out=out)

    return run


def matrix_size(device: torch.device) -> int:
    """The side of the matrices that are multiplied."""
    return 8192 if device.type == "cuda" else 1024


def bare_loop(
    config: TrainConfig, steps: int, vocab_size: int, device: torch.device, dtype: torch.dtype
) -> Callable[[], None]:
    """The least that learns: embedding, nn.LSTM, linear output, backward, optimizer, on one window again and again."""
    embedding = nn.Embedding(vocab_size, config.embedding_size or vocab_size).to(device)
    lstm = nn.LSTM(config.embedding_size or vocab_size, config.hidden_size, config.num_layers).to(device)
    output = nn.Linear(config.hidden_size, vocab_size).to(device)
    parameters = [*embedding.parameters(), *lstm.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    window = torch.randint(vocab_size, (config.seq_length, config.batch_size), device=device)

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                hidden, _ = lstm(embedding(window))
                logits = output(hidden)
            F.cross_entropy(logits.flatten(0, 1).float(), window.flatten()).backward()
            optimizer.step()

    return run


def operations(job: Job) -> float:
    """Floating-point operations of a training step: forward, and twice as many backward (matrix products alone)."""
    read = [parameter for parameter in job.model.lstms.parameters() if parameter.ndim > 1]
    weights = sum(parameter.numel() for parameter in [*read, job.model.output.weight])
    return 6.0 * weights * job.config.batch_size * job.config.seq_length


def prepared(flags: list[str], folder: Path, stop: StopRequest) -> Job:
    """A run, ready to train."""
    config = parse([*flags, "--run-dir", str(folder), "--sample-length", "0"], default_preset="laptop")
    accelerator = start_accelerator(wanted_precision(config))
    config = config.model_copy(update={"precision": precision_of(accelerator)})
    run = RunFolder(folder)
    earlier = claim(run, config)
    inputs, _ = read_inputs(config, folder, earlier)
    job = prepare(accelerator, run, inputs, earlier, stop)
    begin(job, None)
    return job


def compare(job: Job, turns: int, steps: int) -> None:
    """Prints the three rates, medians over the turns, and the ratios of neighbours in time."""
    config = job.config
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(job.learner.precision, torch.float32)

    def ours() -> None:
        # Without validation text: an evaluation is measured by itself.
        segment = config.model_copy(update={"max_steps": job.state.step + steps})
        train_to_end(replace(job, config=segment, store=replace(job.store, val=job.store.val[:0])))

    product = matrix_product(job.device, dtype)
    bare = bare_loop(config, steps, len(job.store.vocab), job.device, dtype)
    loops = (product, bare, ours)
    for loop in loops:
        loop()
    times = [[seconds(loop, job.device) for loop in loops] for _ in range(turns)]
    work = (40.0 * matrix_size(job.device) ** 3, operations(job) * steps, operations(job) * steps)
    names = ("matrix product", "bare nn.LSTM loop", "charrnn.train")
    chars = config.batch_size * config.seq_length * steps
    for name, amount, column in zip(names, work, zip(*times, strict=True), strict=True):
        median = statistics.median(column)
        speed = "" if name == names[0] else f"  {chars / median:>9,.0f} characters/s"
        print(f"{name:18} {amount / median / 1e9:>8,.0f} GFLOP/s{speed}")
    to_bare = statistics.median(bare / own for _, bare, own in times)
    to_product = statistics.median((work[2] / own) / (work[0] / product) for product, _, own in times)
    print(f"charrnn.train is at {to_bare:.1%} of the bare loop and {to_product:.1%} of the matrix product")
    evaluation = seconds(lambda: measure(job), job.device)
    print(f"an evaluation of {len(job.store.val):,} characters: {evaluation:.2f} s")


def start_up(flags: list[str], folder: Path, turns: int) -> None:
    """Prints how long `accelerate launch -m charrnn.train` takes to its first step, and what of it is not ours."""
    launch = [str(Path(sys.executable).with_name("accelerate")), "launch", "--quiet"]
    ours = ["-m", "charrnn.train", *flags, "--tracker", "none", "--sample-length", "0"]
    two_steps = ["--max-steps", "2", "--log-every", "1"]
    empty = folder / "empty.py"
    empty.write_text("")
    names = ("accelerate launch of an empty script", "python -c 'import torch, accelerate'", "to the first step")
    rows = []
    for turn in range(turns):
        run_dir = folder / f"start-{turn}"
        row = []
        for line in ([*launch, str(empty)], [sys.executable, "-c", "import torch, accelerate"]):
            start = time.perf_counter()
            subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            row.append(time.perf_counter() - start)
        metrics = run_dir / "metrics.jsonl"
        start = time.perf_counter()
        command = [*launch, *ours, *two_steps, "--run-dir", str(run_dir)]
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while job.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.01)
        row.append(time.perf_counter() - start)
        if job.wait():
            sys.exit("the run failed")
        rows.append(row)
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    for name, median in zip(names, medians, strict=True):
        print(f"{name:38} {median:6.2f} s")
    print(f"{'our own share':38} {medians[2] - medians[0] - medians[1]:6.2f} s")


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s TEXT [any flags of charrnn.train]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text")
    parser.add_argument("--turns", type=int, default=5, help="turns, of which the median is taken (5)")
    parser.add_argument("--steps", type=int, default=600, help="steps of each loop in a turn (600)")
    parser.add_argument("--starts", type=int, default=5, help="how often training is started anew (5)")
    arguments, rest = parser.parse_known_args()
    flags = ["--corpus", f"files:{arguments.text}", *rest]
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    with tempfile.TemporaryDirectory() as folder, settings_of_training(num_threads=0, deterministic=False):
        job = prepared(flags, Path(folder) / "run", StopRequest())
        config = job.config
        device = torch.cuda.get_device_name() if job.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
        print(
            f"{datetime.date.today()}, torch {torch.__version__}, Python {platform.python_version()}, {device}, "
            f"{job.learner.precision}: hidden {config.hidden_size}, layers {config.num_layers}, "
            f"embedding {config.embedding_size}, {config.batch_size} rows, windows of {config.seq_length}"
        )
        compare(job, arguments.turns, arguments.steps)
        job.tracker.finish(failed=False)
        job.run.close()
        if arguments.starts:
            start_up(flags, Path(folder), arguments.starts)


if __name__ == "__main__":
    main()
