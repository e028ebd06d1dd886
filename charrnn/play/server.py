"""The server of the page: uvicorn, without patience for clients that begin a request and do not end it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 10
"""In which the head of a request must have come; also those between two requests count."""
MAX_HEAD = 1 << 16
"""Bytes of a head: a prompt of 4,000 characters, each of four bytes, each of these as %XX, fits."""
MAX_CONNECTIONS = 200
"""So many are served; beyond these a client is told to come back later: a page has two, and a process 1,024 files."""
STALL_SECONDS = 60
"""After which a client is gone that takes nothing of what is sent to it."""


class Impatient(H11Protocol):
    """HTTP of which a request's head must come in time; uvicorn itself waits for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        """Begins to wait for the next request."""
        super().on_response_complete()
        self._await_head()

    def _await_head(self) -> None:
        self.loop.call_later(HEAD_SECONDS, self._give_up, self.cycle)

    def _give_up(self, before: RequestResponseCycle | None) -> None:
        if self.cycle is before and not self.transport.is_closing():
            self.transport.abort()


def make_server(
    app: FastAPI | Callable[[], FastAPI], *, most: int = MAX_CONNECTIONS, **settings: Any
) -> uvicorn.Server:
    """A server of an app, or of what a factory makes where the event loop runs, for ``most`` connections at once."""
    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD,
        limit_concurrency=most + 1,
        log_level="error",
        # Pages keep a connection open for as long as they are: an end cuts them off, which is no error.
        timeout_graceful_shutdown=1,
        **settings,
    )
    return uvicorn.Server(config)


def end_the_stalled(listener: socket.socket, seconds: float = STALL_SECONDS) -> None:
    """Has the system end connections whose other side is gone or takes nothing for so long, where it can."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * seconds))
