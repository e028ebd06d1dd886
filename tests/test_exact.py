"""The same training on any number of processes, and through any interruption."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import (
    ACCELERATE,
    DIRECT,
    SHARED,
    SMALL,
    free_ports,
    last_checkpoint,
    rows_of,
    run,
    start,
    status,
    torchrun,
    train_here,
    wait_until,
)

STEPS = 300
FLAGS = (*SMALL, "--tracker", "none", "--log-every", "1", "--learning-rate", "3e-3", "--max-steps", str(STEPS))
FLAGS += ("--checkpoint-every", "50", "--eval-every", "120", "--drop-connect", "0.1")
SLOW = pytest.mark.slow
"""For what starts so many processes, each with seconds of imports, that it takes longer than five seconds."""


@pytest.fixture(scope="session")
def unbroken(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a run of so many processes that nothing interrupted: what others are compared with."""

    @functools.cache
    def run_dir(processes: int) -> Path:
        folder = tmp_path_factory.mktemp("unbroken") / str(processes)
        run(command(processes), *FLAGS, "--corpus", f"files:{text_file}", "--run-dir", folder)
        return folder

    return run_dir


def command(processes: int, *flags: str) -> list[str]:
    return torchrun(processes, *flags) if processes > 1 or flags else DIRECT


def weights(run_dir: Path) -> bytes:
    return (last_checkpoint(run_dir) / "model.safetensors").read_bytes()


def moments(run_dir: Path) -> bytes:
    return (last_checkpoint(run_dir) / "training.safetensors").read_bytes()


def without_speed(run_dir: Path) -> list[dict[str, object]]:
    return [
        {key: value for key, value in row.items() if key != "chars_per_second"}
        for row in rows_of(run_dir / "metrics.jsonl")
    ]


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: weights, moments and rows' state, every line of metrics but the speed, and every sample."""
    assert weights(one) == weights(other)
    assert moments(one) == moments(other)
    assert without_speed(one) == without_speed(other)
    assert (one / "samples.jsonl").read_bytes() == (other / "samples.jsonl").read_bytes()


def assert_close(one: Path, other: Path, tolerance: float) -> None:
    """Every line of metrics agrees: losses and gradient norms to a tolerance, all else exactly."""
    first, second = rows_of(one / "metrics.jsonl"), rows_of(other / "metrics.jsonl")
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert (a["step"], a["epoch"], a["learning_rate"]) == (b["step"], b["epoch"], b["learning_rate"])
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=tolerance)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=100 * tolerance)
        assert (a["val_loss"] is None) == (b["val_loss"] is None)
        if a["val_loss"] is not None:
            assert a["val_loss"] == pytest.approx(b["val_loss"], rel=tolerance)
    samples = [[row["text"] for row in rows_of(each / "samples.jsonl")] for each in (one, other)]
    assert samples[0] == samples[1] != []


@SLOW
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_any_number_of_processes_trains_alike(processes: int, unbroken: Callable[[int], Path]) -> None:
    assert_close(unbroken(1), unbroken(processes), 1e-5)


@pytest.fixture(scope="session")
def shakespeare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a run on a real text by so many processes."""
    text = SHARED / "text" / "tinyshakespeare.txt"
    if not text.exists():
        pytest.skip(f"{text} is not here")
    flags = ("--corpus", f"files:{text}", "--hidden-size", "64", "--batch-size", "16", "--learning-rate", "3e-3")
    flags += ("--max-steps", "300", "--log-every", "1", "--eval-every", "100", "--num-threads", "1")

    @functools.cache
    def run_dir(processes: int) -> Path:
        folder = tmp_path_factory.mktemp("shakespeare") / str(processes)
        run(command(processes), *flags, "--tracker", "none", "--run-dir", folder)
        return folder

    return run_dir


@SLOW
@pytest.mark.parametrize("processes", [2, 4])
def test_tiny_shakespeare_for_300_steps(processes: int, shakespeare: Callable[[int], Path]) -> None:
    assert_close(shakespeare(1), shakespeare(processes), 1e-4)


def kill_at(command: list[str], run_dir: Path, step: int, *flags: str | Path) -> None:
    """Starts a run and kills all its processes, with no chance to say goodbye, once it has logged a step."""
    process = start(command, *flags)
    try:
        wait_until(lambda: [row for row in rows_of(run_dir / "metrics.jsonl") if row["step"] >= step], process)
        assert status(run_dir)["state"] == "running"
    finally:
        kill_tree(process)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a process and all its descendants; torchrun's workers lead sessions of their own."""
    family = [process.pid]
    for pid in family:
        listing = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
        family += [int(child) for child in listing.split()]
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("processes", [1, pytest.param(3, marks=SLOW)])
def test_a_killed_run_resumes_bit_for_bit(
    processes: int, text_file: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--run-dir", tmp_path / "run")
    kill_at(command(processes), tmp_path / "run", 170, *flags)
    run(command(processes), *flags, "--resume")
    assert status(tmp_path / "run")["state"] == "finished"
    assert_same_run(unbroken(processes), tmp_path / "run")


@SLOW
def test_a_run_goes_on_with_other_numbers_of_processes(
    text_file: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--run-dir", tmp_path / "run")
    kill_at(command(2), tmp_path / "run", 80, *flags)
    kill_at(command(1), tmp_path / "run", 170, *flags, "--resume")
    run(command(4), *flags, "--resume")
    assert_close(unbroken(1), tmp_path / "run", 1e-5)


@SLOW
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_saves_and_ends_with_a_code_of_its_own(
    name: str, text_file: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--run-dir", tmp_path / "run")
    process = start(DIRECT, *flags)
    wait_until(lambda: rows_of(tmp_path / "run" / "metrics.jsonl"), process)
    process.send_signal(getattr(signal, name))
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 75
    ended = status(tmp_path / "run")
    assert (ended["state"], ended["reason"]) == ("preempted", name)
    assert 0 < ended["step"] < STEPS
    assert json.loads((last_checkpoint(tmp_path / "run") / "training.json").read_text())["step"] == ended["step"]
    assert "--resume" in output
    assert "Traceback" not in output
    if name == "SIGTERM":
        run(DIRECT, *flags, "--resume")
        assert_same_run(unbroken(1), tmp_path / "run")


@SLOW
@pytest.mark.parametrize("processes", [1, 2])
def test_an_evaluation_that_is_stopped_is_done_again(processes: int, text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(text_file.read_text(encoding="utf-8") * 20, encoding="utf-8")
    flags = (*SMALL, "--tracker", "none", "--log-every", "1", "--max-steps", "25", "--eval-every", "10")
    flags += ("--corpus", f"files:{text_file}", "--val-corpus", f"files:{tmp_path}/long.txt")
    run(command(processes), *flags, "--run-dir", tmp_path / "unbroken")
    for stopped_before in (10, 20):
        process = start(command(processes), *flags, "--run-dir", tmp_path / "run", "--resume")
        wait_until(functools.partial(has_logged, tmp_path / "run", stopped_before - 1), process)
        for pid in trainers(process) or [process.pid]:
            os.kill(pid, signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
        ended = status(tmp_path / "run")
        assert (ended["state"], ended["step"]) == ("preempted", stopped_before), output
        assert rows_of(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == stopped_before - 1
    run(command(processes), *flags, "--run-dir", tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "unbroken", tmp_path / "run")


def has_logged(run_dir: Path, step: int) -> bool:
    """Whether a step is the last that a run has logged."""
    return [row["step"] for row in rows_of(run_dir / "metrics.jsonl")[-1:]] == [step]


def trainers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a launcher has started."""
    listing = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in listing.split()]


@SLOW
def test_a_signal_to_any_process_stops_all_of_them(text_file: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--run-dir", tmp_path / "run")
    process = start(torchrun(2), *flags)
    wait_until(lambda: rows_of(tmp_path / "run" / "metrics.jsonl"), process)
    os.kill(max(trainers(process)), signal.SIGUSR1)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert status(tmp_path / "run")["state"] == "preempted"


@SLOW
def test_a_trainer_whose_launcher_died_saves_and_ends(text_file: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--max-steps", "100000", "--run-dir", tmp_path / "run")
    process = start(ACCELERATE, *flags)
    wait_until(lambda: rows_of(tmp_path / "run" / "metrics.jsonl"), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # until the orphan, who has the pipe too, is gone
    ended = status(tmp_path / "run")
    assert (ended["state"], ended["reason"]) == ("preempted", "the launcher has died")


@SLOW
def test_torchrun_brings_a_job_back_in_the_same_run_folder(text_file: Path, unbroken: Callable[[int], Path]) -> None:
    process = start(torchrun(2, "--max-restarts", "2"), *FLAGS, "--corpus", f"files:{text_file}")
    wait_until(lambda: [f for f in Path("runs").glob("*/metrics.jsonl") if len(rows_of(f)) > 70], process)
    os.kill(max(trainers(process)), signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output[-3000:]
    (run_dir,) = Path("runs").iterdir()
    assert "going on from" in output
    assert status(run_dir)["state"] == "finished"
    assert_same_run(unbroken(2), run_dir)


@SLOW
def test_a_dead_process_takes_the_job_down(text_file: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--max-steps", "100000", "--run-dir", tmp_path / "run")
    process = start(torchrun(3), *flags)
    wait_until(lambda: rows_of(tmp_path / "run" / "metrics.jsonl"), process)
    os.kill(max(trainers(process)), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0


def harness(processes: int, kills: int, seed: int, text_file: Path, tmp_path: Path, steps: int = 400) -> None:
    """Kills a run at random instants, then lets it end, and compares it with one that was left alone.

    Every second kill of a job of several processes hits one of them, the others all. Each must hit a training that
    has begun, which is when status.json says so with the launcher's number, and has not ended: the run has so many
    steps for each kill, more than come to pass before it. It comes after a random number of steps, some of which lie
    behind a checkpoint however slow the machine is, and a random part of a step.
    """
    rng = random.Random(seed)
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--max-steps", str(steps * (kills + 1)))
    launcher = command(processes)
    run(launcher, *flags, "--run-dir", tmp_path / "unbroken", timeout=3600)
    run_dir = tmp_path / "broken"
    for kill in range(kills):
        process = start(launcher, *flags, "--run-dir", run_dir, "--resume")
        wait_until(functools.partial(is_training, run_dir, process), process, timeout=300)
        rows = num_rows(run_dir) + rng.randrange(100)
        wait_until(lambda rows=rows: num_rows(run_dir) >= rows, process, timeout=300)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.random() * 0.3)
            pytest.fail(f"kill {kill} came too late: the run had ended")
        if processes > 1 and kill % 2:
            os.kill(rng.choice(trainers(process)), signal.SIGKILL)
            process.communicate(timeout=60)
        else:
            kill_tree(process)
        assert status(run_dir)["state"] != "finished"
    run(launcher, *flags, "--run-dir", run_dir, "--resume", timeout=3600)
    assert_same_run(tmp_path / "unbroken", run_dir)


def num_rows(run_dir: Path) -> int:
    """How many steps a run has logged."""
    path = run_dir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def is_training(run_dir: Path, process: subprocess.Popen[str]) -> bool:
    """Whether the run folder says that this process, or a child of this launcher, is training."""
    if not (run_dir / "status.json").exists():
        return False
    values = status(run_dir)
    return values["state"] == "running" and process.pid in (values["pid"], values["launcher"]["pid"])


@SLOW
def test_three_kills(text_file: Path, tmp_path: Path) -> None:
    harness(1, 3, 1, text_file, tmp_path)


@SLOW
@pytest.mark.timeout(3600)
def test_four_kills_of_two_processes(text_file: Path, tmp_path: Path) -> None:
    harness(2, 4, 2, text_file, tmp_path, steps=100)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_kills(text_file: Path, tmp_path: Path) -> None:
    harness(2, 200, 3, text_file, tmp_path, steps=100)


@SLOW
def test_processes_that_begin_with_different_models_do_not_train(
    text_file: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    (port,) = free_ports(1)
    flags = ("--tracker", "none", "--batch-size", "8", "--corpus", f"files:{text_file}", "--run-dir", tmp_path / "run")
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    started = []
    for rank, model in enumerate(sorted((unbroken(1) / "checkpoints").glob("step-*"))[-2:]):
        environment = [f"{name}={value}" for name, value in {**job, "RANK": rank, "LOCAL_RANK": rank}.items()]
        started.append(start(["env", *environment, *DIRECT], *flags, "--init-from", model))
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [1, 1]
    here = socket.gethostname()
    found = rf"\w{{12}} on {here} \(process 0\); \w{{12}} on {here} \(process 1\)"
    assert re.search(f"error: the processes of the job differ in starting model: {found}: give all", outputs[0])
    assert not (tmp_path / "run").exists()


def test_a_time_limit_that_is_no_number_is_refused(
    text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHARRNN_TIMEOUT", "10 minutes")
    assert train_here(*FLAGS, "--corpus", f"files:{text_file}") == 1
    assert "error: CHARRNN_TIMEOUT=10 minutes: it must be a whole number of seconds" in capsys.readouterr().err
    assert not Path("runs").exists()
