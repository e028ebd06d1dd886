"""JSON that every reader takes, and locks where the file system has none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.outside.disk import to_json

NO_FLOCK = """
import ctypes, errno, struct, sys

# A filter of the kernel's, as containers have them: flock is answered with ENOSYS.
number = {"x86_64": 73, "aarch64": 32}[__import__("platform").machine()]
program = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, number)
program += struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | errno.ENOSYS) + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.prctl(22, 2, ctypes.byref(filter), 0, 0):
    sys.exit(9)
"""

OPEN = """
from pathlib import Path
from charrnn.errors import CheckpointError
from charrnn.run.folder import RunFolder, is_locked
run = RunFolder(Path("run"))
try:
    run.open(resume=False)
    run.append("metrics.jsonl", {"step": 1})
    assert is_locked(run.path)
    run.close(unused=True)
    print("was free")
except CheckpointError as error:
    print(error)
"""

BUILD = """
from pathlib import Path
import logging
from charrnn.text.store_builder import build_store
logging.basicConfig(format="%(message)s")
print(len(build_store(Path("run/store"), [("files:a", [["text"]])]).vocab))
"""


def without_flock(code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", NO_FLOCK + code], capture_output=True, text=True, check=False, timeout=timeout
    )
    if done.returncode == 9 or "KeyError" in done.stderr:
        pytest.skip("this kernel takes no filter of system calls")
    assert done.returncode == 0, done.stderr
    return done


def test_numbers_without_a_word_in_json_become_null() -> None:
    value = {"a": [1.5, float("nan"), {"b": float("-inf")}], "c": (float("inf"), "NaN", None, True, 10**400)}
    assert json.loads(to_json(value)) == {"a": [1.5, None, {"b": None}], "c": [None, "NaN", None, True, 10**400]}


def test_a_run_folder_works_without_flock() -> None:
    done = without_flock(OPEN)
    assert (done.stdout, done.stderr) == ("was free\n", "")
    assert not Path("run").exists()


def test_the_lock_of_a_dead_machine_says_how_to_get_rid_of_it() -> None:
    Path("run").mkdir()
    Path("run/.lock").write_text("4321\nanother-machine\n")
    done = without_flock(OPEN)
    assert done.stdout.count("\n") == 1
    assert "in use by another job: wait, or use another --run-dir" in done.stdout
    assert "if process 4321 is on another machine and dead, remove run/.lock" in done.stdout
    os.remove("run/.lock")
    assert without_flock(OPEN).stdout == "was free\n"


def test_a_dead_machine_that_was_building_says_so_too() -> None:
    Path("run").mkdir()
    Path("run/store.lock").write_text("4321\nanother-machine\n")
    command = [sys.executable, "-c", NO_FLOCK + BUILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert f"remove {Path('run/store.lock').absolute()}" in said
        os.remove("run/store.lock")
        assert process.communicate(timeout=30)[0] == "3\n"
