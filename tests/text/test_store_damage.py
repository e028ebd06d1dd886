"""What a power cut, a bad disk or another user makes of a store: it is built anew, or not used, and never believed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.text.opening import open_text
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore, cache_folder, open_or_build, open_store
from charrnn.text.store_builder import build_store
from tests.conftest import make_text

TEXT = make_text(3_000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A whole store in a folder of its own."""
    build(tmp_path / "stores" / "store")
    return tmp_path / "stores" / "store"


def build(folder: Path, text: str = TEXT) -> TokenStore:
    return build_store(folder, [("files:a", [[text]])])


def never() -> TokenStore:
    raise AssertionError("built twice")


DAMAGE = {
    "an empty manifest": "truncate -s 0 store.json",
    "half a manifest": "truncate -s 40 store.json",
    "a manifest of zeros": "truncate -s 0 store.json; truncate -s 300 store.json",
    "no manifest": "rm store.json",
    "another shape": "echo '[[[[' > store.json",
    "a manifest of nothing": "echo null > store.json",
    "empty files": "for f in *; do : > $f; done",
    "no files": "rm *",
    "a file gone": "rm val.bin",
    "a file cut short": "truncate -s -1 train.bin",
    "a file too long": "echo >> train.bin",
    "half of it zeros": "truncate -s 1500 train.bin; truncate -s 2700 train.bin",
    "one byte": "printf x | dd of=train.bin bs=1 seek=100 conv=notrunc status=none",
    "the held-out text": "printf x | dd of=val.bin bs=1 seek=7 conv=notrunc status=none",
    "ids beyond the vocabulary": "printf '\\377' | dd of=train.bin bs=1 seek=100 conv=notrunc status=none",
    "a folder for a file": "rm train.bin; mkdir train.bin",
    "no vocabulary": "rm vocab.json",
    "half a vocabulary": "truncate -s 50 vocab.json",
    "another vocabulary": 'sed -i \'s/"a"/"A"/\' vocab.json',
    "another digest": 'sed -i \'s/"digest": "..../"digest": "0000/\' store.json',
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_whole_is_built_anew_and_said(damage: str, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    digest = open_store(store).digest
    subprocess.run(damage, shell=True, check=True, cwd=store)
    with caplog.at_level(logging.WARNING):
        opened = open_or_build(store, lambda: build(store))
    (record,) = caplog.records
    assert record.message.startswith(f"{store} is not a whole token store: ")
    assert record.message.endswith(": building it again")
    assert "\n" not in record.message
    assert opened.digest == digest == open_or_build(store, never).digest
    assert {path.name for path in store.parent.iterdir()} == {"store", "store.lock"}


def test_what_is_damaged_is_not_used_where_the_text_is_gone(store: Path) -> None:
    with (store / "train.bin").open("r+b") as file:
        file.write(b"\0\1\2\3")
    before = {path.name: path.read_bytes() for path in store.iterdir()}

    def gone() -> TokenStore:
        raise CorpusError("files:a: no such file")

    with pytest.raises(CorpusError, match="no such file"):
        open_or_build(store, gone)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_ids_beyond_the_vocabulary_are_refused_though_the_digest_has_them(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong build would make a right digest of wrong ids."""
    from charrnn.text import store as module

    ids = np.fromfile(store / "train.bin", np.uint8)
    ids[-1] = len(open_store(store).vocab)
    ids.tofile(store / "train.bin")
    with monkeypatch.context() as patch:
        patch.setattr(module.np, "iinfo", lambda _: type("Limits", (), {"max": 0}))
        digest = module.digest_of(store, open_store(store).vocab)
    manifest = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(manifest | {"digest": digest}))
    open_or_build(store, lambda: build(store))
    assert "train.bin has ids that are none of its" in caplog.text


@pytest.mark.parametrize("characters", [256, 300, 65_536, 66_000])
def test_the_last_id_is_none_too_many(characters: int, tmp_path: Path) -> None:
    text = "".join(map(chr, [*range(0x100, 0x100 + 0xD000), *range(0xE000, 0xE000 + 0x8000)][:characters]))
    folder = tmp_path / "store"
    build(folder, text * 3)
    assert len(open_or_build(folder, never).vocab) == len(set(text))


def test_a_file_that_is_cut_short_under_its_map_is_noticed_before_it_is_read(store: Path) -> None:
    opened = open_or_build(store, never)
    opened.check_sizes()
    os.truncate(store / "train.bin", 0)
    with pytest.raises(CorpusError, match=r"train\.bin was cut short.*--resume") as caught:
        opened.check_sizes()
    assert "\n" not in str(caught.value)


def test_other_peoples_files_are_no_ruin_of_a_store(store: Path) -> None:
    (store / "store.json").unlink()
    (store / "thesis.txt").write_text("mine")
    with pytest.raises(CorpusError, match=r"is not a token store: remove it"):
        open_or_build(store, lambda: build(store))
    assert (store / "thesis.txt").read_text() == "mine"


# What a build leaves.


def test_what_is_written_is_flushed_before_it_has_its_name(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from charrnn.text.store_builder import build_store\n"
    code += "build_store(Path(sys.argv[1]), [('files:a', [['text ' * 100]])])"
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,rename", "-o", str(trace), sys.executable, "-c", code]
    subprocess.run([*command, str(tmp_path / "store")], check=True)
    calls = trace.read_text()
    names = ("train.bin", "val.bin", "test.bin", "vocab.json", "store.json", "store.building/store>")
    rename = calls.index("rename(")
    assert all(0 < calls.index(name) < rename for name in names), calls
    assert "fsync" in calls[rename:]


def test_what_a_killed_build_left_goes_when_any_store_beside_it_is_opened(store: Path) -> None:
    for name in ("empty", "half"):
        (store.parent / f"{name}.building" / "store").mkdir(parents=True)
    (store.parent / "half.building" / "store" / "train.bin").write_bytes(b"secret")
    open_or_build(store, never)
    assert not list(store.parent.glob("*.building"))


BUILDER = """
import sys, time
from pathlib import Path
from charrnn.text.store_builder import build_store

def documents():
    yield ["text"]
    print("building", file=sys.__stdout__, flush=True)
    sys.stdin.read()
    yield ["more"]

build_store(Path(sys.argv[1]), [("files:x", documents())])
"""


def test_what_is_being_built_stays(store: Path) -> None:
    other = store.with_name("other")
    command = [sys.executable, "-c", BUILDER, str(other)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        open_or_build(store, never)
        assert other.with_name("other.building").is_dir()
        process.communicate("")
    assert process.returncode == 0
    assert open_store(other)


def test_what_is_left_of_a_build_that_was_killed_goes(store: Path) -> None:
    other = store.with_name("other")
    command = [sys.executable, "-c", BUILDER, str(other)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        process.send_signal(signal.SIGKILL)
    assert other.with_name("other.building").is_dir()
    open_or_build(store, never)
    assert not other.with_name("other.building").exists()


# A cache that is not mine.

AS_NOBODY = """
import os, sys
from pathlib import Path
from charrnn.errors import CorpusError
from charrnn.text.opening import open_text
from charrnn.text.plugins import Corpora

corpora = Corpora()

def opened():
    return open_text([["files:" + sys.argv[1]], [], []], corpora, Path("run"), None)

# Modules are imported where they are first used, and may lie in the home of another user.
os.environ["XDG_CACHE_HOME"], asked = sys.argv[2], os.environ["XDG_CACHE_HOME"]
opened(), opened()
os.environ["XDG_CACHE_HOME"] = asked
os.setgid(65534); os.setuid(65534)
try:
    opened()
except CorpusError as error:
    print(error)
else:
    print("opened")
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o000], ids=oct)
@pytest.mark.parametrize("where", ["cache", "cache/charrnn", "cache/charrnn/stores"])
def test_the_cache_of_another_user_names_the_variable(mode: int, where: str, shared: Path) -> None:
    (shared / "a.txt").write_text(TEXT)
    (shared / where).mkdir(parents=True)
    (shared / where).chmod(mode)
    environment = {**os.environ, "XDG_CACHE_HOME": str(shared / "cache")}
    command = [sys.executable, "-c", AS_NOBODY, str(shared / "a.txt"), str(shared / "warm")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "Permission denied" in done.stdout
    assert "set XDG_CACHE_HOME to a folder of your own" in done.stdout
    # The advice, followed.
    (shared / "own").mkdir()
    os.chown(shared / "own", 65534, 65534)
    environment["XDG_CACHE_HOME"] = str(shared / "own")
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "opened\n"


def test_a_store_that_cannot_be_read_is_not_built_again(shared: Path) -> None:
    (shared / "a.txt").write_text(TEXT)
    environment = {**os.environ, "XDG_CACHE_HOME": str(shared / "cache")}
    code = AS_NOBODY.replace("os.setgid(65534); os.setuid(65534)", "")
    subprocess.run(
        [sys.executable, "-c", code, str(shared / "a.txt"), str(shared / "warm")], env=environment, check=True
    )
    (bin_file,) = (shared / "cache").glob("**/train.bin")
    bin_file.chmod(0o600)
    command = [sys.executable, "-c", AS_NOBODY, str(shared / "a.txt"), str(shared / "warm")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "cannot read the token store" in done.stdout
    assert "XDG_CACHE_HOME" in done.stdout
    assert done.stdout.count("\n") == 1
    # One that can be read is read, though nothing can be written there.
    bin_file.chmod(0o644)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("opened\n", "")


def test_a_file_where_the_cache_should_be_is_one_line(tmp_path: Path) -> None:
    Path("a.txt").write_text(TEXT)
    cache_folder().parent.mkdir(parents=True)
    cache_folder().touch()
    with pytest.raises(CorpusError, match="XDG_CACHE_HOME") as caught:
        open_text([["files:a.txt"], [], []], Corpora(), tmp_path, None)
    assert "\n" not in str(caught.value)
