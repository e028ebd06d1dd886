"""What the server of `charrnn play` is asked by others than its page: closed, bounded, and never a 500."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from charrnn.play import guard, server
from tests.play.test_app import MODELS, served

JOIN = "/gradio_api/queue/join"
DATA = ["ab", 100, 1, False, "runs/letters", 0.8, 0, 1, "", "runs/letters", 0.8, 0, 1, ""]
"""What the page sends when a button is pressed."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(MODELS) as address:
        yield address


CLIENT = httpx.Client(timeout=30, trust_env=False)


def asked(url: str, path: str, method: str = "GET", **how: Any) -> httpx.Response:
    """The answer; of one that goes on, the beginning."""
    with CLIENT.stream(method, f"{url}{path}", **how) as reply:
        if "event-stream" not in reply.headers.get("content-type", ""):
            reply.read()
        return reply


@pytest.mark.parametrize("path", ["/upload", "/upload?upload_id=a", "/upload/", "//upload", "/%75pload", "/UPLOAD"])
def test_nothing_is_left_behind(path: str, url: str) -> None:
    for prefix in ("/gradio_api", "", "/gradio_api/..", "/gradio_api/./"):
        for sent in ({"files": {"files": b"x"}}, {"content": b""}, {"files": [("files", b"")] * 500}):
            assert asked(url, prefix + path, "POST", **sent).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "file=/etc/hostname",
        "proxy=http://localhost/",
        "info",
        "openapi.json",
        "component_server",
        "run/predict",
        "call/stream",
        "api/predict",
        "upload_progress",
        "startup-events",
        "process_recording",
        "vibe-code/",
        "app_id",
    ],
)
def test_what_the_page_does_not_need_is_closed(path: str, url: str) -> None:
    for method in ("GET", "POST"):
        reply = asked(url, f"/gradio_api/{path}", method)
        assert reply.status_code == 403
        assert reply.text.startswith("error: ")
    for path in ("/config", "/docs", "/openapi.json", "/monitoring", "/login", "/static/../../x", "/assets/%2e%2e/x"):
        assert asked(url, path).status_code == 403
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "HEAD"):
        assert asked(url, "/", method).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_from_elsewhere_is_refused(headers: dict[str, str], url: str) -> None:
    body = {"data": DATA, "fn_index": 1, "session_hash": "a"}
    assert asked(url, JOIN, "POST", json=body, headers=headers).status_code == 403
    for path in ("/complete?length=1", "/", "/gradio_api/heartbeat/a"):
        assert asked(url, path, headers=headers).status_code == 403


def test_its_own_page_and_links_to_it_are_not(url: str) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert asked(url, "/", headers=link).status_code == 200
    assert asked(url, "/complete", headers=link).status_code == 403
    own = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    assert asked(url, "/complete?length=1", headers=own).status_code == 200


BODIES = [
    b"",
    b"[]",
    b"null",
    b"\xff",
    b"{",
    b"[" * 100_000,
    json.dumps({"data": DATA, "session_hash": "a"}).encode(),
    json.dumps({"data": DATA, "fn_index": 99, "session_hash": "a"}).encode(),
    json.dumps({"data": DATA, "fn_index": -1, "session_hash": "a"}).encode(),
    json.dumps({"data": DATA, "fn_index": 1, "session_hash": "../a"}).encode(),
    json.dumps({"data": DATA, "fn_index": 1, "session_hash": None}).encode(),
    json.dumps({"data": [{"path": "/etc/hostname"}], "fn_index": 1, "session_hash": "a"}).encode(),
    json.dumps({"data": [float("nan")], "fn_index": 1, "session_hash": "a"}).encode(),
    json.dumps({"data": [0] * 10_000, "fn_index": 1, "session_hash": "a"}).encode(),
    json.dumps({"data": DATA, "fn_index": 1, "session_hash": "a", "event_data": {"x": 1}}).encode(),
    json.dumps({"data": DATA, "fn_index": 1, "session_hash": "a", "oauth_token": "x"}).encode(),
]


@pytest.mark.parametrize("path", guard.WRITTEN)
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_the_page_never_sends_is_one_line(body: bytes, path: str, url: str) -> None:
    reply = asked(url, path, "POST", content=body)
    if path == JOIN or b"session_hash" not in body:
        assert reply.status_code == 400
        assert reply.text.startswith("error: ")
        assert reply.text.count("\n") == 1
    assert reply.status_code < 500


def random_value(rng: random.Random) -> Any:
    return rng.choice(["", "a", "runs/letters", None, True, False, 0, 1, -1, 2.5, 1e30, 10**40, "x" * 5000, "\ud800"])


def test_random_requests_never_get_a_500(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    words = [
        "gradio_api",
        "queue",
        "data",
        "join",
        "complete",
        "assets",
        "static",
        "theme.css",
        "heartbeat",
        "file=/",
        "cancel",
        "reset",
        "config",
    ]
    words += ["", "..", "%00", "%2f", "a", "upload", "favicon.ico", "stream", "é", "index.js"]
    known = ["/", "/complete", "/theme.css", "/gradio_api/queue/data", "/gradio_api/heartbeat/a", "/assets/a.js"]
    for _ in range(260):
        made = "/" + "/".join(rng.choice(words) for _ in range(rng.randrange(1, 5)))
        path = rng.choice([made, *known, *guard.WRITTEN])
        names = ["session_hash", "length", "prompt", "run", "temperature", "v", "__theme", "view"]
        query = {rng.choice(names): str(rng.choice(["a", "1", "-1", "\0", "x" * 3000, "nan", "🙂"])) for _ in range(2)}
        body = {"data": [random_value(rng) for _ in range(rng.randrange(16))], "fn_index": rng.choice([0, 1])}
        body |= {"session_hash": "fuzz", "event_id": "a"} if rng.random() < 0.8 else {"event_id": random_value(rng)}
        sent = {"content": json.dumps(body)} if rng.random() < 0.7 else {"content": rng.randbytes(50)}
        method = rng.choice(["GET", "POST"])
        headers = rng.choice([{}, {"Range": "bytes=9-1"}, {"Cookie": b"a=b;;=\xff"}, {"Accept-Language": b"\xff"}])
        reply = asked(url, path, method, params=query, headers=headers, **(sent if method == "POST" else {}))
        assert reply.status_code < 500, (method, path, query, body, headers)
    assert httpx.get(f"{url}/complete", params={"length": 1}).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


# Sizes and times.


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


def answer_to(url: str, *parts: bytes) -> bytes:
    """All that the server says before it closes the connection."""
    with connected(url) as connection, contextlib.suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
        answer = b""
        while received := connection.recv(1 << 16):
            answer += received
        return answer
    return b""


def test_bodies_and_heads_are_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 1)
    host = f"Host: {url.removeprefix('http://')}\r\n".encode()
    large = f"Content-Length: {guard.MAX_BODY + 1}\r\n\r\n".encode()
    assert b" 413 " in answer_to(url, b"POST /gradio_api/reset HTTP/1.1\r\n", host, large)
    assert b" 413 " in answer_to(url, b"GET / HTTP/1.1\r\n", host, b"Content-Length: 1\r\n\r\n")
    chunk = b"%x\r\n" % (1 << 20) + b"a" * (1 << 20) + b"\r\n"
    chunked = b"POST /gradio_api/reset HTTP/1.1\r\n", host, b"Transfer-Encoding: chunked\r\n\r\n"
    assert b" 200 " not in answer_to(url, *chunked, *[chunk] * 5)
    assert b" 200 " not in answer_to(url, b"GET / HTTP/1.1\r\n", host, *[b"X: %s\r\n" % (b"a" * 60_000)] * 20)


def test_a_request_that_does_not_end_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.5)
    host = f"Host: {url.removeprefix('http://')}\r\n".encode()
    begun = time.monotonic()
    assert answer_to(url) == b""
    assert answer_to(url, b"GET / HT") == b""
    whole = b"GET /complete?length=1 HTTP/1.1\r\n" + host + b"\r\n"
    assert answer_to(url, whole, b"GET /").count(b" 200 ") == 1
    half = b"POST /gradio_api/reset HTTP/1.1\r\n" + host + b"Content-Length: 20\r\n\r\n{"
    assert b" 408 " in answer_to(url, half)
    assert time.monotonic() - begun < 15


@contextlib.contextmanager
def endless(seconds: float, most: int) -> Iterator[str]:
    """The address of a server with these limits, which writes and writes to whoever asks."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def text() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)

        await StreamingResponse(text())(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.end_the_stalled(listener, seconds)
        running = server.make_server(app, most=most, lifespan="off")
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()


def asks(url: str, connections: contextlib.ExitStack) -> tuple[socket.socket, bytes]:
    """A new connection that has asked, and the first line of the answer."""
    connection = connections.enter_context(connected(url))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return connection, connection.recv(64).split(b"\r\n")[0]


def test_so_many_connections_are_served_and_no_more() -> None:
    with endless(seconds=60, most=3) as url, contextlib.ExitStack() as connections:
        first, *others = (asks(url, connections) for _ in range(3))
        assert [answer for _, answer in (first, *others)] == [b"HTTP/1.1 200 OK"] * 3
        assert asks(url, connections)[1] == b"HTTP/1.1 503 Service Unavailable"
        first[0].close()
        while (answer := asks(url, connections)[1]) != b"HTTP/1.1 200 OK":
            assert answer == b"HTTP/1.1 503 Service Unavailable"
            time.sleep(0.1)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot be told to end them")
def test_a_client_that_takes_nothing_is_ended_and_makes_room() -> None:
    with endless(seconds=2, most=1) as url, contextlib.ExitStack() as connections:
        stalled, answer = asks(url, connections)
        assert answer == b"HTTP/1.1 200 OK"
        assert asks(url, connections)[1] == b"HTTP/1.1 503 Service Unavailable"
        while asks(url, connections)[1] != b"HTTP/1.1 200 OK":
            time.sleep(0.1)
        with contextlib.suppress(ConnectionError):
            while stalled.recv(1 << 20):  # what had come, and then an end or a reset
                pass


def test_a_text_that_is_being_written_is_not_ended_with_them(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with connected(url) as connection:
        time.sleep(0.1)
        connection.sendall(b"GET /gradio_api/heartbeat/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(0.6)
        assert b"ALIVE" in connection.recv(1 << 16)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
