"""What a process makes of its share of the machine."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.distributed.machine import cpu_quota

FAULTS = """
import resource, sys
import numpy as np
from charrnn.distributed.machine import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    # As a training step does: large arrays, among them some that lie at the end of the heap.
    for _ in range(10):
        arrays = [np.ones(2_000_000, np.uint8) for _ in range(8)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    os.name != "posix" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the allocator is not glibc's"
)
def test_freed_memory_is_kept_for_the_next_step() -> None:
    def faults(how: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", FAULTS, how], text=True))

    assert 10 * faults("kept") < faults("as it is")


def control_groups(folder: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    """A folder with what /proc/self and the file systems of control groups hold."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content}\n")
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mountinfo.replace("MOUNT", str(folder)))
    return folder


V2 = "41 31 0:29 {root} MOUNT/sys rw,relatime - cgroup2 cgroup2 rw\n"
V1 = "32 31 0:29 {root} MOUNT/sys rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "files", "cores"),
    [
        ("0::/\n", V2.format(root="/"), {"sys/cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", V2.format(root="/"), {"sys/cpu.max": "max 100000"}, float("inf")),
        ("0::/a/b\n", V2.format(root="/"), {"sys/a/cpu.max": "50000 100000", "sys/a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/docker/x\n", V2.format(root="/docker/x"), {"sys/cpu.max": "300000 100000"}, 3.0),
        (
            "4:cpu,cpuacct:/\n",
            V1.format(root="/"),
            {"sys/cpu.cfs_quota_us": "-1", "sys/cpu.cfs_period_us": "9"},
            float("inf"),
        ),
        (
            "4:cpu,cpuacct:/docker/x\n5:memory:/y\n",
            V1.format(root="/docker/x"),
            {"sys/cpu.cfs_quota_us": "200000", "sys/cpu.cfs_period_us": "100000"},
            2.0,
        ),
        ("0::/\n", "1 2 0:29 / / rw - ext4 /dev/vda rw\n", {}, float("inf")),
        ("0::/gone\n", V2.format(root="/"), {}, float("inf")),
    ],
    ids=[
        "v2",
        "v2 without limit",
        "v2, of the parent",
        "v2 in a container",
        "v1 without limit",
        "v1",
        "none",
        "gone",
    ],
)
def test_a_quota_counts_as_cores(
    cgroup: str, mountinfo: str, files: dict[str, str], cores: float, tmp_path: Path
) -> None:
    assert cpu_quota(control_groups(tmp_path, cgroup, mountinfo, files)) == cores


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == float("inf")


def test_a_real_quota_is_seen() -> None:
    group = Path("/sys/fs/cgroup/cpu/charrnn-test")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("100000")
        code = "from charrnn.distributed.machine import cpu_quota, share_of_cores; print(cpu_quota(), share_of_cores())"
        command = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c '{code}'"
        assert subprocess.check_output(["sh", "-c", command], text=True).split() == ["1.0", "1"]
    finally:
        group.rmdir()


def test_threads_wait_awake_for_a_moment_only_unless_the_user_says_otherwise() -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    code = f"import charrnn, os; print(*[os.environ.get(name) for name in {names}])"
    for given, expected in (({}, "None 3000"), ({names[0]: "active"}, "active None"), ({names[1]: "7"}, "None 7")):
        environment = {name: value for name, value in os.environ.items() if name not in names} | given
        assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == expected
