"""One bounded HTTP request for one file: it is fetched whole within its limits, or not at all."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import __version__

if TYPE_CHECKING:
    import httpx

USER_AGENT = f"charrnn/{__version__} (trains character-level language models; fetches single books, slowly)"
_REDIRECTS = 5


@dataclass(frozen=True)
class Limits:
    """How long and how large a download may be, in seconds and bytes."""

    pause: float = 2.0
    """Between the end of one download and the beginning of the next."""
    stall: float = 15.0
    """Until a connection stands, and between two pieces of an answer."""
    deadline: float = 180.0
    """For one whole request, from its first to its last byte."""
    size: int = 100_000_000
    attempts: int = 3
    """Requests for one address, where what went wrong may pass."""
    wait: float = 1.0
    """Before the second attempt; doubled before each further one."""
    longest_wait: float = 120.0
    """A mirror that asks for more patience than this (Retry-After) is left."""


class AbsentError(Exception):
    """The mirror does not have this file; it may have another."""


class RefusedError(Exception):
    """The mirror refuses, or what it sends cannot be used: asking again is of no use."""


class PassingError(Exception):
    """Something that may be better in a moment; ``after`` is what the mirror asks to wait, in seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


def fetch(name: str, address: str, path: Path, limits: Limits) -> None:
    """Fetches an address into a temporary file and renames it to ``path`` when it is whole; ``name`` is for the eye.

    Redirects are followed on the same host only: a mirror must not send us to the main site, to another's server or
    to a file. Compressed answers are refused, as none was asked for, so that the bytes on the wire are all there is.
    Raises `AbsentError`, `RefusedError` or `PassingError`.
    """
    import httpx

    partial = path.with_name(f"{path.name}.part")
    client = httpx.Client(
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}, timeout=httpx.Timeout(limits.stall)
    )
    try:
        with _Watchdog(limits.deadline) as watchdog, client:
            for _ in range(_REDIRECTS):
                with client.stream("GET", address, extensions={"trace": watchdog.trace}) as response:
                    if not response.has_redirect_location:
                        _check_head(response, limits)
                        _store(name, response, partial, limits)
                        break
                    address = _redirected(response)
            else:
                raise RefusedError(f"sent us on more than {_REDIRECTS} times")
        _check_content(partial)
        os.replace(partial, path)
    except httpx.TransportError as error:
        if watchdog.barked:
            raise RefusedError(f"gave no whole answer within {limits.deadline:g} s") from error
        raise PassingError(f"{error}" or type(error).__name__) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # a name of a host may be no name at all
        raise RefusedError(f"{error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _redirected(response: httpx.Response) -> str:
    here, there = response.url, response.url.join(response.headers["location"])
    if there.host != here.host or (there.scheme, there.port) not in ((here.scheme, here.port), ("https", None)):
        raise RefusedError(f"sends us elsewhere, to {there}")
    return str(there)


def _check_head(response: httpx.Response, limits: Limits) -> None:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code in (404, 410):
        raise AbsentError(status)
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        after = _retry_after(response.headers.get("retry-after", ""))
        if after > limits.longest_wait:
            raise RefusedError(f"{status}, and asks us to wait {after:.0f} s")
        raise PassingError(status, after)
    if response.status_code != 200:
        raise RefusedError(status)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError("sent a compressed answer to a request for a plain one")
    if response.headers.get("content-type", "").startswith("text/html"):
        raise AbsentError("a web page instead of the file")


def _retry_after(value: str) -> float:
    """Seconds to wait, from a Retry-After header: seconds, or a date."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _store(name: str, response: httpx.Response, partial: Path, limits: Limits) -> None:
    from tqdm import tqdm

    length = response.headers.get("content-length", "")
    total = int(length) if length.isascii() and length.isdigit() else None
    received = 0
    with (
        partial.open("wb") as file,
        tqdm(desc=name, total=total, unit="B", unit_scale=True, leave=False, disable=None) as progress,
    ):
        for piece in response.iter_raw():
            received += len(piece)
            if max(received, total or 0) > limits.size:
                raise RefusedError(f"sends more than {limits.size} bytes")
            file.write(piece)
            progress.update(len(piece))


def _check_content(path: Path) -> None:
    with path.open("rb") as file:
        beginning = file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not beginning:
        raise AbsentError("an empty file")
    if beginning.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise AbsentError("a web page instead of the file")


class _Watchdog:
    """Shuts a client's connections when a deadline has passed: httpx's own timeouts begin anew with every byte."""

    def __init__(self, seconds: float) -> None:
        self.barked = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._bark)
        self._timer.daemon = True

    def __enter__(self) -> _Watchdog:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """The trace extension of httpx: notes each connection as soon as it stands."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.append(info["return_value"].get_extra_info("socket"))
            if self.barked:
                self._bark()

    def _bark(self) -> None:
        self.barked = True
        for connection in self._sockets:
            # A TLS connection has taken the place of its plain one, which cannot be shut any more.
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
