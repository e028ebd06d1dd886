"""`charrnn sample` for what people write: up to a stop, new lines, many prompts; and `charrnn eval --lines`."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.cli import main
from charrnn.cli.sample import SampleOptions
from charrnn.errors import ConfigError, CorpusError
from charrnn.model.items import TooFewError
from tests.cli.conftest import Output, error, output
from tests.conftest import SMALL, program, train_here

pytestmark = pytest.mark.usefixtures("one_thread")


def make_names() -> list[str]:
    """Two thousand of the names that three syllables make, of which there are more."""
    first, middle, last = ("Ba", "Do", "Ki", "Lu", "Me", "Na"), ("la", "ri", "so", "te", "vu"), ("n", "ra", "th", "x")
    names = [a + b + c + d for a in first for b in middle for c in middle for d in last]
    return [name for index, name in enumerate(names) if index % 3] * 5


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of names."""
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("".join(f"{name}\n" for name in make_names()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run_dir(names: Path) -> Path:
    """A run that has learnt what names are like. Its text is in another cache than that of the tests."""
    folder = names.parent / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(names.parent / "cache"))
        flags = ("--max-steps", "150", "--learning-rate", "0.02", "--sample-length", "0", "--tracker", "none")
        assert train_here(*SMALL, *flags, "--corpus", f"files:{names}", "--run-dir", folder) == 0
    return folder


def test_a_text_ends_before_a_stop_as_a_shell_can_give_it(run_dir: Path, capsys: Output) -> None:
    sample = functools.partial(output, capsys, "sample", run_dir, "--prompt", "Ba")
    whole = sample("--length", "200")
    line = whole.partition("\n")[0] + "\n"
    assert sample("--stop", "\n") == sample("--stop", r"\n") == line
    assert sample("--stop", "\n\n\n", "--length", "200") == whole
    two = whole[2:4]
    assert sample("--stop", two, "--length", "200") == "Ba\n"
    assert SampleOptions.from_args(["run", "--stop", r"a\\n\tb"], "").stop == ("a\\n\tb",)


def test_samples_side_by_side_end_each_at_its_stop(run_dir: Path, capsys: Output) -> None:
    sample = functools.partial(output, capsys, "sample", run_dir, "--stop", "\n", "--stop", "th")
    alone = [sample("--seed", str(seed)) for seed in range(3, 9)]
    together = "".join(f"--- seed {seed} ---\n{text}" for seed, text in enumerate(alone, 3))
    assert sample("--seed", "3", "--num-samples", "6") == together
    assert "th" not in together


def test_items_are_new_different_and_come_with_their_bits(run_dir: Path, names: Path, capsys: Output) -> None:
    sample = functools.partial(output, capsys, "sample", run_dir, "--corpus", f"files:{names}", "--items")
    rows = [line.split("\t") for line in sample("50").splitlines()]
    items = [item for _, item in rows]
    text = names.read_text(encoding="utf-8")
    assert len(set(items)) == 50
    assert not [item for item in items if item in text]
    Path("items.txt").write_text("\n".join(items), encoding="utf-8")
    measured = map(json.loads, output(capsys, "eval", run_dir, "--corpus", "files:items.txt", "--lines").splitlines())
    assert [float(bits) for bits, _ in rows] == pytest.approx([row["bpc"] for row in measured], abs=0.0051)
    assert sample("50") == sample("50")
    begun = sample("5", "--prompt", "Do").splitlines()
    assert all(line.split("\t")[1].startswith("Do") for line in begun)


def test_the_text_of_a_run_of_one_s_own_is_opened_without_a_word(names: Path, capsys: Output) -> None:
    Path("names.txt").write_text(names.read_text(encoding="utf-8"), encoding="utf-8")
    flags = ("--max-steps", "20", "--sample-length", "0", "--tracker", "none", "--run-dir", "mine")
    output(capsys, "train", *SMALL, *flags, "--corpus", "files:names.txt")
    assert len(output(capsys, "sample", "mine", "--items", "3").splitlines()) == 3
    assert [item.text for item in charrnn.load("mine").items(3)] == [
        line.split("\t")[1] for line in output(capsys, "sample", "mine", "--items", "3").splitlines()
    ]


def test_the_text_of_another_s_run_is_not_opened_unless_one_says_so(run_dir: Path, names: Path, capsys: Output) -> None:
    assert "give --corpus with a copy of it, or --trust" in error(capsys, "sample", run_dir, "--items", "3")
    three = output(capsys, "sample", run_dir, "--items", "3", "--corpus", f"files:{names}")
    assert output(capsys, "sample", run_dir, "--items", "3", "--trust") == three
    Path("other.txt").write_text("Baba\n" * 100, encoding="utf-8")
    assert "not the text any more" in error(capsys, "sample", run_dir, "--items", "3", "--corpus", "files:other.txt")
    output(capsys, "export", run_dir, "model")
    for flags in ((), ("--trust",)):
        refused = error(capsys, "sample", "model", "--items", "3", *flags)
        assert "a model alone, which does not say what it was trained on: give --corpus" in refused
    assert output(capsys, "sample", "model", "--items", "3", "--corpus", f"files:{names}") == three
    model = charrnn.load("model")
    with pytest.raises(CorpusError, match="give --corpus"):
        model.items(3)
    assert [f"{item.bits:.2f}\t{item.text}\n" for item in model.items(3, corpus=f"files:{names}")] == three.splitlines(
        keepends=True
    )


def test_items_that_there_are_not_are_said_after_those_that_there_are(
    run_dir: Path, names: Path, capsys: Output
) -> None:
    assert main(["sample", str(run_dir), "--items", "3", "--corpus", f"files:{names}", "--temperature", "0"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("\n") <= 1
    assert f"{captured.out.count(chr(10))} of 3 items: of the last 1,000 lines 1,000 " in captured.err
    with pytest.raises(TooFewError):
        list(charrnn.load(run_dir).items(3, trust=True, temperature=0.0))


def test_items_in_color_are_those_without(
    run_dir: Path, names: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--items", "5", "--corpus", f"files:{names}", "--temperature", "1.5")
    plain = output(capsys, "sample", run_dir, *flags)
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored = output(capsys, "sample", run_dir, *flags, "--color")
    assert "\033[" in colored
    for style in ("\033[0m", "\033[38;5;64m", "\033[38;5;130m", "\033[4;38;5;196m"):
        colored = colored.replace(style, "")
    assert colored == plain


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--items", "2", "--num-samples", "2"], "leave out --num-samples"),
        (["--items", "2", "--prompts", "-"], "leave out --prompts"),
        (["--items", "2", "--stop", "x"], "leave out --stop"),
        (["--items", "0"], "--items 0: write 1 or more"),
        (["--items", "-1"], "--items -1: input should be greater"),
        (["--corpus", "files:x"], "--items: add it"),
        (["--trust"], "--items: add it"),
        (["--prompts", "-", "--prompt", "Ba"], "leave out --prompt"),
        (["--prompts", "-", "--num-samples", "2"], "leave out --num-samples"),
        (["--prompts", "-", "--color"], "leave out --color"),
        (["--stop", ""], "--stop : an empty text stands everywhere"),
        (["--stop", "a☃"], "the model does not know '☃'"),
        (["--prompts", "none.txt"], "cannot read none.txt: No such file or directory"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_in_a_line(
    flags: list[str], said: str, run_dir: Path, capsys: Output
) -> None:
    assert said in error(capsys, "sample", run_dir, *flags)


def given(content: bytes, *args: str | Path) -> subprocess.CompletedProcess[bytes]:
    """What `charrnn` makes of some bytes on standard input."""
    return subprocess.run(
        [program("charrnn"), *map(str, args)], input=content, capture_output=True, check=False, timeout=60
    )


def test_a_prompt_comes_from_standard_input(run_dir: Path, capsys: Output) -> None:
    sample = functools.partial(given, b"", "sample", run_dir, "--prompt", "-", "--length", "20")
    for content, prompt in ((b"Ba", "Ba"), (b"Ba\n", "Ba"), (b"Ba\n\n", "Ba\n"), (b"\xef\xbb\xbfBa\r\n", "Ba")):
        done = given(content, *sample.args[1:])
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode() == output(capsys, "sample", run_dir, "--prompt", prompt, "--length", "20")
    assert sample().stdout.decode() == output(capsys, "sample", run_dir, "--length", "20")


@pytest.mark.parametrize("flag", ["--prompt", "--prompts"])
def test_what_is_no_text_on_standard_input_is_refused_in_a_line(run_dir: Path, flag: str) -> None:
    done = given(b"Ba\nDo\xff\n", "sample", run_dir, flag, "-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: standard input is not UTF-8: line 2 has the byte 0xff: convert it first\n"
    closed = subprocess.run(
        ["bash", "-c", f'"$0" sample "$1" {flag} - <&-', program("charrnn"), str(run_dir)],
        capture_output=True,
        check=False,
    )
    assert closed.returncode == 1
    assert closed.stderr.startswith(b"error: standard input is closed")


def test_each_prompt_of_a_file_gets_a_line_of_json(
    run_dir: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("prompts.txt").write_bytes(b"Ba\r\nDo\n\nBa" + b"\nKi" * 70)
    flags = ("--length", "15", "--stop", "x")
    rows = [
        json.loads(line) for line in output(capsys, "sample", run_dir, "--prompts", "prompts.txt", *flags).splitlines()
    ]
    assert [row["prompt"] for row in rows] == ["Ba", "Do", "", "Ba", *["Ki"] * 70]
    for row in rows[:5]:
        alone = output(capsys, "sample", run_dir, "--prompt", row["prompt"], *flags)
        assert alone == f"{row['prompt']}{row['text']}\n"
    model = charrnn.load(run_dir)
    texts = model.generate_all(["Ba", "Do"], length=15, stop="x")
    assert texts == [row["prompt"] + row["text"] for row in rows[:2]]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("prompts.txt").read_bytes())))
    again = output(capsys, "sample", run_dir, "--prompts", "-", *flags)
    assert [json.loads(line) for line in again.splitlines()] == rows
    Path("prompts.txt").write_text("Ba\nDo☃\n", encoding="utf-8")
    assert "prompt 2: the vocabulary has no '☃'" in error(capsys, "sample", run_dir, "--prompts", "prompts.txt")
    Path("prompts.txt").write_text("")
    assert output(capsys, "sample", run_dir, "--prompts", "prompts.txt") == ""


def test_eval_measures_each_line(run_dir: Path, names: Path, capsys: Output) -> None:
    Path("some.txt").write_text("Balan\n\nB\nnalaB\nBalan", encoding="utf-8")
    rows = [
        json.loads(line)
        for line in output(capsys, "eval", run_dir, "--corpus", "files:some.txt", "--lines").splitlines()
    ]
    assert [(row["line"], row["text"], row["characters"]) for row in rows] == [
        (1, "Balan", 6),
        (2, "", 1),
        (3, "B", 2),
        (4, "nalaB", 6),
        (5, "Balan", 6),
    ]
    assert rows[0]["loss"] == pytest.approx(rows[4]["loss"], rel=1e-6)
    assert rows[0]["bpc"] < rows[3]["bpc"]
    losses = charrnn.load(run_dir).line_losses(["Balan", "", "B", "nalaB", "Balan"])
    assert [row["loss"] for row in rows] == pytest.approx([loss.nats for loss in losses], rel=1e-6)
    held_out = output(capsys, "eval", run_dir, "--split", "val", "--lines", "--trust").splitlines()
    text = names.read_text(encoding="utf-8")
    assert [json.loads(line)["text"] for line in held_out] == text[-(len(text) // 10) :].splitlines()


def test_eval_names_the_line_of_what_the_model_does_not_know(run_dir: Path, capsys: Output) -> None:
    Path("good.txt").write_text("Balan\n", encoding="utf-8")
    Path("snow.txt").write_text("Balan\n\nBa☃\n", encoding="utf-8")
    measure = functools.partial(error, capsys, "eval", run_dir, "--lines", "--corpus")
    assert "files:snow.txt, line 3: the vocabulary has no '☃'" in measure(
        "files:good.txt", "--corpus", "files:snow.txt"
    )
    assert "leave out --dynamic" in measure("files:good.txt", "--dynamic")
    assert "no text is given" in error(capsys, "eval", run_dir, "--lines")
    with pytest.raises(ConfigError, match="line 2 holds a new line"):
        charrnn.load(run_dir).line_losses(["Ba", "Ba\n"])
