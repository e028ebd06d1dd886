"""What the launcher tells a process of its job; without torch."""

from __future__ import annotations

import os
import socket

import psutil


def from_environment(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), default)


def world_size() -> int:
    """How many processes the launcher (torchrun, Accelerate, MPI) says the job has."""
    return from_environment(("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"), 1)


def rank() -> int:
    """This process's number as the launcher gave it: known before Accelerate is."""
    return from_environment(("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"), 0)


def restarts() -> int:
    """How often torchrun has started this job again after a crash."""
    return from_environment(("TORCHELASTIC_RESTART_COUNT",), 0)


def node() -> str:
    """This process, as a message names it: its machine and its number."""
    return f"{socket.gethostname()} (process {rank()})"


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
