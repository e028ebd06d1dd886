"""The corpus `hf:`: exact texts and helpful errors, from local folders and from a hub on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

HUB = Path(__file__).resolve().parents[3] / "shared" / "hub"
NOWHERE = "http://127.0.0.1:1"
READER = """
import json, logging, sys
from charrnn.text.corpus import CorpusSpec
from charrnn.errors import UserError
from charrnn.text.plugins import Corpora

class Notices(logging.Handler):
    def emit(self, record):
        answer["notices"].append(record.getMessage())

logging.getLogger("charrnn_plugins").addHandler(Notices())
logging.getLogger("charrnn_plugins").setLevel(logging.INFO)
for line in sys.stdin:
    spec = CorpusSpec.parse(json.loads(line))
    corpus = Corpora().find(spec)
    answer = {"notices": [], "documents": [], "key": None, "error": ""}
    try:
        answer["key"] = corpus.fingerprint(spec)
        answer["documents"] = ["".join(document) for document in corpus.documents(spec)]
    except UserError as error:
        answer["error"] = str(error)
    print("ANSWER", json.dumps(answer), flush=True)
"""


class Reader:
    """A process that loads corpora: huggingface_hub reads its environment but once, when it is imported."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __call__(self, spec: str) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(spec) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                answer: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
                assert "\n" not in answer["error"]
                return answer
        raise AssertionError(f"the reader died of {spec}")

    def text(self, spec: str) -> str:
        """The documents as the trainer joins them."""
        answer = self(spec)
        assert not answer["error"]
        documents = answer["documents"]
        return "".join(text if text.endswith("\n") else text + "\n" for text in documents[:-1]) + documents[-1]


def environment(home: Path, **variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return clean | {"HF_HOME": str(home), "HF_ENDPOINT": NOWHERE, "NO_PROXY": "127.0.0.1"} | variables


@contextmanager
def reader(home: Path, **variables: str) -> Iterator[Reader]:
    command = [sys.executable, "-W", "error", "-c", READER]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, env=environment(home, **variables), **pipes) as process:
        yield Reader(process)
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Iterator[Reader]:
    """A reader that reaches no hub and has an empty cache."""
    with reader(tmp_path_factory.mktemp("hf")) as process:
        yield process


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    if not HUB.exists():
        pytest.skip("no loopback hub beside this checkout")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, HUB / "serve.py", str(port), HUB / "repos"]) as server:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert server.poll() is None
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hf_hub")


@pytest.fixture(scope="module")
def online(endpoint, home) -> Iterator[Reader]:
    with reader(home, HF_ENDPOINT=endpoint) as process:
        yield process


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """A folder of JSON lines: two columns of text, one of numbers; one row without a review."""
    folder = tmp_path_factory.mktemp("rows")
    table = [{"title": "one", "review": "good\r\n", "stars": 5}, {"title": "two", "review": None, "stars": 1}]
    table += [{"title": f"t{i}", "review": f"r{i}", "stars": i} for i in range(8)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, table)))
    (folder / "test.jsonl").write_text(json.dumps(table[0]))
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """One data set and one of two splits, written by `save_to_disk`."""
    folder = tmp_path_factory.mktemp("saved")
    program = f"""
from datasets import Dataset, DatasetDict
part = Dataset.from_dict({{"content": ["ä", "b"], "name": ["n", "m"]}})
part.save_to_disk({str(folder / "one")!r})
DatasetDict(train=part, test=part.select([1])).save_to_disk({str(folder / "two")!r})
"""
    subprocess.run([sys.executable, "-c", program], env=environment(folder / "hf"), check=True)
    return folder


@pytest.mark.parametrize("options", ["", "?streaming=true"])
def test_text_files_come_out_as_they_are(local, tmp_path, options):
    texts = [" a\n\n\nb\u2028c\f \n", "no line end", "\tlast\n\n"]
    for name, text in zip("abc", texts, strict=True):
        (tmp_path / f"{name}.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert local.text(f"hf:{tmp_path}{options}") == f"{texts[0]}{texts[1]}\n{texts[2]}"


def test_text_files_in_another_encoding_need_it_named(local, tmp_path):
    (tmp_path / "a.txt").write_bytes("café\n".encode("latin-1"))
    assert "?encoding=NAME" in local(f"hf:{tmp_path}")["error"]
    assert local.text(f"hf:{tmp_path}?encoding=latin-1") == "café\n"


@pytest.mark.parametrize("options", ["", "&streaming=true"])
def test_a_row_is_a_document_and_rows_without_text_are_counted(local, rows, options):
    answer = local(f"hf:{rows}?column=review{options}")
    assert answer["documents"] == ["good\r\n", *(f"r{i}" for i in range(8))]
    assert [notice for notice in answer["notices"] if "left out 1 rows" in notice]


def test_a_split_can_be_chosen_and_cut(local, rows):
    assert local(f"hf:{rows}?column=title&split=test")["documents"] == ["one"]
    assert local(f"hf:{rows}?column=title&split=train[:20%25]")["documents"] == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "has several columns of strings: add ?column=NAME, one of title, review"),
        ("?streaming=true", "has several columns of strings: add ?column=NAME, one of title, review"),
        ("?column=stars", "has no column of strings 'stars': add ?column=NAME, one of title, review"),
        ("?column=title&split=dev", "has no split 'dev': add ?split=NAME, one of train, test"),
        ("?column=title&split=dev&streaming=true", "has no split 'dev': add ?split=NAME, one of train, test"),
        ("?column=title&config=de", "has no configuration 'de': add ?config=NAME, one of default"),
        ("?column=title&revision=main", "is a folder: it has no revisions"),
        ("?column=title&data_files=*.csv", "cannot be read: "),
        ("?streaming=maybe", "streaming is true or false"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(local, rows, options, message):
    assert message in local(f"hf:{rows}{options}")["error"]


def test_several_configurations_are_listed(local, tmp_path):
    card = "---\nconfigs:\n- config_name: de\n  data_files: de.txt\n- config_name: fr\n  data_files: fr.txt\n---\n"
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "de.txt").write_text("ja\n")
    (tmp_path / "fr.txt").write_text("oui\n")
    assert local(f"hf:{tmp_path}")["error"].endswith("has several configurations: add ?config=NAME, one of de, fr")
    assert local.text(f"hf:{tmp_path}?config=fr") == "oui\n"


def test_a_folder_without_data_is_an_error(local, tmp_path):
    assert "cannot be read: " in local(f"hf:{tmp_path}")["error"]


def test_data_sets_saved_to_disk_are_read(local, saved):
    assert local(f"hf:{saved}/one")["documents"] == ["ä", "b"]
    assert local(f"hf:{saved}/two?split=test&column=name")["documents"] == ["m"]
    assert local(f"hf:{saved}/two?split=dev")["error"].endswith("one of train, test")
    assert local(f"hf:{saved}/one?split=dev")["error"].endswith("one of train")
    assert "only the options split and column" in local(f"hf:{saved}/one?streaming=true")["error"]


def test_the_cache_key_of_a_folder_follows_its_files(local, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    keys = [local(f"hf:{tmp_path}")["key"]]
    assert keys[0] == local(f"hf:{tmp_path}")["key"]
    path.write_text("longer")
    keys.append(local(f"hf:{tmp_path}")["key"])
    keys.append(local(f"hf:{tmp_path}?data_files=a.txt")["key"])
    assert len(set(keys)) == 3


def test_a_hub_that_cannot_be_reached_is_an_error_when_nothing_is_cached(local):
    error = local("hf:someone/something")["error"]
    assert "the hub cannot be asked (" in error
    assert "go online" in error


@pytest.mark.parametrize("argument", ["./missing", "a/b/c", "", "two words"])
def test_a_name_that_is_none_is_an_error(local, argument):
    assert "neither a folder here nor the name of a data set" in local(f"hf:{argument}")["error"]


@pytest.mark.parametrize("options", ["", "?streaming=true"])
def test_a_data_set_of_text_files_is_exact_over_the_hub(online, options):
    text = (HUB / "repos/me/tales/train.txt").read_text(encoding="utf-8-sig")
    assert online.text(f"hf:me/tales{options}") == text


def test_parquet_over_the_hub_gives_a_document_a_row(online):
    documents = online("hf:me/parquet")["documents"]
    assert len(documents) == 1087
    assert documents == online("hf:me/parquet?streaming=true")["documents"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:me/none", "the hub has no such data set, or it is private: check the name, or log in"),
        ("hf:me/tales?config=de", "has no configuration 'de': add ?config=NAME, one of default"),
        ("hf:me/tales?split=dev", "has no split 'dev': add ?split=NAME, one of train, test"),
        ("hf:me/tales?column=story", "has no column of strings 'story': add ?column=NAME, one of text"),
    ],
)
def test_what_the_hub_does_not_have_is_said(online, spec, message):
    assert message in online(spec)["error"]


@pytest.mark.parametrize("variables", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": NOWHERE}])
def test_without_the_hub_the_cached_copy_is_read_and_said(online, home, variables):
    specs = ("hf:me/tales", "hf:me/tales?config=default", "hf:me/parquet")
    known = {spec: online(spec) for spec in specs}
    with reader(home, **variables) as offline:
        for spec in specs:
            answer = offline(spec)
            assert answer["documents"] == known[spec]["documents"]
            assert answer["key"] == known[spec]["key"]
            assert any("reading the copy in the cache" in notice for notice in answer["notices"])
        assert not offline("hf:me/tales?revision=aaaaaaa")["error"]
        assert "not bbbbbbb" in offline("hf:me/tales?revision=bbbbbbb")["error"]
        assert "no copy read with these options is cached" in offline("hf:me/none")["error"]


@pytest.mark.slow
def test_a_cached_copy_without_its_line_ends_is_refused(endpoint, tmp_path):
    program = "import datasets; datasets.load_dataset('me/tales')"
    subprocess.run([sys.executable, "-c", program], env=environment(tmp_path, HF_ENDPOINT=endpoint), check=True)
    with reader(tmp_path, HF_HUB_OFFLINE="1") as offline:
        assert "no copy read with these options is cached" in offline("hf:me/tales")["error"]


TOKEN = "hf_" + "s3cret" * 6


@pytest.fixture(scope="module")
def private_endpoint(endpoint) -> Iterator[str]:
    """The hub behind a door that opens for `TOKEN` alone, and answers as the real one does for private data sets."""

    class Door(BaseHTTPRequestHandler):
        def answer(self) -> None:
            given = self.headers.get("Authorization")
            if given != f"Bearer {TOKEN}":
                self.send_response(401)
                if given is None:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("X-Error-Message", "Invalid credentials in Authorization header" if given else "No")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = {name: value for name, value in self.headers.items() if name.lower() in ("range", "content-type")}
            found = httpx.request(self.command, endpoint + self.path, content=body, headers=kept)
            self.send_response(found.status_code)
            for name, value in found.headers.items():
                if name not in ("server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.content)

        def log_message(self, *args: object) -> None:
            pass

        do_GET = do_HEAD = do_POST = answer

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "?streaming=true"])
def test_a_private_data_set_is_read_with_the_token_of_the_hub(private_endpoint, tmp_path, options):
    with reader(tmp_path, HF_ENDPOINT=private_endpoint, HF_TOKEN=TOKEN) as process:
        answer = process(f"hf:me/tales{options}")
    assert "".join(answer["documents"]) == (HUB / "repos/me/tales/train.txt").read_text(encoding="utf-8-sig")
    assert TOKEN not in json.dumps(answer)
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(("token", "advice"), [("", "or it is private"), ("hf_wrong", "refuses your token")])
def test_a_private_data_set_without_its_token_is_an_error(private_endpoint, tmp_path, token, advice):
    with reader(tmp_path, HF_ENDPOINT=private_endpoint, **({"HF_TOKEN": token} if token else {})) as process:
        error = process("hf:me/tales")["error"]
    assert advice in error
    assert "`hf auth login`" in error
    assert "hf_wrong" not in error
