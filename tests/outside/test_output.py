"""Output is not the job: a terminal that lacks a character, that is closed or full, and text that would move it."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from charrnn.outside.printable import printable
from charrnn.run.folder import read_lines
from tests.conftest import DIRECT, SMALL, make_text, program, rows_of, run, start, status, torchrun, wait_until

pytestmark = pytest.mark.slow

FLAGS = (*SMALL, "--tracker", "none", "--max-steps", "60", "--sample-every", "5", "--log-every", "2")
NASTY = "\x1b]0;title\x07 \x9b2J \u202eturned \x7f\r\x0b\x85"
"""What a terminal would obey, and what would hide on it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a text full of what no terminal should get."""
    folder = tmp_path_factory.mktemp("nasty")
    (folder / "nasty.txt").write_text(f"{NASTY}\n" * 300, encoding="utf-8", newline="")
    flags = (*FLAGS, "--learning-rate", "0.02", "--corpus", f"files:{folder / 'nasty.txt'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        done = run(DIRECT, *flags, "--run-dir", folder / "run")
    assert printable(done.stdout + done.stderr) == done.stdout + done.stderr
    assert "\\x1b" in done.stdout
    assert any("\x1b" in row["text"] for row in read_lines(folder / "run" / "samples.jsonl"))
    return folder / "run"


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a line as a user types it."""
    return subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def train(*flags: str) -> str:
    return shlex.join([*DIRECT, *FLAGS, *flags])


# Training.


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_that_lacks_the_characters_gets_them_escaped(variables: dict[str, str]) -> None:
    Path("russian.txt").write_text("Жили-были дед да баба.\n" * 200, encoding="utf-8")
    done = shell(train("--corpus", "files:russian.txt", "--run-dir", "run"), PYTHONCOERCECLOCALE="0", **variables)
    assert (done.returncode, status(Path("run"))["state"]) == (0, "finished"), done.stderr
    assert "\\u04" in done.stdout


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("| head -6", "standard output is gone (Broken pipe): training goes on, and run has its record"),
        ("> /dev/full", "standard output is gone (No space left on device): training goes on"),
        (">&-", "standard output is gone (Bad file descriptor): training goes on"),
        ("2>&-", None),
        (">&- 2>&- <&-", None),
        ("> /dev/full 2> /dev/full", None),
    ],
)
def test_training_goes_on_without_output(where: str, said: str | None, text_file: Path) -> None:
    command = train("--corpus", f"files:{text_file}", "--run-dir", "run")
    done = shell(f"set -o pipefail; {command} {where}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (status(Path("run"))["state"], status(Path("run"))["step"]) == ("finished", 60)
    assert done.stderr.count("is gone") == (1 if said else 0)
    assert said is None or said in done.stderr


def test_a_terminal_that_is_closed_ends_no_training(text_file: Path) -> None:
    """As after `disown`: no signal comes, but the terminal is gone, and with it tqdm's bar."""
    ours, theirs = pty.openpty()
    command = [
        *DIRECT,
        *FLAGS,
        "--sample-every",
        "100",
        "--max-steps",
        "1000",
        "--corpus",
        f"files:{text_file}",
        "--run-dir",
        "run",
    ]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        while not rows_of(Path("run/metrics.jsonl")):
            os.read(ours, 65_536)
        os.close(ours)
        step = last_step(Path("run"))
        assert process.wait(timeout=120) == 0
    assert step < 1000
    assert status(Path("run"))["state"] == "finished"


def last_step(run_dir: Path) -> int:
    return max((int(row["step"]) for row in rows_of(run_dir / "metrics.jsonl")), default=0)


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_hangup_saves_and_ends_unless_it_is_ignored(is_ignored: bool, text_file: Path) -> None:
    command = ["nohup", *DIRECT] if is_ignored else DIRECT
    flags = (
        "--sample-every",
        "100",
        "--max-steps",
        "1000" if is_ignored else "100000",
        "--corpus",
        f"files:{text_file}",
        "--run-dir",
        "run",
    )
    process = start(command, *FLAGS, *flags)
    wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
    process.send_signal(signal.SIGHUP)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == (0 if is_ignored else 75), output
    ended = status(Path("run"))
    assert (ended["state"], ended["reason"]) == (("finished", "") if is_ignored else ("preempted", "SIGHUP"))


@pytest.mark.parametrize("launcher", ["torchrun", "local.sh"])
def test_a_hangup_that_torchrun_does_not_handle_ends_nothing_under_nohup(
    launcher: str, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    local = str(Path(__file__).parents[2] / "launch" / "local.sh")
    command = torchrun(1, "--signals-to-handle", "SIGTERM,SIGINT,SIGQUIT") if launcher == "torchrun" else [local, "1"]
    flags = ("--max-steps", "1000", "--sample-every", "100", "--corpus", f"files:{text_file}", "--run-dir", "run")
    process = start(["nohup", *command], *FLAGS, *flags)
    wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
    for pid in (process.pid, status(Path("run"))["pid"]):
        os.kill(pid, signal.SIGHUP)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert status(Path("run"))["state"] == "finished"


@pytest.mark.parametrize("launcher", ["torchrun", "local.sh"])
def test_a_hangup_of_torchrun_saves_the_run(launcher: str, text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    local = str(Path(__file__).parents[2] / "launch" / "local.sh")
    command = ["nohup", *torchrun(1)] if launcher == "torchrun" else [local, "1"]
    flags = ("--max-steps", "100000", "--sample-every", "100", "--corpus", f"files:{text_file}", "--run-dir", "run")
    process = start(command, *FLAGS, *flags)
    wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
    process.send_signal(signal.SIGHUP)
    output = process.communicate(timeout=120)[0]
    ended = status(Path("run"))
    reason = "SIGHUP" if launcher == "torchrun" else "the launcher has died"
    assert (ended["state"], ended["reason"]) == ("preempted", reason), output


def test_a_terminal_that_hangs_up_on_its_session_saves_the_run(text_file: Path) -> None:
    """The window is closed: the session's leader gets SIGHUP, and nothing can be shown any more."""
    command = [*DIRECT, *FLAGS, "--max-steps", "100000", "--corpus", f"files:{text_file}", "--run-dir", "run"]
    pid, ours = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)
    assert termios.tcgetattr(ours)
    end = time.monotonic() + 60
    while not rows_of(Path("run/metrics.jsonl")):
        assert time.monotonic() < end
        os.read(ours, 65_536)
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 75
    assert status(Path("run"))["reason"] == "SIGHUP"


def test_the_checkpoint_is_there_before_its_samples_are_shown(text_file: Path) -> None:
    """Nobody reads: the pipe fills up, and the run stands still in the middle of showing an epoch."""
    flags = ("--sample-length", "100000", "--temperatures", "1", "--max-steps", "5", "--sample-every", "0")
    process = start(DIRECT, *FLAGS, *flags, "--corpus", f"files:{text_file}", "--run-dir", "run")
    wait_until(lambda: list(Path("run/checkpoints").glob("step-*")), process)
    assert len(rows_of(Path("run/samples.jsonl"))) == 1
    assert process.poll() is None
    assert "---" in process.communicate(timeout=60)[0]


# Commands that only print.


PRINTING = {
    "help": "--help",
    "train help": "train --help",
    "sample help": "sample --help",
    "sample": "sample RUN --length 100",
    "runs": "runs RUN/..",
    "report": "report RUN --trust",
    "corpora": "corpora",
    "show": "corpora show files:RUN/../nasty.txt",
    "eval": "eval RUN --corpus files:RUN/../nasty.txt",
    "presets": "presets",
}


@pytest.mark.parametrize("name", PRINTING)
def test_what_only_prints_ends_quietly_when_nobody_reads_and_says_it_in_a_line_when_it_cannot(
    name: str, model: Path
) -> None:
    command = f"{program('charrnn')} {PRINTING[name].replace('RUN', str(model))}"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        gone = subprocess.run(["bash", "-c", command], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    beside = [line for line in gone.stderr.splitlines() if not line.endswith("No such file or directory")]  # no run
    assert (gone.returncode, beside) == (0, [])
    if name in ("train help", "runs", "corpora"):
        for where, why in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
            done = shell(f"{command} {where}")
            assert done.returncode == 1
            assert done.stderr.splitlines()[-1] == f"error: cannot write to standard output: {why}"
        assert shell(f"{command} 2>&-").returncode == 0


def test_an_error_that_cannot_be_said_has_its_code_all_the_same() -> None:
    for where in ("2>&-", "2>/dev/full"):
        assert shell(f"{program('charrnn')} sample nowhere {where}").returncode == 1


# What must not be raw.


def test_nothing_raw_reaches_a_terminal(model: Path) -> None:
    planted = json.loads((model / "config.json").read_text(encoding="utf-8"))
    other = model.parent / "foreign"
    other.mkdir(exist_ok=True)
    (other / "status.json").write_text((model / "status.json").read_text(encoding="utf-8"), encoding="utf-8")
    (other / "config.json").write_text(json.dumps(planted | {"corpus": [NASTY]}), encoding="utf-8")
    for command in (
        f"sample {model} --length 300",
        f"corpora show files:{model.parent / 'nasty.txt'}",
        f"runs {model.parent}",
        f"sample {shlex.quote(NASTY)}",
        f"corpora show {shlex.quote('files:' + NASTY)}",
        f"corpora show {shlex.quote('nasty' + NASTY + ':x')}",
        f"corpora search {shlex.quote(NASTY)}",
    ):
        shown = on_a_terminal(f"{program('charrnn')} {command}")
        assert printable(shown) == shown, command
        assert "\\x1b]0;title" in shown or "corpora search" in command, command  # no catalogue is here to say more


def on_a_terminal(command: str) -> str:
    """What a command shows on a terminal, whose own ends of lines are taken off."""
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(["bash", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:
            pass  # how Linux says that the other side is closed
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_a_file_gets_the_text_as_it_is(model: Path) -> None:
    text = (model.parent / "nasty.txt").read_bytes()
    shown = subprocess.run(
        [program("charrnn"), "corpora", "show", f"files:{model.parent / 'nasty.txt'}"], capture_output=True, check=True
    )
    assert shown.stdout == text.replace(b"\r", b"\n")  # the ends of lines that `files:` reads
    sampled = subprocess.run(
        [program("charrnn"), "sample", str(model), "--length", "300"], capture_output=True, check=True
    )
    assert b"\x1b" in sampled.stdout


# Commands to be copied.


def test_what_is_printed_to_be_copied_works(text_file: Path) -> None:
    name = "my o'hara übung $(touch planted)"
    process = start(DIRECT, *FLAGS, "--max-steps", "100000", "--corpus", f"files:{text_file}", "--run-dir", name)
    wait_until(lambda: rows_of(Path(name, "metrics.jsonl")), process)
    process.send_signal(signal.SIGTERM)
    advice = process.communicate(timeout=60)[0].split("go on with ")[1].split("\n")[0]
    step = status(Path(name))["step"]
    again = shell(train("--corpus", f"files:{text_file}", "--max-steps", str(step + 5)) + f" {advice}")
    assert again.returncode == 0, again.stderr
    advice = again.stdout.split("more text with: charrnn ")[1].split("\n")[0]
    assert len(shell(f"{program('charrnn')} {advice} --length 20").stdout) >= 20
    assert not Path("planted").exists()


# What a loader prints, and where it goes.

WANDERER = """
import os
import charrnn

print("imported")


@charrnn.hookimpl
def register_corpora(register):
    print("registering")
    register("wanderer", wanderer)


def wanderer(argument):
    print("reading")
    text = open(argument).read()
    os.chdir("/")
    yield text
    print("read")
"""


def test_a_loader_prints_to_standard_error_and_moves_nothing() -> None:
    Path("wanderer.py").write_text(WANDERER, encoding="utf-8")
    for name in ("one", "two"):
        Path(f"{name}.txt").write_text(make_text(3_000), encoding="utf-8")
    corpora = ("--plugin", "wanderer", "--corpus", "wanderer:one.txt", "--corpus", "files:two.txt")
    trained = run(DIRECT, *FLAGS, *corpora, "--run-dir", "run")
    assert "reading" in trained.stderr
    assert "reading" not in trained.stdout
    assert status(Path("run"))["state"] == "finished"
    measured = run([program("charrnn")], "eval", "run", *corpora)
    result: dict[str, Any] = json.loads(measured.stdout)
    assert result["characters"] == 6_000
    assert [word in measured.stderr for word in ("imported", "registering", "reading", "read")] == [True] * 4
    shown = run([program("charrnn")], "corpora", "show", "wanderer:one.txt", "--plugin", "wanderer")
    assert shown.stdout == make_text(3_000)
