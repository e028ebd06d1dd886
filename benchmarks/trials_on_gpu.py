"""Many trials of techniques at once, on one GPU: `trial.py`'s model, switches and lines, its step as a CUDA graph.

    python benchmarks/trials_on_gpu.py < LINES

takes the arguments of one `trial.py` from each line (the text, then flags), trains them side by side and prints the
JSON line of each as it ends, and its figures as they come to the standard error. A model of this size fills a fraction
of a GPU, and its step is a few hundred short kernels, which a graph starts at once. Some switches, and muon, are
`trial.py`'s alone. "seconds" is the wall time since the start, of all trials together.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

import torch
import trial
from torch import Tensor, nn

from charrnn.model.evaluation import evaluate

DEVICE = torch.device("cuda")
CPU_ONLY = ("grow_at", "min_seq_length", "dropout_ramp", "noise", "average")
"""Switches that a graph does not have: they change the step during the run, or what is beside it."""
LOOK_EVERY = 50
"""Steps between two waits for the GPU."""


class Trial:
    """One trial: its model and place on the GPU, and the graph of its training step."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.args = args = trial.parsed(line.split())
        if used := [name for name in CPU_ONLY if getattr(args, name)]:
            raise ValueError(f"{', '.join(used)}: trial.py alone has it")
        vocab, train, self.val, self.test = trial.split(args)
        self.figures: list[dict[str, float]] = []
        self.done, self.chars = 0, args.batch_size * args.seq_length
        total, stop = args.characters * 1000, (args.stop_at or args.characters) * 1000
        self.steps = math.ceil(stop / self.chars)
        due = {math.ceil(1000 * at / self.chars) for at in args.eval_at} | {self.steps}
        self.due = sorted(step for step in due if 0 < step <= self.steps)
        self.stream = torch.cuda.Stream()
        with torch.cuda.stream(self.stream), DEVICE:
            # Random numbers of its own: graphs that share a generator would disturb each other.
            torch.cuda.default_generators[0].graphsafe_set_state(
                torch.Generator("cuda").manual_seed(args.seed).graphsafe_get_state()
            )
            torch.manual_seed(args.seed)
            self.model = trial.build(args, len(vocab))
            (self.optimizer,) = trial.optimizers(args, self.model)
            for group in self.optimizer.param_groups:
                group["capturable"], group["lr"] = True, torch.tensor(group["lr"])
            self.train = torch.from_numpy(train).to(DEVICE)
            row_length = (len(train) - 1) // args.batch_size
            self.length = args.batch_size * row_length
            first = int(args.start_at * row_length)
            self.starts = torch.arange(args.batch_size) * row_length + first + torch.arange(args.seq_length)[:, None]
            shares = [trial.factor(args, (step + 1) * self.chars / total) for step in range(self.steps)]
            self.shares = torch.tensor([*shares, 0.0])
            self.step, self.loss = torch.zeros(1, dtype=torch.int64), torch.zeros(())
            h, c = trial.detached(self.model.zero_state(args.batch_size))
            self.state = (h.clone(), c.clone())
            self.graph = self.captured()

    def captured(self) -> torch.cuda.CUDAGraph:
        """The graph of a step; what warming up did to weights and moments is undone."""
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        for _ in range(3):
            self.train_step()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.train_step()
        with torch.no_grad():
            for parameter, weight in zip(self.model.parameters(), weights, strict=True):
                parameter.copy_(weight)
        for moments in self.optimizer.state.values():
            for name, value in moments.items():
                value.fill_(1.0 if name == "mu_product" else 0.0)
        for value in (self.step, self.loss, *self.state):
            value.zero_()
        return graph

    def train_step(self) -> None:
        """A training step, of kernels alone."""
        args = self.args
        position: Tensor = (self.starts + self.step * args.seq_length) % self.length
        loss, extra, state = trial.window_loss(
            args, self.model, self.train[position], self.train[position + 1], self.state, args.dropout
        )
        self.model.zero_grad()
        torch.autograd.backward(loss + extra)
        nn.utils.clip_grad_norm_(self.model.parameters(), args.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"].copy_(group["peak"] * self.shares[self.step].squeeze())
        self.optimizer.step()
        self.loss += loss.detach()
        self.step += 1
        for value, new in zip(self.state, state, strict=True):
            value.copy_(new)

    def measure(self, seconds: float) -> None:
        """Adds a row to the figures."""
        with torch.cuda.stream(self.stream):
            row = {"k": round(self.done * self.chars / 1000), "seconds": round(seconds, 1)}
            row["train"] = round(float(self.loss) / (self.done - self.measured_at()), 4)
            self.loss.zero_()
            row["val"] = round(evaluate(self.model, self.val).nats, 4)
            if len(self.test) > 1 and self.done == self.steps:
                row["test"] = round(evaluate(self.model, self.test).nats, 4)
            self.figures.append(row | {"step": self.done})
            print(f"{self.line}: {self.figures[-1]}", file=sys.stderr, flush=True)

    def measured_at(self) -> int:
        """The step of the figures before."""
        return int(self.figures[-1]["step"]) if self.figures else 0


def main() -> None:
    """Trains all lines and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=16, help="trials that run side by side (16)")
    args = parser.parse_args()
    waiting: list[Trial] = []
    for line in filter(str.strip, sys.stdin.read().splitlines()):
        try:
            waiting.append(Trial(line))
        except (AssertionError, RuntimeError, ValueError) as error:
            print(json.dumps({"command": line, "error": str(error)}), flush=True)
    active: list[Trial] = []
    torch.cuda.synchronize()
    start = time.perf_counter()
    while waiting or active:
        active += [waiting.pop(0) for _ in range(min(len(waiting), args.at_once - len(active)))]
        for one in active:
            with torch.cuda.stream(one.stream):
                one.graph.replay()
            one.done += 1
            if one.done == one.due[0]:
                one.due.pop(0)
                one.measure(time.perf_counter() - start)
            if one.done % LOOK_EVERY == 0:
                one.stream.synchronize()
        for one in [each for each in active if not each.due]:
            print(json.dumps({"command": one.line, "figures": one.figures}), flush=True)
            active.remove(one)


if __name__ == "__main__":
    main()
