"""One trial of a technique before it may enter charrnn: a small trainer of its own with many switches.

    python benchmarks/trial.py TEXT --learning-rate 4e-3 --dropout 0.3 ...

trains on the first part of a text file and prints one JSON line: the command, the steps, and at every --eval-at the
characters read (in thousands), the CPU seconds of training so far, the mean training loss and the exact loss on the
held-out part. The lines of records/ come from it; what paid is in charrnn, what did not is only here.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.distributed.accelerator import learns_in_bf16
from charrnn.model.evaluation import evaluate
from charrnn.model.lstm import CharLSTM, State
from charrnn.text.vocab import Vocabulary
from charrnn.training.optimizer import learning_rate_at

FLAGS: dict[str, tuple[object, str]] = {
    "hidden_size": (512, "cells in a layer"),
    "num_layers": (1, "layers"),
    "embedding_size": (64, "size of a character's embedding"),
    "batch_size": (16, "rows"),
    "seq_length": (32, "characters in a window"),
    "min_seq_length": (0, "draw each window's length from here on, and scale the step to match"),
    "grow_at": (0.0, "thousands of characters after which rows and windows have their grown sizes"),
    "grown_batch_size": (0, "rows from then on; 0 for no change"),
    "grown_seq_length": (0, "characters in a window from then on; 0 for no change"),
    "characters": (6000.0, "thousands of characters that the schedule is for"),
    "stop_at": (0.0, "thousands of characters after which to stop; 0 for all"),
    "start_at": (0.0, "where each row begins in its part of the text, as a share of it"),
    "learning_rate": (4e-3, "peak learning rate"),
    "warmup": (0.02, "share of the run over which it rises"),
    "final": (0.01, "what is left of it at the end"),
    "schedule": ("cosine", "cosine, linear, or trapezoid: the peak until 60 % of the run, then linear"),
    "optimizer": ("adamw", "adamw, nadam, radam, adamax, amsgrad or muon (recurrent and input matrices)"),
    "muon_rate": (0.02, "learning rate of muon"),
    "beta1": (0.9, "Adam's first"),
    "beta2": (0.99, "Adam's second"),
    "weight_decay": (0.01, "of matrices"),
    "bias_decay": (0, "1: of biases too"),
    "grad_clip": (1.0, "largest norm of the gradient"),
    "dropout": (0.3, "locked dropout before the output and between layers"),
    "dropout_ramp": (0.0, "share of the run over which dropout grows to its value"),
    "input_dropout": (0.0, "locked dropout on the embedding"),
    "noise": (0.0, "probability that a character read is another one of its window instead, not the one predicted"),
    "drop_connect": (0.0, "dropout of the recurrent weights, a mask a window"),
    "column_drop": (0.0, "dropout of the columns of the recurrent weights, the same for all rows, a mask a window"),
    "state_drop": (0.02, "probability that a row forgets its state before a window"),
    "unit_drop": (0.0, "probability that a cell's hidden state is zero at the beginning of a window"),
    "learned_state": (0, "1: the state that rows begin with is learnt, not zero"),
    "ahead": (0.0, "weight of a second loss: the character after the next, from an output layer of its own"),
    "average": (0.0, "decay of a moving average of the weights, evaluated beside them"),
    "embedding_std": (1.0, "of the first embedding; 0 for uniform from -0.1 to 0.1"),
    "embedding_rate": (1.0, "factor of the embedding's learning rate"),
    "output_rate": (1.0, "factor of the output matrix's learning rate"),
    "input_scale": (1.0, "factor of the first input weights"),
    "output_scale": (1.0, "factor of the first output matrix"),
    "orthogonal": (0, "1: orthogonal recurrent weights and zero biases at first"),
    "forget_bias": (1.0, "forget-gate bias at first"),
    "bf16": (0, "1: bfloat16 autocast, where its gradients are right"),
    "val_fraction": (0.1, "held out"),
    "test_fraction": (0.0, "held out after that, measured once at the end"),
    "seed": (0, "of everything random"),
    "threads": (1, "CPU threads"),
}


class LearnedStart(CharLSTM):
    """A model that learns the state it begins with."""

    def __init__(self, vocab_size: int, hidden_size: int, num_layers: int, embedding_size: int) -> None:
        super().__init__(vocab_size, hidden_size, num_layers, embedding_size)
        self.start = nn.Parameter(torch.zeros(2 * num_layers, hidden_size))

    def zero_state(self, num_rows: int) -> State:
        """The learnt state of so many rows."""
        h_LH, c_LH = self.start.chunk(2)
        return h_LH[:, None].repeat(1, num_rows, 1), c_LH[:, None].repeat(1, num_rows, 1)


def parsed(flags: list[str] | None = None) -> argparse.Namespace:
    """The switches of this trial, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    for name, (default, summary) in FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"{summary} ({default})".replace("%", "%%"))
    parser.add_argument("--eval-at", type=float, nargs="*", default=[], help="thousands of characters")
    return parser.parse_args(flags)


def build(args: argparse.Namespace, vocab_size: int) -> CharLSTM:
    """The model, with the first weights that the trial wants."""
    kind = LearnedStart if args.learned_state else CharLSTM
    model = kind(vocab_size, args.hidden_size, args.num_layers, args.embedding_size)
    assert model.embedding is not None
    with torch.no_grad():
        if args.embedding_std:
            model.embedding.weight.normal_(std=args.embedding_std)
        else:
            model.embedding.weight.uniform_(-0.1, 0.1)
        for name, parameter in model.lstms.named_parameters():
            if "bias" in name:
                if args.orthogonal:
                    parameter.zero_()
                forget = slice(args.hidden_size, 2 * args.hidden_size)
                parameter[forget] = args.forget_bias if "bias_ih" in name else 0.0
            elif "weight_hh" in name and args.orthogonal:
                for gate in parameter.chunk(4):
                    nn.init.orthogonal_(gate)
            elif name == "0.weight_ih_l0":
                # torch's own, times the factor; charrnn's own is a factor of 10 for this shape.
                bound = args.input_scale / math.sqrt(args.hidden_size)
                parameter.uniform_(-bound, bound)
        model.output.weight *= args.output_scale
    if args.ahead:
        model.ahead = nn.Linear(args.hidden_size, vocab_size)
    return model


def optimizers(args: argparse.Namespace, model: CharLSTM) -> list[torch.optim.Optimizer]:
    """The optimizer or, with muon, two; each group remembers its peak learning rate."""
    assert model.embedding is not None
    found: list[torch.optim.Optimizer] = []
    matrices = [p for p in model.lstms.parameters() if p.ndim > 1]
    matrices += [model.get_parameter("ahead.weight")] if args.ahead else []
    vectors = [p for name, p in model.named_parameters() if p.ndim <= 1 or name == "start"]
    if args.optimizer == "muon":
        found.append(torch.optim.Muon(matrices, lr=args.muon_rate, weight_decay=args.weight_decay, momentum=0.95))
        matrices = []
    decay, rate = args.weight_decay, args.learning_rate
    groups = [
        {"params": matrices, "weight_decay": decay, "lr": rate},
        {"params": [model.output.weight], "weight_decay": decay, "lr": rate * args.output_rate},
        {"params": [model.embedding.weight], "weight_decay": decay, "lr": rate * args.embedding_rate},
        {"params": vectors, "weight_decay": decay * args.bias_decay, "lr": rate},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (args.beta1, args.beta2)
    kinds = {
        "nadam": lambda: torch.optim.NAdam(groups, betas=betas, decoupled_weight_decay=True),
        "radam": lambda: torch.optim.RAdam(groups, betas=betas, decoupled_weight_decay=True),
        "adamax": lambda: torch.optim.Adamax(groups, betas=betas),
        "amsgrad": lambda: torch.optim.AdamW(groups, betas=betas, amsgrad=True, fused=True),
    }
    found.append(kinds.get(args.optimizer, lambda: torch.optim.AdamW(groups, betas=betas, fused=True))())
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return found


def factor(args: argparse.Namespace, progress: float) -> float:
    """The learning rate as a share of its peak."""
    if args.schedule != "linear" or progress < args.warmup:
        return learning_rate_at(args.schedule, 1.0, progress=progress, epoch=0.0, warmup=args.warmup, final=args.final)
    return args.final + (1.0 - args.final) * max(0.0, (1.0 - progress) / (1.0 - args.warmup))


def read(args: argparse.Namespace, model: CharLSTM, x_TB: Tensor, state: State, dropout: float) -> tuple[Tensor, State]:
    """What the output layer reads of a window, and the state after it, with what is dropped."""
    assert model.embedding is not None
    num_rows, size = x_TB.shape[1], model.hidden_size
    masks = [(torch.rand(num_rows, size) >= dropout) / (1 - dropout) for _ in range(args.num_layers)] if dropout else []
    features = model.embedding(x_TB)
    if args.input_dropout:
        features = features * ((torch.rand(features.shape[1:]) >= args.input_dropout) / (1 - args.input_dropout))
    new_h, new_c = [], []
    for layer, lstm in enumerate(model.lstms):
        weights = dict(lstm.named_parameters())
        if dropped := args.drop_connect or args.column_drop:
            weight = weights["weight_hh_l0"]
            shape = weight.shape if args.drop_connect else weight.shape[1:]
            weights["weight_hh_l0"] = weight * ((torch.rand(shape) >= dropped) / (1 - dropped))
        begin = (state[0][layer : layer + 1], state[1][layer : layer + 1])
        # Not functional_call: it makes the module pack its weights anew, which moves them away from a CUDA graph.
        features, h, c = torch.lstm(features, begin, list(weights.values()), True, 1, 0.0, True, False, False)
        new_h.append(h)
        new_c.append(c)
        if masks:
            features = features * masks[layer]
    return features, (torch.cat(new_h), torch.cat(new_c))


def window_loss(
    args: argparse.Namespace, model: CharLSTM, x_TB: Tensor, y_TB: Tensor, state: State, dropout: float
) -> tuple[Tensor, Tensor, State]:
    """The mean loss of a window, what is added to it for learning, and the state after it."""
    kept = (torch.rand(x_TB.shape[1]) >= args.state_drop).view(1, -1, 1)
    fresh = model.zero_state(x_TB.shape[1])
    state = (torch.where(kept, state[0], fresh[0]), torch.where(kept, state[1], fresh[1]))
    if args.unit_drop:
        state = (state[0] * (torch.rand_like(state[0]) >= args.unit_drop), state[1])
    bf16 = args.bf16 and (x_TB.device.type != "cpu" or learns_in_bf16(args.hidden_size))
    with torch.autocast(x_TB.device.type, torch.bfloat16, enabled=bool(bf16)):
        features, (h, c) = read(args, model, x_TB, state, dropout)
        logits = model.output(features)
    extra = torch.zeros(())
    if args.ahead:
        later = F.linear(features[:-1], model.get_parameter("ahead.weight"), model.get_parameter("ahead.bias"))
        extra = args.ahead * F.cross_entropy(later.flatten(0, 1).float(), y_TB[1:].flatten())
    loss = F.cross_entropy(logits.flatten(0, 1).float(), y_TB.flatten())
    return loss, extra, detached((h, c))


@functools.cache
def encoded(path: str) -> tuple[Vocabulary, npt.NDArray[np.int64]]:
    """A text's vocabulary and tokens."""
    text = Path(path).read_text(encoding="utf-8")
    vocab = Vocabulary.from_counts(Counter(text))
    return vocab, vocab.encode(text).astype(np.int64)


def split(args: argparse.Namespace) -> tuple[Vocabulary, *tuple[npt.NDArray[np.int64], ...]]:
    """The vocabulary of the trial's text, and the tokens to train, to validate and to test on."""
    vocab, tokens = encoded(args.text)
    val_at = int(len(tokens) * (1 - args.val_fraction - args.test_fraction))
    test_at = int(len(tokens) * (1 - args.test_fraction))
    return vocab, tokens[:val_at], tokens[val_at:test_at], tokens[test_at:]


def detached(state: State) -> State:
    """A state to go on from, without what it was computed from."""
    return state[0].detach().float(), state[1].detach().float()


def run(args: argparse.Namespace) -> list[dict[str, float]]:
    """Trains; returns the figures at every evaluation."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    vocab, train, val, test = split(args)
    model = build(args, len(vocab))
    found = optimizers(args, model)
    averaged = copy.deepcopy(model) if args.average else None
    measured = {"": model} | ({"_averaged": averaged} if averaged else {})
    num_rows, seq_length, grown = args.batch_size, args.seq_length, not args.grow_at
    row_length = (len(train) - 1) // num_rows
    starts = np.arange(num_rows) * row_length + int(args.start_at * row_length)
    state, time_, seen, step = detached(model.zero_state(num_rows)), 0, 0, 0
    total, stop = args.characters * 1000, (args.stop_at or args.characters) * 1000
    due = sorted(1000 * at for at in args.eval_at)
    figures, losses, cpu, clock = [], [], 0.0, time.process_time()
    while seen < stop:
        if not grown and seen >= args.grow_at * 1000:
            grown, seq_length = True, args.grown_seq_length or seq_length
            if args.grown_batch_size:
                num_rows, time_ = args.grown_batch_size, 0
                row_length = (len(train) - 1) // num_rows
                starts, state = np.arange(num_rows) * row_length, detached(model.zero_state(num_rows))
        length = seq_length
        if args.min_seq_length:
            length = int(np.random.default_rng(step).integers(args.min_seq_length, args.seq_length + 1))
        position: npt.NDArray[np.int64] = (starts + time_ + np.arange(length)[:, None]) % (num_rows * row_length)
        x_TB, y_TB = torch.from_numpy(train[position]), torch.from_numpy(train[position + 1])
        share = factor(args, (seen + num_rows * length) / total) * length / seq_length
        for optimizer in found:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        if args.noise:
            others = x_TB.flatten()[torch.randperm(x_TB.numel())].view_as(x_TB)
            x_TB = torch.where(torch.rand(x_TB.shape) < args.noise, others, x_TB)
        ramp = min(1.0, seen / total / args.dropout_ramp) if args.dropout_ramp else 1.0
        loss, extra, state = window_loss(args, model, x_TB, y_TB, state, args.dropout * ramp)
        losses.append(loss.detach())
        model.zero_grad()
        torch.autograd.backward(loss + extra)
        nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip)
        for optimizer in found:
            optimizer.step()
        if averaged:
            weight = 1 - min(args.average, (step + 2) / (step + 11))
            torch._foreach_lerp_([p.data for p in averaged.parameters()], list(model.parameters()), weight)
        seen, step, time_ = seen + num_rows * length, step + 1, time_ + length
        if seen >= stop or (due and seen >= due[0]):
            cpu += time.process_time() - clock
            row = {"k": round(seen / 1000), "cpu": round(cpu, 1), "train": round(float(torch.stack(losses).mean()), 4)}
            row |= {f"val{name}": round(evaluate(kept_model, val).nats, 4) for name, kept_model in measured.items()}
            if len(test) > 1 and seen >= stop:
                row["test"] = round(evaluate(model, test).nats, 4)
            figures.append(row)
            due, losses, clock = [at for at in due if at > seen], [], time.process_time()
    return figures


if __name__ == "__main__":
    print(json.dumps({"command": " ".join(sys.argv[2:]), "figures": run(parsed())}), flush=True)
