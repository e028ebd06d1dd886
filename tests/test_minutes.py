"""Runs that have minutes: planned once, then as exact as any other; and a finished run that goes on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from charrnn.train import main
from charrnn.training import forecast

from .conftest import DIRECT, last_checkpoint, rows_of, run, start, torchrun, wait_until

FLAGS = ("--tracker", "none", "--num-threads", "1", "--sample-length", "20")
pytestmark = pytest.mark.slow


def config(run_dir: str) -> dict[str, Any]:
    """The settings of a run but for what is said of a call."""
    values: dict[str, Any] = json.loads(Path(run_dir, "config.json").read_text(encoding="utf-8"))
    return {name: value for name, value in values.items() if name not in ("resume", "run_dir", "config")}


def measured(run_dir: str) -> list[dict[str, Any]]:
    """The lines of metrics without what depends on the clock."""
    rows = rows_of(Path(run_dir, "metrics.jsonl"))
    return [{name: value for name, value in row.items() if name != "chars_per_second"} for row in rows]


def test_a_planned_run_is_said_ends_in_time_and_is_repeated_by_its_configuration(
    text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS)
    assert main([*flags, "--minutes", "0.4", "--run-dir", "a"]) == 0
    said = capsys.readouterr().out
    for phrase in ("planned for 0.4 minutes: ", "charrnn train --config a/config.json", "done at "):
        assert phrase in said
    assert "with 4 minutes: " in said or "more time would not help" in said
    planned = config("a")
    assert (planned["preset"], planned["minutes"]) == ("", "")
    rows = measured("a")
    assert len([row for row in rows if row["val_loss"] is not None]) >= 5
    assert rows[-1]["epoch"] == pytest.approx(planned["epochs"], rel=0.1)
    assert main(["--config", "a/config.json", "--run-dir", "b"]) == 0
    assert measured("b") == rows
    assert "planned for" not in capsys.readouterr().out


@pytest.mark.parametrize(("spare", "rows"), [(0.9, 8), (0.0, 32)])
def test_with_time_to_spare_a_plan_takes_smaller_steps(
    spare: float, rows: int, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(forecast.SHAPES, "cpu", ((32, 32), (8, 32)))
    monkeypatch.setattr(forecast, "SPARE", spare)
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--hidden-size", "16", "--epochs", "2")
    assert main([*flags, "--minutes", "0.5", "--run-dir", "a"]) == 0
    assert (config("a")["batch_size"], config("a")["seq_length"]) == (rows, 32)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize("seconds", [0.4, 1.0])
def test_who_does_not_like_to_wait_for_the_plan_stops_it_at_once(
    number: signal.Signals, code: int, seconds: float, text_file: Path
) -> None:
    # Torch imports its compiler meanwhile, and what cuts that short must not import it again.
    process = start([*DIRECT, "--corpus", f"files:{text_file}", *FLAGS, "--minutes", "60", "--run-dir", "a"])
    wait_until(lambda: Path("a").exists(), process)
    time.sleep(seconds)
    process.send_signal(number)
    said, _ = process.communicate()
    # As a shell has it: an interrupt within an import's exec lets Python end by the signal, after all is put away.
    assert (process.returncode if process.returncode >= 0 else 128 - process.returncode) == code
    assert said == ("" if number == signal.SIGINT else "stopped by SIGTERM before training began\n")
    assert not Path("a").exists()


def test_a_plan_that_does_not_go_with_what_was_given_is_refused(
    text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--minutes", "0.05", "--schedule-start", "99")
    # More epochs than any machine's plan has.
    assert main([*flags, "--run-dir", "a"]) == 1
    assert "error: --schedule-start 99.0: it leaves nothing of --epochs " in capsys.readouterr().err
    assert not Path("a").exists()


def test_flags_stay_and_the_plan_works_around_them(text_file: Path) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--hidden-size", "24", "--dropout", "0.3")
    assert main([*flags, "--minutes", "0.05", "--run-dir", "a"]) == 0
    assert (config("a")["hidden_size"], config("a")["dropout"]) == (24, 0.3)


def test_a_planned_run_that_was_interrupted_goes_on_with_its_plan_bit_for_bit(text_file: Path) -> None:
    command = (*DIRECT, "--corpus", f"files:{text_file}", *FLAGS, "--minutes", "0.1", "--hidden-size", "32")
    first = start([*command, "--run-dir", "a", "--checkpoint-every", "20"])
    wait_until(lambda: len(rows_of(Path("a/metrics.jsonl"))) > 1, first)
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate()
    assert first.returncode == 75, said
    planned = config("a")
    # With a minute that it has already, as a script that is started again says it.
    run([*DIRECT, "--run-dir", "a", "--resume", "--minutes", "0.1"])
    assert config("a") == planned
    run([*DIRECT, "--config", "a/config.json", "--run-dir", "b"])
    assert measured("a") == measured("b")
    one, other = (last_checkpoint(Path(name)) / "model.safetensors" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_a_run_that_died_before_its_first_checkpoint_keeps_its_plan(text_file: Path) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--run-dir", "a")
    first = start([*DIRECT, *flags, "--minutes", "0.5"])
    wait_until(lambda: Path("a/config.json").exists(), first)
    first.kill()
    first.communicate()
    planned = config("a")
    assert main([*flags, "--minutes", "0.05", "--resume", "--max-steps", "3"]) == 0
    kept = {name: value for name, value in config("a").items() if name != "max_steps"}
    assert kept == {name: value for name, value in planned.items() if name != "max_steps"}


def test_a_finished_run_goes_on_for_more_minutes_and_only_with_a_plus(
    text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--hidden-size", "32", "--max-steps", "40", "--run-dir", "a")
    assert main(flags) == 0
    before = measured("a")
    assert main(["--run-dir", "a", "--resume", "--minutes", "0.1"]) == 0
    assert measured("a") == before
    assert "nothing is left of this run; --minutes +10 goes on with it\n" in capsys.readouterr().out
    assert main(["--run-dir", "a", "--resume", "--minutes", "+0.1"]) == 0
    rows = measured("a")
    assert rows[: len(before)] == before
    assert rows[-1]["step"] > 40
    # A schedule of its own: the learning rate, which had gone down, is up again, and goes down at the end.
    rates = [row["learning_rate"] for row in rows]
    assert max(rates[len(before) :]) > 10 * rates[len(before) - 1]
    assert rates[-1] < max(rates[len(before) :]) / 10
    assert config("a")["schedule_start"] == pytest.approx(before[-1]["epoch"], abs=1e-3)
    # And it is finished again.
    assert main(["--run-dir", "a", "--resume"]) == 0
    assert measured("a") == rows


def test_more_minutes_than_are_of_use_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("to be, or not to be\n" * 60, encoding="utf-8")
    flags = ("--corpus", f"files:{tmp_path}/short.txt", *FLAGS, "--hidden-size", "16", "--epochs", "2")
    assert main([*flags, "--run-dir", "a"]) == 0
    assert "more time" not in capsys.readouterr().out
    assert main(["--run-dir", "a", "--resume", "--minutes", "+30"]) == 0
    assert "more time would not help with a text of this size: more text would\n" in capsys.readouterr().out


def test_what_is_given_and_does_not_fit_is_said(text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--hidden-size", "16", "--epochs", "30", "--minutes", "0.001")
    assert main([*flags, "--run-dir", "a"]) == 0
    assert "s: this text and what was given leave no shorter way\n" in capsys.readouterr().out


def test_minutes_for_a_run_that_has_not_finished_are_said_to_be_for_one_that_has(
    text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--hidden-size", "16", "--run-dir", "a", "--max-steps")
    assert main([*flags, "40", "--checkpoint-every", "20"]) == 0
    shutil.rmtree(last_checkpoint(Path("a")))
    capsys.readouterr()
    assert main([*flags, "40", "--resume", "--minutes", "+0.1"]) == 0
    assert "to its own end: --minutes +0.1 is for one that has finished\n20 steps" in capsys.readouterr().out
    assert measured("a")[-1]["step"] == 40


def test_processes_plan_together(text_file: Path) -> None:
    # In float32: in bf16 the rounding of what is added up in another order shows after some hundred steps.
    flags = ("--corpus", f"files:{text_file}", *FLAGS, "--minutes", "0.1", "--precision", "float32", "--run-dir", "a")
    done = run(torchrun(2), *flags)
    assert done.stdout.count("planned for") == 1
    run([*DIRECT, "--config", "a/config.json", "--run-dir", "b"])
    one, other = (measured(name)[-1]["val_loss"] for name in "ab")
    assert one == pytest.approx(other, rel=1e-5)


def test_a_text_of_a_few_characters_is_planned_too(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("to be, or not to be\n" * 3, encoding="utf-8")
    assert main(["--corpus", f"files:{tmp_path}/short.txt", *FLAGS, "--minutes", "0.05", "--run-dir", "a"]) == 0
    assert measured("a")[-1]["val_loss"] is not None


@pytest.mark.parametrize("text", ["a", "ab"])
def test_a_text_too_short_for_any_plan_is_refused_in_a_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text(text, encoding="utf-8")
    assert main(["--corpus", f"files:{tmp_path}/short.txt", *FLAGS, "--minutes", "0.05", "--run-dir", "a"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "take more text" in said
    assert not Path("a").exists()
