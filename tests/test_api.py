"""`charrnn.fit` and `charrnn.load`: training and writing from Python, several times in one process, and stopped."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import notebook_launcher
from threadpoolctl import threadpool_info

import charrnn
from charrnn.errors import CheckpointError, ConfigError, CorpusError, UserError, VocabularyError
from tests.conftest import last_checkpoint, make_text, rows_of, run, status

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "batch_size": 8,
    "seq_length": 16,
    "sample_length": 40,
    "num_threads": 1,
    "tracker": "none",
}


@pytest.fixture(scope="module")
def model(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> charrnn.Model:
    """A model that has learned a little."""
    folder = tmp_path_factory.mktemp("api") / "run"
    return charrnn.fit(f"files:{text_file}", run_dir=folder, max_steps=150, learning_rate=0.01, **SMALL)


def test_fit_leaves_the_run_that_the_command_would_leave(model: charrnn.Model) -> None:
    assert status(model.folder)["state"] == "finished"
    config = json.loads((model.folder / "config.json").read_text())
    assert (config["preset"], config["hidden_size"], config["epochs"]) == ("laptop", 32, 4.0)
    assert rows_of(model.folder / "metrics.jsonl")[-1]["step"] == 150


def test_fit_prints_progress_and_samples(text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = charrnn.fit(f"files:{text_file}", max_steps=5, **SMALL)
    assert model.folder.parent == Path("runs")
    shown = capsys.readouterr().out
    assert "no corpus was named" not in shown
    assert "step 5/5" in shown
    assert rows_of(model.folder / "samples.jsonl")[0]["text"] in shown


def test_fit_without_a_corpus_says_what_it_trains_on(capsys: pytest.CaptureFixture[str]) -> None:
    charrnn.fit(max_steps=1, **SMALL)
    assert "no corpus was named: this trains on python:asyncio, a part of Python's" in capsys.readouterr().out


@pytest.mark.parametrize("value", [5, None])
def test_what_is_no_text_is_refused_in_a_line(value: Any, model: charrnn.Model) -> None:
    calls: list[Callable[[], object]] = [
        lambda: model.generate(value),
        lambda: model.generate_all([value]),
        lambda: model.loss(value),
        lambda: model.line_losses([value]),
        lambda: model.generate(stop=[value]),
    ]
    for call in calls:
        with pytest.raises(UserError, match="a text") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_many_texts_are_wanted_as_a_list(model: charrnn.Model) -> None:
    for call in (model.generate_all, model.line_losses):
        with pytest.raises(ConfigError, match="must be a list of texts"):
            call("Ba")


def test_a_checkpoint_that_there_cannot_be_is_no_other(model: charrnn.Model) -> None:
    with pytest.raises(ConfigError, match="there is no checkpoint 'first': choose best or last"):
        charrnn.load(model.folder, "first")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"did you mean {model.folder.name}"):
        charrnn.load(model.folder.with_name("rum"))
    with pytest.raises(CheckpointError, match=rf"holds no checkpoint: did you mean {model.folder}\?"):
        charrnn.load(model.folder.parent)


def test_fit_puts_back_what_it_sets_for_its_whole_process(text_file: Path) -> None:
    def settings() -> tuple[object, ...]:
        blas = [each["num_threads"] for each in threadpool_info() if each["internal_api"] == "openblas"]
        deterministic = torch.are_deterministic_algorithms_enabled()
        return torch.get_num_threads(), blas, deterministic, dict(os.environ), sys.path[:]

    torch.set_num_threads(2)
    before = settings()
    charrnn.fit(f"files:{text_file}", max_steps=2, deterministic=True, **{**SMALL, "tracker": "trackio"})
    assert settings() == before
    with pytest.raises(CorpusError):
        charrnn.fit("files:missing.txt", deterministic=True, **SMALL)
    assert settings() == before


def test_fit_again_in_the_same_process_trains_the_same_model(text_file: Path) -> None:
    for name in ("one", "two"):
        charrnn.fit(corpus=[f"files:{text_file}"], run_dir=name, max_steps=5, **SMALL)
    one, two = ((last_checkpoint(Path(name)) / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_configuration_file_and_a_preset_are_changed_by_what_is_given(model: charrnn.Model) -> None:
    again = charrnn.fit(config=model.folder / "config.json", preset="karpathy", max_steps=2)
    config = json.loads((again.folder / "config.json").read_text())
    assert (config["preset"], config["hidden_size"], config["max_steps"]) == ("karpathy", 32, 2)
    assert config["grad_clip"] == json.loads((model.folder / "config.json").read_text())["grad_clip"] == 1.0


def test_load_gives_the_model_that_fit_gave(model: charrnn.Model) -> None:
    settings: dict[str, Any] = {"length": 100, "temperature": 0.7, "seed": 3}
    text = model.generate("Ba", **settings)
    assert text.startswith("Ba")
    assert len(text) == 102
    assert charrnn.load(str(model.folder)).generate("Ba", **settings) == text
    assert text == "Ba" + "".join(charrnn.generate(model.lstm, model.vocab, "Ba", **settings))
    assert model.generate("Ba", length=100, temperature=0.7, seed=4) != text


def test_loss_is_lower_for_text_like_that_of_the_training(model: charrnn.Model) -> None:
    text = make_text(30_000)[27_000:]
    assert model.loss(text).nats < model.loss(text[::-1]).nats < math.log(len(model.vocab)) * 2
    measured = [row["val_loss"] for row in rows_of(model.folder / "metrics.jsonl") if row["val_loss"]]
    assert model.loss(text).nats == pytest.approx(min(measured), rel=1e-5)


@pytest.mark.parametrize("call", [lambda model: model.generate("中"), lambda model: model.loss("中中")])
def test_characters_that_the_model_does_not_know_are_named(
    call: Callable[[charrnn.Model], object], model: charrnn.Model
) -> None:
    with pytest.raises(VocabularyError, match=r"U\+4E2D"):
        call(model)


def test_a_text_of_one_character_has_no_loss(model: charrnn.Model) -> None:
    with pytest.raises(ConfigError, match="at least two characters"):
        model.loss("B")


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"hidden_sice": 3}, ConfigError, r"there is no hidden_sice: did you mean hidden_size\?"),
        ({"hidden_size": "many"}, ConfigError, "^hidden_size many: write a number in digits"),
        ({"dropout": 1.0}, ConfigError, "^dropout 1.0: input should be less than 1"),
        ({"preset": "desktop"}, ConfigError, "no preset 'desktop'"),
        ({"corpus": "my.txt"}, CorpusError, "is not a corpus"),
        ({"resume": True}, ConfigError, "--resume needs the --run-dir"),
        ({"tracker": "wandbb"}, ConfigError, r"^tracker wandbb: did you mean wandb\?"),
        ({"normalize": "nfc"}, ConfigError, r"^normalize nfc: did you mean NFC\?"),
        ({"optimizer": "sgd"}, ConfigError, "^optimizer sgd: choose adamw, adam, rmsprop"),
        ({"corpus": "fiels:my.txt"}, CorpusError, r"no corpus 'fiels': did you mean files\?"),
        ({"corpus": "files:my.txt?encodng=x"}, CorpusError, r"no option 'encodng': did you mean encoding\?"),
        ({"hidden_size": [3]}, ConfigError, r"^hidden_size \[3\]: must be a whole number"),
        ({"hidden_size": 3.5}, ConfigError, "^hidden_size 3.5: must be a whole number"),
        ({"corpus": 5}, ConfigError, "^corpus 5: must be a text"),
        ({"corpus": ["files:my.txt", 5]}, ConfigError, "^corpus 5: must be a text"),
        ({"temperatures": None}, ConfigError, "^temperatures None: must be one, or several in a list"),
        ({"run_dir": 5}, ConfigError, "^run_dir 5: must be a path"),
        ({"config": 5}, ConfigError, "^config 5: must be a path"),
        ({"preset": 5}, ConfigError, "no preset 5: choose laptop"),
    ],
)
def test_bad_settings_are_errors_and_leave_nothing(
    settings: dict[str, Any], kind: type[UserError], message: str
) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(kind, match=message) as caught:
        charrnn.fit(**settings, num_threads=1)
    assert "\n" not in str(caught.value)
    assert not list(Path("runs").glob("*"))
    assert [signal.getsignal(number) for number in SIGNALS] == before


WARNED = r"two\nlines \x1b]0;title\x07"
NOISY = """
import logging
import charrnn


@charrnn.hookimpl
def register_corpora(register):
    register("noisy", noisy)


def noisy(argument):
    "noisy:WORD, many times, with a warning."
    logging.getLogger(__name__).warning("two\\nlines \\x1b]0;title\\x07")
    yield f"{argument} " * 500
"""
FIT = "import charrnn\ncharrnn.fit('noisy:some', plugin=['noisy'], max_steps=2, run_dir='run', **"
FIT += f"{SMALL})\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", f"{WARNED}\n"),
        ("import logging\nlogging.basicConfig(format='mine: %(message)r')\n", f"mine: '{WARNED}'\n"),
        ("import logging\nlogging.lastResort = None\n", ""),
    ],
    ids=["no logging", "logging", "no last resort"],
)
def test_fit_warns_in_lines_unless_a_program_has_logging_of_its_own(before: str, said: str) -> None:
    Path("noisy.py").write_text(NOISY)
    assert run([sys.executable, "-c", before + FIT]).stderr == said


def test_load_warns_in_a_line(text_file: Path) -> None:
    charrnn.fit(f"files:{text_file}", run_dir="run", max_steps=2, checkpoint_every=1, **SMALL)
    (last_checkpoint(Path("run")) / "vocab.json").write_text("\x1b")
    last = "import charrnn, logging\ncharrnn.load('run', 'last')\n"
    said = run([sys.executable, "-c", last + "assert not logging.getLogger().handlers"]).stderr
    assert said.count("\n") == 1
    assert "vocab.json is not what was written" in said


def test_load_refuses_a_folder_without_a_model() -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        charrnn.load("runs/none")


def test_an_interrupt_saves_and_is_an_interrupt_and_the_run_goes_on_later(text_file: Path) -> None:
    """As a notebook's stop button does; and the signals are given back to whoever had them."""
    before = [signal.getsignal(number) for number in SIGNALS]
    metrics = Path("run/metrics.jsonl")
    done = threading.Event()

    def interrupt() -> None:
        while not done.wait(0.01):
            if metrics.exists():
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            charrnn.fit(f"files:{text_file}", run_dir="run", max_steps=1_000_000, log_every=1, **SMALL)
    finally:
        done.set()
        watcher.join()
    assert isinstance(caught.value, charrnn.StoppedError)
    assert str(caught.value) == (
        "training was stopped (SIGINT) before its end, and saved: go on with "
        "charrnn.fit(run_dir='run', resume=True), or take what there is with charrnn.load('run')"
    )
    assert status(Path("run"))["state"] == "preempted"
    assert [signal.getsignal(number) for number in SIGNALS] == before
    step = status(Path("run"))["step"]
    assert charrnn.load("run").generate(length=5)
    model = charrnn.fit(run_dir="run", resume=True, max_steps=step + 2)
    assert status(model.folder)["state"] == "finished"
    assert [row["step"] for row in rows_of(metrics)] == list(range(1, step + 3))


def test_fit_works_in_a_thread_which_can_take_no_signals(text_file: Path) -> None:
    models: list[charrnn.Model] = []
    thread = threading.Thread(target=lambda: models.append(charrnn.fit(f"files:{text_file}", max_steps=2, **SMALL)))
    thread.start()
    thread.join()
    assert status(models[0].folder)["state"] == "finished"


def test_the_notebook_launcher_trains_in_one_process(text_file: Path) -> None:
    settings = {"run_dir": "run", "max_steps": 3, **SMALL}
    notebook_launcher(lambda: charrnn.fit(f"files:{text_file}", **settings), num_processes=1)
    assert charrnn.load("run").generate(length=5)
