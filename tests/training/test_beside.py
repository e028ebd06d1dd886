"""What is written beside training, as it is where a GPU computes; here a CPU does both."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from charrnn.training import beside
from charrnn.training.beside import Beside
from tests.conftest import SMALL, last_checkpoint, rows_of
from tests.test_exact import assert_same_run, harness
from tests.test_train import Train, train

__all__ = ["train"]

# The main command with a thread that writes, in a process of its own.
PROGRAM = [
    sys.executable,
    "-c",
    "import sys; from charrnn.training import beside; beside.AT_ONCE = (); "
    "from charrnn.train import main; sys.exit(main())",
]


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> Beside:
    monkeypatch.setattr(beside, "AT_ONCE", ())
    return Beside(torch.device("cpu"))


def test_on_a_cpu_all_is_done_at_once() -> None:
    here: list[int] = []
    with Beside(torch.device("cpu")) as at_once:
        at_once.do(lambda: here.append(threading.get_ident()))
        assert here == [threading.get_ident()]


def test_it_is_done_in_order_and_awaited(threaded: Beside) -> None:
    done: list[int] = []

    def slowly(number: int) -> Callable[[], None]:
        return lambda: (time.sleep(0.02 / (1 + number)), done.append(number))[1]

    with threaded:
        for number in range(5):
            threaded.do(slowly(number))
        assert len(done) < 5
    assert done == list(range(5))


def test_of_copies_few_wait(threaded: Beside) -> None:
    begun, go_on = threading.Event(), threading.Event()
    with threaded:
        threaded.do(lambda: (begun.set(), go_on.wait(10)), has_copy=True)
        assert begun.wait(10)
        for _ in range(beside.COPIES - 1):
            threaded.do(lambda: None, has_copy=True)
        assert not go_on.is_set()
        threading.Timer(0.05, go_on.set).start()
        threaded.do(lambda: None, has_copy=True)
        assert go_on.is_set()


def test_an_interrupt_waits_for_nothing(threaded: Beside) -> None:
    go_on, done = threading.Event(), list[str]()

    def train() -> None:
        with threaded:
            threaded.do(lambda: go_on.wait(10))
            threaded.do(lambda: done.append("after"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not go_on.is_set()
    go_on.set()
    threaded.wait()
    assert done == []


def test_what_fails_is_raised_and_nothing_after_it_is_done(threaded: Beside) -> None:
    done, asked = list[str](), threading.Event()

    def fail() -> None:
        asked.wait(10)
        raise OSError("no room")

    def train() -> None:
        with threaded:
            threaded.do(fail)
            threaded.do(lambda: done.append("after"))
            asked.set()
            time.sleep(0.1)
            threaded.do(lambda: done.append("later"))

    with pytest.raises(OSError, match="no room"):
        train()
    assert done == []


def test_what_ended_training_is_the_news(threaded: Beside, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no room")

    def train() -> None:
        with threaded:
            threaded.do(fail)
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train()
    assert caplog.messages == ["no room"]


def test_a_run_is_the_same(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (*SMALL, "--max-steps", "40", "--eval-every", "10", "--sample-every", "5", "--checkpoint-every", "3")
    flags += ("--log-every", "1", "--keep", "2", "--corpus", "python:abc", "--tracker", "tensorboard")
    assert train(*flags, "--run-dir", "at-once") == 0
    monkeypatch.setattr(beside, "AT_ONCE", ())
    assert train(*flags, "--run-dir", "beside") == 0
    assert_same_run(Path("at-once"), Path("beside"))
    assert Path("at-once/samples.jsonl").read_bytes() == Path("beside/samples.jsonl").read_bytes()
    assert last_checkpoint(Path("beside")).name == last_checkpoint(Path("at-once")).name
    assert [row["step"] for row in rows_of(Path("beside/metrics.jsonl"))] == list(range(1, 41))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_exact.DIRECT", PROGRAM)
    harness(1, 3, 4, text_file, tmp_path)
