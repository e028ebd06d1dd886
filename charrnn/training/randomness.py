"""Randomness as a function: what is random at a step depends on the run's seed, the step and the purpose alone."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, step: int, purpose: str) -> int:
    """A 63-bit seed for one purpose at one step of a run, the same on every machine and process."""
    digest = hashlib.blake2b(f"{seed} {step} {purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_at(seed: int, step: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose at one step; nothing of it needs saving for a run to be resumed."""
    return torch.Generator(device).manual_seed(derived_seed(seed, step, purpose))
