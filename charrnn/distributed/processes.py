"""The processes of a job: starting them through Accelerate, agreeing with each other, and being told to stop."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import (
    DynamoBackend,
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
    parse_flag_from_env,
)
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from charrnn.distributed.launcher import (
    is_launched,
    keep_freed_memory,
    launched_processes,
    node,
    one_blas_thread,
    restarts,
    share_of_cores,
)
from charrnn.errors import CheckpointError, ConfigError, UserError

T = TypeVar("T")

JOINING = timedelta(minutes=10)
"""How long the first processes of a job wait for the last to be there."""
PREPARATION = timedelta(hours=6)
"""How long processes wait for each other before training: one may build the store of a very large text."""
SHARED_WITHIN = timedelta(minutes=1)
"""When a new file is seen on all nodes: NFS remembers that there was none for no longer (acdirmax)."""


def timeout() -> timedelta:
    """How long a process waits for the others in training, for their part of a step or while the main one saves."""
    seconds = os.environ.get("CHARRNN_TIMEOUT", "600")
    if not seconds.isdecimal() or not int(seconds):
        raise ConfigError(f"CHARRNN_TIMEOUT={seconds}: it must be a whole number of seconds, 1 or more")
    return timedelta(seconds=int(seconds))


def start_accelerator(*, num_threads: int, deterministic: bool) -> Accelerator:
    """Joins the job. Raises `ConfigError` where launcher and Accelerate disagree, or the device cannot do its part."""
    # `accelerate launch` gives a CPU process one thread, whatever the machine has.
    one_blas_thread()
    keep_freed_memory()
    threads = num_threads or share_of_cores()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if launched_processes() == 1 and "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ:
        raise ConfigError(
            "accelerate launch was asked for several processes, but on CPUs it starts one: add "
            "--mpirun_hostfile FILE, or use `torchrun --nproc-per-node N -m charrnn.train` "
            "(or unset MASTER_PORT, if it was not the launcher that set it)"
        )
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise ConfigError(f"{name}: every process has the whole model here: leave it out of accelerate's settings")
    try:
        with _together():
            _join_again()
            accelerator = Accelerator(
                # Told nothing, Accelerate lets each process of torchrun train alone on a machine without a GPU.
                cpu=not torch.accelerator.is_available(),
                kwargs_handlers=[InitProcessGroupKwargs(timeout=JOINING)],
            )
            _require_plain(accelerator)
    except ValueError as error:
        raise ConfigError(f"Accelerate cannot start: {' '.join(str(error).split())}") from error
    if accelerator.num_processes != launched_processes():
        raise ConfigError(
            f"the launcher started {launched_processes()} processes, but Accelerate sees {accelerator.num_processes}: "
            "each would train alone; check the launcher's flags and `accelerate env`"
        )
    if accelerator.mixed_precision == "bf16" and accelerator.device.type == "cpu":
        _require_bf16()
    wait_at_most(PREPARATION)
    return accelerator


def _require_plain(accelerator: Accelerator) -> None:
    """Raises `ConfigError` for what Accelerate was asked to do and this trainer would not do."""
    if accelerator.state.dynamo_plugin.backend != DynamoBackend.NO:
        raise ConfigError("--dynamo_backend: nothing here is compiled, the LSTM is oneDNN's or cuDNN's: leave it out")
    if accelerator.gradient_accumulation_steps != 1:
        raise ConfigError("--gradient_accumulation_steps: gradients are not added up: choose --batch-size instead")
    if accelerator.mixed_precision != "no" and not accelerator.native_amp:
        device = accelerator.device.type
        raise ConfigError(f"--mixed_precision {accelerator.mixed_precision}: there is none on {device}: leave it out")


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
    store, rank, world_size = next(rendezvous("env://", timeout=JOINING))
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"restart {restarts()}", store),
        rank=rank,
        world_size=world_size,
        timeout=JOINING,
    )


def _require_bf16() -> None:
    lstm = torch.nn.LSTM(8, 8)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lstm(torch.zeros(2, 2, 8))[0].sum().backward()
    except RuntimeError as error:
        raise ConfigError("this CPU has no bf16 instructions: launch with --mixed_precision no") from error


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
        with _together():
            value, failure = broadcast_object_list([value, failure])
    return _outcome(value, failure)


def on_each(accelerator: Accelerator, function: Callable[[], T]) -> T:
    """What the function returns, on each process for itself; a `UserError` of any is raised on every one."""
    value: T | None = None
    failure: UserError | None = None
    try:
        value = function()
    except UserError as error:
        failure = error
    failures = [failure]
    if accelerator.num_processes > 1:
        with _together():
            failures = gather_object([failure])
    return _outcome(value, next((error for error in failures if error is not None), None))


def require_same(accelerator: Accelerator, values: Mapping[str, object], advice: str) -> None:
    """Raises `ConfigError` on every process for the first named value that is not the same on all, saying where."""
    everywhere = [(node(), dict(values))]
    if accelerator.num_processes > 1:
        with _together():
            everywhere = gather_object(everywhere)
    for name in values:
        places: dict[object, list[str]] = {}
        for place, each in everywhere:
            places.setdefault(each[name], []).append(place)
        if len(places) > 1:
            found = "; ".join(f"{value} on {_listed(nodes)}" for value, nodes in places.items())
            raise ConfigError(f"the processes of the job differ in {name}: {found}: {advice}")


def _listed(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")


def require_shared(accelerator: Accelerator, folder: Path, within: timedelta) -> None:
    """Raises `CheckpointError` on every process, naming a node, unless all see what the main one writes to a folder."""
    if accelerator.num_processes == 1:
        return
    # By its name alone: a relative folder may be another on another node.
    mark = folder / on_main(accelerator, lambda: Path(tempfile.mkstemp(prefix=".seen-by-all-", dir=folder)[1]).name)

    def look() -> None:
        until = time.monotonic() + within.total_seconds()
        while not mark.exists():
            if time.monotonic() > until:
                raise CheckpointError(
                    f"{node()} does not see the run folder {folder.absolute()} of the main process: "
                    "--run-dir must lie in a folder that all nodes share"
                )
            time.sleep(0.1)

    try:
        on_each(accelerator, look)
    finally:
        if accelerator.is_main_process:
            mark.unlink()


def _outcome(value: T | None, failure: UserError | None) -> T:
    if failure is not None:
        raise failure
    return cast(T, value)


class LostProcessError(UserError):
    """Another process of the job has died or cannot be reached."""


def sum_over_processes(tensor: Tensor) -> None:
    """Adds up a tensor over all processes, in place; raises `LostProcessError` where one of them is gone."""
    if dist.is_initialized():
        with _together():
            dist.all_reduce(tensor)


@contextmanager
def _together() -> Iterator[None]:
    """Around what all processes do together: raises `LostProcessError` where one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        if launched_processes() == 1:
            raise
        # Without the place in torch's source that it begins with.
        reason = re.sub(r"^\[\S+\] ", "", " ".join(str(error).split())).split(". ")[0]
        raise LostProcessError(
            f"{node()} has lost the others: a process of the job has died or cannot be reached "
            f"(torch says: {reason}): start the job again with --resume"
        ) from error


class StoppedError(BaseException):
    """A signal that ended the job before there was anything to save; like KeyboardInterrupt no `Exception`."""


class StopRequest:
    """Whether this process was told to stop: by SIGTERM, SIGINT or SIGUSR1, or by the death of its launcher.

    While ``armed``, a signal is only noted, so that the training loop can agree on it with the other processes;
    before that there is nothing to save, and it ends the process. A second SIGINT always does. `close` gives the
    signals back to whoever had them; a thread other than the main one cannot take them, and leaves them alone.
    """

    def __init__(self) -> None:
        self.armed = False
        self.reason = ""
        self._parent = os.getppid() if is_launched() else None
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
            self._before = {number: signal.signal(number, self._note) for number in numbers}

    def close(self) -> None:
        """Puts back the handlers that there were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and (self.reason or not self.armed):
            raise KeyboardInterrupt
        if not self.armed:
            raise StoppedError(f"stopped by {name} before training began")
        self.reason = name

    def __bool__(self) -> bool:
        if not self.reason and self._parent is not None and os.getppid() != self._parent:
            self.reason = "the launcher has died"
        return bool(self.reason)
