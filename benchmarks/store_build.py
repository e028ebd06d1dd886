"""Measures how fast token stores are built from local files, and in how much memory, against a dictionary look-up.

The look-up is the loop that the other character-level trainers encode their text with, and the making of its
vocabulary, on the first part of the same text, held in memory. Look-ups and builds take turns; each build runs in a
process of its own, for its peak memory, and is compared with the look-up just before it. The medians are printed. The
files are read from the page cache if they fit. Give --folder a place on the disk that is to be measured: the text and
its store need some 2.5 times --megabytes there. The text "late" is ASCII whose last character is a new one, so that
all before it has to be encoded again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from statistics import median

import charrnn

PEER_CHARACTERS = 8_000_000
FILE_MEGABYTES = 100
ROW = "{:9}" + "{:>10}" * 8
ASCII = "abcdefghijklmnopqrstuvwxyz" * 20 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'()-\n"
ALPHABETS = {
    "ascii": ASCII,
    "late": ASCII,
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
    parser.add_argument("--runs", type=int, default=3, help="pairs of look-up and build (default: %(default)s)")
    parser.add_argument("--build", type=Path, nargs=2, metavar=("TEXT", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(build(*arguments.build)))
        return
    print(f"charrnn {charrnn.__version__}, Python {platform.python_version()}, NumPy {version('numpy')}, {hardware()}")
    print(ROW.format("text", "MB", "M chars", "build s", "CPU s", "M chars/s", "look-up", "times", "peak MB"))
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            text, store = Path(folder, "text"), Path(folder, "store")
            sample = words(ALPHABETS[kind])
            size = write(text, sample, arguments.megabytes, end="~" if kind == "late" else "")
            command = [sys.executable, __file__, "--build", str(text), str(store)]
            lookups, builds = [], []
            for _ in range(arguments.runs):
                os.sync()  # else the disk would still be busy with what was written before
                lookups.append(PEER_CHARACTERS / 1e6 / lookup_seconds(sample[:PEER_CHARACTERS]))
                builds.append(json.loads(subprocess.check_output(command)))
                shutil.rmtree(store)
        characters = builds[0]["characters"] / 1e6
        rates = [characters / built["seconds"] for built in builds]
        figures = [
            *(f"{size / 1e6:.0f}", f"{characters:.0f}"),
            *(f"{median(built[key] for built in builds):.2f}" for key in ("seconds", "cpu_seconds")),
            *(f"{median(rates):.0f}", f"{median(lookups):.1f}"),
            f"{median(rate / lookup for rate, lookup in zip(rates, lookups, strict=True)):.1f}",
            f"{max(built['peak_bytes'] for built in builds) / 1e6:.0f}",
        ]
        print(ROW.format(kind, *figures), flush=True)


def build(text: Path, store: Path) -> dict[str, float]:
    """Builds a store from a folder of texts through its plugin, and says how long it took and what memory at most."""
    from charrnn.text.corpus import CorpusSpec
    from charrnn.text.plugins import Corpora
    from charrnn.text.store_builder import build_store

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


def write(folder: Path, sample: str, megabytes: int, end: str) -> int:
    """Fills a folder with files of a sample, over and over, and an end; returns how many bytes they have together."""
    folder.mkdir()
    data = (sample + "\n").encode("utf-8")
    for number in range(math.ceil(megabytes / FILE_MEGABYTES)):
        path = folder / f"{number:04}.txt"
        size = min(megabytes - number * FILE_MEGABYTES, FILE_MEGABYTES) * 1_000_000
        with path.open("wb") as file:
            file.write(b"%04d\n" % number)  # the same text is read once
            for left in range(size, 0, -len(data)):
                # Cut before a word, never within a character.
                file.write(data if left >= len(data) else data[: data.rindex(b" ", 0, left)])
    with path.open("ab") as file:
        file.write(end.encode("utf-8"))
    return sum(path.stat().st_size for path in folder.iterdir())


def hardware() -> str:
    """The processor and the number of cores."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{len(names)} cores of {names[0]}"


if __name__ == "__main__":
    main()
