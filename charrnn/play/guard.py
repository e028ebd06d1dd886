"""What may be asked of the server, and by whom: what the page needs, by the page itself or by a program, and no more.

Gradio has some sixty endpoints (uploads, files, a proxy, ...) of which the page needs a few: the others are closed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charrnn.outside.foreign import Count, Strict, Text, parsed

MAX_BODY = 1 << 22
"""Bytes of a request's body: the texts of both columns, however often they went on."""
BODY_SECONDS = 10
"""In which a body must have come."""

READ = re.compile(
    r"/|/complete|/favicon\.ico|/theme\.css|/gradio_api/(queue/data|heartbeat/\w+)|/(assets|static)(/[\w-][\w.-]*)+",
    re.ASCII,
)
"""Paths of GET."""
SESSION = re.compile(rb"session_hash=[a-z0-9]{1,64}")

Word = Annotated[str, Field(pattern=r"^[a-z0-9]{1,64}$")]


class Join(Strict):
    """A button was pressed, or a box ticked."""

    model_config = ConfigDict(extra="forbid")

    data: Annotated[list[Text | float | bool | None], Field(max_length=32)]
    fn_index: Count
    session_hash: Word
    trigger_id: Count | None = None
    event_data: None = None


class Reset(Strict):
    """A text is no longer wanted."""

    event_id: Word


class Cancel(Reset):
    """The same, where it is still in the queue."""

    session_hash: Word
    fn_index: Count


class Asked(Strict):
    """What a program asks of the endpoint, which checks it."""

    model_config = ConfigDict(extra="allow")


WRITTEN: dict[str, type[Strict]] = {
    "/complete": Asked,
    "/gradio_api/queue/join": Join,
    "/gradio_api/cancel": Cancel,
    "/gradio_api/reset": Reset,
}
"""Paths of POST, and what their bodies have to be."""


class RefusedError(Exception):
    """A request that is not let through: the status and the reason."""


class Guard:
    """Lets through to an app what `READ` and `WRITTEN` name, bounded in size and time, from no other page."""

    def __init__(self, app: ASGIApp, functions: Collection[int]) -> None:
        self._app = app
        self._functions = functions
        """The numbers of what the page can ask for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request, or refuses it in one line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                checked = await self._check(scope, receive)
            except RefusedError as error:
                status, reason = error.args
                headers = {"Connection": "close"}
                await PlainTextResponse(f"error: {reason}\n", status, headers)(scope, receive, send)
            else:
                await self._app(scope, checked, send)

    async def _check(self, scope: Scope, receive: Receive) -> Receive:
        """Raises `RefusedError`, or returns what the app is to receive from, with the body that was read."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        _check_page(headers, path)
        if method not in ("GET", "POST"):
            raise RefusedError(405, "only GET and POST are served")
        if not (READ.fullmatch(path) if method == "GET" else path in WRITTEN):
            raise RefusedError(403, "there is nothing here, or it is closed")
        body = await _body(headers, receive, MAX_BODY if method == "POST" else 0)
        if method == "POST":
            try:
                asked = parsed(WRITTEN[path], body.decode("utf-8"))
            except ValueError as error:
                raise RefusedError(400, str(error)) from error
            if getattr(asked, "fn_index", None) not in (None, *self._functions):
                raise RefusedError(400, "fn_index: there is no such function")
        elif path == "/gradio_api/queue/data" and not re.fullmatch(
            rb"session_hash=[a-z0-9]{1,64}", scope["query_string"]
        ):
            raise RefusedError(400, "session_hash is missing, or is none")
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        return again


def _check_page(headers: Headers, path: str) -> None:
    """Raises `RefusedError` for what another page makes a browser send.

    Browsers say so, programs need not; a link to the page itself may be anywhere.
    """
    origins = headers.getlist("origin")
    if any(urlsplit(origin).netloc != headers.get("host") for origin in origins):
        raise RefusedError(403, "this is for the server's own page: a page from elsewhere asked")
    from_elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    is_link = path == "/" and headers.get("sec-fetch-mode") == "navigate" and not origins
    if from_elsewhere and not is_link:
        raise RefusedError(403, "this is for the server's own page: a page from elsewhere asked")


async def _body(headers: Headers, receive: Receive, most: int) -> bytes:
    """The whole body; raises `RefusedError` if it is too large or too slow."""
    if not most and "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
        return b""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > most:
        raise RefusedError(413, f"the body may have {most:,} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > most:
                    raise RefusedError(413, f"the body may have {most:,} bytes")
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        raise RefusedError(408, f"the body has not come within {BODY_SECONDS} seconds") from error
