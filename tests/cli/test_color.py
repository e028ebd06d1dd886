"""`charrnn sample --color`: characters in the style of their probability, only where styles are wanted."""

from __future__ import annotations

import math
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
import torch

from charrnn.cli import main
from charrnn.model.folder import save_model
from charrnn.model.lstm import CharLSTM
from charrnn.text.vocab import Vocabulary
from tests.conftest import program

WISHES = {"a": 0.6, "b": 0.25, "c": 0.1, "d": 0.05 - 1e-4, "\n": 1e-4}
STYLES = {"b": "\033[38;5;64m", "c": "\033[38;5;130m", "d": "\033[4;38;5;196m", "\n": "\033[4;38;5;196m"}
"""The style of each character; the likeliest is plain."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that gives the same probabilities after any text: those of WISHES."""
    vocab = Vocabulary("".join(sorted(WISHES)))
    lstm = CharLSTM(len(vocab), hidden_size=4, embedding_size=2)
    with torch.no_grad():
        lstm.output.weight.zero_()
        lstm.output.bias.copy_(torch.tensor([math.log(WISHES[character]) for character in vocab.characters]))
    folder = tmp_path / "model"
    save_model(folder, lstm, vocab, "")
    return folder


def styled(text: str) -> str:
    return "".join(f"{STYLES[character]}{character}\033[0m" if character in STYLES else character for character in text)


Output = pytest.CaptureFixture[str]


def sample(capsys: Output, model: Path, *flags: str) -> tuple[str, str]:
    """What a sample writes to standard output and to standard error."""
    assert main(["sample", str(model), "--length", "300", "--temperature", "1.5", *flags]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_each_character_has_the_style_of_its_probability(
    model: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = sample(capsys, model, "--prompt", "dad")
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored, said = sample(capsys, model, "--prompt", "dad", "--color")
    assert set(plain[3:-1]) == set(WISHES)
    assert (colored, said) == ("dad" + styled(plain[3:-1]) + "\n", "")


def test_what_goes_to_no_terminal_stays_plain_and_says_so(
    model: Path, capsys: Output, caplog: pytest.LogCaptureFixture
) -> None:
    assert sample(capsys, model, "--color")[0] == sample(capsys, model)[0]
    assert "FORCE_COLOR=1" in caplog.text


def test_no_color_wins(
    model: Path, capsys: Output, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\033" not in sample(capsys, model, "--color")[0]
    assert "NO_COLOR is set" in caplog.text


def test_a_terminal_is_colored(model: Path) -> None:
    ours, theirs = pty.openpty()
    command = [program("charrnn"), "sample", str(model), "--length", "300", "--temperature", "1.5", "--color"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
        os.close(ours)
        assert process.wait() == 0
    assert set(re.findall(r"\033\[[0-9;]*m", shown.decode())) == {"\033[0m", *STYLES.values()}
    legend = re.sub(r"\033\[[0-9;]*m", "", shown.decode()).splitlines()[-1]
    assert legend == "probability 1/2 or more  1/5 or more  1/20 or more  less"
    assert len(legend) <= 60


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that the other side of a terminal is closed
        return b""
