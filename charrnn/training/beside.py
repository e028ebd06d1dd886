"""What a run writes and shows, beside training where a GPU computes: in order, one thing after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

LOG = logging.getLogger(__name__)

AT_ONCE = ("cpu",)
"""Devices that compute on the cores that would write: there training waits for it."""
COPIES = 2
"""Tasks with a copy of the model that may wait: the samples and the checkpoint of one step."""


class Beside:
    """Does what it is given, at once or in a thread of its own, in the same order.

    What fails is raised by the next call, and what comes after it is left undone. As a context it waits at its end
    until all is done, unless it ends with an interrupt; it can be entered again.
    """

    def __init__(self, device: torch.device) -> None:
        self.at_once = device.type in AT_ONCE
        """Whether all is done at once, and need not be copied before training goes on."""
        self._thread: ThreadPoolExecutor | None = None
        self._tasks: list[Future[None]] = []
        self._copies: list[Future[None]] = []
        self._failed = False

    def do(self, task: Callable[[], object], *, has_copy: bool = False) -> None:
        """Does a task after those before it; of those that have a copy of the model only `COPIES` may wait."""
        if self._thread is None:
            task()
            return
        while self._tasks and self._tasks[0].done():
            self._tasks.pop(0).result()
        if has_copy and len(self._copies) == COPIES:
            self._copies.pop(0).result()
        self._tasks.append(self._thread.submit(self._run, task))
        self._copies += self._tasks[-1:] if has_copy else []

    def wait(self) -> None:
        """Until all is done."""
        while self._tasks:
            self._tasks.pop(0).result()

    def _run(self, task: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            task()
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> Beside:
        if not self.at_once:
            self._thread = ThreadPoolExecutor(1, "beside training")
            self._tasks, self._copies, self._failed = [], [], False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        try:
            if error is None or isinstance(error, Exception):
                self.wait()
        except Exception as failure:
            if error is None or error is failure:
                raise
            LOG.warning("%s", failure)  # said, not raised: what ended the run is the news
        finally:
            self._failed = True
            self._thread.shutdown(wait=False)
