"""A run that somebody else made: whatever its files say, it is opened without harm, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xxhash
from platformdirs import user_cache_path
from safetensors.numpy import load_file, save_file

from charrnn.cli import main
from charrnn.model.lstm import CharLSTM
from charrnn.run.finding import find_model
from charrnn.text.store import SPLITS, open_store
from charrnn.text.store_builder import build_store
from tests.conftest import make_text, seal
from tests.run.test_earlier_versions import MADE

Output = pytest.CaptureFixture[str]
EVAL = ("eval", "gift", "--split", "val")
ITEMS = ("sample", "gift", "--items", "2")
PAGE = ("export", "gift", "--page", "out.html")
COMMANDS = (("sample", "gift", "--length", "5"), EVAL, ("report", "gift"), ("export", "gift", "out"), PAGE)
"""All that look into a run; `play` and `load` read it as `eval` does."""


@pytest.fixture(autouse=True)
def gift() -> Path:
    """A copy of a run, in the working folder; the text that it was trained on is not there."""
    return Path(shutil.copytree(MADE, "gift"))


def checkpoint_of(run: Path) -> Path:
    return find_model(run)


def change(run: Path, name: str, how: Callable[[Any], Any]) -> None:
    """Changes a JSON file of all checkpoints."""
    for folder in run.glob("checkpoints/*"):
        path = folder / name
        path.write_text(json.dumps(how(json.loads(path.read_text()))))
        seal(folder)


def settings(**changed: Any) -> Callable[[Any], Any]:
    return lambda training: {**training, "config": {**training["config"], **changed}}


def refused(capsys: Output, *args: str) -> str:
    """The one line that a command says, which may be a warning only."""
    code = main(list(args))
    said = capsys.readouterr()
    assert code == 1, (args, said)
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert len(said.err) < 700
    assert not set(said.err) & set("\x1b\x07\r")
    return said.err


# What a run names.


@pytest.fixture
def evil(gift: Path) -> Path:
    """A module in the working folder that the run names as its plugin; it makes a file when it is imported."""
    Path("evil.py").write_text(
        "import pathlib, charrnn\npathlib.Path('harm').touch()\n\n\n@charrnn.hookimpl\n"
        "def register_corpora(register):\n    register('evil', lambda name: [pathlib.Path('words.txt').read_text()])\n"
    )
    Path("words.txt").write_text(make_text(4_000))
    change(gift, "training.json", settings(plugin=["evil"], corpus=["evil:x"]))
    return Path("harm")


def test_the_plugin_that_a_run_names_is_not_imported(evil: Path, capsys: Output) -> None:
    trusted = ((*command, "--trust") for command in (EVAL, ITEMS, ("report", "gift")))
    for command in (*COMMANDS, ITEMS, *trusted, ("runs", ".")):
        main(list(command))
        assert not evil.exists(), command
    capsys.readouterr()
    assert "--plugin evil" in refused(capsys, *EVAL)


def test_it_is_if_its_reader_says_so(evil: Path) -> None:
    assert main([*EVAL, "--trust", "--plugin", "evil"]) == 0
    assert evil.exists()


SPECS = (
    "files:/etc/shadow",
    "hf:someone/something",
    "gutenberg:1597",
    "files:other.txt",
    "python:",
    "evil:x",
    "files:",
)


@pytest.mark.parametrize("name", ["corpus", "val_corpus", "test_corpus"])
@pytest.mark.parametrize("spec", SPECS)
def test_the_text_that_a_run_names_is_opened_only_after_a_word(
    name: str, spec: str, gift: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other.txt").write_text(make_text(4_000))

    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was opened")

    monkeypatch.setattr("charrnn.run.text.build_store", opened)
    monkeypatch.setattr("charrnn.text.corpus.Corpus.documents", opened)
    monkeypatch.setattr("charrnn.text.corpus.Corpus.fingerprint", opened)
    change(gift, "training.json", settings(**{name: [spec]}))
    for command in (EVAL, ITEMS):
        told = refused(capsys, *command)
        assert spec in told
        assert "give --corpus with a copy of it, or --trust" in told
    assert main(["report", "gift"]) == 0
    assert "or --trust to read what the run names" in Path("gift/report.html").read_text()
    assert not user_cache_path("charrnn").exists()


def test_after_a_word_it_is_read_and_no_copy_stays(gift: Path, capsys: Output) -> None:
    assert "give --corpus" in refused(capsys, *EVAL)
    Path("words.txt").write_text(make_text(4_000))
    Path("mine.txt").write_text(make_text(4_000))
    for words in (["--trust"], ["--corpus", "files:mine.txt"]):
        assert main([*EVAL, *words]) == 0
        capsys.readouterr()
        assert main(["report", "gift", *words]) == 0
        assert "lacks" not in capsys.readouterr().err
    assert not user_cache_path("charrnn").exists()
    assert not (gift / "store").exists()
    Path("words.txt").write_text("something else")
    assert "not the text any more" in refused(capsys, *EVAL, "--trust")


# Text that is at hand.


def make_store(folder: Path) -> Path:
    """The run's own text, in a store as training builds it."""
    build_store(folder, [("files:words.txt", [[make_text(4_000)]])], val_fraction=0.1)
    return folder


@pytest.mark.parametrize("where", ["cache", "store", "store-0123abcd"])
def test_text_in_the_cache_or_in_the_run_opens_without_a_word(where: str, gift: Path, capsys: Output) -> None:
    make_store(user_cache_path("charrnn") / "stores" / "any" if where == "cache" else gift / where)
    for run in (str(gift), str(checkpoint_of(gift))):
        assert main(["eval", run, "--split", "val"]) == 0
        assert json.loads(capsys.readouterr().out)["characters"] == 399
    assert main(["report", "gift"]) == 0
    assert "lacks" not in capsys.readouterr().err


def unlike(store: Path, what: str) -> None:
    """Makes a store other than it says."""
    manifest = json.loads((store / "store.json").read_text())
    if what == "ids":
        tokens = np.full(manifest["tokens"]["train"], 200, np.uint8)
        (store / "train.bin").write_bytes(tokens.tobytes())
    elif what == "truncated":
        (store / "val.bin").write_bytes(b"")
    elif what == "link":
        shutil.move(store / "val.bin", "elsewhere")
        (store / "val.bin").symlink_to(Path("elsewhere").resolve())
    elif what == "folder link":
        shutil.move(store, "elsewhere")
        store.symlink_to(Path("elsewhere").resolve())
    elif what == "sizes":
        manifest["tokens"]["train"] = 1 << 60
    elif what == "deep":
        (store / "store.json").write_text("[" * 100_000)
    elif what == "missing":
        (store / "test.bin").unlink()
    elif what == "pipe":
        (store / "vocab.json").unlink()
        os.mkfifo(store / "vocab.json")
    elif what == "counts":
        manifest["corpora"] = [{"split": "train"}]
    if what in ("sizes", "counts"):
        (store / "store.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "what", ["ids", "truncated", "link", "folder link", "sizes", "deep", "missing", "pipe", "counts"]
)
def test_a_store_that_is_not_what_it_says_is_passed_over(
    what: str, gift: Path, capsys: Output, caplog: pytest.LogCaptureFixture
) -> None:
    unlike(make_store(gift / "store"), what)
    assert "give --corpus" in refused(capsys, *EVAL)
    assert all("\n" not in message for message in caplog.messages)
    assert main(["report", "gift"]) == 0


def forged_digest(store: Path) -> str:
    """The digest of what a store holds, as whoever made it can have it in its store.json."""
    parts = [xxhash.xxh3_128((store / f"{split}.bin").read_bytes()).hexdigest() for split in SPLITS]
    return hashlib.sha256("\n".join([open_store(store).vocab.digest, *parts]).encode()).hexdigest()


def test_ids_beyond_the_vocabulary_are_refused_whatever_the_digest_says(gift: Path, capsys: Output) -> None:
    store = make_store(gift / "store")
    unlike(store, "ids")
    digest = forged_digest(store)
    manifest = json.loads((store / "store.json").read_text()) | {"digest": digest}
    (store / "store.json").write_text(json.dumps(manifest))
    change(gift, "training.json", lambda training: {**training, "text": digest})
    assert "give --corpus" in refused(capsys, *EVAL)


# Links.


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors", "vocab.json", "training.json"])
def test_a_link_out_of_a_checkpoint_is_not_followed(name: str, gift: Path, capsys: Output) -> None:
    for folder in gift.glob("checkpoints/*"):
        secret = Path(f"secret-{folder.name}-{name}").resolve()
        shutil.move(folder / name, secret)
        (folder / name).symlink_to(secret)
        seal(folder)
    for command in COMMANDS:
        assert "leads out of its folder" in refused(capsys, *command)
    for folder in gift.glob("checkpoints/*"):
        (folder / "manifest.json").unlink()
        if name != "training.json":
            (folder / "training.json").unlink()
            (folder / "training.safetensors").unlink()
            model = Path(shutil.move(folder, f"model-{folder.name[-2:]}"))
            assert "leads out of its folder" in refused(capsys, "export", str(model), "out")
    assert not Path("out").exists()


def test_a_link_within_a_folder_is_followed(gift: Path) -> None:
    folder = checkpoint_of(gift)
    shutil.move(folder / "README.md", folder / "card.md")
    (folder / "README.md").symlink_to("card.md")
    assert main(["export", str(gift), "out"]) == 0


def test_a_model_in_the_cache_of_the_hub_is_read(gift: Path) -> None:
    snapshot = Path("hub/snapshots/abc")
    assert main(["export", str(gift), str(snapshot)]) == 0
    Path("hub/blobs").mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        shutil.move(path, f"hub/blobs/{number}")
        path.symlink_to(f"../../blobs/{number}")
    assert main(["sample", str(snapshot), "--length", "5"]) == 0


@pytest.mark.parametrize("part", ["checkpoints", "checkpoints/step-000000020", "checkpoints/step-000000040"])
def test_a_folder_elsewhere_is_not_taken_for_a_part_of_the_run(part: str, gift: Path, capsys: Output) -> None:
    for other in gift.glob("checkpoints/*"):
        if part != "checkpoints" and other.name != Path(part).name:
            shutil.rmtree(other)
    shutil.move(gift / part, "private")
    (gift / part).symlink_to(Path("private").resolve())
    for command in COMMANDS:
        assert "leads out of its folder" in refused(capsys, *command)


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_the_rows_of_a_report_are_the_run_s_own(name: str, gift: Path, capsys: Output) -> None:
    shutil.move(gift / name, "secret.jsonl")
    (gift / name).symlink_to(Path("secret.jsonl").resolve())
    assert "leads out of its folder" in refused(capsys, "report", "gift")
    assert not (gift / "report.html").exists()


@pytest.mark.parametrize("name", [".report.html.tmp", "report.html", ".report.html..tmp"])
def test_nothing_is_written_through_a_link(name: str, gift: Path) -> None:
    secret = Path("secret")
    secret.write_text("kept")
    (gift / name).symlink_to(secret.resolve())
    assert main(["report", "gift"]) == 0
    assert secret.read_text() == "kept"
    assert "charrnn report" in (gift / "report.html").read_text()
    assert not (gift / "report.html").is_symlink()
    assert [path.name for path in gift.glob(".report*")] == [name] * name.startswith(".")


def test_a_pipe_hangs_nobody(gift: Path, capsys: Output, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("metrics.jsonl", "status.json"):
        (gift / name).unlink()
        os.mkfifo(gift / name)
    assert "is no file" in refused(capsys, "report", "gift")
    assert main(["runs", "."]) == 0
    assert "is no file" in caplog.text


# Values.

DEEP = "[" * 100_000
SHAPES: list[Any] = [
    {"hidden_size": 9000},
    {"num_layers": 10_000},
    {"num_layers": 0},
    {"num_layers": -5},
    {"num_layers": 10**300},
    {"hidden_size": 8.0},
    {"hidden_size": "8"},
    {"hidden_size": True},
    {"hidden_size": None},
    {"hidden_size": 10**18},
    {"embedding_size": -4},
    {"embedding_size": 0},
    {"vocab_size": 36},
    {"vocab_size": 0},
    {"tie_weights": 1},
    {"tie_weights": True},
    {"another": 1},
    {"\x1b]0;title\x07" * 100: 1},
]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was made")

    monkeypatch.setattr(CharLSTM, "__init__", made)


def refused_by_all(capsys: Output) -> None:
    """Every command refuses the run, whether it is named, or its checkpoint, or the model alone."""
    folder = next(Path("gift/checkpoints").glob("*40"))
    model = Path(shutil.copytree(folder, "model", dirs_exist_ok=True))
    for name in ("manifest.json", "training.json", "training.safetensors"):
        (model / name).unlink(missing_ok=True)
    shutil.rmtree("gift/checkpoints/step-000000020", ignore_errors=True)
    for command in COMMANDS:
        refused(capsys, *command)
    for path in (str(folder), "model"):
        refused(capsys, "sample", path)
        refused(capsys, "export", path, "out")
    assert not Path("out").exists()


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("changed", SHAPES, ids=range(len(SHAPES)))
def test_a_shape_that_its_weights_do_not_have_is_refused_before_it_is_made(
    changed: Any, gift: Path, capsys: Output
) -> None:
    change(gift, "config.json", lambda config: {**config, **changed})
    refused_by_all(capsys)


TENSORS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "turned": lambda w: w | {"lstms.0.weight_hh_l0": w["lstms.0.weight_hh_l0"].T.copy()},
    "scalar": lambda w: w | {"output.bias": np.zeros((), np.float32)},
    "missing": lambda w: {name: w[name] for name in w if name != "lstms.1.bias_ih_l0"},
    "additional": lambda w: w | {"lstms.2.bias_ih_l0": w["lstms.1.bias_ih_l0"]},
    "half": lambda w: {name: value.astype(np.float16) for name, value in w.items()},
    "double": lambda w: {name: value.astype(np.float64) for name, value in w.items()},
    "whole": lambda w: w | {"output.bias": w["output.bias"].astype(np.int64)},
    "empty": lambda w: dict(list(w.items())[:0]),
    "one only": lambda w: {"output.bias": w["output.bias"]},
    "no rows": lambda w: w | {"embedding.weight": w["embedding.weight"][:0]},
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("how", TENSORS)
def test_weights_of_another_model_are_refused_before_it_is_made(how: str, gift: Path, capsys: Output) -> None:
    for folder in gift.glob("checkpoints/*"):
        save_file(TENSORS[how](load_file(folder / "model.safetensors")), folder / "model.safetensors")
        seal(folder)
    refused_by_all(capsys)


@pytest.mark.usefixtures("no_model")
def test_weights_of_half_the_bits_are_refused(gift: Path, capsys: Output) -> None:
    from safetensors.torch import load_file, save_file

    for folder in gift.glob("checkpoints/*"):
        weights = {name: value.to(torch.bfloat16) for name, value in load_file(folder / "model.safetensors").items()}
        save_file(weights, folder / "model.safetensors")
        seal(folder)
    assert "BF16" in refused(capsys, "sample", "gift")
    refused_by_all(capsys)


JSON = [DEEP, "[]", "null", "3", "", "{", "{}", "\udcff", '{"a":' * 5000, "[" * 900 + "]" * 900, '"x"', "1" * 5000]


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "training.json", "manifest.json"])
@pytest.mark.parametrize("content", JSON, ids=range(len(JSON)))
def test_json_that_is_something_else_is_one_line(content: str, name: str, gift: Path, capsys: Output) -> None:
    for folder in gift.glob("checkpoints/*"):
        (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
        if name != "manifest.json":
            seal(folder)
    if name == "training.json":
        for command in (EVAL, ("report", "gift")):
            refused(capsys, *command)
    else:
        for command in COMMANDS:
            refused(capsys, *command)


TRAINING: list[Any] = [
    {"step": "x"},
    {"step": -1},
    {"step": None},
    {"step": 1.5},
    {"val_loss": "low"},
    {"text": 3},
    {"config": []},
    {"config": {}},
    {"config": {"corpus": 3}},
    {"config": {"corpus": [[]]}},
    {"files": {"metrics.jsonl": -1}},
    {"format": "2"},
    {"format": None},
]


@pytest.mark.parametrize("changed", TRAINING, ids=range(len(TRAINING)))
def test_a_training_that_is_none_is_one_line(changed: Any, gift: Path, capsys: Output) -> None:
    make_store(gift / "store")
    change(gift, "training.json", lambda training: {**training, **changed})
    refused(capsys, "report", "gift")
    if "config" not in changed:
        refused(capsys, *EVAL)


ROWS = {
    "metrics.jsonl": [
        '{"step": 1, "epoch": Infinity, "val_loss": null}',
        '{"step": NaN, "epoch": 1, "val_loss": null}',
        '{"step": 1, "epoch": 1e999, "val_loss": null}',
        '{"step": 1, "epoch": 1, "val_loss": []}',
        '{"step": "1", "epoch": 1, "val_loss": 1}',
        '{"step": 1, "epoch": -1, "val_loss": 1}',
        "[]",
        DEEP,
        "",
    ],
    "samples.jsonl": [
        '{"step": 1, "epoch": 1, "temperature": NaN, "prompt": "", "text": ""}',
        '{"step": 1, "epoch": 1, "temperature": 1, "prompt": "", "text": 3}',
        '{"step": 1, "epoch": 1, "temperature": 1, "text": ""}',
        "null",
        DEEP,
    ],
}


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in ROWS.items() for row in rows])
def test_rows_that_are_none_are_one_line(name: str, row: str, gift: Path, capsys: Output) -> None:
    with open(gift / name, "a") as file:
        file.write(f"{row}\n")
    assert f"{name} cannot be read: line " in refused(capsys, "report", "gift")


def test_figures_that_no_run_has_still_make_a_page(gift: Path) -> None:
    with open(gift / "metrics.jsonl", "a") as file:
        for value in ("NaN", "Infinity", "1e308", "-1e308", "5e-324", "1e-20", "0"):
            row = f'"step": 9, "epoch": 1, "val_loss": {value}, "train_loss": {value}, "learning_rate": {value}'
            file.write(f"{{{row}}}\n")
    with open(gift / "samples.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 9, "epoch": 1, "temperature": 1, "prompt": "\\ud800", "text": "<b>\\u202e", "x": {}}\n')
    assert main(["report", "gift"]) == 0


STATUS = [
    '{"state": null, "time": 1}',
    '{"state": "finished", "time": NaN}',
    '{"state": "\\u001b[2J", "time": 1}',
    DEEP,
]
STATUS += ['{"state": "finished", "time": 1e300}', '{"state": "finished", "time": true}', '{"state": [], "time": 1}']


@pytest.mark.parametrize("content", STATUS, ids=range(len(STATUS)))
def test_one_bad_run_does_not_hide_the_others(
    content: str, gift: Path, capsys: Output, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(gift, "good")
    (gift / "status.json").write_text(content)
    assert main(["runs", "."]) == 0
    out = capsys.readouterr().out
    assert "good" in out
    assert "gift" not in out
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("gift: damaged: status.json: ")
    assert caplog.messages[0].isprintable()


# Names and rights.


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "gift/config.json/more", "\x1b]0;x\x07"])
def test_a_name_that_cannot_be_is_one_line(name: str, capsys: Output) -> None:
    for command in (["sample", name], ["eval", name, "--split", "val"], ["report", name], ["export", name, "out"]):
        refused(capsys, *command)
    refused(capsys, "export", "gift", name) if name != "\x1b]0;x\x07" else None
    assert main(["runs", name]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def nobody() -> Iterator[None]:
    """The rights of somebody else, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize("closed", ["gift", "gift/checkpoints", "gift/checkpoints/step-000000040", "file"])
def test_another_user_s_run_is_one_line(closed: str, gift: Path, capsys: Output, request: Any) -> None:
    assert main(["report", "gift"]) == 0
    capsys.readouterr()
    shutil.rmtree("gift/checkpoints/step-000000020")
    path = next(gift.glob("checkpoints/*/config.json")) if closed == "file" else Path(closed)
    path.chmod(0)
    try:
        request.getfixturevalue("nobody")
        for command in COMMANDS:
            told = refused(capsys, *command)
            assert "Permission denied" in told or "holds no checkpoint" in told
        assert main(["runs", "."]) == 0
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        path.chmod(0o755)


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "README.md", "config.json"])
def test_a_checkpoint_named_directly_is_verified(name: str, gift: Path, capsys: Output) -> None:
    folder = checkpoint_of(gift)
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    assert f"{name} is not what was written" in refused(capsys, "sample", str(folder))
    (folder / "manifest.json").unlink()
    assert "manifest.json is missing" in refused(capsys, "export", str(folder), "out")


def test_a_run_that_is_resumed_imports_no_plugin_of_its_own(gift: Path, capsys: Output) -> None:
    Path("evil.py").write_text("import pathlib\npathlib.Path('harm').touch()\n")
    path = gift / "config.json"
    for plugin in (["evil"], "evil", 3):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"plugin": plugin}))
        assert "give --plugin for those you trust" in refused(capsys, "train", "--run-dir", "gift", "--resume")
    assert not Path("harm").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_model_that_gives_no_numbers_is_one_line(value: float, gift: Path, capsys: Output) -> None:
    make_store(gift / "store")
    for folder in gift.glob("checkpoints/*"):
        weights = load_file(folder / "model.safetensors")
        weights["output.weight"][:] = value
        # Gates open, every cell gives nearly 1, and what is finite overflows in whatever order it is added up.
        weights["lstms.1.bias_ih_l0"][:] = 50.0
        save_file(weights, folder / "model.safetensors")
        seal(folder)
    for command in (COMMANDS[0], EVAL, ("report", "gift"), PAGE):
        assert "gives no numbers" in refused(capsys, *command)
