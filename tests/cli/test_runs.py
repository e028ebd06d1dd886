"""`charrnn runs`: the table of runs, whatever state their folders are in."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from charrnn.cli import main
from charrnn.cli.runs import COLUMNS
from charrnn.run.folder import RunFolder
from tests.conftest import SMALL

Output = pytest.CaptureFixture[str]


def make_run(name: str, state: str, *losses: float | None, age: float = 0, **config: Any) -> Path:
    """A run folder as training leaves it, with a line of metrics every 10 steps, which are a fifth of an epoch."""
    run = RunFolder(Path("runs") / name)
    run.open(resume=False)
    values = {"corpus": ["files:my.txt"], "epochs": 2.0, "max_steps": 0, **config}
    (run.path / "config.json").write_text(json.dumps(values))
    run.write_status(state)
    for number, loss in enumerate(losses, 1):
        run.append("metrics.jsonl", {"step": 10 * number, "epoch": 0.2 * number, "val_loss": loss})
    written = time.time() - age
    status = {"state": state, "time": written}
    (run.path / "status.json").write_text(json.dumps(status))
    if losses:
        os.utime(run.path / "metrics.jsonl", (written, written))
    run.close()
    return run.path


def table(capsys: Output, *args: str) -> list[list[str]]:
    """The table's cells; two spaces or more are between them."""
    assert main(["runs", *args]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [lines[0].index(column) for column in COLUMNS]
    ends = [*starts[1:], None]
    return [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines[1:]]


def test_a_real_run_is_listed(text_file: Path, capsys: Output) -> None:
    corpus = f"files:{text_file}"
    flags = (*SMALL, "--tracker", "none", "--corpus", corpus, "--max-steps", "5", "--run-dir", "runs/mine")
    assert main(["train", *flags]) == 0
    metrics = Path("runs/mine/metrics.jsonl").read_text().splitlines()
    capsys.readouterr()
    ((name, shown, steps, bits, xz, state, _),) = table(capsys)
    assert (name, shown, steps, state) == ("mine", corpus, "5", "finished")
    assert bits == f"{json.loads(metrics[-1])['val_loss'] / math.log(2):.3f}"
    assert xz == f"{json.loads(Path('runs/mine/baselines.json').read_text())['xz']:.2f}"


def test_the_newest_is_first_and_ages_have_fitting_units(capsys: Output) -> None:
    for name, age in (("a", 300_000), ("b", 1), ("c", 10_000), ("d", 500)):
        make_run(name, "finished", age=age)
    ages = [(row[0], row[6].split()[1]) for row in table(capsys)]
    assert ages == [("b", "s"), ("d", "min"), ("c", "h"), ("a", "days")]


def test_steps_are_of_those_that_the_run_will_take(capsys: Output) -> None:
    make_run("by-epochs", "preempted", 3.0, None, 2.0, 2.5)
    make_run("by-steps", "preempted", 3.0, None, max_steps=70)
    make_run("no-news", "failed")
    cells = {row[0]: (row[2], row[3], row[5]) for row in table(capsys)}
    assert cells == {
        "by-epochs": ("40 of 100", "2.885", "preempted"),
        "by-steps": ("20 of 70", "4.328", "preempted"),
        "no-news": ("0", "-", "failed"),
    }


def test_a_run_without_its_process_has_died(capsys: Output) -> None:
    alive = RunFolder(make_run("alive", "running", 3.0))
    make_run("dead", "running", 3.0)
    alive.open(resume=True)
    try:
        assert {row[0]: row[5] for row in table(capsys)} == {"alive": "running", "dead": "died"}
    finally:
        alive.close()
    assert {row[0]: row[5] for row in table(capsys)} == {"alive": "died", "dead": "died"}


def test_a_line_that_is_being_written_is_left_out(capsys: Output) -> None:
    folder = make_run("a", "running", 3.0)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "ep')
    assert table(capsys)[0][2] == "10 of 100"


DAMAGE = {
    "config.json": ["", "[]", "{}", '{"corpus": 3}', "\0\0"],
    "status.json": ["{", '{"state": "running"}', '{"state": "finished", "time": "noon"}'],
    "metrics.jsonl": ["{}\n", "nonsense\n", '{"step": 1}\n'],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in DAMAGE.items() for text in texts])
def test_a_damaged_run_is_named_and_the_others_are_listed(
    name: str, content: str, capsys: Output, caplog: pytest.LogCaptureFixture
) -> None:
    make_run("good", "finished", 1.5)
    bad = make_run("bad", "finished", 1.5)
    (bad / name).write_text(content)
    assert [row[0] for row in table(capsys)] == ["good"]
    (message,) = caplog.messages
    assert message.startswith("runs/bad: damaged: ")
    assert "\n" not in message


def test_a_folder_that_is_no_run_is_named(capsys: Output, caplog: pytest.LogCaptureFixture) -> None:
    make_run("good", "finished", 1.5)
    Path("runs/other").mkdir()
    Path("runs/notes.txt").write_text("not a folder")
    assert [row[0] for row in table(capsys)] == ["good"]
    assert caplog.messages == [
        "runs/other: not begun yet, or no run: runs/other/config.json: No such file or directory"
    ]


def test_a_finished_run_says_how_it_ended(capsys: Output) -> None:
    for name, losses in (("learning", [3.0, 2.4, 1.9]), ("overdone", [3.0, 2.0, 2.5]), ("done", [3.0, 2.0, 2.0])):
        folder = make_run(name, "finished", *losses)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        lines = [json.dumps({**row, "train_loss": 3.5 - row["step"] / 20}) + "\n" for row in rows]
        (folder / "metrics.jsonl").write_text("".join(lines))
    assert {row[0]: row[5] for row in table(capsys)} == {
        "learning": "more time",
        "overdone": "by heart",
        "done": "finished",
    }


def test_damaged_baselines_are_a_line_and_the_run_is_listed(capsys: Output, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_run("a", "finished", 1.5)
    for content in ("nonsense", '{"text": "", "letters": 1e300, "bzip2": 1.0, "xz": 1.0}'):
        caplog.clear()
        (folder / "baselines.json").write_text(content)
        assert table(capsys)[0][3:5] == ["2.164", "-"]
        (message,) = caplog.messages
        assert message.startswith("runs/a/baselines.json is passed over: ")


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (100, "run corpus steps bits xz state age"),
        (80, "run corpus steps bits xz state age"),
        (60, "run steps bits state age"),
        (50, "run bits state"),
    ],
)
def test_on_a_terminal_the_table_fits_into_its_width(width: int, shown: str) -> None:
    make_run("20261126-185052-gutenberg-1597", "finished", 1.5, corpus=["gutenberg:1597,2591,1727,2000"])
    make_run("mine", "finished", 1.5, corpus=["files:my.txt"])
    main_end, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    command = [sys.executable, "-c", "import charrnn.cli; charrnn.cli.main(['runs'])"]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run(command, stdout=terminal, env=environment, check=True)
    os.close(terminal)
    lines = os.read(main_end, 10_000).decode().splitlines()
    os.close(main_end)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert lines[0].split() == shown.split()
    if width == 80:
        assert any(re.search(r"1597  gutenberg:\d*\.\.\.  10 ", line) for line in lines)


def test_no_runs_at_all_say_what_to_do(capsys: Output) -> None:
    for args in ([], ["elsewhere"]):
        assert main(["runs", *args]) == 0
        folder = args[0] if args else "runs"
        said = f"no runs in {folder}: start one with `charrnn train`, or name another folder\n"
        assert capsys.readouterr().out == said
