"""What a process makes of its share of the machine."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

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
