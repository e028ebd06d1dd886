"""The run folder: one job at a time, lines that survive a crash, and nothing left of a run that came to nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charrnn.errors import CheckpointError
from charrnn.run.folder import METRICS, SAMPLES, RunFolder, is_locked, new_run_folder, read_json, read_lines, write_json

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
