"""Standard output and error, which may be gone, or lack a character: what a user is told goes through here."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from charrnn.errors import UserError
from charrnn.outside.printable import encodable, one_line, printable


def takes_colors(stream: TextIO) -> bool:
    """Whether a stream is to be coloured, by the conventions of no-color.org and force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return is_terminal or bool(os.environ.get("FORCE_COLOR"))


class GoneError(UserError):
    """Standard output does not take what a command has to print."""

    def __init__(self, error: Exception, reason: str) -> None:
        super().__init__(f"cannot write to standard output: {reason}")
        # Whoever read it, such as `head`, has enough.
        self.is_quiet = isinstance(error, BrokenPipeError)
        self.exit_code = 0 if self.is_quiet else 1


class Stream:
    """A stream that escapes what its encoding lacks, and notices once that it is gone.

    What is written later goes nowhere. ``lost`` is why. While it ``matters``, the loss is a `GoneError`.
    """

    def __init__(self, stream: TextIO, *, matters: bool) -> None:
        self._stream = stream
        self.matters = matters
        self.lost = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or nothing on a stream that is gone."""
        # Python's own stream would write some halves of surrogate pairs as raw bytes where the locale is C.
        text = text if text.isascii() else encodable(text)
        if not self.lost:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    encoding = self._stream.encoding
                    self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError) as error:  # a ValueError if it was closed
                self._lose(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes texts one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Writes what waits to be written."""
        if not self.lost:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:  # a ValueError if it was closed
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.lost = getattr(error, "strerror", None) or str(error)
        descriptor = -1
        with suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
        if descriptor in (1, 2):
            # Also for what still waits in Python's buffers, and for libraries that write past Python.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        if self.matters:
            raise GoneError(error, self.lost) from error


@contextmanager
def guarded() -> Iterator[Stream]:
    """Guards standard output and error, and puts both back; the first, which is yielded, matters until it is told not.

    The loss of standard error never ends anything.
    """
    before = sys.stdout, sys.stderr
    out, err = Stream(sys.stdout or _closed(), matters=True), Stream(sys.stderr or _closed(), matters=False)
    sys.stdout, sys.stderr = out, err
    try:
        try:
            yield out
        finally:
            err.flush()
            out.flush()
    finally:
        sys.stdout, sys.stderr = before


def _closed() -> TextIO:
    """What stands for a stream that was closed before Python began: writing fails, as it would there.

    It takes the closed descriptor's number, which otherwise the next file to be opened would have: what a library
    writes to its standard output or error would go into that.
    """
    descriptor = os.open(os.devnull, os.O_RDONLY)
    if descriptor == 0:  # standard input was closed, too
        descriptor = os.open(os.devnull, os.O_RDONLY)
    return io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), encoding="utf-8", write_through=True)


def tell(error: UserError) -> int:
    """Says what is wrong on standard error and returns the exit code; CHARRNN_TRACEBACK=1 adds where it was found."""
    with guarded():
        if os.environ.get("CHARRNN_TRACEBACK") == "1":
            traceback.print_exception(error)
        if not (isinstance(error, GoneError) and error.is_quiet):
            print(f"error: {one_line(error)}", file=sys.stderr)
    return error.exit_code


class _Lines(logging.Formatter):
    """A line each, with nothing raw in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as logging names it
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei))


class _ToStderr(logging.Handler):
    """Writes to what standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            print(self.format(record), file=sys.stderr)


def _to_stderr(level: int = logging.NOTSET) -> logging.Handler:
    handler = _ToStderr(level)
    handler.setFormatter(_Lines("%(message)s"))
    return handler


def log_to_stderr(level: int = logging.INFO) -> None:
    """Lets charrnn and its plugins say on standard error what is not wrong but worth knowing, a line each."""
    # A tracker's client has a log file of its own, whose full disk is not worth a traceback for each line.
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, handlers=[_to_stderr()])
    for name in ("charrnn", "charrnn_plugins"):
        logging.getLogger(name).setLevel(level)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Has warnings said as commands say them, and not as they came, unless a program has logging of its own."""
    root, handler = logging.getLogger(), _to_stderr(logging.WARNING)
    is_own = any(logging.getLogger(name).handlers for name in ("", "charrnn", "charrnn_plugins"))
    if not is_own and logging.lastResort:  # without which it wants to hear of none
        root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
