"""Launchers: one that was seen counts, a process without a parent is none's, and a refusal is said before the end."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import DIRECT, SMALL, program, rows_of, run, status

FLAGS = (*SMALL, "--tracker", "none", "--sample-length", "0")


@pytest.mark.slow
def test_a_process_without_a_parent_trains(text_file: Path) -> None:
    """As the first process of a container, and as one of `docker exec`: its parent has the number 0."""
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare, and leave to use it")
    run([*unshare, *DIRECT, *FLAGS], "--max-steps", "5", "--corpus", f"files:{text_file}", "--run-dir", "run")
    assert (status(Path("run"))["state"], status(Path("run"))["launcher"]["pid"]) == ("finished", 0)


@pytest.mark.slow
def test_a_shell_is_no_launcher_whatever_its_variables_say(text_file: Path) -> None:
    command = shlex.join([*DIRECT, *FLAGS, "--max-steps", "600", "--corpus", f"files:{text_file}", "--run-dir", "run"])
    # The shell is the trainer's parent, and ends once training has begun.
    script = f"nohup {command} & while ! [ -s run/metrics.jsonl ]; do sleep 0.1; done"
    environment = {**os.environ, "ACCELERATE_MIXED_PRECISION": "no"}
    # Its output is read to the end, so until the trainer is gone, too.
    subprocess.run(["bash", "-c", script], env=environment, capture_output=True, timeout=120, check=True)
    assert (status(Path("run"))["state"], status(Path("run"))["reason"]) == ("finished", "")
    assert rows_of(Path("run/metrics.jsonl"))[-1]["step"] == 600


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_what_all_processes_refuse_is_said_whoever_is_first(late: int) -> None:
    Path("late.sh").write_text(f'[ "$RANK" = {late} ] && sleep 3\nexec "$@"\n')
    launcher = [program("torchrun"), "--standalone", "--nproc-per-node", "2", "--no-python", "bash", "late.sh"]
    done = run(launcher, *DIRECT, *FLAGS, "--hidden-size", "0", code=1)
    assert done.stderr.count("error: --hidden-size 0: input should be") == 1
