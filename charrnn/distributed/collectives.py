"""What the processes of a job do together: sum, agree, let the main one act, and notice who is gone."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from charrnn.distributed.launcher import node, world_size
from charrnn.errors import CheckpointError, ConfigError, UserError

T = TypeVar("T")

VISIBILITY_TIMEOUT = timedelta(minutes=1)
"""When a new file is seen on all nodes: NFS remembers that there was none for no longer (acdirmax)."""


class LostProcessError(UserError):
    """Another process of the job has died or cannot be reached."""


def sum_over_processes(tensor: Tensor) -> None:
    """Adds up a tensor over all processes, in place; raises `LostProcessError` where one of them is gone."""
    if dist.is_initialized():
        with lost_processes_told():
            dist.all_reduce(tensor)


@contextmanager
def lost_processes_told() -> Iterator[None]:
    """Around what all processes do together: raises `LostProcessError` where one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1:
            raise
        # Without the place in torch's source that it begins with.
        reason = re.sub(r"^\[\S+\] ", "", " ".join(str(error).split())).split(". ")[0]
        raise LostProcessError(
            f"{node()} has lost the others: a process of the job has died or cannot be reached "
            f"(torch says: {reason}): start the job again with --resume"
        ) from error


def on_main(accelerator: Accelerator, function: Callable[[], T]) -> T:
    """What the function returns on the main process, on every process; a `UserError` of it is raised on every one."""
    value: T | None = None
    failure: UserError | None = None
    if accelerator.is_main_process:
        try:
            value = function()
        except UserError as error:
            failure = error
    if accelerator.num_processes > 1:
        with lost_processes_told():
            value, failure = broadcast_object_list([value, failure])
    if failure is not None:
        raise failure
    return cast(T, value)


def on_each(accelerator: Accelerator, function: Callable[[], tuple[T, Mapping[str, object]]], advice: str = "") -> T:
    """What the function returns first, on each process for itself; what it returns second has to be the same on all.

    A `UserError` of any process is raised on every one; and so is a `ConfigError`, with the advice, for the first named
    value that differs, which says on which nodes it is what.
    """
    value: T | None = None
    failure: UserError | None = None
    facts: Mapping[str, object] = {}
    try:
        value, facts = function()
    except UserError as error:
        failure = error
    said = [(node(), failure, dict(facts))]
    if accelerator.num_processes > 1:
        with lost_processes_told():
            said = gather_object(said)
    for _, theirs, _ in said:
        if theirs is not None:
            raise theirs
    for name in facts:
        places: dict[object, list[str]] = {}
        for place, _, each in said:
            places.setdefault(each.get(name), []).append(place)
        if len(places) > 1:
            found = "; ".join(f"{value} on {_listed(nodes)}" for value, nodes in places.items())
            raise ConfigError(f"the processes of the job differ in {name}: {found}: {advice}")
    return cast(T, value)


def _listed(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")


def require_shared(accelerator: Accelerator, folder: Path, within: timedelta) -> None:
    """Raises `CheckpointError` on every process, naming a node, unless all see what the main one writes to a folder."""
    if accelerator.num_processes == 1:
        return
    # By its name alone: a relative folder may be another on another node.
    mark = folder / on_main(accelerator, lambda: _mark(folder))

    def look() -> tuple[None, dict[str, object]]:
        until = time.monotonic() + within.total_seconds()
        while not mark.exists():
            if time.monotonic() > until:
                raise CheckpointError(
                    f"{node()} does not see the run folder {folder.absolute()} of the main process: "
                    "--run-dir must lie in a folder that all nodes share"
                )
            time.sleep(0.1)
        return None, {}

    try:
        on_each(accelerator, look)
    finally:
        if accelerator.is_main_process:
            mark.unlink(missing_ok=True)


def _mark(folder: Path) -> str:
    """The name of a new file for all to see; one that a killed job leaves, the run folder's next job removes."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".seen-by-all-", dir=folder)
    except OSError as error:
        raise CheckpointError(f"cannot write to the run folder {folder}: {error.strerror}: mend that") from error
    os.close(descriptor)
    return Path(name).name
