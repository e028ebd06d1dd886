"""Sums over the processes of one machine, in memory that they share."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from charrnn.distributed.summation import MEMORY, Summation, room_for, summation_of
from tests.conftest import program, run

PROGRAM = r"""
import os, sys, time
from pathlib import Path
import torch
from accelerate import Accelerator
from charrnn.distributed import summation

accelerator = Accelerator(cpu=True)
summation.MEMORY = Path(sys.argv[1])
rank, number = accelerator.process_index, accelerator.num_processes
randoms = [torch.Generator().manual_seed(each) for each in range(number)]
add = summation.summation_of(accelerator, 1003)
digest = torch.zeros(1003, dtype=torch.float64)
for turn in range(300):
    parts = [[torch.randn(10, 100, generator=random), torch.randn(3, generator=random)] for random in randoms]
    if turn % 7 == rank:
        time.sleep(0.001)  # now one comes last, now another
    total = add(parts[rank])
    if turn % 5 == rank:
        time.sleep(0.001)  # and the others go on meanwhile
    expected = sum(torch.cat([part.flatten() for part in each]) for each in parts)
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-6)
    digest += total
# In one piece, which the lines of others do not break.
os.write(1, f"{rank} of {number} {add.way} {digest.sum().item().hex()}\n".encode())
os._exit(0)  # gloo's threads can abort a process that has done its work (pytorch #179291)
"""


def said(processes: int, memory: Path) -> list[str]:
    """What the processes of the program say, in the order of ranks."""
    Path("add.py").write_text(PROGRAM, encoding="utf-8")
    torchrun = [program("torchrun"), "--standalone", "--nproc-per-node", str(processes), "add.py"]
    return sorted(line for line in run(torchrun, str(memory)).stdout.splitlines() if " of " in line)


@pytest.mark.slow
@pytest.mark.skipif(not MEMORY.is_dir(), reason=f"there is no {MEMORY} here")
@pytest.mark.parametrize("processes", [2, 3])
def test_all_get_the_sum_of_all_to_the_last_bit_and_leave_nothing(processes: int) -> None:
    before = {path.name for path in MEMORY.glob("charrnn-*")}
    lines = said(processes, MEMORY)
    assert [line.rsplit(" ", 1)[0] for line in lines] == [
        f"{rank} of {processes} in shared memory" for rank in range(processes)
    ]
    assert len({line.rsplit(" ", 1)[1] for line in lines}) == 1
    assert {path.name for path in MEMORY.glob("charrnn-*")} <= before


@pytest.mark.slow
def test_without_memory_to_share_they_add_up_over_the_network() -> None:
    assert all("over the network" in line for line in said(2, Path("nowhere")))


@pytest.mark.skipif(not MEMORY.is_dir(), reason=f"there is no {MEMORY} here")
def test_memory_that_is_not_there_is_not_promised() -> None:
    before = set(MEMORY.iterdir())
    assert room_for(1 << 50) is None
    assert set(MEMORY.glob("charrnn-*")) <= before


def test_one_process_shares_nothing() -> None:
    assert type(summation_of(Accelerator(cpu=True), 10)) is Summation
