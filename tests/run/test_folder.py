"""The run folder: one job at a time, lines that survive a crash, and nothing left of a run that came to nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charrnn.errors import CheckpointError
from charrnn.run.folder import (
    METRICS,
    SAMPLES,
    RunFolder,
    is_locked,
    new_run_folder,
    read_json,
    read_lines,
    whole_rows,
    write_json,
    write_text,
)

HOLDER = """
import sys
from pathlib import Path
from charrnn.run.folder import RunFolder
run = RunFolder(Path(sys.argv[1]))
run.open(resume=True)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def opened(path: Path, *, resume: bool = False) -> RunFolder:
    run = RunFolder(path)
    run.open(resume=resume)
    return run


def test_another_process_is_refused(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "run"):
        for resume in (False, True):
            with pytest.raises(CheckpointError, match=r"in use by another job.*--run-dir") as caught:
                opened(tmp_path / "run", resume=resume)
            assert "\n" not in str(caught.value)


def test_the_lock_of_a_process_that_was_killed_is_gone(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "run") as process:
        process.kill()
        process.wait()
        opened(tmp_path / "run").close()


def test_whether_a_folder_is_in_use_can_be_asked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not (tmp_path / ".lock").exists()
    with held_by_another_process(tmp_path) as process:
        assert is_locked(tmp_path)
        process.kill()
        process.wait()
        assert not is_locked(tmp_path)
    opened(tmp_path).close()


def test_a_second_folder_object_of_this_process_is_refused_too(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(CheckpointError, match="in use"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_used_folder_wants_resume_and_is_not_held_without(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {})
    with pytest.raises(CheckpointError, match="add --resume"):
        opened(tmp_path)
    run = opened(tmp_path, resume=True)
    assert run.begun
    run.close()


def test_resuming_what_has_not_begun_is_a_beginning(tmp_path: Path) -> None:
    run = opened(tmp_path / "new" / "deep", resume=True)
    assert not run.begun
    run.close()


def test_a_file_in_the_way_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError, match="cannot use the run folder") as caught:
            opened(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"cannot make the run folder.*--run-dir"):
        new_run_folder(tmp_path / "file", ["files:a"])


# Folders of runs.


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda _format: "20260102-030405")
    folders = [new_run_folder(tmp_path / "runs", ["files:ä b/*.txt", "gutenberg:1597"]) for _ in range(3)]
    assert [folder.name for folder in folders] == [
        f"20260102-030405-files-b-txt-gutenberg-1597{end}" for end in ("", "-2", "-3")
    ]
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_came_to_nothing_is_removed(tmp_path: Path) -> None:
    run = opened(new_run_folder(tmp_path / "runs", ["files:a"]))
    run.close(unused=True)
    run.close(unused=True)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_store_that_was_built_for_nothing_is_removed_too(tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    (run.path / "store").mkdir()
    write_json(run.path / "store" / "store.json", {"version": 3, "tokens": {}, "digest": ""})
    for name in ("store/train.bin", "store.lock"):
        (run.path / name).touch()
    run.close(unused=True)
    assert not run.path.exists()


def test_a_folder_of_that_name_that_is_no_store_stays(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    write_json(tmp_path / "store" / "store.json", {"shop": 1})
    opened(tmp_path).close(unused=True)
    assert read_json(tmp_path / "store" / "store.json") == {"shop": 1}


def test_a_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    opened(tmp_path / "run").close(unused=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_run_that_had_begun_stays(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"seed": 1})
    opened(tmp_path, resume=True).close(unused=True)
    assert read_json(tmp_path / "config.json") == {"seed": 1}
    opened(tmp_path, resume=True).close()


# Lines.


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    rows = [{"step": 1, "text": 'a\n"b"\r\t\x00\x0b\x1c'}, {"step": 2, "text": "ü \ufeff \U0001f600", "loss": None}]
    for row in rows:
        run.append(SAMPLES, row)
    assert read_lines(tmp_path / SAMPLES) == rows
    assert "ü" in (tmp_path / SAMPLES).read_text(encoding="utf-8")


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_line_ends_of_unicode_do_not_end_a_row(character: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    row = {"step": 1, "text": f"one{character}two"}
    run.append(SAMPLES, row)
    run.append(SAMPLES, row)
    assert read_lines(tmp_path / SAMPLES) == [row, row]


def test_a_sample_with_half_a_surrogate_pair_can_be_written(tmp_path: Path) -> None:
    row = {"step": 1, "text": "\ud83d"}
    RunFolder(tmp_path).append(SAMPLES, row)
    assert read_lines(tmp_path / SAMPLES) == [row]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_lines(tmp_path / SAMPLES) == []
    assert RunFolder(tmp_path).last_step() == 0


def test_the_last_step_is_that_of_the_last_whole_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (10, 20):
        run.append(METRICS, {"step": step})
    assert run.last_step() == 20
    with open(tmp_path / METRICS, "a") as file:
        file.write('{"step": 3')
    assert run.last_step() == 20
    (tmp_path / METRICS).write_text('{"st')
    assert run.last_step() == 0


def test_what_was_written_after_a_checkpoint_is_cut_off(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.lengths() == {METRICS: 0, SAMPLES: 0}
    run.append(METRICS, {"step": 1})
    run.append(SAMPLES, {"text": "ü"})
    lengths = run.lengths()
    before = {name: (tmp_path / name).read_bytes() for name in lengths}
    assert {name: len(content) for name, content in before.items()} == lengths
    run.append(METRICS, {"step": 2})
    with open(tmp_path / SAMPLES, "a") as file:
        file.write('{"text": "tor')
    run.cut_back(lengths)
    assert {name: (tmp_path / name).read_bytes() for name in lengths} == before
    run.append(METRICS, {"step": 2})
    assert [row["step"] for row in read_lines(tmp_path / METRICS)] == [1, 2]


def test_without_a_checkpoint_everything_is_cut_off(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.append(METRICS, {"step": 1})
    run.cut_back({})
    assert (tmp_path / METRICS).read_bytes() == b""
    assert not (tmp_path / SAMPLES).exists()


def test_lost_rows_are_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder(tmp_path)
    run.append(METRICS, {"step": 1})
    with caplog.at_level(logging.WARNING):
        run.cut_back({METRICS: 1000, SAMPLES: 5})
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / name} is shorter than the checkpoint says: its earlier rows are lost"
        for name in (METRICS, SAMPLES)
    ]
    assert run.last_step() == 1


def test_the_status_is_whole_and_says_when(tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    run.write_status("running", pid=3)
    run.write_status("preempted", step=7, reason="SIGTERM")
    values = json.loads((run.path / "status.json").read_text())
    assert values.pop("time") > 0
    assert values == {"state": "preempted", "step": 7, "reason": "SIGTERM"}
    assert {path.name for path in run.path.iterdir()} == {".lock", "status.json"}
    run.close()


# A folder that is taken away.


def replaced(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()
    (path / ".lock").touch()


def only_the_lock(path: Path) -> None:
    (path / ".lock").unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def moved_and_made_again(path: Path) -> None:
    moved(path)
    path.mkdir()
    (path / ".lock").touch()


@pytest.mark.parametrize("taken", [replaced, shutil.rmtree, only_the_lock, moved, moved_and_made_again])
def test_a_folder_that_was_taken_away_is_written_to_no_more(taken: Callable[[Path], None], tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    run.append(METRICS, {"step": 1})
    taken(run.path)
    before = sorted(tmp_path.rglob("*"))
    for write in (
        lambda: run.append(METRICS, {"step": 2}),
        run.lengths,
        lambda: run.write_status("running"),
        lambda: run.cut_back({}),
    ):
        with pytest.raises(CheckpointError, match=r"while this job was training.*another --run-dir") as caught:
            write()
        assert "\n" not in str(caught.value)
    run.close(unused=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_next_job_has_the_folder_that_was_made_again_for_itself(tmp_path: Path) -> None:
    first = opened(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    second = opened(tmp_path / "run")
    second.append(METRICS, {"step": 5})
    with pytest.raises(CheckpointError, match="replaced"):
        first.append(METRICS, {"step": 9})
    first.close()
    second.append(METRICS, {"step": 6})
    assert [row["step"] for row in read_lines(second.path / METRICS)] == [5, 6]
    second.close()


# What is left of others.


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "remnant", ["checkpoints/step-000000007", "checkpoints/damaged-step-000000007", METRICS, SAMPLES]
)
def test_what_is_left_of_a_run_without_its_settings_is_not_swallowed(
    remnant: str, resume: bool, tmp_path: Path
) -> None:
    if remnant.startswith("checkpoints"):
        (tmp_path / remnant).mkdir(parents=True)
    else:
        (tmp_path / remnant).write_text("{}\n")
    with pytest.raises(CheckpointError, match=rf"no config\.json.*{remnant}.*bring the config\.json back") as caught:
        opened(tmp_path, resume=resume)
    assert "\n" not in str(caught.value)
    write_json(tmp_path / "config.json", {})
    opened(tmp_path, resume=True).close()


def test_what_a_killed_start_left_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".writing-step-000000001").mkdir(parents=True)
    for name in (METRICS, SAMPLES, "status.json", "vocab.json", ".seen-by-all-abc", ".status.json.12345678.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "store.building" / "store").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").touch()  # what a power cut makes of it
    opened(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} - {"work"} == {
        ".lock", "checkpoints", METRICS, SAMPLES, "status.json", "vocab.json"
    }  # fmt: skip


KILLED = """
import os, signal, sys
from pathlib import Path
from charrnn.run.folder import write_text
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_text(Path(sys.argv[1]), "half")
"""


@pytest.mark.parametrize("name", ["status.json", "report.html", "[a].json"])
def test_what_a_killed_write_left_is_removed(name: str, tmp_path: Path) -> None:
    def leave() -> Path:
        done = subprocess.run([sys.executable, "-c", KILLED, str(run / name)], check=False)
        assert done.returncode == -signal.SIGKILL
        (left,) = run.glob(".*.tmp")
        return left

    run = tmp_path / "run"
    run.mkdir()
    # By the next job at once, ...
    leave()
    (run / ".mine.tmp").mkdir()
    opened(run).close()
    assert {path.name for path in run.iterdir()} == {".lock", ".mine.tmp"}
    (run / ".mine.tmp").rmdir()
    # ... and by whoever writes that file, who may not be alone in that, when it is old.
    left = leave()
    write_text(run / name, "whole")
    assert left.exists()
    os.utime(left, (0, 0))
    write_text(run / "another", "whole")
    assert left.exists()
    write_text(run / name, "whole again")
    assert not left.exists()
    assert (run / name).read_text() == "whole again"


def test_a_refused_start_takes_what_it_wrote_along(tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    for name in ("wandb.json", "status.json", "vocab.json", "config.json"):
        write_json(run.path / name, {})
    (run.path / "wandb" / "run-1").mkdir(parents=True)
    (run.path / "wandb" / "run-1" / "log").touch()
    run.close(unused=True)
    assert not run.path.exists()


def test_a_refused_start_takes_nothing_else_along(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "mine").touch()
    write_json(tmp_path / "vocab.json", {})
    run = opened(tmp_path)
    write_json(tmp_path / "wandb.json", {})
    run.close(unused=True)
    assert {path.name for path in tmp_path.iterdir()} - {"work"} == {"wandb", "vocab.json"}


# Damaged lines.


@pytest.mark.parametrize("after", [b'{"st\n', b"\0" * 50 + b"\n", b'{"step": 3}\r\n', b"[]\n", b"\xff\n", b"[" * 9999])
def test_what_is_damaged_after_the_checkpoint_is_cut_back(
    after: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.append(METRICS, {"step": step})
    lengths = run.lengths()
    with open(tmp_path / METRICS, "ab") as file:
        file.write(after)
    assert run.last_step() == (3 if b"3" in after else 2)
    run.cut_back(lengths)
    assert [row["step"] for row in read_lines(tmp_path / METRICS)] == [1, 2]
    assert not caplog.records


@pytest.mark.parametrize("damaged", [b"\0" * 11, b'{"step": 2', b"[[[[[[[[[[[", b'"step is 2"', b"\xff" * 11])
def test_what_is_damaged_before_the_checkpoint_is_said(
    damaged: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        run.append(METRICS, {"step": step})
    content = (tmp_path / METRICS).read_bytes().split(b"\n")
    content[1] = damaged.ljust(len(content[1]))
    (tmp_path / METRICS).write_bytes(b"\n".join(content))
    run.cut_back(run.lengths())
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / METRICS} has damaged rows before the checkpoint, which are left out: 2"
    ]
    assert [row["step"] for row in whole_rows(tmp_path / METRICS)] == [1, 3]
    assert run.last_step() == 3


def test_line_ends_that_an_editor_changed_leave_no_half_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder(tmp_path)
    for step in range(10, 15):
        run.append(METRICS, {"step": step})
    lengths = run.lengths()
    (tmp_path / METRICS).write_bytes((tmp_path / METRICS).read_bytes().replace(b"\n", b"\r\n"))
    run.cut_back(lengths)
    run.append(METRICS, {"step": 15})
    assert [row["step"] for row in read_lines(tmp_path / METRICS)] == [10, 11, 12, 13, 15]
    assert "was changed since the checkpoint" in caplog.text


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    run.append(METRICS, {"step": 1, "grad_norm": float("inf"), "train_loss": float("nan")})
    run.write_status("failed", loss=float("-inf"))
    assert "NaN" not in (run.path / METRICS).read_text()
    assert read_lines(run.path / METRICS) == [{"step": 1, "grad_norm": None, "train_loss": None}]
    assert read_json(run.path / "status.json")["loss"] is None


# Disks that refuse.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def refused(write: Callable[[], object], reason: str, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"cannot \w+ .*{name}.*: {reason}: mend that and start again") as caught:
        write()
    assert "\n" not in str(caught.value)


def test_a_disk_that_cannot_be_written_is_one_line(disk: Path) -> None:
    run = RunFolder(disk)
    run.append(METRICS, {"step": 1})
    run.append(SAMPLES, {"text": "x"})
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    reason = "Read-only file system"
    refused(lambda: run.append(METRICS, {}), reason, METRICS)
    refused(run.lengths, reason, METRICS)
    refused(lambda: run.cut_back({}), reason, METRICS)
    refused(lambda: run.write_status("running"), reason, "status.json")
    refused(lambda: write_text(run.path / "report.html", ""), reason, "report.html")
    run.close()
    with pytest.raises(CheckpointError, match=f"cannot use the run folder .*{reason}: use another --run-dir"):
        opened(disk / "new")


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(disk: Path) -> None:
    run = opened(disk / "run")
    run.write_status("running")

    def fill() -> None:
        while True:
            run.append(SAMPLES, {"text": "x" * 4000})

    refused(fill, "No space left on device", SAMPLES)
    refused(lambda: write_text(run.path / "vocab.json", "x" * 8000), "No space left on device", "vocab.json")
    refused(lambda: run.write_status("running", reason="x" * 8000), "No space left on device", "status.json")
    assert {path.name for path in run.path.iterdir()} == {".lock", SAMPLES, "status.json"}
    assert read_json(run.path / "status.json")["state"] == "running"
    run.close()


@pytest.mark.parametrize("name", [METRICS, SAMPLES])
def test_a_folder_in_place_of_a_file_is_one_line(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / name).mkdir()
    for write in (run.lengths, lambda: run.append(name, {}), lambda: run.cut_back({})):
        refused(write, "Is a directory", name)
    if name == METRICS:
        refused(run.last_step, "Is a directory", name)


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / "report.html").symlink_to(secret)
    write_text(tmp_path / "report.html", "page")
    assert (secret.read_text(), (tmp_path / "report.html").read_text()) == ("mine", "page")
    assert not (tmp_path / "report.html").is_symlink()
