"""The `charrnn` command: sampling, measuring, exporting and looking at corpora, on one small run."""

from __future__ import annotations

import functools
import http.server
import json
import math
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

import charrnn
from charrnn.cli import COMMANDS, main
from charrnn.model.folder import save_model
from tests.cli.conftest import Output, error, output
from tests.conftest import SMALL, make_text, program, rows_of, train_here

VAL_FRACTION = "0.2"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose last fifth reads backwards: the more a model learns, the less it expects that."""
    path = tmp_path_factory.mktemp("cli") / "there-and-back.txt"
    there = make_text(20_000)
    path.write_text(there + there[:5_000][::-1], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run_dir(text: Path) -> Path:
    """A run with two checkpoints: its best one, and its last one, which is worse."""
    folder = text.parent / "run"
    flags = ("--max-steps", "100", "--eval-every", "20", "--learning-rate", "0.02", "--sample-length", "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(text.parent / "cache"))
        more = ("--tracker", "none", "--val-fraction", VAL_FRACTION, "--corpus", f"files:{text}", "--run-dir", folder)
        assert train_here(*SMALL, *flags, *more) == 0
    return folder


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_help_names_every_command(args: list[str], capsys: Output) -> None:
    shown = output(capsys, *args)
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_name(command: str, capsys: Output) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert ("charrnn.train" if command == "train" else f"charrnn {command}") in shown


def test_the_version(capsys: Output) -> None:
    assert output(capsys, "--version") == f"{charrnn.__version__}\n"


def test_an_unknown_command_names_those_there_are(capsys: Output) -> None:
    assert main(["smaple"]) == 2
    assert capsys.readouterr().err == "error: there is no command 'smaple': did you mean sample?\n"
    assert main(["xyz"]) == 2
    assert capsys.readouterr().err == f"error: there is no command 'xyz': choose {', '.join(COMMANDS)}\n"


def test_the_same_seed_writes_the_same_sample(run_dir: Path, capsys: Output) -> None:
    sample = functools.partial(output, capsys, "sample", run_dir, "--length", "200", "--prompt", "Ba")
    one = sample("--seed", "1")
    assert len(one) == len("Ba") + 200 + len("\n")
    assert one.startswith("Ba")
    assert one == sample("--seed", "1")
    assert one != sample("--seed", "2")


def test_several_samples_are_those_of_their_seeds_the_first_as_it_is_made(run_dir: Path, capsys: Output) -> None:
    sample = functools.partial(output, capsys, "sample", run_dir, "--length", "100", "--prompt", "Ba")
    alone = [sample("--seed", str(seed)) for seed in (3, 4, 5)]
    together = "".join(f"--- seed {seed} ---\n{text}" for seed, text in zip((3, 4, 5), alone, strict=True))
    assert sample("--seed", "3", "--num-samples", "3") == together
    assert "--num-samples 0: input should be greater than or equal to 1" in error(
        capsys, "sample", run_dir, "--num-samples", "0"
    )


def test_temperature_0_needs_no_seed(run_dir: Path, capsys: Output) -> None:
    sample = functools.partial(output, capsys, "sample", run_dir, "--length", "200")
    certain = sample("--temperature", "0", "--seed", "1")
    assert certain == sample("--temperature", "0", "--seed", "2")
    assert certain == sample("--top-k", "1", "--seed", "3")
    assert certain != sample("--temperature", "1")


def test_a_prompt_with_characters_that_the_model_never_saw(run_dir: Path, capsys: Output) -> None:
    message = error(capsys, "sample", run_dir, "--prompt", "Ba ☃")
    assert "☃" in message


@pytest.mark.parametrize("command", [["sample"], ["eval", "--corpus", "files:x"], ["export", "new"]])
def test_a_folder_that_is_no_run(command: list[str], capsys: Output) -> None:
    name, *rest = command
    assert "elsewhere holds no checkpoint" in error(capsys, name, "elsewhere", *rest)
    assert os.listdir() == []


def test_sample_and_show_write_as_they_go_and_end_quietly_when_nobody_reads_on(run_dir: Path) -> None:
    Path("large.txt").write_text(make_text(300_000), encoding="utf-8")  # several times what a pipe holds
    for args in (["sample", str(run_dir), "--length", "100000000"], ["corpora", "show", "files:large.txt"]):
        with subprocess.Popen(
            [program("charrnn"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert len(process.stdout.read(100)) == 100
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait() == 0


def test_a_listing_that_nobody_reads_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it would hide what is written only when Python ends
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [program("charrnn"), "corpora"], stdout=writer, stderr=subprocess.PIPE, check=False, encoding="utf-8"
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_help_that_nobody_reads_on_ends_quietly(command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program('charrnn')} {command} --help | head -n 1"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.startswith(f"usage: charrnn {command}")
    assert done.stderr == ""


def test_eval_finds_the_losses_that_training_measured(run_dir: Path, text: Path, capsys: Output) -> None:
    losses = [row["val_loss"] for row in rows_of(run_dir / "metrics.jsonl") if row["val_loss"] is not None]
    expected = {"best": min(losses), "last": losses[-1]}
    assert expected["best"] < expected["last"] - 0.01
    for which, loss in expected.items():
        flags = ("--split", "val", "--checkpoint", which)
        result = json.loads(output(capsys, "eval", run_dir, "--corpus", f"files:{text}", *flags))
        assert result["loss"] == pytest.approx(loss, rel=1e-6)
        assert result["bpc"] == pytest.approx(loss / math.log(2), rel=1e-6)
        assert result["characters"] == 5_000 - 1
        assert json.loads(Path(result["checkpoint"], "training.json").read_text())["val_loss"] == loss
        # The run, and each of its checkpoints, says what its own text was; it is in another cache than this test's.
        for folder in (run_dir, result["checkpoint"]):
            assert json.loads(output(capsys, "eval", folder, *flags, "--trust")) == result


def test_eval_measures_what_was_set_apart_for_a_test(text: Path, capsys: Output, tmp_path: Path) -> None:
    other = tmp_path / "with-test"
    fractions = ("--val-fraction", "0.1", "--test-fraction", "0.2", "--max-steps", "3", "--tracker", "none")
    output(capsys, "train", *SMALL, *fractions, "--corpus", f"files:{text}", "--run-dir", other)
    result = json.loads(output(capsys, "eval", other, "--corpus", f"files:{text}", "--split", "test"))
    alone = tmp_path / "last.txt"
    alone.write_text(text.read_text(encoding="utf-8")[-5_000:], encoding="utf-8")
    expected = json.loads(output(capsys, "eval", other, "--corpus", f"files:{alone}"))
    assert (result["loss"], result["characters"]) == (expected["loss"], 5_000 - 1)


def test_eval_measures_held_out_text_of_its_own(capsys: Output) -> None:
    for name, size in (("train", 5_000), ("valid", 700), ("test", 600)):
        Path(f"{name}.txt").write_text(make_text(size, seed=size), encoding="utf-8")
    held_out = ("--val-corpus", "files:valid.txt", "--test-corpus", "files:test.txt")
    flags = ("--max-steps", "2", "--tracker", "none", "--corpus", "files:train.txt", *held_out)
    output(capsys, "train", *SMALL, *flags, "--run-dir", "mine")
    for split, name, size in (("val", "valid", 700), ("test", "test", 600)):
        own = json.loads(output(capsys, "eval", "mine", "--split", split))
        given = json.loads(output(capsys, "eval", "mine", "--corpus", f"files:{name}.txt"))
        assert (own["loss"], own["characters"]) == (pytest.approx(given["loss"], rel=1e-9), size - 1)
    refused = error(capsys, "eval", "mine", "--corpus", "files:train.txt", "--split", "val")
    assert "the run has its own --val-corpus: leave out --corpus, or --split" in refused
    assert own["loss"] != rows_of(Path("mine/metrics.jsonl"))[-1]["val_loss"]
    assert "5,000 characters to train on, 700 to validate" in output(capsys, "train", *SMALL, *flags)


def test_eval_notices_that_the_text_of_the_run_has_changed(capsys: Output) -> None:
    Path("mine.txt").write_text(make_text(5_000), encoding="utf-8")
    flags = ("--max-steps", "2", "--tracker", "none", "--corpus", "files:mine.txt", "--run-dir", "mine")
    output(capsys, "train", *SMALL, *flags)
    assert json.loads(output(capsys, "eval", "mine", "--split", "val"))["characters"] == 500 - 1
    Path("mine.txt").write_text(make_text(5_000)[::-1], encoding="utf-8")
    # The cache has it as it was: only without that it matters what became of the file.
    assert json.loads(output(capsys, "eval", "mine", "--split", "val"))["characters"] == 500 - 1
    shutil.rmtree(user_cache_path("charrnn"))
    assert "give --corpus" in error(capsys, "eval", "mine", "--split", "val")
    assert "files:mine.txt: not the text any more" in error(capsys, "eval", "mine", "--split", "val", "--trust")
    assert not user_cache_path("charrnn").exists()


def test_eval_takes_the_store_of_a_run_whose_text_is_gone(capsys: Output) -> None:
    Path("lines.py").write_text(
        "import charrnn\nfrom pathlib import Path\n\n\n@charrnn.hookimpl\n"
        "def register_corpora(register):\n    register('lines', lines)\n\n\n"
        "def lines(argument):\n    yield Path(argument).read_text()\n"
    )
    Path("mine.txt").write_text(make_text(5_000), encoding="utf-8")
    flags = ("--max-steps", "2", "--tracker", "none", "--plugin", "lines", "--corpus", "lines:mine.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path.cwd())
        output(capsys, "train", *SMALL, *flags, "--run-dir", "mine")
        Path("mine.txt").unlink()
        assert json.loads(output(capsys, "eval", "mine", "--split", "val"))["characters"] == 500 - 1


def test_a_model_remembers_its_normal_form(capsys: Output) -> None:
    composed, decomposed = "Là-bas, un bébé a été bercé.\n" * 60, "Un e\u0301te\u0301\n"
    Path("composed.txt").write_text(composed, encoding="utf-8")
    Path("decomposed.txt").write_text(decomposed.lower() * 9, encoding="utf-8")
    flags = ("--max-steps", "2", "--tracker", "none", "--normalize", "NFC", "--prompt", "e\u0301")
    output(capsys, "train", *SMALL, *flags, "--corpus", "files:composed.txt", "--run-dir", "mine")
    output(capsys, "export", "mine", "model")
    for model in ("mine", "model"):
        assert output(capsys, "sample", model, "--prompt", "e\u0301te\u0301", "--length", "5").startswith(
            "e\u0301te\u0301"
        )
        assert json.loads(output(capsys, "eval", model, "--corpus", "files:decomposed.txt"))["characters"] == 9 * 7 - 1
    assert charrnn.load("model").loss("e\u0301a").num_characters == 1
    tuned = ("--max-steps", "1", "--tracker", "none", "--batch-size", "1", "--init-from", "model")
    output(capsys, "train", *tuned, "--corpus", "files:decomposed.txt", "--run-dir", "tuned")
    assert charrnn.load("tuned").vocab.normal_form == "NFC"


def test_eval_measures_several_texts_whole_as_one(run_dir: Path, text: Path, capsys: Output) -> None:
    result = json.loads(output(capsys, "eval", run_dir, "--corpus", f"files:{text}", "--corpus", f"files:{text}"))
    assert [report["characters"] for report in result["corpora"]] == [25_001, 25_000]
    assert result["characters"] == 50_001 - 1


def test_eval_measures_a_model_that_learns_on_and_fits_a_temperature(run_dir: Path, text: Path, capsys: Output) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}

    before = files()
    measure = functools.partial(output, capsys, "eval", run_dir, "--corpus", f"files:{text}", "--split", "val")
    plain, both = json.loads(measure()), json.loads(measure("--dynamic", "--fit-temperature"))
    dynamic, fitted = both.pop("dynamic"), both.pop("fitted_temperature")
    assert both == plain
    assert dynamic["characters"] == plain["characters"]
    assert dynamic["loss"] < plain["loss"]
    assert fitted["second_half_at_it"]["loss"] < fitted["second_half_at_1"]["loss"]
    assert fitted["second_half_at_it"]["characters"] == 2_500 - 1
    frozen = json.loads(measure("--dynamic", "--learning-rate", "0", "--decay", "0.5"))["dynamic"]
    assert frozen["loss"] == pytest.approx(plain["loss"], abs=1e-3)
    assert (frozen["learning_rate"], frozen["decay"]) == (0.0, 0.5)
    assert files() == before


def test_eval_refuses_what_it_cannot_measure(run_dir: Path, capsys: Output) -> None:
    Path("snow.txt").write_text("Ba ☃ ba\n", encoding="utf-8")
    assert "☃" in error(capsys, "eval", run_dir, "--corpus", "files:snow.txt")
    Path("short.txt").write_text("a", encoding="utf-8")
    assert "too short" in error(capsys, "eval", run_dir, "--corpus", "files:short.txt")
    Path("good.txt").write_text("Ba ba\n", encoding="utf-8")
    refused = error(capsys, "eval", run_dir, "--corpus", "files:good.txt", "--split", "test")
    assert "nothing apart for --split test: train with --test-fraction" in refused
    rates = {"--learning-rate": "0.1", "--decay": "0.1"}
    for flag, rate in rates.items():
        assert "add it" in error(capsys, "eval", run_dir, "--corpus", "files:good.txt", flag, rate)
    assert "no text is given: add --corpus" in error(capsys, "eval", run_dir)
    refused = error(capsys, "eval", run_dir, "--corpus", "files:good.txt", "--dynamic", "--decay", "2")
    assert "the decay at most 1" in refused


def test_an_exported_model_is_the_run_s_own(run_dir: Path, capsys: Output) -> None:
    assert "CharLSTM.from_pretrained('new/model')" in output(capsys, "export", run_dir, "new/model")
    model = charrnn.CharLSTM.from_pretrained("new/model")
    vocab = charrnn.Vocabulary.load(Path("new/model/vocab.json"))
    text = "".join(charrnn.generate(model, vocab, "Ba", length=100, temperature=0.8, seed=3))
    capsys.readouterr()  # the hub's library says what it loads
    for source in (run_dir, "new/model"):
        assert f"Ba{text}\n" == output(capsys, "sample", source, "--prompt", "Ba", "--length", "100", "--seed", "3")
    assert not list(Path("new/model").glob("training*"))
    refused = error(capsys, "eval", "new/model", "--corpus", "files:x.txt", "--split", "val")
    assert "new/model is a model alone" in refused
    assert "is there already" in error(capsys, "export", run_dir, "new/model")


def test_an_exported_page_is_measured_on_what_was_held_out_if_that_is_at_hand(
    run_dir: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert output(capsys, "export", run_dir, "--page", "story.html").startswith("story.html: open it in a browser (0.")
    assert "characters that it wrote itself" in Path("story.html").read_text(encoding="utf-8")
    # Where the run has left its text.
    monkeypatch.setenv("XDG_CACHE_HOME", str(run_dir.parent / "cache"))
    output(capsys, "export", run_dir, "--page", "measured.html")
    measured = Path("measured.html").read_text(encoding="utf-8")
    assert "On 4,999 characters of text that it had not learned from" in measured


def test_a_page_is_a_new_file(run_dir: Path, capsys: Output) -> None:
    Path("story.html").write_text("mine")
    assert "story.html is there already" in error(capsys, "export", run_dir, "--page", "story.html")
    assert Path("story.html").read_text() == "mine"


def test_a_page_is_not_written_through_a_link(run_dir: Path, capsys: Output) -> None:
    Path("link.html").symlink_to("elsewhere.html")
    assert "link.html is there already" in error(capsys, "export", run_dir, "--page", "link.html")
    assert os.listdir() == ["link.html"]


def test_a_folder_and_a_page_are_both_written_or_neither(run_dir: Path, capsys: Output) -> None:
    assert "model: load it" in output(capsys, "export", run_dir, "model", "--page", "model/story.html")
    # Without the run there is no text that it has held out.
    assert "that it wrote itself" in (
        output(capsys, "export", "model", "--page", "again.html") and Path("again.html").read_text(encoding="utf-8")
    )
    before = sorted(os.listdir())
    for page in ("again.html", "nowhere/story.html"):
        assert page in error(capsys, "export", run_dir, "other", "--page", page)
    assert sorted(os.listdir()) == before


def test_an_export_of_nothing_is_refused(run_dir: Path, capsys: Output) -> None:
    assert main(["export", str(run_dir)]) == 2
    assert "give a FOLDER, or --page FILE.html" in capsys.readouterr().err


def test_a_model_that_8_bits_are_too_few_for_makes_a_page_with_a_warning(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = charrnn.load(run_dir)
    model.lstm.output.weight.data[:, 0] = 1000.0  # one such weight, and the others of its row are nothing beside it
    Path("model").mkdir()
    save_model(Path("model"), model.lstm, model.vocab, "")
    assert main(["export", "model", "--page", "story.html"]) == 0
    assert "8 bits are few for this model: on the page its loss is" in caplog.text


def test_a_model_that_has_diverged_makes_no_page(run_dir: Path, capsys: Output) -> None:
    model = charrnn.load(run_dir)
    model.lstm.output.bias.data[0] = math.inf
    Path("model").mkdir()
    save_model(Path("model"), model.lstm, model.vocab, "")
    assert "has diverged; use another checkpoint" in error(capsys, "export", "model", "--page", "story.html")
    assert os.listdir() == ["model"]


def test_best_and_last_write_different_text(run_dir: Path, capsys: Output) -> None:
    best, last = (output(capsys, "sample", run_dir, "--checkpoint", which) for which in ("best", "last"))
    assert best != last
    assert best == output(capsys, "sample", run_dir)


def test_corpora_lists_the_bundled_ones_with_version_and_help(capsys: Output) -> None:
    listed = output(capsys, "corpora")
    for scheme in ("files", "gutenberg", "hf", "python"):
        assert f"{scheme}:  ({scheme} {charrnn.__version__})\n    {scheme}:" in listed
    assert listed == output(capsys, "corpora", "list")
    assert "not loaded" not in listed


def test_corpora_show_joins_documents_as_training_does(capsys: Output) -> None:
    Path("texts").mkdir()
    for name, content in {"a": "one", "b": "two\n", "c": "", "d": "three"}.items():
        Path(f"texts/{name}.txt").write_text(content, encoding="utf-8")
    assert output(capsys, "corpora", "show", "files:texts") == "one\ntwo\nthree"


def test_corpora_says_what_is_not_there(capsys: Output) -> None:
    assert "use list, show SPEC or search WORDS" in error(capsys, "corpora", "find", "x")
    assert "no corpus 'fiels': did you mean files?\n" in error(capsys, "corpora", "show", "fiels:x")
    assert "--limit 0: input should be greater than or equal to 1" in error(
        capsys, "corpora", "search", "x", "--limit", "0"
    )


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A mirror of Project Gutenberg that has nothing but a small catalogue."""
    catalogue = tmp_path / "mirror" / "cache" / "epub" / "feeds" / "pg_catalog.csv"
    catalogue.parent.mkdir(parents=True)
    rows = [
        "Text#,Type,Issued,Title,Language,Authors,Subjects,LoCC,Bookshelves",
        '1,Text,2001-01-01,The Red Hen,en,"Miller, Ann, 1850-1900",Poultry -- Fiction,PZ,',
        '2,Text,2001-01-01,Hens and Their Care,en,"Brown, Bob, 1850-1900",Poultry,SF,',
        '3,Sound,2001-01-01,The Red Hen,en,"Miller, Ann, 1850-1900",Poultry -- Fiction,PZ,',
        '4,Text,2001-01-01,Dogs,de,"Brown, Bob, 1850-1900",Dogs,SF,',
    ]
    catalogue.write_text("\n".join(rows) + "\n", encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setenv("CHARRNN_GUTENBERG_MIRROR", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("mirror")
def test_corpora_search_finds_specs_to_copy(capsys: Output) -> None:
    red_hen, care = "gutenberg:1  The Red Hen — Ann Miller [en]", "gutenberg:2  Hens and Their Care — Bob Brown [en]"
    assert output(capsys, "corpora", "search", "hen").splitlines() == [red_hen, care]
    assert output(capsys, "corpora", "search", "MILLER poultry").splitlines() == [red_hen]
    assert main(["corpora", "search", "hen", "--limit", "1"]) == 0
    assert capsys.readouterr() == (f"{red_hen}\n", "and more: add words, or --limit 10\n")
    assert "no catalogue has 'unicorn': try fewer or other words" in error(capsys, "corpora", "search", "unicorn")
