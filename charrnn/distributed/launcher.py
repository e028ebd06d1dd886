"""What the launcher tells a process of its job; without torch."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_VARIABLES = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""What launchers set for the processes that they start."""
_LAUNCHER = re.compile(
    r"accelerate(-launch|\.commands\.\w+)?|torchrun|torch\.distributed\.(run|launch)|"
    r"(mpirun|mpiexec)(\.\w+)?|orte\w+|prte\w+|hydra_\w+|slurmstepd\b.*"
)
"""The names of programs, and of modules after -m, that start processes and end with them."""


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


def parent() -> dict[str, Any]:
    """The parent process, so that `is_parent` knows it again: what torchrun calls the job, and when that process began.

    When is counted from the boot of the machine too: a clock that is set moves the time of day, and not that.
    """
    import psutil  # here, for the sake of commands that have no launcher

    pid, began, since_boot = os.getppid(), 0.0, 0.0
    # It has no number inside a container that it lies outside of, and need not be visible.
    with suppress(psutil.Error, OSError, RuntimeError):
        began = psutil.Process(pid).create_time()
        since_boot = began - psutil.boot_time()
    return {"pid": pid, "started": began, "since_boot": since_boot, "job": os.environ.get("TORCHELASTIC_RUN_ID")}


def is_parent(saved: object) -> bool:
    """Whether what `parent` said, in this version or an earlier one, is about the parent of this process."""
    now = parent()
    if not isinstance(saved, Mapping) or saved.get("pid") != now["pid"]:
        return False
    clock = "since_boot" if "since_boot" in saved else "started"
    began = saved.get(clock)
    # Clocks are read one after the other, in whole seconds some of them.
    return isinstance(began, float) and abs(began - now[clock]) < 2 and saved.get("job", now["job"]) == now["job"]


def is_elastic() -> bool:
    """Whether torchrun started this process, and watches its exit code."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_launched() -> bool:
    """Whether the parent process is a launcher, without which this one has no reason to go on.

    Its variables alone do not tell: they may be a user's own, and the parent a shell that ends before the job does.
    """
    if not any(name in os.environ for name in _VARIABLES):
        return False
    import psutil

    try:
        words = psutil.Process(os.getppid()).cmdline() if os.getppid() else []
    except psutil.Error:
        return False
    # An interpreter, perhaps with options, comes before the launcher's own name, and what it launches after it.
    return any(_LAUNCHER.fullmatch(Path(word).name) for word in words[:5])
