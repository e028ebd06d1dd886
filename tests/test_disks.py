"""Training on disks that fail: it goes on exactly, or says in a line why not, and never on another text."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charrnn.cli import main
from tests.conftest import (
    DIRECT,
    SMALL,
    last_checkpoint,
    make_text,
    program,
    rows_of,
    run,
    start,
    status,
    train_here,
    wait_until,
)

FLAGS = (*SMALL, "--tracker", "none", "--log-every", "1", "--run-dir", "run")
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def text() -> Path:
    """The text that everything here is trained on."""
    path = Path("a.txt")
    path.write_text(make_text(20_000), encoding="utf-8")
    return path


pytestmark = pytest.mark.slow


def trained(*flags: str, corpus: str = "files:a.txt", code: int = 0) -> None:
    assert train_here(*FLAGS, "--corpus", corpus, *flags) == code


def store() -> Path:
    """The one store of the cache."""
    (found,) = Path(os.environ["XDG_CACHE_HOME"]).glob("charrnn/stores/*/store.json")
    return found.parent


def weights() -> bytes:
    return (last_checkpoint(Path("run")) / "model.safetensors").read_bytes()


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of, a line each."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def error_of(output: Output) -> str:
    """The one line that an error is."""
    said = output.readouterr().err
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    return line


def test_a_damaged_text_is_built_again_before_a_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    trained("--max-steps", "60", "--schedule", "constant", "--warmup", "0")
    unbroken = weights()
    shutil.rmtree("run")
    trained("--max-steps", "30", "--schedule", "constant", "--warmup", "0")
    with (store() / "train.bin").open("r+b") as file:
        file.write(bytes(9_000))
    trained("--max-steps", "60", "--resume")
    assert "its text is not what its digest says: building it again" in caplog.text
    assert weights() == unbroken


def test_a_damaged_text_that_cannot_be_read_again_is_not_trained_on(text: Path, capsys: Output) -> None:
    trained("--max-steps", "3")
    before = weights()
    shutil.copytree(store(), "run/store")
    with Path("run/store/train.bin").open("r+b") as file:
        file.write(bytes(9_000))
    text.unlink()
    capsys.readouterr()
    trained("--max-steps", "6", "--resume", code=1)
    assert "a.txt" in error_of(capsys)
    assert weights() == before
    # The text comes back.
    text.write_text(make_text(20_000))
    trained("--max-steps", "6", "--resume")


def test_a_power_cut_while_a_store_was_built_is_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    trained("--max-steps", "3")
    for path in store().iterdir():
        os.truncate(path, 0)
    trained("--max-steps", "6", "--resume")
    assert "is not a whole token store: store.json" in caplog.text
    assert status(Path("run"))["step"] == 6


# Corpora are named otherwise.


@pytest.mark.parametrize("respelled", ["{}/a.txt", "./a.txt", "../work/a.txt", "~/a.txt", "link.txt", "[a].txt"])
def test_a_run_goes_on_with_the_same_text_in_other_words(respelled: str, caplog: pytest.LogCaptureFixture) -> None:
    trained("--max-steps", "3")
    Path("link.txt").symlink_to("a.txt")
    Path(os.environ["HOME"]).mkdir(exist_ok=True)
    (Path(os.environ["HOME"]) / "a.txt").symlink_to(Path("a.txt").absolute())
    spec = f"files:{respelled.format(Path.cwd())}"
    trained("--max-steps", "6", "--resume", corpus=spec)
    assert [line for line in warned(caplog) if "--corpus" in line] == [
        f"resuming with --corpus {spec} (it was files:a.txt)"
    ]
    assert status(Path("run"))["step"] == 6
    assert json.loads(Path("run/config.json").read_text())["corpus"] == [spec]
    assert main(["eval", "run", "--split", "val"]) == 0


def test_a_run_that_keeps_its_own_text_goes_on_in_other_words(capsys: Output) -> None:
    Path("spoken.py").write_text(
        "import charrnn\n"
        "@charrnn.hookimpl\n"
        "def register_corpora(register):\n    register('word', word)\n"
        "def word(argument):\n    'word:WORD, many times.'\n    yield f'{argument.strip()} ' * 500\n"
    )
    trained("--max-steps", "3", "--plugin", "spoken", corpus="word:some")
    trained("--max-steps", "6", "--resume", "--plugin", "spoken", corpus="word: some")
    trained("--max-steps", "9", "--resume", "--plugin", "spoken", corpus="word:some")
    capsys.readouterr()
    trained("--max-steps", "12", "--resume", "--plugin", "spoken", corpus="word:other", code=1)
    assert "trained on another text than word:other is now" in error_of(capsys)


def test_another_text_is_refused_whatever_it_is_called(capsys: Output) -> None:
    trained("--max-steps", "3")
    before = Path("run/config.json").read_text()
    Path("b.txt").write_text(make_text(20_000, seed=3))
    Path("c.txt").write_text("an altogether different alphabet: äöü " * 500)
    for spec in ("files:b.txt", "files:c.txt"):
        capsys.readouterr()
        trained("--max-steps", "6", "--resume", corpus=spec, code=1)
        assert f"was trained on another text than {spec} is now" in error_of(capsys)
    assert Path("run/config.json").read_text() == before
    trained("--max-steps", "6", "--resume")


# Under a trainer's feet.


def test_a_run_folder_made_again_is_left_to_the_next_job() -> None:
    process = start(DIRECT, *FLAGS, "--corpus", "files:a.txt", "--max-steps", "1000000")
    wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
    process.send_signal(signal.SIGSTOP)
    shutil.rmtree("run")
    trained("--max-steps", "3")
    process.send_signal(signal.SIGCONT)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        len(re.findall(r"^error: the run folder run was replaced while this job was training.*$", said, re.MULTILINE))
        == 1
    )
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_a_run_folder_that_was_deleted_is_not_made_again() -> None:
    process = start(DIRECT, *FLAGS, "--corpus", "files:a.txt", "--max-steps", "1000000")
    wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
    Path("run").rename("gone")  # at one blow: the trainer writes into it
    shutil.rmtree("gone")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was deleted or moved while this job was training" in said
    assert "Traceback" not in said
    assert not Path("run").exists()


def test_a_text_that_is_cut_short_under_a_trainer_is_one_line() -> None:
    process = start(DIRECT, *FLAGS, "--corpus", "files:a.txt", "--max-steps", "1000000", "--checkpoint-every", "20")
    wait_until(lambda: list(Path("run/checkpoints").glob("step-*")), process)
    os.truncate(store() / "train.bin", 0)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(
        r"^error: .*train\.bin was cut short while it was read: start again with --resume", said, re.MULTILINE
    )
    done = status(Path("run"))["step"]
    trained("--max-steps", str(done + 2), "--resume")


# Lines.


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_a_damaged_row_is_no_reason_not_to_go_on(name: str, caplog: pytest.LogCaptureFixture) -> None:
    trained("--max-steps", "6")
    path = Path("run") / name
    whole = path.read_bytes()
    path.write_bytes(whole[:3] + b"\0\0\0" + whole[6:] + b'{"step": 7}\r\n' + b'{"st\n')
    trained("--max-steps", "9", "--resume")
    assert f"run/{name} has damaged rows before the checkpoint, which are left out: 1" in warned(caplog)
    assert path.read_bytes()[: len(whole)] == whole[:3] + b"\0\0\0" + whole[6:]


# What is left.


def test_wandb_that_refuses_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = run(DIRECT, *FLAGS, "--corpus", "files:a.txt", "--tracker", "wandb", "--max-steps", "3", code=1)
    assert "error: wandb cannot start" in done.stderr
    assert not Path("run").exists()
    run(DIRECT, *FLAGS, "--corpus", "files:a.txt", "--max-steps", "3")


def test_an_evaluation_that_is_killed_leaves_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("--max-steps", "3")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    Path("large.txt").write_text(make_text(20_000) * 2_000)
    command = [program("charrnn"), "eval", "run", "--corpus", "files:large.txt"]
    for moment in ("*/store.building/store/train.bin", "*"):
        seen: list[Path] = []
        process = start(command)

        def begun(moment: str = moment, seen: list[Path] = seen) -> bool:
            seen.extend(folder.glob(moment))
            measuring = moment == "*" and seen and not any(folder.glob(moment))
            return bool(measuring if moment == "*" else seen)

        wait_until(begun, process)
        process.kill()
        process.communicate()
        left = list(folder.glob("charrnn-eval-*"))
        assert bool(left) == (moment != "*")  # a build that is killed cannot take its text along: the next one does
    assert not left


@contextmanager
def mounted(disk: Path, *how: str) -> Iterator[None]:
    """A disk of its own in a folder."""
    disk.mkdir(exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", *how, str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield
    finally:
        # Also while a tracker's service, which outlives the training for a moment, is still in it.
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_tracker_on_a_full_disk_does_not_take_the_end_of_the_run_away(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=40k", "tmpfs"):
        Path("run").mkdir()
        Path("run/tensorboard").symlink_to(tmp_path / "disk")
        flags = (*FLAGS, "--corpus", "files:a.txt", "--tracker", "tensorboard", "--max-steps", "400")
        done = run(DIRECT, *flags, "--sample-every", "1", code=None)
        assert done.returncode == 0, done.stderr
        assert "tensorboard did not take" in done.stderr
        assert done.stderr.count("Traceback") <= 1  # of tensorboard's own thread
        assert status(Path("run"))["state"] == "finished"


def test_wandb_on_a_full_disk_is_a_line_and_the_run_is_whole(tmp_path: Path) -> None:
    trained("--max-steps", "200", "--sample-every", "20")
    unbroken = weights()
    shutil.rmtree("run")
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=40k", "tmpfs"):
        Path("run").mkdir()
        Path("run/wandb").symlink_to(tmp_path / "disk")
        flags = (*FLAGS, "--corpus", "files:a.txt", "--tracker", "wandb", "--max-steps", "200", "--sample-every", "20")
        done = run(DIRECT, *flags)
    why = "which run has: No space left on device"
    said = [line for line in done.stderr.splitlines() if not line.startswith("wandb: ")]
    assert said[:2] == [
        f"wandb did not take {what}, {why}" for what in ("the samples of step 40", "the table of all samples")
    ]
    # Whether the client's own last words find room is a matter of bytes.
    assert said[2:] in ([], [f"wandb did not take the end of the run, {why}"])
    assert status(Path("run"))["state"] == "finished"
    assert weights() == unbroken


def test_a_run_on_a_full_disk_ends_in_a_line_whatever_its_tracker_does(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=300k", "tmpfs"):
        flags = (*SMALL, "--corpus", "files:a.txt", "--log-every", "1", "--sample-every", "20", "--max-steps", "100000")
        done = run(DIRECT, *flags, "--tracker", "wandb", "--run-dir", tmp_path / "disk" / "run", code=1)
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "No space left on device" in line or "the disk is full" in line


def test_a_report_on_a_read_only_disk_is_one_line(capsys: Output) -> None:
    trained("--max-steps", "3")
    capsys.readouterr()
    with mounted(Path("run"), "--bind", "-o", "ro", "run"):
        assert main(["report", "run"]) == 1
    assert error_of(capsys) == "error: cannot write run/report.html: Read-only file system: mend that and start again"
    assert not Path("run/report.html").exists()
