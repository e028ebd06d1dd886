"""What a GPU makes of one shape of training: a bare loop and charrnn, each as it is and as CUDA graphs.

    python benchmarks/gpu_table.py TEXT [--precisions tf32 fp16 ...] [any flags of charrnn.train]

prints a line of JSON for each precision and road, as soon as it is measured:

- "bare": embedding, nn.LSTM, output layer, loss, backward and AdamW on one window, nothing else; "bare graph": the same
  captured once and replayed.
- "charrnn" and "charrnn graph": the trainer's own steps with windows from the store, dropout, state drop, clipping and
  schedule, without and with --cuda-graphs. "with all" is the loop around them, too: metrics, tracker (wandb offline)
  and the checkpoints: one for each epoch, and one at its end, for which it waits.

Times are medians of the wall, the device's work included. "kernels" is the time of all kernels of a step, from torch's
profiler: what is above it, the GPU waits. "lstm" is the type in which the LSTM gives its output. float32 is without
TF32 (`--no-tf32`). In "true bf16", of which there is only a bare loop, the weights of the LSTM are bf16 themselves;
autocast makes float16 of bf16 there. Without a GPU nothing is captured: a graph is then the function itself, its line
says "rehearsed", and the figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from train_speed import operations, prepared, seconds

from charrnn.config.settings import TrainConfig
from charrnn.distributed.machine import settings_of_training
from charrnn.distributed.stopping import StopRequest
from charrnn.training import captured
from charrnn.training.job import Job
from charrnn.training.loop import take_step, train_to_end

TYPES = {"bf16": torch.bfloat16, "true bf16": torch.bfloat16, "fp16": torch.float16}
PROFILED_STEPS = 10


class Bare:
    """The least that learns, at the shape of a run."""

    def __init__(self, config: TrainConfig, vocab_size: int, precision: str, device: torch.device) -> None:
        self.dtype, self.device, inputs = TYPES.get(precision), device, config.embedding_size or vocab_size
        own = self.dtype if precision == "true bf16" else torch.float32
        self.embedding = nn.Embedding(vocab_size, inputs).to(device)
        self.lstm = nn.LSTM(inputs, config.hidden_size, config.num_layers, dtype=own).to(device)
        self.output = nn.Linear(config.hidden_size, vocab_size).to(device)
        self.cast = own
        parameters = [*self.embedding.parameters(), *self.lstm.parameters(), *self.output.parameters()]
        rate = torch.tensor(1e-4, device=device)
        self.optimizer = torch.optim.AdamW(parameters, lr=rate, fused=True, capturable=True)
        self.window = torch.randint(vocab_size, (config.seq_length, config.batch_size), device=device)

    def autocast(self) -> AbstractContextManager[object]:
        """As the precision wants it."""
        if self.dtype is None or self.cast is not torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def read(self) -> torch.Tensor:
        """What the LSTM gives for the window."""
        hidden: torch.Tensor = self.lstm(self.embedding(self.window).to(self.cast))[0]
        return hidden

    def step(self) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad()
        with self.autocast():
            hidden = self.read()
            logits = self.output(hidden if hidden.dtype is not self.cast else hidden.to(torch.float32))
        F.cross_entropy(logits.flatten(0, 1).float(), self.window.flatten()).backward()
        self.optimizer.step()

    def type_of_output(self) -> str:
        """The type in which the LSTM computes."""
        with self.autocast(), torch.no_grad():
            return str(self.read().dtype).removeprefix("torch.")


def per_step(step: Callable[[], object], device: torch.device, turns: int, budget: float) -> float:
    """Seconds of a step: the median of some turns, each of about ``budget`` seconds."""

    def repeat(times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                step()

        return run

    times = max(2, round(budget / (seconds(repeat(5), device) / 5)))
    return statistics.median(seconds(repeat(times), device) / times for _ in range(turns))


def kernels(step: Callable[[], object], device: torch.device) -> float | None:
    """Seconds of a GPU's kernels in a step."""
    if device.type != "cuda":
        return None
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(PROFILED_STEPS):
            step()
        torch.cuda.synchronize()
    total = sum(event.self_device_time_total for event in profiler.key_averages())
    return float(total) / 1e6 / PROFILED_STEPS


class Table:
    """The lines of one shape, and what each of them repeats."""

    def __init__(self, arguments: argparse.Namespace, flags: list[str]) -> None:
        self.arguments, self.flags, self.about = arguments, flags, {}

    def line(self, what: str, step: Callable[[], object], job: Job, **more: object) -> float:
        """Measures a step, prints what it took, and returns it."""
        device, arguments, config = job.device, self.arguments, job.config
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        took = per_step(step, device, arguments.turns, arguments.seconds)
        busy = kernels(step, device)
        row = {
            **self.about,
            "what": what,
            "ms": round(1000 * took, 4),
            "kernels ms": round(1000 * busy, 4) if busy is not None else None,
            "characters/s": round(config.batch_size * config.seq_length / took),
            "TFLOP/s": round(operations(job) / took / 1e12, 2),
            "memory MB": round(torch.cuda.max_memory_allocated() / 1e6) if device.type == "cuda" else None,
            **more,
        }
        print(json.dumps(row), flush=True)
        return took

    def measure(self, precision: str, folder: Path) -> None:
        """All lines of a precision."""
        numbers = {"tf32": ["--precision", "float32"], "float32": ["--no-tf32"]}.get(
            precision, ["--precision", precision]
        )
        own = ["--precision", "float32", "--no-cuda-graphs"] if precision == "true bf16" else numbers
        threads = 0 if torch.cuda.is_available() else 1
        with settings_of_training(num_threads=threads, deterministic=False, tf32="--no-tf32" not in own):
            for road in ("--no-cuda-graphs", "--cuda-graphs"):
                job = prepared([*self.flags, *own, road], folder / f"{precision}{road}", StopRequest())
                self.about = about(job, precision)
                suffix = " graph" if road == "--cuda-graphs" else ""
                bare = Bare(job.config, len(job.store.vocab), precision, job.device)
                (step,) = captured.graphs_of(bare.step) if suffix else [bare.step]
                self.line(f"bare{suffix}", step, job, lstm=bare.type_of_output())
                del bare, step
                if precision != "true bf16":
                    took = self.line(f"charrnn{suffix}", lambda job=job: take_step(job, save_due=False), job)
                    self.loop(f"charrnn{suffix} with all", job, took)
                job.tracker.finish(failed=False)
                job.run.close()

    def loop(self, what: str, job: Job, took: float) -> None:
        """The speed of the whole loop, over some seconds' steps of so many seconds, and their checkpoints."""
        without_val = replace(job.store, val=job.store.val[:0])

        def train(steps: int) -> float:
            segment = job.config.model_copy(update={"max_steps": job.state.step + steps})
            return seconds(lambda: train_to_end(replace(job, config=segment, store=without_val)), job.device) / steps

        train(5)
        steps = max(20, round(4 * self.arguments.seconds / took))
        took = train(steps)
        characters = job.config.batch_size * job.config.seq_length
        row = {**self.about, "what": what, "ms": round(1000 * took, 4), "characters/s": round(characters / took)}
        print(json.dumps(row), flush=True)


def about(job: Job, precision: str) -> dict[str, object]:
    """Shape, precision, machine."""
    config = job.config
    gpu = job.device.type == "cuda"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if gpu else "rehearsed, on a CPU",
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "precision": precision,
        "layers": config.num_layers,
        "cells": config.hidden_size,
        "embedding": config.embedding_size,
        "rows": config.batch_size,
        "window": config.seq_length,
        "drop connect": config.drop_connect,
    }


def rehearsed(*functions: Callable[[], None]) -> list[Callable[[], None]]:
    """What stands for graphs where there is no GPU."""
    for function in functions:
        function()
    return list(functions)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s TEXT [options] [any flags of charrnn.train]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text")
    parser.add_argument("--precisions", nargs="+", default=["tf32", "float32", "bf16", "true bf16", "fp16"])
    parser.add_argument("--turns", type=int, default=3, help="turns, of which the median is taken (3)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each turn (0.5)")
    arguments, rest = parser.parse_known_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    if not torch.cuda.is_available():
        captured.graphs_of, captured.DEVICE = rehearsed, "cpu"
    with tempfile.TemporaryDirectory() as folder:
        table = Table(arguments, ["--corpus", f"files:{arguments.text}", *rest])
        for precision in arguments.precisions:
            table.measure(precision, Path(folder))


if __name__ == "__main__":
    main()
