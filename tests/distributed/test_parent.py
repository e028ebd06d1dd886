"""The launcher is known again after a crash, whatever became of the clock; and no other process is taken for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.distributed import launcher

SAY = "import json; from charrnn.distributed.launcher import parent; print(json.dumps(parent()))"
ASK = "import json, sys; from charrnn.distributed.launcher import is_parent; print(is_parent(json.loads(sys.argv[1])))"


def said() -> dict[str, Any]:
    """What a child of this process says of its parent."""
    values: dict[str, Any] = json.loads(subprocess.check_output([sys.executable, "-c", SAY]))
    return values


def is_known(saved: object, *command: str) -> bool:
    answer = subprocess.check_output([*command, sys.executable, "-c", ASK, json.dumps(saved)], text=True)
    return answer == "True\n"


@pytest.fixture(autouse=True)
def job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a job")


def test_the_same_parent_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = said()
    assert saved["pid"] == os.getpid()
    assert is_known(saved)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another job")
    assert not is_known(saved)


@pytest.mark.parametrize("seconds", [-3600, -1, 1, 3600, 10**8])
def test_a_clock_that_is_set_makes_no_other_parent(seconds: int, tmp_path: Path) -> None:
    """The kernel reckons the time of the boot from the clock: that is what a child is shown another of."""
    saved = said()
    lines = Path("/proc/stat").read_text().splitlines()
    shifted = [f"btime {int(line.split()[1]) + seconds}" if line.startswith("btime") else line for line in lines]
    (tmp_path / "stat").write_text("\n".join(shifted) + "\n")
    script = f'mount --bind {tmp_path}/stat /proc/stat && exec "$@"'
    in_another_time = ("unshare", "--mount", "sh", "-c", script, "sh")
    if os.geteuid() or subprocess.run([*in_another_time, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and mount namespaces")
    assert is_known(saved, *in_another_time)


def test_what_an_earlier_version_wrote_is_understood() -> None:
    saved = said()
    earlier = {"pid": saved["pid"], "started": saved["started"]}
    assert is_known(earlier)
    assert is_known(earlier | {"started": saved["started"] + 1})
    assert not is_known(earlier | {"started": saved["started"] + 100})


@pytest.mark.parametrize(
    "change", [{"pid": 1}, {"since_boot": 3.0}, {"since_boot": None}, {"since_boot": "x"}, {"job": "x"}]
)
def test_another_process_of_that_number_is_another(change: dict[str, Any]) -> None:
    assert not is_known(said() | change)


@pytest.mark.parametrize("saved", [None, [], "x", 3, {}, {"pid": None}, {"pid": "1"}])
def test_what_says_nothing_is_about_nobody(saved: object) -> None:
    assert not launcher.is_parent(saved)


def test_no_parent_that_can_be_seen_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container whose first process this is.
    monkeypatch.setattr(os, "getppid", lambda: 0)
    assert launcher.parent()["pid"] == 0
