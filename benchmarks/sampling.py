"""How fast text is written, against the loop that other character models write it with, on the same weights.

    python benchmarks/sampling.py [--num-threads N]

The loop is one step of nn.LSTM, a softmax and a multinomial draw for each character. In turns it, one stream and many
streams of charrnn write; the table has the best rate of each in characters/s, and the median over the turns of the
ratio to the loop's. With one thread the seconds are the processor's, so that a busy machine does not count; with more
they are the clock's. Then `charrnn sample` is started anew a few times, until its first byte.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import psutil
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from charrnn.model.folder import save_model
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import Sampling, draw, generate
from charrnn.text.vocab import Vocabulary

VOCAB = Vocabulary("".join(map(chr, range(32, 97))))
SHAPES = {"1 x 128": (128, 1), "1 x 256": (256, 1), "1 x 512": (512, 1), "2 x 512": (512, 2)}
TURNS, STARTS = 9, 7
STREAMS = 64
STEPS = {"loop": 150, "one stream": 600, "streams": 40}
"""Steps in a turn: a few tenths of a second."""
FOREVER = 10**9
TEMPERATURE = 0.8


@torch.inference_mode()
def usual_loop(model: CharLSTM) -> Iterator[str]:
    """What the other character models do, in their fewest operations."""
    assert model.embedding is not None
    lstm = nn.LSTM(model.embedding_size, model.hidden_size, model.num_layers)
    for layer, single in enumerate(model.lstms):
        for name, weight in single.named_parameters():
            lstm.get_parameter(name.replace("_l0", f"_l{layer}")).copy_(weight)
    token, state = torch.zeros(1, 1, dtype=torch.long), None
    while True:
        features, state = lstm(model.embedding(token), state)
        token = torch.multinomial(torch.softmax(model.output(features[-1]) / TEMPERATURE, dim=-1), 1)
        yield VOCAB.characters[token.item()]


def rate(steps: Iterator[object], num_steps: int, clock: Callable[[], float]) -> float:
    """Steps in a second, once warm."""
    list(islice(steps, 5))
    start = clock()
    list(islice(steps, num_steps))
    return num_steps / (clock() - start)


def turn(model: CharLSTM, clock: Callable[[], float]) -> tuple[float, float, float]:
    """Characters/s of the loop, of one stream and of many."""
    one = generate(model, VOCAB, length=FOREVER, temperature=TEMPERATURE)
    how = Sampling(length=FOREVER, temperature=TEMPERATURE)
    many = draw(model, VOCAB, [""] * STREAMS, seeds=range(STREAMS), how=how)
    return (
        rate(usual_loop(model), STEPS["loop"], clock),
        rate(one, STEPS["one stream"], clock),
        rate(many, STEPS["streams"], clock) * STREAMS,
    )


def first_byte(command: list[str]) -> tuple[float, float]:
    """Seconds from a command's start to the first byte it writes: of the clock, and of the processor."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        cpu = psutil.Process(process.pid).cpu_times()
        process.kill()
    return seconds, cpu.user + cpu.system


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-threads", type=int, default=1, help="threads of torch and of NumPy (default: 1)")
    num_threads = parser.parse_args().num_threads
    torch.set_num_threads(num_threads)
    threadpool_limits(num_threads, user_api="blas")
    clock = time.process_time if num_threads == 1 else time.perf_counter
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {num_threads} thread(s)")
    print(f"{'layers':8} {'loop':>8} {'one stream':>12} {'times':>6} {f'{STREAMS} streams':>12} {'times':>6}")
    for name, (hidden_size, num_layers) in SHAPES.items():
        torch.manual_seed(0)
        model = CharLSTM(len(VOCAB), hidden_size, num_layers)
        turns = [turn(model, clock) for _ in range(TURNS)]
        loop, one, many = map(max, zip(*turns, strict=True))
        times_one, times_many = (statistics.median(rates[kind] / rates[0] for rates in turns) for kind in (1, 2))
        print(f"{name:8} {loop:8,.0f} {one:12,.0f} {times_one:6.1f} {many:12,.0f} {times_many:6.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), CharLSTM(len(VOCAB), 512), VOCAB, "")
        sample = [str(Path(sys.executable).with_name("charrnn")), "sample", folder, "--length", "1000000"]
        commands = {"charrnn sample": sample, "import torch": [sys.executable, "-c", "import torch; print()"]}
        starts: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(STARTS):
            for name, command in commands.items():
                starts[name].append(first_byte(command))
    for name, measured in starts.items():
        seconds, cpu = map(min, zip(*measured, strict=True))
        print(f"{name}: the first byte after {seconds:.2f} s, {cpu:.2f} s of processor time (best of {STARTS})")


if __name__ == "__main__":
    main()
