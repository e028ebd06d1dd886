"""The share of the machine that is this process's: cores, threads and memory; without torch until training asks."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

from charrnn.distributed.launcher import from_environment

VARIABLES = ("OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "WANDB_FINISH_TIMEOUT", "TRACKIO_DIR")
"""What training, or a tracker, sets in this process's environment."""


@contextmanager
def settings_of_training(*, num_threads: int, deterministic: bool, tf32: bool = True) -> Iterator[None]:
    """Threads, memory, determinism and TF32 as training wants them for its whole process; all is put back at the end.

    Only what glibc decides of itself about returning memory, until it is told anything, cannot be had back.
    """
    import torch

    variables = {name: os.environ.get(name) for name in VARIABLES}
    threads, was_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    had_tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    keep_freed_memory()
    os.environ["OMP_NUM_THREADS"] = str(num_threads or share_of_cores())
    # `accelerate launch` gives a CPU process one thread, whatever the machine has.
    torch.set_num_threads(num_threads or share_of_cores())
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        with one_blas_thread():
            yield
    finally:
        if deterministic:  # it imports torch's compiler, which takes a second, and fails where a signal cut that short
            torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.allow_tf32 = had_tf32
        torch.set_num_threads(threads)
        keep_freed_memory(trim=2**17, largest=2**17)  # glibc's own numbers
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def share_of_cores() -> int:
    """The cores for each process of this machine; a launcher that bound processes to cores has shared them already.

    What a container may use of the processor in a time (its quota) counts as cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        usable = os.cpu_count() or 1
    else:
        usable = len(os.sched_getaffinity(0))
        if usable < len(os.sched_getaffinity(os.getppid())):
            return usable
    local = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE")
    return max(1, int(min(usable, cpu_quota())) // from_environment(local, 1))


def cpu_quota(proc: Path = Path("/proc/self")) -> float:
    """The processor time that control groups (version 1 or 2) leave this process, in cores; infinite without limit."""
    try:
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:
        return math.inf
    limits = [math.inf]
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        for number, controllers, path in groups:
            if (kind == "cgroup2" and number == "0") or (
                kind == "cgroup" and "cpu" in options and "cpu" in controllers
            ):
                # Inside a container the group may be named as outside, and only what is below it be mounted.
                root, top = fields[3], Path(fields[4])
                own = top / os.path.relpath(path, root) if path.startswith(root) else top
                limits += [_limit(folder) for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return min(limits)


def _limit(group: Path) -> float:
    """The limit of one control group, in cores."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return math.inf
    return int(quota) / int(period) if quota.isdigit() else math.inf  # "max" and -1 are none


def one_blas_thread() -> AbstractContextManager[Any]:
    """Gives NumPy's own linear algebra one thread: sampling's products are too small to share, and waiting costs more.

    torch's threads are not touched. On a busy machine at hidden 512 this is the difference between 33 and 2,900
    characters a second. Left as a context, it gives the threads back.
    """
    limited: AbstractContextManager[Any] = ThreadpoolController().select(internal_api="openblas").limit(limits=1)
    return limited


def keep_freed_memory(*, trim: int = 2**30, largest: int = 2**25) -> None:
    """Tells glibc's allocator to keep what a training step frees for the next one.

    Left alone it may return the top of the heap to the system after every step and ask for it again, cleared, in the
    next one, or not, as the heap happens to lie: a step of 25 ms then takes 39 ms. Now up to a gigabyte stays with the
    process, in blocks of up to 32 MiB (the most that glibc allows). With other allocators nothing is done.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option:
        # malloc.h: M_TRIM_THRESHOLD is option -1, M_MMAP_THRESHOLD -3.
        set_option(-1, trim)
        set_option(-3, largest)
