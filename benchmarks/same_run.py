"""Whether two runs are the same bit for bit, which is how a refactoring is proved.

    python benchmarks/same_run.py ONE OTHER

compares two run folders: every line of metrics but for the speed, every sample, and of every checkpoint the weights,
the moments, the state of all rows, the vocabulary, and where the run was. It says what differs and ends with 1, or
that nothing does. Settings and versions are not compared: a refactoring may change them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from safetensors import safe_open

OF_THE_CLOCK = "chars_per_second"
"""What is another in every line of metrics."""
OF_THE_CODE = ("format", "version", "files", "config", "circumstances", "speed")
"""What training.json says of files, settings and versions, not of the training."""


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The values of a JSON-lines file. Only a newline ends a line: samples hold other characters that look like it."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def training_of(path: Path) -> dict[str, Any]:
    """What a training.json says of the training."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in values.items() if name not in OF_THE_CODE}


def tensors_of(path: Path) -> dict[str, tuple[object, ...]]:
    """The type, shape and digest of each tensor of a file: equal only if every bit is, also of what is no number."""
    found = {}
    with safe_open(path, "np") as file:
        for name in file.keys():  # noqa: SIM118, for the file is no dictionary
            tensor = file.get_tensor(name)
            found[name] = (str(tensor.dtype), tensor.shape, hashlib.sha256(tensor.tobytes()).hexdigest()[:12])
    return found


def compare(where: str, one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """A line about each value that is another, or is there once only."""
    for name in sorted(one.keys() | other.keys()):
        left, right = (repr(each[name]) if name in each else "not there" for each in (one, other))
        if left != right:
            yield f"{where}: {name} is {left[:60]} and {right[:60]}"


def compare_lines(one: Path, other: Path) -> Iterator[str]:
    """About the first line that differs: those after it differ because of it."""
    for number, (left, right) in enumerate(zip_longest(lines_of(one), lines_of(other), fillvalue={}), 1):
        values = [{name: line[name] for name in line if name != OF_THE_CLOCK} for line in (left, right)]
        if found := list(compare(f"{one.name}, line {number}", *values)):
            yield from found
            return


def differences(one: Path, other: Path) -> Iterator[str]:
    """What differs between two run folders."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        yield from compare_lines(one / name, other / name)
    steps = [{path.name for path in run.glob("checkpoints/step-*")} for run in (one, other)]
    if steps[0] != steps[1]:
        yield f"checkpoints: {sorted(steps[0])} and {sorted(steps[1])}"
    for step in sorted(steps[0] & steps[1]):
        for name in ("model.safetensors", "training.safetensors", "training.json", "vocab.json"):
            read = {"training.json": training_of, "vocab.json": lambda path: {"text": path.read_text("utf-8")}}
            paths = [run / "checkpoints" / step / name for run in (one, other)]
            yield from compare(f"{step}/{name}", *map(read.get(name, tensors_of), paths))


def main() -> int:
    """Prints what differs; returns 0 if nothing does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    options = parser.parse_args()
    found = list(differences(options.one, options.other))
    if found:
        print("\n".join(found))
        return 1
    lines = len(lines_of(options.one / "metrics.jsonl"))
    steps = len(list(options.one.glob("checkpoints/step-*")))
    print(f"the same bit for bit: {lines} lines of metrics, {steps} checkpoints")
    return 0


if __name__ == "__main__":
    sys.exit(main())
