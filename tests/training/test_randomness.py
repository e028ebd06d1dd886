"""Randomness: a function of seed, step and purpose, the same everywhere and in every process."""

from __future__ import annotations

import subprocess
import sys

import torch

from charrnn.training.randomness import derived_seed, generator_at


def test_a_seed_is_the_same_in_another_process() -> None:
    code = "from charrnn.training.randomness import derived_seed; print(derived_seed(7, 1234, 'dropout'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == derived_seed(7, 1234, "dropout")


def test_seeds_differ_by_run_step_and_purpose() -> None:
    seeds = {derived_seed(s, step, p) for s in range(10) for step in range(100) for p in ("dropout", "state drop")}
    assert len(seeds) == 10 * 100 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_negative_seeds_and_late_steps_are_fine() -> None:
    assert torch.rand(1, generator=generator_at(-1, 10**15, "dropout")) >= 0


def test_a_generator_begins_afresh_and_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(100, generator=generator_at(0, 5, "dropout"))
    assert torch.equal(first, torch.rand(100, generator=generator_at(0, 5, "dropout")))
    assert not torch.equal(first, torch.rand(100, generator=generator_at(0, 6, "dropout")))
    assert torch.equal(torch.get_rng_state(), before)
