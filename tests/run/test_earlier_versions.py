"""Runs that an earlier version made: they sample, resume and report, or are refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import charrnn
from charrnn.cli import main
from charrnn.run.checkpoint import FORMAT
from tests.conftest import make_text, rows_of, seal, status

MADE = Path(__file__).parent / "fixtures" / "run-of-checkpoint-format-2"
"""40 steps of charrnn 0.1.0 before its modules were in folders, on `make_text(4000)`."""

Output = pytest.CaptureFixture[str]


@pytest.fixture
def run_dir() -> Path:
    """A copy of the run, beside the text that it was trained on."""
    Path("words.txt").write_text(make_text(4_000), encoding="utf-8")
    return Path(shutil.copytree(MADE, "run"))


def test_it_samples_and_is_measured_as_it_was(run_dir: Path, capsys: Output) -> None:
    assert main(["sample", str(run_dir), "--length", "50"]) == 0
    assert len(capsys.readouterr().out) == 50 + len("\n")
    assert main(["eval", str(run_dir), "--split", "val", "--trust"]) == 0
    best = min(row["val_loss"] for row in rows_of(run_dir / "metrics.jsonl") if row["val_loss"])
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(best, rel=1e-5)


def test_it_is_listed_and_reported(run_dir: Path, capsys: Output) -> None:
    assert main(["runs", "."]) == 0
    assert "files:words.txt" in capsys.readouterr().out
    assert main(["report", str(run_dir), "--trust"]) == 0
    assert "the report lacks" not in capsys.readouterr().err
    assert "validation text" in (run_dir / "report.html").read_text(encoding="utf-8")


def test_it_goes_on_where_it_was(run_dir: Path) -> None:
    before = rows_of(run_dir / "metrics.jsonl")
    charrnn.fit(run_dir=run_dir, resume=True, max_steps=50)
    after = rows_of(run_dir / "metrics.jsonl")
    assert after[: len(before)] == before
    assert after[-1]["step"] == 50
    assert after[-1]["train_loss"] < before[-1]["train_loss"]
    assert status(run_dir)["state"] == "finished"


COMMANDS = {
    "sample": ["run"],
    "eval": ["run", "--split", "val", "--trust"],
    "export": ["run", "model"],
    "report": ["run"],
    "train": ["--run-dir", "run", "--resume"],
}


def refused(command: str, capsys: Output) -> str:
    """The one line that a command says of the run."""
    assert main([command, *COMMANDS[command]]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("other", [1, FORMAT + 1])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_of_another_format_is_refused_in_a_line(command: str, other: int, run_dir: Path, capsys: Output) -> None:
    """Whatever else its files have then."""
    for name in ("manifest.json", "training.json"):
        for path in run_dir.glob(f"checkpoints/*/{name}"):
            path.write_text(json.dumps({"format": other, "something": "else"}))
    said = refused(command, capsys)
    assert f"has format {other}; this version reads format {FORMAT}: use the charrnn that wrote it, or start" in said


def test_a_run_with_a_setting_of_a_newer_version_says_what_to_do(run_dir: Path, capsys: Output) -> None:
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"rotary": True}))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    said = refused("train", capsys)
    assert f"run/config.json has a setting 'rotary' that charrnn {charrnn.__version__} does not know: " in said
    assert "go on with the version that wrote it, or start a new run in another --run-dir" in said
    assert {path: path.read_bytes() for path in before} == before
    # What needs no settings does not mind.
    assert main(["sample", "run", "--length", "5"]) == 0
    assert main(["runs", "."]) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_with_a_shape_of_a_newer_version_says_what_to_do(command: str, run_dir: Path, capsys: Output) -> None:
    for folder in run_dir.glob("checkpoints/*"):
        shape = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(shape | {"rotary": True}))
        seal(folder)
    told = "config.json: rotary: is not known to this version: use the charrnn that wrote it"
    assert told in refused(command, capsys)
