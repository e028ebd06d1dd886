"""What power cuts leave of a training: on an ext4 file system of its own, in a file; needs root.

    python benchmarks/power_cut.py TEXT [--cuts 20] [--seed 0] [--without-fsync]

The run and the cache lie on that file system. Each cut stops it at once, by the ioctl that the kernel has for such
tests: what had not reached the disk is gone, whatever the page cache had. The trainer is killed, the file system is
checked (which replays its journal), mounted again, and `--resume` goes on. The first cuts come while the token store is
being built and when it has its name, the others after a random number of steps. At the end the run is compared, bit for
bit, with one that nothing interrupted. The journal is written every second, and ext4 is told not to flush a file that
is renamed over another by itself (noauto_da_alloc), which would hide a flush that is missing.

``--without-fsync`` makes flushing do nothing, to see what it is for. Prints JSON, a line each: the
circumstances, every cut, and the end.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import os
import platform
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError, CorpusError
from charrnn.run.checkpoint import verify
from charrnn.run.finding import checkpoints
from charrnn.text.store import digest_of, open_store

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN."""
AT_ONCE = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: the journal is not written either."""
STEPS = 100
"""Of the run for each cut, which comes after fewer."""
FLAGS = (
    "--hidden-size 32 --batch-size 8 --seq-length 16 --sample-length 40 --num-threads 1 --tracker none --log-every 1 "
    "--checkpoint-every 20 --checkpoint-minutes 0 --eval-every 1000"
)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """The file system of an image in a folder."""
    subprocess.run(["mount", "-o", "loop,commit=1,noauto_da_alloc", image, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def cut(folder: Path) -> None:
    """Ends the file system that is mounted there as a power cut does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", AT_ONCE))
    finally:
        os.close(descriptor)


def start(text: Path, disk: Path, steps: int, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts the training, or goes on with it; what it says is in the log."""
    command = [
        sys.executable,
        "-m",
        "charrnn.train",
        "--corpus",
        f"files:{text}",
        *FLAGS.split(),
        "--max-steps",
        str(steps),
    ]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*command, "--run-dir", str(disk / "run"), "--resume"],
            env={**environment, "XDG_CACHE_HOME": str(disk / "cache")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def moments(disk: Path, process: subprocess.Popen[bytes], steps: int) -> dict[str, Callable[[], bool]]:
    """What a cut can wait for."""
    status, metrics = disk / "run" / "status.json", disk / "run" / "metrics.jsonl"
    stores = disk / "cache" / "charrnn" / "stores"
    saved = [int(path.name.removeprefix("step-")) for path in checkpoints(disk / "run" / "checkpoints")]

    def trained() -> bool:
        with suppress(OSError, ValueError):  # not there yet, or, without fsync, what a cut left of it
            begun = json.loads(status.read_text())["pid"] == process.pid
            return begun and metrics.read_bytes().count(b"\n") >= max(saved, default=0) + steps
        return False

    return {
        "the store is being built": lambda: any(stores.glob("*.building")),
        "the store has its name": lambda: any(stores.glob("*/store.json")),
        "training": trained,
    }


def states(disk: Path) -> tuple[str, list[str]]:
    """Whether the store is whole, and of each checkpoint what is wrong with it, if anything is."""
    stores = [path for path in disk.glob("cache/charrnn/stores/*") if path.is_dir() and path.suffix != ".building"]
    store = "none"
    for folder in stores:
        try:
            found = open_store(folder)
            store = "whole" if digest_of(folder, found.vocab) == found.digest else "damaged"
        except (CorpusError, ValueError) as error:
            store = f"not whole: {str(error).partition(' token store: ')[2] or error}"
    damaged = []
    for folder in checkpoints(disk / "run" / "checkpoints"):
        try:
            verify(folder)
        except CheckpointError as error:
            damaged.append(str(error))
    return store, damaged


def trial(text: Path, cuts: int, seed: int, folder: Path, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Cuts and goes on; yields what each cut left, and at the end whether the run is that which nothing interrupted."""
    rng, steps, image, disk = random.Random(seed), STEPS * (cuts + 1), folder / "disk.img", folder / "disk"
    log, unbroken = folder / "log", folder / "unbroken"
    disk.mkdir()
    unbroken.mkdir()
    if start(text, unbroken, steps, log, dict(os.environ)).wait():
        sys.exit(log.read_text())
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    for number in range(cuts):
        wanted = ["the store is being built", "the store has its name", "training"][min(number, 2)]
        with mounted(image, disk):
            process = start(text, disk, steps, log, environment)
            new_steps = rng.randrange(1, STEPS)
            try:
                is_there = moments(disk, process, new_steps)[wanted]
                while process.poll() is None and not is_there():
                    time.sleep(0.002)
                time.sleep(rng.random() * 0.1)
                ended = process.poll()
                cut(disk)
            finally:
                process.kill()
                process.wait()
        checked = subprocess.run(["fsck.ext4", "-f", "-p", image], capture_output=True, text=True, check=False).stdout
        # Replaying the journal, and freeing files that were deleted while they were open, is no damage.
        found = [line for line in checked.splitlines()[:-1] if "journal" not in line and "orphaned inode" not in line]
        with mounted(image, disk):
            store, damaged = states(disk)
            newest = next(iter(checkpoints(disk / "run" / "checkpoints")), None)
        warned = [line for line in log.read_text(errors="replace").splitlines() if "again" in line or "error" in line]
        left = {"fsck": found, "store": store, "damaged": damaged, "newest": newest.name if newest else None}
        when = f"{wanted}, {new_steps} steps on" if wanted == "training" else wanted
        yield {"cut": number + 1, "when": when, "ended before with": ended, "said": warned, **left}
    with mounted(image, disk):
        code = start(text, disk, steps, log, environment).wait()
        compared = [sys.executable, str(Path(__file__).with_name("same_run.py")), unbroken / "run", disk / "run"]
        same = subprocess.run(compared, capture_output=True, text=True, check=False)
    yield {"the last start ended with": code, "compared with an uninterrupted run": same.stdout.strip().splitlines()}


def main() -> None:
    """Prints JSON, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-fsync", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, environment = Path(temporary), dict(os.environ)
        if given.without_fsync:
            (folder / "sitecustomize.py").write_text("import os\nos.fsync = lambda descriptor: None\n")
            environment["PYTHONPATH"] = str(folder)
        result: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "flags": FLAGS,
            "without fsync": given.without_fsync,
        }
        for each in chain([result], trial(given.text.absolute(), given.cuts, given.seed, folder, environment)):
            print(json.dumps(each), flush=True)


if __name__ == "__main__":
    main()
