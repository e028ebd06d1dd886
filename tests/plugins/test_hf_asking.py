"""A hub that drips, never ends or talks nonsense: the question ends in bounded time and memory, with an error."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from charrnn_plugins.hf import asking, hub

from charrnn.errors import CorpusError

Behave = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Behave]]:
    """A hub that answers as the entry "now" does."""
    from huggingface_hub import constants

    behaviour: dict[str, Behave] = {}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # who asked has gone
                behaviour["now"](self)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(asking, "DEADLINE_SECONDS", 2.0)
    monkeypatch.setattr(asking, "MAX_BYTES", 50_000)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.daemon_threads = True
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield behaviour
        server.shutdown()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.2)


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.2)


def never_end(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"[" * 100_000)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (drip_body, "gave no whole answer within 2 s"),
        (drip_head, "gave no whole answer within 2 s"),
        (never_end, "sends more than 50000 bytes"),
        (lambda handler: answer(handler, b"<html>"), "Expecting value"),
        (lambda handler: answer(handler, b"[" * 40_000), "recursion|Expecting|too deep"),
        (lambda handler: answer(handler, b"{}", 500), "500"),
    ],
    ids=["drips its body", "drips its head", "never ends", "a web page", "deep", "an error"],
)
def test_a_hub_that_does_not_answer_cannot_be_asked(how: Behave, reason: str, behave: dict[str, Behave]) -> None:
    behave["now"] = how
    before = time.monotonic()
    with pytest.raises(ConnectionError, match=f"the hub cannot be asked .*({reason})"):
        hub.commit("me/tales", reason)  # a revision of its own: what was answered is remembered
    assert time.monotonic() - before < 10


def test_an_answer_is_read(behave: dict[str, Behave]) -> None:
    behave["now"] = lambda handler: answer(handler, json.dumps({"sha": handler.path}).encode())
    found = hub.commit("me/tales", "v 1/2")
    assert found.startswith("/api/datasets/me/tales/revision/v%201%2F2?expand=sha")


def test_what_is_no_name_is_not_asked_for() -> None:
    with pytest.raises(CorpusError, match="neither a folder here nor the name of a data set"):
        hub.commit("a/b/c", None)
