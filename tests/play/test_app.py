"""`charrnn play`: the endpoint on a real server on loopback, and the command as a user runs it."""

from __future__ import annotations

import contextlib
import functools
import gc
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from charrnn.cli import main
from charrnn.cli.play import host_names
from charrnn.model.folder import save_model
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import generate
from charrnn.play import app as play
from charrnn.play.server import make_server
from charrnn.text.vocab import Vocabulary
from tests.conftest import program, start


def make_model(characters: str) -> tuple[CharLSTM, Vocabulary]:
    """A small model that nobody trained, of these characters."""
    torch.manual_seed(0)
    vocab = Vocabulary("".join(sorted(set(characters))))
    return CharLSTM(len(vocab), hidden_size=16, embedding_size=8), vocab


MODELS = {
    "runs/letters": make_model("\nabcdef "),
    "runs/symbols": make_model("\n<>&\"'/scriptimgx=é🙂\u202e"),
    "runs/half": make_model("\ud83d"),
}


@contextlib.contextmanager
def served(models: play.Models) -> Iterator[str]:
    """The address of a server of these models, which runs for as long as the context."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A factory is called where the event loop runs: elsewhere Gradio makes loops of its own that it never closes.
        factory = functools.partial(play.make_app, models, ["127.0.0.1"])
        server = make_server(factory, factory=True)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(MODELS) as address:
        yield address


def expected(run: str, prompt: str = "", **settings: Any) -> str:
    return "".join(generate(*MODELS[run], prompt, **settings))


def test_a_completion_is_the_text_that_the_model_writes(url: str) -> None:
    settings = {"length": 200, "temperature": 0.5, "top_k": 5, "top_p": 0.9, "seed": 3}
    reply = httpx.get(f"{url}/complete", params={"prompt": "abc", **settings})
    assert reply.status_code == 200
    assert reply.text == expected("runs/letters", "abc", **settings)


def test_a_completion_ends_at_a_stop(url: str) -> None:
    reply = httpx.get(f"{url}/complete", params={"stop": ["fa", "e"], "seed": 2})
    assert reply.text == expected("runs/letters", stop=["fa", "e"], seed=2)
    assert "e" not in reply.text
    assert httpx.get(f"{url}/complete", params={"stop": "é"}).status_code == 400


def test_a_completion_is_of_the_run_asked_for_in_any_script(url: str) -> None:
    reply = httpx.get(
        f"{url}/complete", params={"run": "runs/symbols", "prompt": "é🙂", "length": 300, "seed": 1, "temperature": 1}
    )
    assert reply.text == expected("runs/symbols", "é🙂", length=300, seed=1, temperature=1)
    assert "🙂" in reply.text


def test_without_a_seed_every_completion_is_another(url: str) -> None:
    assert len({httpx.get(f"{url}/complete", params={"length": 100}).text for _ in range(3)}) == 3


def test_half_a_surrogate_pair_is_sent_escaped(url: str) -> None:
    assert httpx.get(f"{url}/complete", params={"run": "runs/half", "length": 2}).text == r"\ud83d" * 2


def test_no_browser_takes_a_completion_for_a_page(url: str) -> None:
    headers = httpx.get(f"{url}/complete", params={"run": "runs/symbols"}).headers
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"length": 0}, "length 0: "),
        ({"length": play.MAX_LENGTH + 1}, "length 10001: "),
        ({"length": "many"}, "length many: "),
        ({"prompt": "a" * (play.MAX_PROMPT + 1)}, "prompt aaa"),
        ({"prompt": "a€"}, "the vocabulary has no '€' (U+20AC)"),
        ({"temperature": -1}, "temperature -1: "),
        ({"temperature": "nan"}, "temperature nan: "),
        ({"top_k": -1}, "top_k -1: "),
        ({"top_p": 0}, "top_p 0: "),
        ({"seed": -1}, "seed -1: "),
        ({"run": "runs/none"}, "there is no run 'runs/none' here: choose runs/letters"),
        ({"lenght": 5}, "there is no lenght: did you mean length?"),
        ({"a\nb": 5}, r"there is no a\nb"),
    ],
)
def test_a_bad_request_is_one_line(url: str, params: dict[str, Any], reason: str) -> None:
    reply = httpx.get(f"{url}/complete", params=params)
    assert reply.status_code == 400
    assert reply.text.startswith(f"error: {reason}")
    assert reply.text.count("\n") == 1


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Makes texts endless: only a client that goes can end one, which releases the semaphore once."""
    texts = threading.Semaphore(0)

    def endless(*args: Any, **settings: Any) -> Iterator[str]:
        try:
            yield from generate(*args, **{**settings, "length": 10**12})
        finally:
            texts.release()

    monkeypatch.setattr(play, "generate", endless)
    return texts


def wait_for(ended: threading.Semaphore) -> None:
    """Waits until a text has ended: nobody runs it any more, and it is garbage."""
    while not ended.acquire(timeout=0.1):
        gc.collect()


def test_several_clients_are_served_at_once_until_they_go(url: str, ended: threading.Semaphore) -> None:
    streams: list[Iterator[str]] = []
    with contextlib.ExitStack() as stack:
        for seed in range(5):
            params = {"seed": seed, "temperature": 1}
            reply = stack.enter_context(httpx.stream("GET", f"{url}/complete", params=params))
            # Kept in a list: a connection is closed when its iterator is forgotten.
            streams.append(reply.iter_text())
            text = next(streams[-1])
            assert text == expected("runs/letters", length=len(text), seed=seed, temperature=1)
        assert not ended.acquire(blocking=False)
    for _ in range(5):
        wait_for(ended)


def test_other_names_for_this_machine_are_refused(url: str) -> None:
    assert httpx.get(url, headers={"Host": "elsewhere.example"}).status_code == 400
    assert httpx.get(f"{url}/complete", headers={"Host": "elsewhere.example"}).status_code == 400


def test_the_page_gives_no_files_and_takes_none(url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    assert httpx.get(f"{url}/gradio_api/file={secret}").status_code == 403
    assert httpx.post(f"{url}/gradio_api/upload", files={"files": b"x"}).status_code == 403


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", *MODELS["runs/letters"], card="a model")
    return tmp_path / "model"


def error_of(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    """The one line that `charrnn play` says when it cannot."""
    assert main(["play", *map(str, args)]) == (1 if args else 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_what_cannot_be_served_is_one_line(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "are required: RUNS: see charrnn play --help" in error_of(capsys)
    assert "nothing" in error_of(capsys, tmp_path / "nothing")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert "Address already in use" in error_of(capsys, run_dir, "--port", port)
    assert "--port" in error_of(capsys, run_dir, "--port", "65536")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'gradio>=6.31,<7'" in error_of(capsys, run_dir)


@pytest.mark.slow
def test_the_command_serves_until_ctrl_c_and_then_says_nothing(run_dir: Path) -> None:
    process = start([program("charrnn")], "play", run_dir, "--port", "0")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        # Both keep a connection open, which must not hold up the end.
        with (
            httpx.stream("GET", f"{url}gradio_api/heartbeat/session", timeout=60),
            httpx.stream("GET", f"{url}complete", params={"length": 50}, timeout=60) as reply,
        ):
            assert len(reply.read().decode()) == 50
            process.send_signal(signal.SIGINT)
            assert process.communicate()[0] == ""
        assert process.returncode == 130
    finally:
        process.kill()


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::"])
def test_listening_to_others_is_warned_of(address: str, caplog: pytest.LogCaptureFixture) -> None:
    assert host_names(address, 7860) == ["*"]
    assert "port 7860" in caplog.text
    assert "no password" in caplog.text


def test_listening_to_this_machine_alone_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert "127.0.0.1" in host_names("127.0.0.1", 7860)
    assert caplog.text == ""
