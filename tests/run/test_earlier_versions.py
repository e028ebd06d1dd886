"""Runs that an earlier version made: they sample, resume and report, or are refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import charrnn
from charrnn.cli import main
from charrnn.run.checkpoint import FORMAT
from tests.conftest import make_text, rows_of, status

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


@pytest.mark.parametrize("command", ["sample", "eval", "export", "train"])
def test_one_of_another_format_is_refused_in_a_line(command: str, run_dir: Path, capsys: Output) -> None:
    for manifest in run_dir.glob("checkpoints/*/manifest.json"):
        manifest.write_text(manifest.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    args = {"eval": ["--split", "val"], "export": ["model"]}.get(command, [])
    flags = ["--run-dir", str(run_dir), "--resume"] if command == "train" else [str(run_dir), *args]
    assert main([command, *flags]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"has format {FORMAT + 1}; this version reads format {FORMAT}" in said
