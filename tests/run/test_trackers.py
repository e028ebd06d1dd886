"""Trackers, for real: what was logged is read back with each one's own means."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from markdown import markdown
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from charrnn.model.folder import MODEL_FILES, load_model
from charrnn.outside.printable import printable
from charrnn.run.finding import find_model
from charrnn.run.trackers import TensorBoard
from charrnn.run.wandb_tracker import ALL_SAMPLES
from tests.conftest import DIRECT, SMALL, program, rows_of, run, start, status, train_here, wait_until

FLAGS = (*SMALL, "--epochs", "2", "--temperatures", "0.5", "1", "--log-every", "20", "--run-dir", "run")


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """What an offline wandb run holds of one kind, as `wandb leet inspect` prints it."""
    output = run([program("wandb"), "leet", "inspect", "--json", str(folder)]).stdout
    found = [json.loads(line) for line in output.splitlines()]
    return [record[kind] for record in found if record["type"] == kind]


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics of an offline wandb run."""
    return [record["item"] for record in records(folder, "history")]


def tables(folder: Path, prefix: str) -> list[dict[str, Any]]:
    """The tables that a wandb run stored under a key, oldest first."""
    files = sorted(
        (folder / "files" / "media" / "table").glob(f"{prefix}_[0-9s]*_*.table.json"),
        key=lambda path: path.stat().st_mtime_ns,
    )
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def plain(rows: list[dict[str, Any]], columns: list[str]) -> list[list[Any]]:
    return [[row[column] for column in columns] for row in rows]


def test_an_offline_wandb_run_holds_every_epochs_samples(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_QUIET", "WANDB_SILENT"):
        monkeypatch.setenv(name, "false")  # else what wandb itself has to say is left out
    done = run(
        DIRECT, *FLAGS, "--corpus", f"files:{text_file}", "--project", "words", "--run-name", "my run", "--log-model"
    )
    (folder,) = Path("run/wandb").glob("offline-run-*")
    assert done.stdout.splitlines()[-1] == f"wandb ran offline; upload with: wandb sync {folder}"
    samples, metrics = rows_of(Path("run/samples.jsonl")), rows_of(Path("run/metrics.jsonl"))
    assert len(samples) == 4
    increments, (whole,) = tables(folder, "samples"), tables(folder, ALL_SAMPLES)
    assert whole["columns"] == ["epoch", "step", "temperature", "prompt", "text", "val_loss"]
    assert whole["data"] == plain(samples, whole["columns"])
    assert [row for table in increments for row in table["data"]] == whole["data"]
    logged = [row for row in history(folder) if "train_loss" in row]
    assert [(row["_step"], row["train_loss"]) for row in logged] == [
        (row["step"], row["train_loss"]) for row in metrics
    ]
    shaded = sorted((folder / "files" / "media" / "html" / "surprise").glob("*.html"))
    assert len(shaded) == len(samples)
    assert "bits" in shaded[0].read_text(encoding="utf-8")
    measured = [row for row in metrics if row["val_loss"] is not None]
    assert [row["val_loss"] for row in logged if "val_loss" in row] == [row["val_loss"] for row in measured]
    best = min(measured, key=lambda row: row["val_loss"])
    summary = {name: value for record in records(folder, "summary") for name, value in record["update"].items()}
    assert (summary["best_val_loss"], summary["best_val_bpc"]) == (best["val_loss"], best["val_bpc"])
    assert summary["val_loss"] == measured[-1]["val_loss"]
    both = tables(folder, "losses_table")[-1]
    lines = {"training": "train_loss", "validation": "val_loss"}
    assert sorted(both["data"]) == sorted(
        [row["step"], name, row[key]] for name, key in lines.items() for row in measured
    )
    assert {"name": "step", "options": {"defined": True, "hidden": True}} in records(folder, "metric")
    config = {name: value for record in records(folder, "config") for name, value in record["update"].items()}
    assert config["temperatures"] == [0.5, 1]
    assert config["corpus"] == [f"files:{text_file}"]
    model, vocab = load_model(find_model(Path("run")))
    assert config["parameters"] == sum(each.numel() for each in model.parameters())
    assert config["vocab_size"] == len(vocab)
    (model,) = (artifact for artifact in records(folder, "artifact") if artifact["type"] == "model")
    assert {file["path"] for file in model["manifest"]["contents"]} == set(MODEL_FILES)


@pytest.mark.slow
def test_offline_attempts_are_uploaded_in_order_and_no_step_is_logged_twice(text_file: Path) -> None:
    flags = (*FLAGS, "--corpus", f"files:{text_file}", "--log-every", "1", "--sample-every", "50")
    process = start(DIRECT, *flags)
    wait_until(lambda: len(rows_of(Path("run/samples.jsonl"))) >= 2, process)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    stopped_at = status(Path("run"))["step"]
    done = run(DIRECT, *flags, "--resume")
    assert "wandb" not in done.stderr
    first, second = sorted(Path("run/wandb").glob("offline-run-*"))
    assert done.stdout.splitlines()[-1].endswith(f"wandb sync {first} {second}")
    assert first.name.split("-")[-1] == second.name.split("-")[-1]  # one run, in two parts
    steps = [[row["_step"] for row in history(folder) if "train_loss" in row] for folder in (first, second)]
    metrics = rows_of(Path("run/metrics.jsonl"))
    assert steps[0] == list(range(1, stopped_at + 1))
    assert steps[0] + steps[1] == [row["step"] for row in metrics]
    (whole,) = tables(second, ALL_SAMPLES)
    assert whole["data"] == plain(rows_of(Path("run/samples.jsonl")), whole["columns"])


@pytest.mark.slow
def test_a_trackio_run_holds_every_epochs_samples(text_file: Path) -> None:
    flags = (*FLAGS[:-2], "--corpus", f"files:{text_file}", "--tracker", "trackio", "--project", "words")
    done = run(DIRECT, *flags, "--run-dir", "runs/one")
    folder = Path("runs/trackio").absolute()
    assert f"TRACKIO_DIR={folder} trackio show --project words" in done.stdout
    run(DIRECT, *flags, "--run-dir", "runs/two", "--max-steps", "40")
    with sqlite3.connect(folder / "words.db") as database:
        rows = [
            (run_name, step, json.loads(values))
            for run_name, step, values in database.execute("select run_name, step, metrics from metrics order by id")
        ]
        configs = [json.loads(values) for (values,) in database.execute("select config from configs order by id")]
    database.close()
    assert {name for name, _, _ in rows} == {"one", "two"}  # to be compared in one project
    assert [config["temperatures"] for config in configs] == [[0.5, 1.0]] * 2
    rows = [(step, values) for name, step, values in rows if name == "one"]
    metrics, samples = rows_of(Path("runs/one/metrics.jsonl")), rows_of(Path("runs/one/samples.jsonl"))
    assert [(step, row["train_loss"]) for step, row in rows if "train_loss" in row] == [
        (row["step"], row["train_loss"]) for row in metrics
    ]
    shown = [row["samples"]["_value"] for _, row in rows if "samples" in row]
    assert [len(table) for table in shown] == [2, 2]  # those of each epoch, once
    assert [row["text"] for table in shown for row in table] == [row["text"] for row in samples]
    reports = "\n\n".join(row["samples as text"]["_value"] for _, row in rows if "samples as text" in row)
    lines = [line.replace("\u200b", "").replace("\u00a0", " ") for line in reports.split("\n\n") if "**" not in line]
    assert lines == [line for row in samples for line in f"{row['prompt']}{row['text']}".split("\n")]


def hyperparameters(events: EventAccumulator) -> tuple[dict[str, Any], list[str]]:
    """What TensorBoard's plugin for them finds in a run: the settings, and the metrics that it shows beside them."""
    found = events.summary_metadata
    start, experiment = (
        HParamsPluginData.FromString(found[tag].plugin_data.content) for tag in (SESSION_START_INFO_TAG, EXPERIMENT_TAG)
    )
    settings = {
        name: getattr(value, value.WhichOneof("kind")) for name, value in start.session_start_info.hparams.items()
    }
    return settings, [metric.name.tag for metric in experiment.experiment.metric_infos]


def test_a_tensorboard_run_holds_every_epochs_samples(text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_here(*FLAGS, "--corpus", f"files:{text_file}", "--tracker", "tensorboard") == 0
    assert "tensorboard --logdir run" in capsys.readouterr().out
    events = EventAccumulator("run/tensorboard", size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    metrics, samples = rows_of(Path("run/metrics.jsonl")), rows_of(Path("run/samples.jsonl"))
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [
        (row["step"], pytest.approx(row["train_loss"])) for row in metrics
    ]
    assert [path.parent for path in Path("run").rglob("events.out.*")] == [Path("run/tensorboard")]  # no stray run
    settings, measured = hyperparameters(events)
    assert (settings["hidden_size"], settings["temperatures"]) == (32, "[0.5, 1.0]")
    assert settings["vocab_size"] == len(load_model(find_model(Path("run")))[1])
    assert set(measured) <= set(events.Tags()["scalars"])
    assert "val_loss" in measured
    for temperature in (0.5, 1.0):
        shown = events.Tensors(f"samples/temperature {temperature}/text_summary")
        expected = [row for row in samples if row["temperature"] == temperature]
        assert [event.step for event in shown] == [row["step"] for row in expected]
        for event, row in zip(shown, expected, strict=True):
            text = event.tensor_proto.string_val[0].decode()
            assert "".join(line.removeprefix("    ") for line in text.splitlines(True)) == row["prompt"] + row["text"]


def test_no_line_of_a_text_leaves_its_block_in_tensorboard() -> None:
    """Whatever ends a line anywhere: behind it Markdown would be obeyed."""
    breaks = ["\r", "\r\n", "\n", "\n\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\n \n"]
    text = "".join(f"one{each}# two\n{each}[x](http://x){each}<b>{each}* y" for each in breaks)
    row = {"step": 1, "epoch": 1.0, "temperature": 1.0, "prompt": "\r# a", "text": text, "val_loss": None}
    tracker = TensorBoard(Accelerator(cpu=True), Path("run"))
    tracker.start("words", "run", {})
    tracker.log_samples([row], [[]], 1)
    tracker.finish(failed=False)
    events = EventAccumulator("run/tensorboard", size_guidance={"tensors": 0})
    events.Reload()
    (event,) = events.Tensors("samples/temperature 1.0/text_summary")
    shown = event.tensor_proto.string_val[0].decode()
    assert all(line.startswith("    ") for line in shown.splitlines())
    assert "".join(line.removeprefix("    ") for line in shown.splitlines(True)) == printable(row["prompt"] + text)
    page = markdown(shown, extensions=["tables", "fenced_code"])  # as TensorBoard reads it
    assert re.fullmatch(r"<pre><code>[^<]*</code></pre>\s*", page)


def test_a_tracker_that_is_not_installed_is_one_line(
    text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as it is where it is not installed
    assert train_here(*FLAGS, "--corpus", f"files:{text_file}", "--tracker", "tensorboard") == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(
        "error: tensorboard is not installed: pip install tensorboard, or use another --tracker"
    )
    assert "Traceback" not in said
    assert not Path("run").exists()


@pytest.mark.slow
def test_wandb_that_refuses_is_one_line(text_file: Path) -> None:
    environment = {**os.environ, "WANDB_MODE": "sideways"}
    done = subprocess.run(
        [*DIRECT, *FLAGS, "--corpus", f"files:{text_file}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: wandb cannot start")
    assert "Traceback" not in done.stderr
