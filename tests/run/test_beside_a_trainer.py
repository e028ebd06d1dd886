"""Reading a run while a trainer goes on with it: the checkpoint that was chosen may be gone at the next look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.cli import main
from charrnn.text.store_builder import build_store
from tests.conftest import make_text
from tests.run.test_earlier_versions import MADE

Trainer = Callable[[Path], Any]


@contextmanager
def with_keep_1(parent: Path) -> Iterator[None]:
    """Saves a better checkpoint and removes those before it."""
    before = sorted(parent.glob("step-*"))
    shutil.copytree(before[-1], parent / ".writing-next")
    os.rename(parent / ".writing-next", parent / "step-000000060")
    for folder in before:
        os.rename(folder, parent / f".writing-{folder.name}")
        shutil.rmtree(parent / f".writing-{folder.name}")
    yield


@contextmanager
def saving_again(parent: Path) -> Iterator[None]:
    """Saves the only checkpoint once more, as a run that is resumed at its end does; for one look there is none."""
    *others, folder = sorted(parent.glob("step-*"))
    for other in others:
        shutil.rmtree(other)
    shutil.copytree(folder, parent / ".writing-again")
    os.rename(folder, parent / ".writing-over")
    try:
        yield
    finally:
        os.rename(parent / ".writing-again", folder)
        shutil.rmtree(parent / ".writing-over")


def looks(run: Path, trainer: Trainer, moment: int) -> Callable[..., str]:
    """`os.path.realpath`, by which every file of a checkpoint is looked for, with a trainer that acts at one look."""
    real, numbers = os.path.realpath, count()

    def realpath(path: Any, **how: Any) -> str:
        parent = run.absolute() / "checkpoints"
        is_one = Path(path).absolute().is_relative_to(parent) and next(numbers) == moment
        with trainer(parent) if is_one else nullcontext():
            return real(path, **how)

    return realpath


def load(*args: str) -> int:
    return 0 if charrnn.load(args[0]).generate(length=1) else 1


COMMANDS = {
    "sample": (["sample", "gift", "--length", "1"], 1),
    "export": (["export", "gift", "out"], 3),
    "eval": (["eval", "gift", "--split", "val"], 5),
    "report": (["report", "gift"], 9),
    "load": (["load", "gift"], 5),
}
"""Each with how many looks lie between two that are tried: what they have in common is tried by the first."""


@pytest.mark.parametrize("trainer", [with_keep_1, saving_again])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_checkpoint_that_is_gone_is_looked_for_again(
    name: str, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (command, *args), stride = COMMANDS[name]
    for moment in count(0, stride):
        for left in ("gift", "out"):
            shutil.rmtree(left, ignore_errors=True)
        gift = Path(shutil.copytree(MADE, "gift"))
        build_store(gift / "store", [("files:words.txt", [[make_text(4_000)]])], val_fraction=0.1)
        before = {path.stat().st_ino for path in gift.glob("checkpoints/*")}
        with monkeypatch.context() as patch:
            patch.setattr(os.path, "realpath", looks(gift, trainer, moment))
            assert (load(*args) if command == "load" else main([command, *args])) == 0, moment
        assert len(caplog.messages) <= (trainer is saving_again), (moment, caplog.messages)
        caplog.clear()
        if before == {path.stat().st_ino for path in gift.glob("checkpoints/*")}:
            break  # so many looks there are not
    assert moment > 10


def test_what_stays_and_is_damaged_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    gift = Path(shutil.copytree(MADE, "gift"))
    for path in gift.glob("checkpoints/*/vocab.json"):
        path.write_text("{}")
    assert main(["sample", "gift"]) == 1
    assert capsys.readouterr().err.startswith("error: gift holds no whole checkpoint")
