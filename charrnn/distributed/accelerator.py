"""Joining the job through Accelerate, which chooses device, precision and scaling, and how long to wait for others."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DynamoBackend, InitProcessGroupKwargs, parse_flag_from_env
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from charrnn.distributed.collectives import lost_processes_told
from charrnn.distributed.launcher import restarts, world_size
from charrnn.errors import ConfigError

JOIN_TIMEOUT = timedelta(minutes=10)
"""How long the first processes of a job wait for the last to be there."""
PREPARATION_TIMEOUT = timedelta(hours=6)
"""How long processes wait for each other before training: one may build the store of a very large text."""


def training_timeout() -> timedelta:
    """How long a process waits for the others in training, for their part of a step or while the main one saves."""
    seconds = os.environ.get("CHARRNN_TIMEOUT", "600")
    if not seconds.isdecimal() or not int(seconds):
        raise ConfigError(f"CHARRNN_TIMEOUT={seconds}: it must be a whole number of seconds, 1 or more")
    return timedelta(seconds=int(seconds))


def start_accelerator(precision: str = "float32") -> Accelerator:
    """Joins the job, to compute in a precision unless the launcher was told one.

    Raises `ConfigError` where launcher and Accelerate disagree, or the device cannot do its part.
    """
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
    if world_size() == 1 and "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ:
        raise ConfigError(
            "accelerate launch was asked for several processes, but on CPUs it starts one: add "
            "--mpirun_hostfile FILE, or use `torchrun --nproc-per-node N -m charrnn.train` "
            "(or unset MASTER_PORT, if it was not the launcher that set it)"
        )
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise ConfigError(f"{name}: every process has the whole model here: leave it out of accelerate's settings")
    try:
        with lost_processes_told():
            _join_again()
            AcceleratorState._reset_state()  # of an earlier run of this process, perhaps in another precision
            accelerator = Accelerator(
                mixed_precision=None if told else {"float32": "no"}.get(precision, precision),
                # Told nothing, Accelerate lets each process of torchrun train alone on a machine without a GPU.
                cpu=not torch.accelerator.is_available(),
                kwargs_handlers=[InitProcessGroupKwargs(timeout=JOIN_TIMEOUT)],
            )
            _require_plain(accelerator, told=told)
    except ValueError as error:
        raise ConfigError(f"Accelerate cannot start: {' '.join(str(error).split())}") from error
    if accelerator.num_processes != world_size():
        raise ConfigError(
            f"the launcher started {world_size()} processes, but Accelerate sees {accelerator.num_processes}: "
            "each would train alone; check the launcher's flags and `accelerate env`"
        )
    if accelerator.mixed_precision == "bf16" and accelerator.device.type == "cpu" and not _computes_bf16():
        advice = "launch with --mixed_precision no" if told else "give --precision float32"
        raise ConfigError(f"this CPU has no bf16 instructions: {advice}")
    wait_at_most(PREPARATION_TIMEOUT)
    return accelerator


def precision_of(accelerator: Accelerator) -> str:
    """The setting that names what Accelerate computes in."""
    mixed: str = accelerator.mixed_precision
    return "float32" if mixed == "no" else mixed


def _require_plain(accelerator: Accelerator, *, told: bool) -> None:
    """Raises `ConfigError` for what Accelerate was asked to do and this trainer would not do."""
    if accelerator.state.dynamo_plugin.backend != DynamoBackend.NO:
        raise ConfigError("--dynamo_backend: nothing here is compiled, the LSTM is oneDNN's or cuDNN's: leave it out")
    if accelerator.gradient_accumulation_steps != 1:
        raise ConfigError("--gradient_accumulation_steps: gradients are not added up: choose --batch-size instead")
    if accelerator.mixed_precision != "no" and not accelerator.native_amp:
        device = accelerator.device.type
        name, instead = ("--mixed_precision", "no") if told else ("--precision", "float32")
        raise ConfigError(f"{name} {accelerator.mixed_precision}: there is none on {device}: give {name} {instead}")


def wait_at_most(limit: timedelta) -> None:
    """From now on a process waits so long for the others, then raises `LostProcessError`."""
    if dist.is_initialized():
        _set_pg_timeout(limit)


def _join_again() -> None:
    """Joins a job that torchrun started again after a crash, before Accelerate does.

    torchrun (2.13) lets the restarted processes use the store of those that crashed, whose addresses are still in it;
    who reads one of these waits for a process that is gone. Under a prefix of its own each attempt begins empty.
    With TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 each attempt has a store of its own, and no prefix will do: a node that
    came as a replacement has counted fewer restarts.
    """
    if not restarts() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    store, rank, world_size = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"restart {restarts()}", store),
        rank=rank,
        world_size=world_size,
        timeout=JOIN_TIMEOUT,
    )


def has_fast_bf16() -> bool:
    """Whether this machine trains on a processor that is faster in bf16.

    Recorded: AMD's with AVX-512 BF16 are 1.3 to 1.8 times as fast (benchmarks/records/2026-11-24-techniques.md),
    Intel's with AMX up to 2.4 times; Intel's with AVX-512 BF16 alone are no faster (2026-11-27-bf16.md). The losses are
    the same to 0.005 nats.
    """
    features = torch.cpu.get_capabilities()
    intel = "Intel" in str(features.get("cpu_name", ""))
    has = bool(features.get("amx_bf16" if intel else "avx512_bf16"))
    return has and not torch.accelerator.is_available() and _computes_bf16()


def _computes_bf16() -> bool:
    try:
        _gradients(torch.nn.LSTM(8, 8), bf16=True)
    except RuntimeError:
        return False
    return True


@cache
def learns_in_bf16(num_cells: int) -> bool:
    """Whether the processor's bf16 gives an LSTM of so many cells the gradients that float32 gives it.

    oneDNN's with AMX does not, for multiples of 32 from 1,024 on (torch 2.13): those of the inputs are noise, those of
    the weights wrong by a fifth, and a run only ends higher, without a word (benchmarks/records/2026-11-27-bf16.md).
    """
    with torch.random.fork_rng(devices=()):
        lstm = torch.nn.LSTM(8, num_cells)
    exact, rounded = (_gradients(lstm, bf16=bf16) for bf16 in (False, True))
    return all(float((b - a).norm()) < 0.05 * float(a.norm()) for a, b in zip(exact, rounded, strict=True))


def _gradients(lstm: torch.nn.LSTM, *, bf16: bool) -> list[Tensor]:
    """Of the inputs and weights, for two characters."""
    x_TBF = torch.linspace(-1, 1, 2 * lstm.input_size).view(2, 1, -1).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out_TBH, _ = lstm(x_TBF)
    return list(torch.autograd.grad(out_TBH.float().sum(), [x_TBF, *lstm.parameters()]))
