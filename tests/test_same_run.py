"""The program that proves a refactoring says what differs between two runs, and that nothing does."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import charrnn.train
from tests.conftest import SMALL, last_checkpoint, rows_of, run

PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "benchmarks/same_run.py")]


Damage = Callable[[Path], None]


def train(text_file: Path, run_dir: Path, *flags: str) -> Path:
    short = ("--tracker", "none", "--max-steps", "6", "--log-every", "2", "--checkpoint-every", "3")
    assert (
        charrnn.train.main([*SMALL, *short, "--corpus", f"files:{text_file}", "--run-dir", str(run_dir), *flags]) == 0
    )
    return run_dir


@pytest.fixture(scope="module")
def one(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run."""
    return train(text_file, tmp_path_factory.mktemp("same") / "one")


def test_the_same_command_makes_the_same_run(one: Path, text_file: Path) -> None:
    other = train(text_file, Path("other"))
    assert run(PROGRAM, one, other).stdout == "the same bit for bit: 3 lines of metrics, 2 checkpoints\n"


def test_another_seed_makes_another(one: Path, text_file: Path) -> None:
    shown = run(PROGRAM, one, train(text_file, Path("other"), "--seed", "1"), code=1).stdout
    assert "metrics.jsonl, line 1: train_loss is " in shown
    assert "model.safetensors: " in shown
    assert "training.safetensors: state.h is " in shown
    assert "seed" not in shown


def flip_a_bit(run_dir: Path) -> None:
    path = last_checkpoint(run_dir) / "training.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def lose_a_line(run_dir: Path) -> None:
    path = run_dir / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(path)[:-1]), encoding="utf-8")


def lose_a_checkpoint(run_dir: Path) -> None:
    shutil.rmtree(last_checkpoint(run_dir))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip_a_bit, "step-000000006/training.safetensors: "),
        (lose_a_line, "metrics.jsonl, line 3: epoch is "),
        (lose_a_checkpoint, "checkpoints: ['step-000000003', 'step-000000006'] and ['step-000000003']"),
    ],
)
def test_the_least_difference_is_told(damage: Damage, told: str, one: Path) -> None:
    shutil.copytree(one, "other")
    damage(Path("other"))
    assert run(PROGRAM, one, "other", code=1).stdout.startswith(told)
