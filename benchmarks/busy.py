"""Training speed on a busy machine: how long OpenMP's threads spin for each other, with other programs beside them.

    python benchmarks/busy.py TEXT [--burners 0 1 2 4] [--seconds 20] [--rounds 3] [FLAGS OF TRAINING]

Each way to wait trains for some seconds beside so many programs that only count; rounds take turns, so that a slow
minute of the machine hits all ways alike. Prints the median of characters a second, and its share of torch's own way on
the idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from charrnn.run.folder import METRICS, read_lines

WAYS = {
    "torch's own": {"GOMP_SPINCOUNT": "300000"},  # libgomp's, where nothing is said
    "passive": {"OMP_WAIT_POLICY": "passive"},
    **{f"{count:,} turns": {"GOMP_SPINCOUNT": str(count)} for count in (300, 1_000, 3_000, 10_000, 30_000)},
}
BURNER = "while True: pass"


def speed(way: dict[str, str], burners: int, seconds: float, flags: list[str]) -> float:
    """Characters a second of a run of so many seconds after its first metrics."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [sys.executable, "-m", "charrnn.train", "--run-dir", str(run_dir), "--tracker", "none"]
        command += ["--log-every", "10", "--val-fraction", "0", "--max-steps", "1000000", *flags]
        beside = [subprocess.Popen([sys.executable, "-c", BURNER]) for _ in range(burners)]
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        train = subprocess.Popen(command, env=environment | way, stdout=subprocess.DEVNULL)
        try:
            while not read_lines(run_dir / METRICS):
                if train.poll() is not None:
                    raise SystemExit("training ended")
            train.wait(seconds)
            raise SystemExit("training ended")
        except subprocess.TimeoutExpired:
            rows = [row["chars_per_second"] for row in read_whole(run_dir / METRICS)[1:]]
            # Each row is of as many characters: their speed together is the harmonic mean.
            return statistics.harmonic_mean(rows) if rows else 0.0
        finally:
            for process in (train, *beside):
                process.kill()
                process.wait()


def read_whole(path: Path) -> list[dict[str, float]]:
    """The rows of metrics, without one that is being written."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = path.with_suffix(".whole")
    whole.write_text("".join(line for line in lines if line.endswith("\n")), encoding="utf-8")
    return read_lines(whole)


def main() -> None:
    """Prints a table of ways and burners."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--burners", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments, rest = parser.parse_known_args()
    flags = ["--corpus", f"files:{arguments.text}", *rest]
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(arguments.rounds):
        for burners in arguments.burners:
            for name, way in WAYS.items():
                found.setdefault((name, burners), []).append(speed(way, burners, arguments.seconds, flags))
    idle = statistics.median(found["torch's own", min(arguments.burners)])
    print("way".ljust(14), *(f"{burners} burners".rjust(18) for burners in arguments.burners))
    for name in WAYS:
        medians = [statistics.median(found[name, burners]) for burners in arguments.burners]
        print(name.ljust(14), *(f"{median:10,.0f} ({median / idle:4.0%})".rjust(18) for median in medians))


if __name__ == "__main__":
    main()
