"""The sum of a tensor over all processes: over the network, or in memory where one machine has them all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from charrnn.distributed.collectives import lost_processes_told, on_main, sum_over_processes

MEMORY = Path("/dev/shm")
"""A file system that lies in memory; Linux has it."""
FEW = 8
"""Processes up to which each adds up what all have: with more, a sum in parts would read less."""


class Summation:
    """Adds up over the network, as the backend of torch.distributed does."""

    way = "over the network"

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        """The parts in one flat tensor, added up over all processes; raises `LostProcessError` where one is gone."""
        flat = torch.cat([part.flatten() for part in parts])
        sum_over_processes(flat)
        return flat


class SharedSummation(Summation):
    """Adds up in memory that the processes of a machine share, where gloo would send every byte through a socket.

    Each process writes what it has to a place of its own, meets the others, and adds up all places in the order of
    ranks: so all get the same sum to the last bit. Two sets of places are used in turn: who comes to the second has met
    those who have read the first.
    """

    way = "in shared memory"

    def __init__(self, file: Path, rank: int, num_processes: int, size: int) -> None:
        """``file`` has room for twice ``num_processes * size`` float32; it may be removed when all have opened it."""
        numbers = torch.from_file(str(file), shared=True, size=2 * num_processes * size)
        self._sets = list(numbers.view(2, num_processes, size))
        self._rank = rank
        self._here = torch.zeros(1)

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        places = self._sets[0]
        self._sets.reverse()
        torch.cat([part.flatten() for part in parts], out=places[self._rank])
        sum_over_processes(self._here)  # which ends when all have begun it
        flat: Tensor = places[0] + places[1]
        for place in places[2:]:
            flat += place
        return flat


def summation_of(accelerator: Accelerator, size: int) -> Summation:
    """How the processes of this job add up ``size`` numbers; all call it together."""
    number = accelerator.num_processes
    if not 1 < number <= FEW or accelerator.device.type != "cpu":
        return Summation()
    file = on_main(accelerator, lambda: room_for(2 * number * size * torch.float32.itemsize))
    shared: Summation | None = None
    try:
        # Another machine has no such file, and a process may have no more addresses.
        if file is not None and file.exists():
            with suppress(RuntimeError):
                shared = SharedSummation(file, accelerator.process_index, number, size)
        with lost_processes_told():
            everywhere = all(gather_object([shared is not None]))
    finally:
        if file is not None and accelerator.is_main_process:
            file.unlink()
    return shared if shared and everywhere else Summation()


def room_for(num_bytes: int) -> Path | None:
    """A new file in memory, if there is so much left: what is not there would be missed in the middle of a step."""
    if not MEMORY.is_dir():
        return None
    try:
        descriptor, name = tempfile.mkstemp(prefix="charrnn-", dir=MEMORY)
    except OSError:
        return None
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            return None
        raise
    finally:
        os.close(descriptor)
    return Path(name)
