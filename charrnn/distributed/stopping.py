"""Being told to stop: by a signal, or by the death of the launcher."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from charrnn.distributed.launcher import is_launched


class StoppedError(KeyboardInterrupt):
    """A signal that ended the job before its time; what there was to save is saved."""


class StopRequest:
    """Whether this process was told to stop: by SIGTERM, SIGINT, SIGUSR1 or SIGHUP, or by the death of its launcher.

    While ``armed``, a signal is only noted, so that the training loop can agree on it with the other processes;
    before that there is nothing to save, and it ends the process. A second SIGINT always does. `close` gives the
    signals back to whoever had them; a thread other than the main one cannot take them, and leaves them alone. So does
    any with a SIGHUP that is ignored, as `nohup` wants it.
    """

    def __init__(self) -> None:
        self.armed = False
        self.reason = ""
        self._parent = os.getppid() if is_launched() else None
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            names = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"]
            numbers: list[signal.Signals] = [getattr(signal, name) for name in names if hasattr(signal, name)]
            for number in numbers:
                if not (number.name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._note)

    def close(self) -> None:
        """Puts back the handlers that there were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def comes(self, within: float) -> bool:
        """Waits for it so many seconds at most."""
        end = time.monotonic() + within
        with suppress(StoppedError):
            while not self and time.monotonic() < end:
                time.sleep(0.05)
            return bool(self)
        return True

    def _note(self, number: int, _frame: FrameType | None) -> None:
        before = self.reason
        # It is noted in any case: what is raised within a module's import or a callback can be lost there.
        self.reason = signal.Signals(number).name
        if number == signal.SIGINT and (before or not self.armed):
            raise KeyboardInterrupt
        if not self.armed:
            raise StoppedError(f"stopped by {self.reason} before training began")

    def __bool__(self) -> bool:
        if not self.reason and self._parent is not None and os.getppid() != self._parent:
            self.reason = "the launcher has died"
        return bool(self.reason)
