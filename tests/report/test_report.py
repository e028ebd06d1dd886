"""`charrnn report`: the page, what it says of text that is hostile or gone, and the numbers behind each section."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli import main
from charrnn.model.folder import load_model
from charrnn.model.lstm import CharLSTM
from charrnn.report.cells import features, named_cells
from charrnn.report.copied import SHORTEST, copied_lengths, copied_passages
from charrnn.report.curves import draw
from charrnn.report.page import MAX_COLUMNS, printable, side_by_side
from charrnn.report.reading import MAX_CHARACTERS, WARM_UP, read
from charrnn.run.checkpoint import find_model
from charrnn.text.vocab import Vocabulary
from tests.conftest import SMALL, make_text, train_here

HOSTILE = (
    """<script>document.title='owned'</script></pre><img src=x onerror=alert(1)>" onmouseover='alert(2)' {{ 7 }}&amp;"""
)
STRANGE = "\x1b\x85\u2028\u202e\u2066 \u00e9\u4e2d\U0001f600\n"

pytestmark = pytest.mark.usefixtures("one_thread")


def train_hostile(folder: Path, *flags: str) -> Path:
    """A small run, in a folder of its own, on text that is full of markup."""
    sentences = make_text(16_000).splitlines(keepends=True)
    text = folder / "<b>words.txt"
    text.write_text("".join(f"{line}{HOSTILE}{STRANGE}" for line in sentences), encoding="utf-8", newline="\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        flags = ("--corpus", f"files:{text}", "--run-dir", str(folder / "run"), "--epochs", "3", *flags)
        assert train_here(*SMALL, "--tracker", "none", "--prompt", "<i>", *flags) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_hostile(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def run_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def corpus_of(run_dir: Path) -> Path:
    """The file that a run was trained on."""
    spec: str = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))["corpus"][0]
    return Path(spec.removeprefix("files:"))


@pytest.fixture
def corpus(run_dir: Path) -> Iterator[Path]:
    """The file that the run was trained on, to be changed or removed; afterwards it is as it was."""
    path = corpus_of(run_dir)
    content, status = path.read_bytes(), path.stat()
    yield path
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Page(HTMLParser):
    """What a browser would see: the elements with their attributes, and the text of each kind of element."""

    VOID = ("meta", "path", "br")

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.source = (run_dir / "report.html").read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(self.source)
        assert self.inside == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag not in self.VOID:
            self.inside.append(values.get("class") or values.get("id") or tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.inside.pop()

    def handle_data(self, data: str) -> None:
        for name in set(self.inside):
            self.texts[name] = self.texts.get(name, "") + data


def report(run_dir: Path) -> Page:
    """The page, with the run's text read from where the run says that it is: its cache was another."""
    assert main(["report", str(run_dir), "--trust"]) == 0
    return Page(run_dir)


def test_the_page_is_one_file_that_needs_no_other(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = report(run_dir)
    assert capsys.readouterr().out == f"{run_dir / 'report.html'}\n"
    assert len(page.source) < 1_000_000
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links == {f"#{attributes['id']}" for tag, attributes in page.elements if tag == "section"}
    assert not list(run_dir.glob(".report*"))


def test_the_same_run_gives_the_same_page(run_dir: Path) -> None:
    assert report(run_dir).source == report(run_dir).source


def test_no_text_becomes_markup(run_dir: Path) -> None:
    page = report(run_dir)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    policy = next(values["content"] for tag, values in page.elements if tag == "meta" and "http-equiv" in values)
    digest = base64.b64encode(hashlib.sha256(page.texts["script"].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert page.texts["title"].startswith("run")
    assert f"files:{corpus_of(run_dir)}" in page.texts["dd"]
    assert not set(page.source) & set("\x00\x1b\x85\u2028\u202e\u2066")


def test_the_text_shown_is_the_validation_text_a_note_to_each_character(run_dir: Path) -> None:
    page = report(run_dir)
    text = corpus_of(run_dir).read_bytes().decode("utf-8")
    validation = text[int(len(text) * 0.9) :]
    shown = page.texts["shaded"].replace("↵\n", "\n").removeprefix("\n")
    assert HOSTILE in shown
    assert shown in printable(validation)
    notes = [attributes["data-note"] or "" for _, attributes in page.elements if "data-note" in attributes]
    assert len(notes) == len(shown) > 1000
    assert {note.count("\n") for note in notes} == {5}
    assert all(
        note.startswith(character) for note, character in zip(notes, shown, strict=True) if character not in " \n"
    )


def test_samples_are_side_by_side_with_what_is_copied(run_dir: Path) -> None:
    training = corpus_of(run_dir).read_bytes().decode("utf-8")
    planted = training[1000:1120].strip()
    row = {"epoch": 3.0, "step": 10**6, "temperature": 0.5, "prompt": "\n", "text": planted, "val_loss": None}
    with open(run_dir / "samples.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    page = report(run_dir)
    headings = page.texts["samples"]
    assert [f"Temperature {name}" in headings for name in ("0.5", "0.8", "1")] == [True] * 3
    assert printable(planted) in headings
    assert "epoch 1" in headings
    assert f"{len(planted)} characters, in the sample of temperature 0.5" in page.texts["copied"]
    assert "100.0%" in page.texts["copied"]
    assert "the validation text, to compare" in page.texts["copied"]


def test_the_head_says_how_good_the_model_is(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = json.loads((run_dir / "baselines.json").read_text())
    best = min(json.loads(line)["val_loss"] or 99 for line in (run_dir / "metrics.jsonl").read_text().splitlines())
    bare = f"{best / math.log(2):.2f} bits a character on text it has not seen"
    beside = f" (letter frequencies {known['letters']:.2f}, bzip2 {known['bzip2']:.2f}, xz {known['xz']:.2f})"
    learning = "; still learning: more minutes would help (--resume --minutes +10)"
    assert report(run_dir).texts["words"] == bare + beside + learning
    (run_dir / "baselines.json").write_text(HOSTILE)
    (run_dir / "status.json").unlink()
    assert report(run_dir).texts["words"] == bare
    assert "baselines.json is passed over" in caplog.text
    (run_dir / "metrics.jsonl").write_text("")
    assert "words" not in report(run_dir).texts


def test_without_its_text_a_run_still_has_curves_and_samples(
    run_dir: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus.unlink()
    page = report(run_dir)
    assert str(corpus) in caplog.text
    assert str(corpus) in page.texts["copied"]
    assert "not at hand" in page.texts["cells"]
    assert "Loss, nats per character" in page.texts["curves"]
    assert "Temperature 0.8" in page.texts["samples"]


def test_a_text_that_has_changed_is_not_taken_for_the_run_s(
    run_dir: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus.write_bytes(corpus.read_bytes() + b"a")
    page = report(run_dir)
    assert "not the text any more that the run was trained on" in page.texts["surprise"]
    assert "not the text any more" in caplog.text


def test_a_run_without_validation_text_shows_the_end_of_what_it_learned(tmp_path: Path) -> None:
    page = report(train_hostile(tmp_path, "--val-fraction", "0", "--max-steps", "20", "--num-layers", "2"))
    assert "The end of the training text, as the run holds no validation text" in page.source
    assert "to compare" not in page.texts["copied"].split("temperature")[-1]
    assert "validation" not in page.texts["curves"].split("Loss")[1]


@pytest.mark.parametrize("damage", ["no run", "no checkpoint", "half a row"])
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(
    damage: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if damage == "no run":
        (run_dir / "metrics.jsonl").unlink()
    elif damage == "no checkpoint":
        shutil.rmtree(run_dir / "checkpoints")
    else:
        with open(run_dir / "samples.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": 12')
    assert main(["report", str(run_dir)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(run_dir.glob("*report*"))


# The reading.


def test_a_reading_says_what_torch_says() -> None:
    torch.manual_seed(0)
    model = CharLSTM(20, 16, num_layers=2)
    tokens = np.random.default_rng(0).integers(0, 20, 400).astype(np.uint8)
    reading = read(model, tokens)
    with torch.inference_mode():
        logits_TBV, _ = model(torch.from_numpy(tokens.astype(np.int64))[:, None], model.zero_state(1))
    log_probs = logits_TBV[:, 0].log_softmax(-1).numpy() / np.log(2)
    np.testing.assert_array_equal(reading.tokens_N, tokens[100:])
    np.testing.assert_allclose(reading.surprise_N, -log_probs[np.arange(99, 399), tokens[100:]], atol=1e-4)
    np.testing.assert_allclose(2 ** np.sort(log_probs[99:399])[:, :-6:-1], reading.probability_NK, atol=1e-5)
    np.testing.assert_allclose(
        np.take_along_axis(2 ** log_probs[99:399], reading.likeliest_NK, 1), reading.probability_NK, atol=1e-5
    )
    state = model.zero_state(1)
    for token in tokens[:101]:
        _, state = model(torch.tensor([[int(token)]]), state)
    np.testing.assert_allclose(reading.cells_NC[0], state[1].tanh().flatten().detach().numpy(), atol=1e-5)


def test_rows_go_on_where_the_one_before_ends() -> None:
    torch.manual_seed(0)
    model = CharLSTM(20, 16)
    tokens = np.random.default_rng(0).integers(0, 20, MAX_CHARACTERS + 5000).astype(np.uint8)
    reading = read(model, tokens)
    np.testing.assert_array_equal(reading.tokens_N, tokens[WARM_UP:MAX_CHARACTERS])
    with torch.inference_mode():
        logits_TBV, _ = model(torch.from_numpy(tokens.astype(np.int64))[:, None], model.zero_state(1))
    log_probs = logits_TBV[:, 0].log_softmax(-1).numpy() / np.log(2)
    places = np.arange(WARM_UP, MAX_CHARACTERS)
    np.testing.assert_allclose(reading.surprise_N, -log_probs[places - 1, tokens[places]], atol=1e-3)


@pytest.mark.parametrize("length", [2, 3, 9, 600])
def test_a_short_text_is_read_as_far_as_it_goes(length: int) -> None:
    reading = read(CharLSTM(4, 8), np.arange(length).astype(np.uint8) % 4)
    assert len(reading.surprise_N) == len(reading.cells_NC) == len(reading.tokens_N) > 0
    assert reading.likeliest_NK.shape == (len(reading.tokens_N), 4)
    assert isinstance(named_cells(reading.cells_NC, "x" * len(reading.tokens_N)), list)


# The cells.


def test_features_have_the_values_that_a_reader_would_give() -> None:
    text = 'Ab 12\n  x = f("é")\n'
    values = {name: [int(value) for value in feature] for name, feature in features(text).items()}
    assert values == {
        "position in the line": [1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0],
        "inside quotes": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0],
        "inside brackets": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0],
        "capital letter": [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "digit": [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "indentation of the line": [0] * 6 + [2] * 13,
        "letters of the word so far": [1, 2, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0],
        "vowel comes next": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    }


def test_brackets_nest_and_end_with_their_paragraph() -> None:
    assert features("a(b[c])d) (e\n\nf")["inside brackets"].tolist() == [0, 1, 1, 2, 2, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0]


def test_the_cell_that_follows_a_feature_is_found_with_its_sign() -> None:
    text = make_text(6000) + 'He said "a word or two" (and 12 more).\n    Then he went.\n' * 60
    rng = np.random.default_rng(0)
    mixed = "".join(rng.permutation(text.splitlines(keepends=True)))
    cells_NC = rng.normal(size=(len(mixed), 40)).astype(np.float32)
    planted = dict(zip(features(mixed), range(0, 40, 5), strict=True))
    for name, cell in planted.items():
        cells_NC[:, cell] = -features(mixed)[name] / features(mixed)[name].std() + 0.1 * cells_NC[:, cell]
    found = named_cells(cells_NC, mixed)
    assert {cell.feature: cell.cell for cell in found} == planted
    assert all(cell.correlation < -0.9 for cell in found)
    for cell in found:
        assert features(mixed)[cell.feature][cell.excerpt].std() > 0
        assert cell.excerpt.start >= len(mixed) // 2


def test_no_cell_of_noise_is_said_to_follow_anything() -> None:
    text = make_text(8000)
    noise = np.random.default_rng(0).normal(size=(len(text), 500)).astype(np.float32)
    found = named_cells(noise, text)
    assert {"digit", "inside brackets"}.isdisjoint(cell.feature for cell in found)  # the text has none
    assert all(abs(cell.correlation) < 0.1 for cell in found)


# What is copied.

WORDS = st.text(alphabet="ab \n", max_size=60)


def longest_around(text: str, training: str) -> list[int]:
    """By trying every passage."""
    longest = [0] * len(text)
    for start in range(len(text)):
        for stop in range(start + SHORTEST, len(text) + 1):
            part = text[start:stop]
            if part == part.strip() and part in training:
                for index in range(start, stop):
                    longest[index] = max(longest[index], stop - start)
    return longest


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(st.integers(0, 200), max_size=4), WORDS)
def test_copied_passages_are_those_that_a_search_finds(parts: list[str], cuts: list[int], between: str) -> None:
    vocab = Vocabulary("\n ab")
    training = between.join(part * 2 for part in parts)
    pieces = [training[cut : cut + 40] for cut in cuts]
    texts = [between.join(pieces), "".join(reversed(pieces)), ""]
    found = copied_passages(texts, vocab, vocab.encode(training))
    for text, passages in zip(texts, found, strict=True):
        assert copied_lengths(passages, len(text)).tolist() == longest_around(text, training)
        for passage in passages:
            copy = text[passage.start : passage.start + passage.length]
            assert copy == training[passage.source : passage.source + passage.length]


def test_a_passage_is_found_across_the_blocks_of_a_long_text() -> None:
    vocab = Vocabulary("abcdefgh")
    training = np.random.default_rng(0).integers(0, 8, (1 << 21) + 100).astype(np.uint8)
    for place in (0, (1 << 20) - 30, (1 << 20) - 8, len(training) - 64):
        copy = vocab.decode(training[place : place + 64])
        assert [(p.length, p.source) for p in copied_passages([copy], vocab, training)[0]] == [(64, place)]


def test_of_repeated_text_all_is_copied() -> None:
    vocab = Vocabulary("a")
    passages = copied_passages(["a" * 100], vocab, vocab.encode("a" * 5000))[0]
    assert copied_lengths(passages, 100).tolist() == [100] * 100


# Curves, samples, characters.


def test_a_chart_keeps_to_its_axes_and_leaves_out_what_is_no_number() -> None:
    rows = [
        {"epoch": 0.5, "train_loss": 4.0, "val_loss": None},
        {"epoch": 1.0, "train_loss": float("nan"), "val_loss": 3.0},
        {"epoch": 2.0, "train_loss": 2.0, "val_loss": 2.5},
    ]
    chart = draw("Loss", rows, {"train_loss": "training", "val_loss": "validation"})
    assert chart is not None
    assert [line.points for line in chart.lines] == [[(25.0, 0.0), (100.0, 100.0)], [(50.0, 50.0), (100.0, 75.0)]]
    assert [(line.first, line.last, line.lowest) for line in chart.lines] == [("4", "2", "2"), ("3", "2.5", "2.5")]
    assert chart.y_ticks[0] == (100.0, "2")
    assert chart.y_ticks[-1] == (0.0, "4")
    assert draw("Loss", rows, {"grad_norm": "norm"}) is None


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [1e-9, 1e-8], [-3.0, 12_345.6], [7.0] * 5000])
def test_any_values_have_a_chart(values: list[float]) -> None:
    rows = [{"epoch": index / 10, "value": value} for index, value in enumerate(values)]
    chart = draw("Any", rows, {"value": "value"})
    assert chart is not None
    assert 2 <= len(chart.y_ticks) <= 8
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in chart.lines[0].points)
    assert len(chart.lines[0].points) <= 300


def test_a_long_run_shows_some_samples_the_first_and_the_last_among_them() -> None:
    rows = [{"step": step, "temperature": hot, "text": ""} for step in range(10, 510, 10) for hot in (1.0, 0.5)]
    shown = side_by_side(rows)
    assert list(shown) == [0.5, 1.0]
    for samples in shown.values():
        steps = [row["step"] for row in samples]
        assert steps == sorted(set(steps))
        assert len(steps) == MAX_COLUMNS
        assert (steps[0], steps[-1]) == (10, 500)
    assert side_by_side([]) == {}


def test_what_cannot_be_shown_has_a_mark_and_writing_keeps_its_direction() -> None:
    assert printable("a\tb\n<é中😀\u200d\u05d0") == "a\tb\n<é中😀\u200d\u05d0"
    assert printable("\x00\x1b\x7f\x85\u2028\u202e\u2066\ud800") == "\u2400\u241b" + "\ufffd" * 6


def test_the_model_of_the_report_is_the_best_one(run_dir: Path) -> None:
    page = report(run_dir)
    _, vocab = load_model(find_model(run_dir))
    assert f"{len(vocab)} characters" in page.texts["dd"]
    assert find_model(run_dir).name.removeprefix("step-").lstrip("0") in page.texts["dd"].replace(",", "")
