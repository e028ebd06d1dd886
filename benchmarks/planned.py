"""Planned runs against squeezed presets and a grid of settings, in the same time.

    python benchmarks/planned.py SPEC... [--minutes 1 5] [--presets laptop ...] [--grid] [--seeds 0 1] [--out FILE]

trains each text (a corpus spec, such as files:alice.txt) once as planned, once with each preset, whose schedule is
squeezed into the time, and with --grid once with each of `GRID`, to which the plan fits only the epochs. A table is
printed, of the exact loss of all held-out text; results accumulate in FILE, a JSON object a line, and what is there
is not run again.

So that trials can be compared that a busy machine runs at different hours, time is the processor's: one thread trains,
of whose processor time 1.7 seconds count as a second of two threads, and what a step of a shape costs is measured once,
as the lowest of several times, and kept beside FILE. Measuring takes nothing of the minutes here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from charrnn.training.planning import peak_rate

THREADS = 1.7
"""Processor seconds of one thread that count as a second."""
GRID = [
    {"hidden_size": size, "dropout": dropout, "rate": rate}
    for rate, size, dropout in itertools.product((1.0, 0.5), (256, 512, 768), (0.1, 0.3, 0.5, 0.6))
]
"""Settings to compare with: cells, dropout, and a factor of the learning rate that is planned for the size."""
SHOWN = ("hidden_size", "epochs", "thin", "dropout", "drop_connect", "learning_rate", "weight_decay")


def train(run: Path, costs: Path, args: list[str]) -> int:
    """Trains as the arguments say, with time as the processor's, and costs that are measured once for each shape."""
    import charrnn.train
    from charrnn.training import forecast, rehearsal
    from charrnn.training.costs import Costs

    measuring = 0.0

    def clock() -> float:
        return time.process_time() - measuring

    rehearsal.time = SimpleNamespace(perf_counter=time.process_time)
    charrnn.train.time = SimpleNamespace(monotonic=clock)
    forecast.time = SimpleNamespace(**vars(time) | {"monotonic": clock})
    measure = rehearsal.measure

    def measure_once(job: Any, seconds: float) -> Costs:
        nonlocal measuring
        began = time.process_time()
        config, num_val = job.config, len(job.store.val)
        shape = (config.hidden_size, config.num_layers, config.embedding_size, config.batch_size, config.seq_length)
        key = " ".join(map(str, (*shape, config.optimizer, len(job.store.vocab), num_val)))
        known = json.loads(costs.read_text(encoding="utf-8")) if costs.exists() else {}
        if key not in known:
            times = [asdict(measure(job, max(0.3, seconds))) for _ in range(5)]
            known[key] = {name: min(each[name] for each in times) for name in times[0]}
            costs.write_text(json.dumps(known, indent=1), encoding="utf-8")
        measuring += time.process_time() - began
        return Costs(**known[key])

    forecast.measure = measure_once
    return charrnn.train.main([*args, "--run-dir", str(run), "--num-threads", "1", "--tracker", "none"])


def trial(spec: str, minutes: float, flags: list[str], costs: Path) -> dict[str, Any]:
    """A run's loss over all its validation text, its processor minutes, and its settings."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        args = ["--corpus", spec, "--minutes", f"{minutes * THREADS:g}", *flags]
        started = time.monotonic()
        done(sys.executable, __file__, "--train", str(run), str(costs), *args)
        took = time.monotonic() - started
        loss = json.loads(done("charrnn", "eval", str(run), "--split", "val"))["loss"]
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = [row["val_loss"] for row in map(json.loads, rows) if row.get("val_loss") is not None][-1]
        return {"loss": loss, "last": last, "steps": json.loads(rows[-1])["step"], "wall": round(took)} | {
            name: config[name] for name in SHOWN
        }


def done(program: str, *args: str) -> str:
    """What a command prints; ends with its error if it fails."""
    command = [program if program == sys.executable else str(Path(sys.executable).with_name(program)), *args]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    return result.stdout


def of_grid(point: dict[str, Any]) -> list[str]:
    """The flags of a point of the grid."""
    rate = point["rate"] * peak_rate(point["hidden_size"], 16 * 32)
    values = {"--hidden-size": point["hidden_size"], "--dropout": point["dropout"], "--learning-rate": f"{rate:.2g}"}
    return [str(part) for pair in values.items() for part in pair]


def main() -> None:
    """Runs what is not in the file yet, and prints the table."""
    if sys.argv[1:2] == ["--train"]:
        raise SystemExit(train(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--presets", nargs="*", default=["laptop", "laptop-long", "gpu", "karpathy"])
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("planned.jsonl"))
    arguments, rest = parser.parse_known_args()
    kinds = {"planned": [], **{preset: ["--preset", preset] for preset in arguments.presets}}
    if arguments.grid:
        kinds |= {" ".join(of_grid(point)): of_grid(point) for point in GRID}
    print("| text | minutes | what | seed | loss | " + " | ".join(SHOWN) + " |")
    print("|---" * (5 + len(SHOWN)) + "|", flush=True)
    for minutes, spec, seed, kind in itertools.product(arguments.minutes, arguments.specs, arguments.seeds, kinds):
        what = " ".join([kind, *rest])
        about = {"text": Path(spec).name, "minutes": minutes, "what": what, "seed": seed}
        lines = arguments.out.read_text(encoding="utf-8").splitlines() if arguments.out.exists() else []
        found = next((row for row in map(json.loads, lines) if about.items() <= row.items()), None)
        if found is None:
            flags = [*kinds[kind], "--seed", str(seed), *rest]
            found = about | trial(spec, minutes, flags, arguments.out.with_suffix(".costs.json"))
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
        cells = (*about.values(), f"{found['loss']:.4f}", *(found[name] for name in SHOWN))
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
