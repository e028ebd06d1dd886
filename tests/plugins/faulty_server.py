"""A loopback mirror that answers as it is told to: each fault that a mirror, or the way to it, can have."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], None]

_BOMB = gzip.compress(bytes(10_000_000))


class Request(BaseHTTPRequestHandler):
    """One request; an `Answer` writes to it whatever it likes."""

    server: _Server

    def do_GET(self) -> None:
        self.server.mirror.requests.append(self)
        answers = self.server.mirror.answers.get(self.path.lstrip("/"), [status(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            answer(self)
        except OSError:
            self.close_connection = True

    def reply(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def until_client_leaves(self) -> None:
        self.connection.settimeout(20)
        while self.connection.recv(1000):
            pass

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        super().__init__(("127.0.0.1", 0), Request)


@dataclass
class Mirror:
    """The answers for each path, one after the other, the last for ever; and the requests that came."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def paths(self) -> list[str]:
        return [request.path.lstrip("/") for request in self.requests]


@contextmanager
def running() -> Iterator[Mirror]:
    """A mirror on a free port of the loopback interface, without any file until it is told of one."""
    mirror = Mirror()
    with _Server(mirror) as server:
        mirror.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield mirror
        finally:
            mirror.ended.set()
            server.shutdown()
            thread.join()


def body(content: bytes, **headers: str) -> Answer:
    return lambda request: request.reply(200, content, **headers)


def status(code: int, **headers: str) -> Answer:
    return lambda request: request.reply(code, b"no", **headers)


def web_page(request: Request) -> None:
    request.reply(200, b"<!DOCTYPE html><html><body>blocked</body></html>", Content_Type="text/html; charset=utf-8")


def web_page_called_text(request: Request) -> None:
    request.reply(200, b"\r\n <HTML><body>blocked</body></HTML>", Content_Type="text/plain")


def reset(request: Request) -> None:
    """Sends half a body, then resets the connection."""
    request.reply(200, b"half", Content_Length="1000")
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def short(request: Request) -> None:
    request.reply(200, b"too short", Content_Length="1000")


def stalled(request: Request) -> None:
    request.reply(200, b"then nothing", Content_Length="1000")
    request.until_client_leaves()


def silent(request: Request) -> None:
    request.until_client_leaves()


def _drip(request: Request) -> None:
    while not request.server.mirror.ended.wait(0.02):
        request.wfile.write(b"x")


def dripping(request: Request) -> None:
    request.reply(200, Content_Length="1000000")
    _drip(request)


def dripping_head(request: Request) -> None:
    request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Drip: ")
    _drip(request)


def endless(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    while not request.server.mirror.ended.is_set():
        request.wfile.write(b"over and over " * 1000)


def gzip_bomb(request: Request) -> None:
    request.reply(200, _BOMB, Content_Encoding="gzip")


def not_http(request: Request) -> None:
    request.wfile.write(b"220 this is a mail server\r\n\r\n")


def to(address: str, code: int = 302) -> Answer:
    return lambda request: request.reply(code, Location=address)
