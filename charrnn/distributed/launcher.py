"""What the launcher tells a process of its job, and the share of the machine that is this process's; without torch."""

from __future__ import annotations

import ctypes
import os
import socket

import psutil
from threadpoolctl import ThreadpoolController


def _from_environment(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), default)


def launched_processes() -> int:
    """How many processes the launcher (torchrun, Accelerate, MPI) says the job has."""
    return _from_environment(("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"), 1)


def launched_rank() -> int:
    """This process's number as the launcher gave it: known before Accelerate is."""
    return _from_environment(("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"), 0)


def restarts() -> int:
    """How often torchrun has started this job again after a crash."""
    return _from_environment(("TORCHELASTIC_RESTART_COUNT",), 0)


def node() -> str:
    """This process, as a message names it: its machine and its number."""
    return f"{socket.gethostname()} (process {launched_rank()})"


def parent() -> dict[str, float]:
    """The parent process, by its number and the time it was started at, which no other process shares."""
    process = psutil.Process(os.getppid())
    return {"pid": process.pid, "started": process.create_time()}


def is_elastic() -> bool:
    """Whether torchrun started this process, and watches its exit code."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_launched() -> bool:
    """Whether the parent process is a launcher, without which this one has no reason to go on."""
    return any(
        name in os.environ for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION", "OMPI_COMM_WORLD_SIZE")
    )


def share_of_cores() -> int:
    """The cores for each process of this machine; a launcher that bound processes to cores has shared them already."""
    if not hasattr(os, "sched_getaffinity"):
        usable = os.cpu_count() or 1
    else:
        usable = len(os.sched_getaffinity(0))
        if usable < len(os.sched_getaffinity(os.getppid())):
            return usable
    local = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE")
    return max(1, usable // _from_environment(local, 1))


def one_blas_thread() -> None:
    """Gives NumPy's own linear algebra one thread: sampling's products are too small to share, and waiting costs more.

    torch's threads are not touched. On a busy machine at hidden 512 this is the difference between 33 and 2,900
    characters a second.
    """
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def keep_freed_memory() -> None:
    """Tells glibc's allocator to keep what a training step frees for the next one.

    Left alone it may return the top of the heap to the system after every step and ask for it again, cleared, in the
    next one, or not, as the heap happens to lie: a step of 25 ms then takes 39 ms. Now up to a gigabyte stays with the
    process, in blocks of up to 32 MiB (the most that glibc allows). With other allocators nothing is done.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option:
        # malloc.h: M_TRIM_THRESHOLD is option -1, M_MMAP_THRESHOLD -3.
        set_option(-1, 2**30)
        set_option(-3, 2**25)
