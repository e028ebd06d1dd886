"""What all tests share: a text to train on, an environment of their own, and the program run as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[2] / "shared"
SMALL = (
    "--hidden-size",
    "32",
    "--batch-size",
    "8",
    "--seq-length",
    "16",
    "--sample-length",
    "40",
    "--num-threads",
    "1",
)
"""Flags of a model that trains in a moment."""


def make_text(length: int, seed: int = 0) -> str:
    """Sentences of made-up words: enough order that a loss goes down, and nobody's text."""
    rng = random.Random(seed)
    syllables = ["ba", "do", "ki", "lu", "me", "na", "po", "ri", "su", "te", "vo", "zi"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(60)]
    parts: list[str] = []
    size = 0
    while size < length:
        sentence = " ".join(rng.choices(words, k=rng.randint(3, 9))).capitalize() + rng.choice([". ", ", yes! ", ".\n"])
        parts.append(sentence)
        size += len(sentence)
    return "".join(parts)[:length]


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 30,000 characters."""
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(make_text(30_000), encoding="utf-8")
    return path


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> None:
    """Under nohup, or in the background of a shell, hangups or interrupts are ignored, also by all that tests start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of a whole session start has no business in the user's own cache either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches, working folder and modules of the test's own, no credentials, no way to the network but loopback."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "TRACKIO_", "HF_", "ACCELERATE_", "CHARRNN_", "MASTER_", "OMPI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # A closed port: whatever tries to reach the outside is refused at once, and its test fails.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    if torch := sys.modules.get("torch"):
        # The tests that run beside this one want cores too: two threads here would spend their time waiting for each
        # other. A command that was run in this process may have set more.
        torch.set_num_threads(1)
        for command in ("eval", "export", "report"):
            monkeypatch.setattr(f"charrnn.cli.{command}.share_of_cores", lambda: 1)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield
    # A plugin that the test wrote: the next test may have one of the same name.
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread of torch, the results of which do not depend on how busy the machine is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def program(name: str) -> str:
    """A program of the environment that the tests run in."""
    return str(Path(sys.executable).with_name(name))


def torchrun(processes: int, *flags: str) -> list[str]:
    """The launcher for so many processes of this machine, on a free port."""
    return [program("torchrun"), "--standalone", "--nproc-per-node", str(processes), *flags, "-m", "charrnn.train"]


DIRECT = [sys.executable, "-m", "charrnn.train"]
ACCELERATE = [program("accelerate"), "launch", "-m", "charrnn.train"]


def train_here(*args: str | Path) -> int:
    """The main command in this process, where its imports cost nothing: the exit code; signal handlers are put back."""
    import charrnn.train

    names = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
    handlers = {name: signal.getsignal(name) for name in names}
    try:
        return charrnn.train.main([*map(str, args)])
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)


def run(
    command: list[str], *args: str | Path, code: int | None = 0, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; fails the test with its output unless the exit code is as expected."""
    done = subprocess.run(
        [*command, *map(str, args)], capture_output=True, text=True, encoding="utf-8", timeout=timeout, check=False
    )
    if code is not None and done.returncode != code:
        pytest.fail(f"exit code {done.returncode}, not {code}:\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}")
    return done


def start(command: list[str], *args: str | Path) -> subprocess.Popen[str]:
    """Starts a program and goes on."""
    return subprocess.Popen(
        [*command, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; what is not written whole yet is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def status(run_dir: Path) -> dict[str, Any]:
    """The status.json of a run."""
    values: dict[str, Any] = json.loads((run_dir / "status.json").read_text(encoding="utf-8"))
    return values


def last_checkpoint(run_dir: Path) -> Path:
    """The newest checkpoint of a run."""
    return max((run_dir / "checkpoints").glob("step-*"))


def seal(folder: Path) -> None:
    """Makes the manifest of a checkpoint that of what is in it now, as whoever made it could."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in manifest["sha256"]
        if (folder / name).is_file()
    }
    path.write_text(json.dumps(manifest))


Wait = Callable[[], object]


def wait_until(condition: Wait, process: subprocess.Popen[str], timeout: float = 240) -> None:
    """Waits for a condition while a program runs; fails the test if the program ends or time runs out first."""
    import time

    end = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the program ended with {process.returncode}: {process.communicate()[0][-3000:]}")
        if time.monotonic() > end:
            process.kill()
            pytest.fail(f"waited in vain: {process.communicate()[0][-3000:]}")
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
