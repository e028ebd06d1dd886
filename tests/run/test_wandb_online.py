"""Online wandb: the real client against a server on loopback, with interruptions, outages and refusals."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.run.wandb_tracker import ALL_SAMPLES
from tests.conftest import DIRECT, SMALL, last_checkpoint, rows_of, run, start, status, wait_until
from tests.run.wandb_server import KEY, Run, WandbServer, wandb_server

pytestmark = pytest.mark.slow

METRICS, SAMPLES = Path("run/metrics.jsonl"), Path("run/samples.jsonl")
SEND_EVERY = "WANDB__FILE_STREAM_TRANSMIT_INTERVAL"
"""The client's own variable: whole seconds between two times that it sends what it was told."""


@pytest.fixture(scope="module")
def running_server() -> Iterator[WandbServer]:
    with wandb_server() as server:
        yield server


@pytest.fixture
def server(running_server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> WandbServer:
    """The server, and an environment in which the client finds it; runs of other tests may be on it."""
    monkeypatch.setenv("WANDB_BASE_URL", running_server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv(SEND_EVERY, "1")
    return running_server


@pytest.fixture
def flags(text_file: Path) -> tuple[str, ...]:
    """An epoch and a part of the next, every step logged."""
    corpus = ("--corpus", f"files:{text_file}", "--project", "words")
    return (*SMALL, *corpus, "--max-steps", "260", "--temperatures", "0.5", "1", "--log-every", "1", "--run-dir", "run")


def run_on(server: WandbServer) -> Run | None:
    """What the server was told of this test's run, if it was."""
    file = Path("run/wandb.json")
    return server.runs.get(json.loads(file.read_text(encoding="utf-8"))["id"]) if file.exists() else None


def steps_on(server: WandbServer) -> list[int]:
    """The steps of this test's run that have reached the server."""
    known = run_on(server)
    return [row["_step"] for row in known.history] if known else []


def assert_whole(server: WandbServer) -> None:
    """Each line of metrics is on the server once, under its step, and the last table has every sample.

    Only the speed of a step may be that of another attempt.
    """
    known = run_on(server)
    assert known is not None
    logged = [
        {name: value for name, value in row.items() if value is not None and name != "chars_per_second"}
        for row in rows_of(METRICS)
    ]
    assert steps_on(server) == [line["step"] for line in logged]
    assert [{name: row[name] for name in line} for row, line in zip(known.history, logged, strict=True)] == logged
    summary = json.loads(known.summary)
    table = json.loads(known.files[summary[ALL_SAMPLES]["path"]])
    assert table["data"] == [[row[column] for column in table["columns"]] for row in rows_of(SAMPLES)]


def increments(server: WandbServer) -> list[dict[str, Any]]:
    """The parts of the run's growing table of samples, as they are stored for good, in order."""
    name = f"run-{json.loads(Path('run/wandb.json').read_text(encoding='utf-8'))['id']}-incr-samples"
    assert server.committed.count(name) == sum(asked["artifactCollectionName"] == name for asked in server.artifacts)
    parts = [
        json.loads(content)
        for file, content in server.artifact_files.items()
        if file.endswith(".samples.table.json")
        and server.artifacts[int(file.split("/")[0])]["artifactCollectionName"] == name
    ]
    return sorted(parts, key=lambda part: int(part["increment_num"]))


def test_metrics_and_samples_of_every_epoch_arrive(
    server: WandbServer, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SEND_EVERY)
    done = run(DIRECT, *flags, "--log-every", "20", "--run-name", "my run")
    assert "wandb sync" not in done.stdout
    assert_whole(server)
    known = run_on(server)
    assert known is not None
    assert known.display_name == "my run"
    assert known.exit_codes == [0]
    assert json.loads(known.config)["hidden_size"]["value"] == 32
    samples, (first, second) = rows_of(SAMPLES), increments(server)
    assert [row["step"] for row in samples] == [row["_step"] for row in known.history if "samples" in row for _ in "ab"]
    assert [row[4] for row in first["data"] + second["data"]] == [row["text"] for row in samples]


def test_a_killed_run_goes_on_with_no_step_lost_or_logged_twice(
    server: WandbServer, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*flags, "--checkpoint-every", "100")
    # The server is ahead of the run, which has no checkpoint yet; the client lives on while the trainer is held.
    process = start(DIRECT, *flags)
    wait_until(lambda: len(rows_of(METRICS)) > 20, process)
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: len(steps_on(server)) > 10, process)
    process.kill()
    process.communicate()
    # The run's checkpoint is ahead of the server, to which nothing is sent in this attempt's short life.
    monkeypatch.setenv(SEND_EVERY, "600")
    process = start(DIRECT, *flags, "--resume")
    wait_until(lambda: len(rows_of(METRICS)) > 205, process)
    process.kill()
    process.communicate()
    assert steps_on(server)[-1] < int(last_checkpoint(Path("run")).name.removeprefix("step-"))
    run(DIRECT, *flags, "--resume")
    assert len(rows_of(METRICS)) == 260
    assert_whole(server)


def test_a_stopped_run_goes_on_in_the_same_run_and_table(server: WandbServer, flags: tuple[str, ...]) -> None:
    process = start(DIRECT, *flags, "--sample-every", "40")
    wait_until(lambda: len(rows_of(SAMPLES)) >= 2, process)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert steps_on(server) == list(range(1, status(Path("run"))["step"] + 1))
    run(DIRECT, *flags, "--sample-every", "40", "--resume")
    assert_whole(server)
    parts = increments(server)
    assert [row[4] for part in parts for row in part["data"]] == [row["text"] for row in rows_of(SAMPLES)]
    assert [len(part["previous_increments_paths"]) for part in parts] == list(range(len(parts)))


def test_an_outage_stops_no_training_and_loses_nothing(
    server: WandbServer, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")
    process = start(DIRECT, *flags)
    try:
        wait_until(lambda: len(rows_of(METRICS)) > 20, process)
        server.down = True
        wait_until(lambda: rows_of(SAMPLES) and rows_of(METRICS)[-1]["step"] > rows_of(SAMPLES)[-1]["step"], process)
    finally:
        server.down = False
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    first = rows_of(SAMPLES)[0]["step"]
    assert f"wandb did not take the samples of step {first}, which run has" in output
    assert_whole(server)
    (part,) = increments(server)
    assert [row[4] for row in part["data"]] == [row["text"] for row in rows_of(SAMPLES)]


def test_a_service_that_never_comes_back_does_not_hold_the_run(
    server: WandbServer, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_HTTP_TIMEOUT", "WANDB_FINISH_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    process = start(DIRECT, *flags)
    try:
        wait_until(lambda: len(rows_of(METRICS)) > 20, process)
        server.down = True
        output, _ = process.communicate(timeout=90)
    finally:
        server.down = False
    assert process.returncode == 0, output
    assert status(Path("run"))["state"] == "finished"
    assert "wandb did not take the table of all samples" in output


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        pytest.param("WANDB_BASE_URL", "http://127.0.0.1:9", "authenticate with http://127.0.0.1:9", id="unreachable"),
        pytest.param("WANDB_API_KEY", "f" * 40, "user is not logged in", id="wrong key"),
    ],
)
def test_what_cannot_start_is_one_line(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    monkeypatch.setenv(name, value)
    done = run(DIRECT, *flags, code=1)
    assert "Traceback" not in done.stdout + done.stderr
    (error,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert error.startswith("error: wandb cannot start: ")
    assert why in error
    assert error.endswith("use WANDB_MODE=offline to upload later, or another --tracker")
    assert not Path("run").exists()
