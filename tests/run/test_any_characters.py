"""Text with halves of surrogate pairs, in a folder and a file whose names are not UTF-8: every writer takes them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.run.folder import read_lines
from tests.conftest import DIRECT, SMALL, program, run, status

HALVES = """
import charrnn


@charrnn.hookimpl
def register_corpora(register):
    register("halves", halves)


def halves(argument):
    "halves:FILE"
    with open(argument, encoding="utf-8", errors="surrogateescape") as file:
        yield file.read()
"""
RUN = os.fsdecode(b"r\xffn")
TEXT = os.fsdecode(b"t\xff.txt")


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "trackio"])
def test_every_writer_takes_any_text_and_any_name(tracker: str, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*args: str) -> str:
        """What a command of this process says, where torch is imported already."""
        assert main([*args]) == 0
        return capsys.readouterr().out

    Path("halves.py").write_text(HALVES, encoding="utf-8")
    Path(TEXT).write_bytes(b"ab\xff cd \xed\xa0\x80\n" * 300)
    flags = ("--tracker", tracker, "--learning-rate", "0.02", "--plugin", "halves", "--corpus", f"halves:{TEXT}")
    trained = run(DIRECT, *SMALL, *flags, "--max-steps", "40", "--run-dir", RUN)
    assert "Traceback" not in trained.stderr
    assert "did not take" not in trained.stderr
    assert "\\udc" in trained.stdout
    assert status(Path(RUN))["state"] == "finished"
    assert any("\udcff" in row["text"] for row in read_lines(Path(RUN, "samples.jsonl")))
    if tracker == "wandb":
        assert list(Path(RUN, "wandb").glob("offline-run-*/files/media/html/surprise/*.html"))
    elif tracker == "tensorboard":
        assert list(Path(RUN, "tensorboard").glob("events*"))
        assert "going on from" in said("train", *SMALL, *flags, "--max-steps", "45", "--run-dir", RUN, "--resume")
        charrnn = [program("charrnn")]
        assert "\\udc" in run(charrnn, "sample", RUN, "--length", "200").stdout
        assert json.loads(said("eval", RUN, "--split", "val", "--plugin", "halves"))["loss"] > 0
        assert "report.html" in said("report", RUN)
        assert "t\\udcff.txt" in run(charrnn, "runs", ".").stdout
        said("export", RUN, os.fsdecode(b"m\xff"))
        assert "t\\udcff.txt" in Path(os.fsdecode(b"m\xff"), "README.md").read_text(encoding="utf-8")
        assert run(charrnn, "corpora", "show", f"halves:{TEXT}", "--plugin", "halves").stdout.count("\\udcff") == 300
