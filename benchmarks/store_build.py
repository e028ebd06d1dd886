"""Measures how fast token stores are built from local files, and in how much memory, against a dictionary look-up.

The look-up is the loop that the other character-level trainers encode their text with, timed in the same run on the
first part of the same text, held in memory. Each build runs in a process of its own, for its peak memory. The files
are read from the page cache if they fit. Both times are the best of a few runs. Give --folder a place on the disk
that is to be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import accumulate
from operator import itemgetter
from pathlib import Path

PEER_CHARACTERS = 8_000_000
ROW = "{:9}" + "{:>10}" * 8
ALPHABETS = {
    "ascii": "abcdefghijklmnopqrstuvwxyz" * 20 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'()-\n",
    "western": "abcdefghijklmnopqrstuvwxyz" * 20 + "ABCDEFGHIJKLMNOPQRSTUVWXYZéèàüöäñç“”‘’—.,;!?\n",
    "cyrillic": "".join(map(chr, range(0x430, 0x450))) * 20 + "".join(map(chr, range(0x410, 0x430))) + ".,;!?—«»\n",
    "chinese": "".join(map(chr, range(0x4E00, 0x4E00 + 4000))) + "，。！？\n" * 100,
    "emoji": "abcdefghijklmnopqrstuvwxyz" * 20 + "".join(map(chr, range(0x1F300, 0x1F650))) + ".,!\n",
}


def main() -> None:
    """Prints a table of all kinds of text, or builds one store if called by itself with --build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500, help="size of each text as UTF-8 (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(ALPHABETS), default=list(ALPHABETS))
    parser.add_argument(
        "--folder", type=Path, help="where the texts and stores lie meanwhile (default: a temporary one)"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the best counts (default: %(default)s)")
    parser.add_argument("--build", type=Path, nargs=2, metavar=("TEXT", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(build(*arguments.build)))
        return
    print(f"charrnn {version('charrnn')}, Python {platform.python_version()}, NumPy {version('numpy')}, {hardware()}")
    print(ROW.format("text", "MB", "M chars", "build s", "CPU s", "M chars/s", "look-up", "times", "peak MB"))
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            text = Path(folder, f"{kind}.txt")
            sample = words(ALPHABETS[kind])
            write(text, sample, arguments.megabytes)
            lookup = min(lookup_seconds(sample[:PEER_CHARACTERS]) for _ in range(arguments.runs))
            command = [sys.executable, __file__, "--build", str(text), str(Path(folder, "store"))]
            builds = [json.loads(subprocess.check_output(command)) for _ in range(arguments.runs)]
            built = min(builds, key=itemgetter("seconds"))
            size = text.stat().st_size / 1e6
        millions = built["characters"] / 1e6
        rate, lookup_rate = millions / built["seconds"], len(sample[:PEER_CHARACTERS]) / 1e6 / lookup
        seconds = f"{built['seconds']:.2f}", f"{built['cpu_seconds']:.2f}"
        rates = f"{rate:.0f}", f"{lookup_rate:.1f}", f"{rate / lookup_rate:.1f}"
        print(ROW.format(kind, f"{size:.0f}", f"{millions:.0f}", *seconds, *rates, f"{built['peak_bytes'] / 1e6:.0f}"))


def build(text: Path, store: Path) -> dict[str, float]:
    """Builds a store from a text file through its plugin, and says how long it took and what memory at most."""
    from charrnn.corpus import CorpusSpec
    from charrnn.plugins import Corpora
    from charrnn.store import build_store

    start, cpu_start = time.perf_counter(), time.process_time()
    spec = CorpusSpec.parse(f"files:{text}")
    built = build_store(store, [(spec.text, Corpora().find(spec).documents(spec))])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    # Not getrusage: its peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1]) * 1024
    characters = built.corpora[0].characters
    return {"characters": characters, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak}


def lookup_seconds(text: str) -> float:
    """The seconds that the usual loop takes."""
    start = time.perf_counter()
    ids = {character: index for index, character in enumerate(sorted(set(text)))}
    encoded = [ids[character] for character in text]
    seconds = time.perf_counter() - start
    assert len(encoded) == len(text)
    return seconds


def words(alphabet: str) -> str:
    """Ten million characters of random words, some of them much more frequent than others."""
    draw = random.Random(0)
    lexicon = ["".join(draw.choices(alphabet, k=draw.randint(1, 9))) for _ in range(20_000)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(lexicon))))
    return " ".join(draw.choices(lexicon, cum_weights=weights, k=2_000_000))[:10_000_000]


def write(path: Path, sample: str, megabytes: int) -> None:
    """Writes a sample over and over, until the file has so many megabytes."""
    data = (sample + "\n").encode("utf-8")
    with path.open("wb") as file:
        for left in range(megabytes * 1_000_000, 0, -len(data)):
            # Cut before a word, never within a character.
            file.write(data if left >= len(data) else data[: data.rindex(b" ", 0, left)])
        file.flush()
        os.fsync(file.fileno())  # else the disk would still be writing the text while the store is built


def hardware() -> str:
    """The processor and the number of cores."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{len(names)} cores of {names[0]}"


if __name__ == "__main__":
    main()
