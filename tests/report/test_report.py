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
from charrnn.model.sampling import generate
from charrnn.outside.page import marked
from charrnn.report.cells import EXCERPT, clearest, excerpt, features, following_cells
from charrnn.report.copied import SHORTEST, Passage, copied_lengths, copied_passages
from charrnn.report.curves import draw
from charrnn.report.reading import MAX_CHARACTERS, WARM_UP, read
from charrnn.report.sections import (
    BAR,
    MAX_COLUMNS,
    MAX_PASSAGES,
    Texts,
    bits,
    copied,
    different,
    for_own_sentence,
    side_by_side,
)
from charrnn.report.writing import LENGTH, NUM_TEXTS, interval, pieces_of, write_texts
from charrnn.run.finding import find_model
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

    VOID = ("meta", "path", "br", "input")

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.source = (run_dir / "report.html").read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, str] = {}
        self.notes: list[str] = []
        self.feed(self.source)
        assert self.inside == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if "read surprise" in self.inside and values.get("data-note"):
            self.notes.append(values["data-note"] or "")
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
    assert len(page.source.encode()) < 1_000_000
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
    shown = page.texts["read surprise"].replace("↵\n", "\n").removeprefix("\n")
    assert HOSTILE in shown
    assert shown in marked(validation)
    assert len(page.notes) == len(shown) > 1000
    for note, character in zip(page.notes, shown, strict=True):
        first, *likeliest = note.splitlines()
        assert first.startswith(character) or character in " \n"
        assert len(likeliest) == 5
        for line in likeliest:
            share, bar = float(line[:6].rstrip("%")) / 100, line[7 : 8 + BAR].split(" ")[0]
            assert len(bar) == pytest.approx(BAR * share, abs=1)


def test_samples_are_side_by_side(run_dir: Path) -> None:
    row = {"epoch": 3.0, "step": 10**6, "temperature": 0.3, "prompt": "\n", "text": "a <b>", "val_loss": math.log(2)}
    with open(run_dir / "samples.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    page = report(run_dir)
    shown = page.texts["samples"]
    assert [f"Temperature {name}" in shown for name in ("0.3", "0.5", "0.8", "1")] == [True] * 4
    assert "epoch 1" in shown
    assert "1.00 bits a character" in shown
    assert "a <b>" in shown
    table = page.texts["copied"]
    assert [f"temperature {name}\n" in table or f"temperature {name}" in table for name in ("0.3", "1")] == [True] * 2
    assert "validation text, to compare" in table
    assert f"{NUM_TEXTS * LENGTH:,}" in table


def test_the_page_begins_with_a_verdict(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = json.loads((run_dir / "baselines.json").read_text())
    best = min(json.loads(line)["val_loss"] or 99 for line in (run_dir / "metrics.jsonl").read_text().splitlines())
    page = report(run_dir)
    assert page.texts["h1"] == "Still learning: more minutes would help --resume --minutes +10"
    assert f"{best / math.log(2):.2f} bits a character" in page.texts["header"]
    _, vocab = load_model(find_model(run_dir))
    others = {**{name: known[name] for name in ("bzip2", "xz")}, "letter frequencies": known["letters"]}
    for name, value in {**others, "blind guessing": math.log2(len(vocab))}.items():
        assert f"{name} {value:.2f}" in " ".join(page.texts["scores"].split())
        assert f"{name} {value:.2f}" in page.texts["beside"]
    figures = [float(word) for word in page.texts["scores"].split() if word.replace(".", "").isdecimal()]
    assert figures == sorted(figures)
    assert len(figures) == 5
    (run_dir / "baselines.json").write_text(HOSTILE)
    (run_dir / "status.json").unlink()
    page = report(run_dir)
    assert page.texts["h1"] == "How it ended is not known"
    assert "bzip2" not in page.texts["header"]
    assert "baselines.json is passed over" in caplog.text
    (run_dir / "metrics.jsonl").write_text("")
    assert "scores" not in report(run_dir).texts


@pytest.mark.parametrize(
    ("state", "said"), [("running", "Not finished"), ("preempted", "Interrupted"), ("failed", "It ended with an error")]
)
def test_a_run_that_has_not_ended_has_no_verdict_on_its_learning(state: str, said: str, run_dir: Path) -> None:
    status = json.loads((run_dir / "status.json").read_text())
    (run_dir / "status.json").write_text(json.dumps({**status, "state": state}))
    assert report(run_dir).texts["h1"].startswith(said)


def test_all_losses_are_in_bits(run_dir: Path) -> None:
    page = report(run_dir)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert f"training text {bits(rows[-1]['train_loss']):.3g}" in page.texts["curves"]
    assert "nats" not in page.texts["main"]
    assert "1 nat is 1.443 bits" in page.texts["footer"]


def test_without_its_text_a_run_still_has_curves_and_samples(
    run_dir: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus.unlink()
    page = report(run_dir)
    assert str(corpus) in caplog.text
    assert str(corpus) in page.texts["copied"]
    assert "not at hand" in page.texts["cells"]
    assert "Loss, bits a character" in page.texts["curves"]
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
    assert "validation" not in page.texts["plot"]
    assert "close up" not in page.texts["curves"]


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
    assert following_cells(reading.cells_NC, "x" * len(reading.tokens_N)) == []


# The cells.


def test_features_have_the_values_that_a_reader_would_give() -> None:
    text = 'AB 12:\n  x = f("é")\n'
    values = {name: [int(value) for value in feature] for name, feature in features(text).items()}
    assert values == {
        "position in the line": [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0],
        "position in the sentence": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
        "inside quotes": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0],
        "inside brackets": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0],
        "line that ends in a colon": [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "word in capitals": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "capital letter": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "digit": [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "punctuation": [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0],
        "white space": [0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        "indentation of the line": [0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2],
        "beginning of a word": [1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0],
        "letters of the word so far": [1, 2, 0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0],
        "vowel comes next": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    }


def test_brackets_nest_and_end_with_their_paragraph() -> None:
    assert features("a(b[c])d) (e\n\nf")["inside brackets"].tolist() == [0, 1, 1, 2, 2, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0]


def test_the_cell_that_follows_a_feature_is_found_with_its_sign() -> None:
    lines = 'ROMEO:\nHe said "a word or two" (and 12 more).\n    Then he went.\n' * 60
    rng = np.random.default_rng(0)
    mixed = "".join(rng.permutation((make_text(6000) + lines).splitlines(keepends=True)))
    cells_NC = rng.normal(size=(len(mixed), 80)).astype(np.float32)
    planted = dict(zip(features(mixed), range(0, 80, 5), strict=False))
    for name, cell in planted.items():
        cells_NC[:, cell] = -features(mixed)[name] / features(mixed)[name].std() + 0.1 * cells_NC[:, cell]
    found = following_cells(cells_NC, mixed)
    assert {cell.feature: cell.cell for cell in clearest(found)} == planted
    assert all(cell.held_out < -0.9 and cell.chosen < -0.9 for cell in clearest(found))
    assert len(found) == 80
    assert [cell.clarity for cell in found] == sorted((cell.clarity for cell in found), reverse=True)
    for name in planted:
        shown = excerpt(mixed, name)
        assert features(mixed)[name][shown].std() > 0
        assert shown.start >= len(mixed) // 2
        assert shown.stop - shown.start == EXCERPT


def test_a_cell_has_the_name_of_what_it_follows_best() -> None:
    """In a play capital letters are mostly those of who speaks: a cell that follows speakers is not one for them."""
    text = "ROMEO:\nI am here, Juliet.\n\nJULIET:\nWhere, my Romeo, is it?\n\n" * 100
    speaker = features(text)["word in capitals"].astype(np.float32)[:, None]
    (cell,) = following_cells(speaker + np.random.default_rng(0).normal(0, 0.2, speaker.shape), text)
    assert cell.feature == "word in capitals"


def test_what_holds_on_one_half_alone_is_not_clear() -> None:
    text = make_text(8000)
    cell_N1 = features(text)["capital letter"].astype(np.float32)[:, None]
    cell_N1[4000:] = np.random.default_rng(0).normal(size=(4000, 1))
    (cell,) = following_cells(cell_N1, text)
    assert cell.feature == "capital letter"
    assert cell.chosen > 0.99
    assert cell.clarity < 0.1
    assert clearest([cell]) == []


def test_no_cell_of_noise_is_said_to_follow_anything() -> None:
    text = make_text(8000)
    noise = np.random.default_rng(0).normal(size=(len(text), 500)).astype(np.float32)
    found = following_cells(noise, text)
    assert {"digit", "inside brackets"}.isdisjoint(cell.feature for cell in found)  # the text has none
    assert all(abs(cell.held_out) < 0.1 for cell in found)
    assert clearest(found) == []


def test_every_cell_can_be_looked_at(run_dir: Path) -> None:
    page = report(run_dir)
    options = [attributes for tag, attributes in page.elements if tag == "option"]
    (select,) = [attributes for tag, attributes in page.elements if tag == "select"]
    values = np.frombuffer(base64.b64decode(select["data-values"] or ""), np.int8)
    assert len(options) == 32
    assert len(values) % 32 == 0
    assert len(values) >= 32 * 300


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


def test_passages_that_are_listed_are_different() -> None:
    text = "".join(map(chr, range(100, 400)))
    spans = [(0, 60), (10, 60), (30, 80), (100, 150), (100, 116), (145, 180), (200, 216), (130, 147)]
    passages = [("t", Passage(start, stop - start, start), text[start:stop]) for start, stop in spans]
    chosen = [(passage.start, passage.start + passage.length) for _, passage, _ in different(passages)]
    assert chosen == [(0, 60), (100, 150), (145, 180), (200, 216)]
    again = [("t", Passage(0, 20, place), text[place : place + 20]) for place in range(0, 280, 20)]
    assert len(different(again)) == MAX_PASSAGES


def test_copies_in_what_a_model_writes_are_found_with_an_interval() -> None:
    vocab = Vocabulary("abcdefgh")
    rng = np.random.default_rng(0)
    training, other = rng.integers(0, 8, 50_000).astype(np.uint8), rng.integers(0, 8, 50_000).astype(np.uint8)
    own = [vocab.decode(other[start : start + 300]) for start in range(0, 6000, 300)]
    quoted = [vocab.decode(training[start : start + 100]) + text[100:] for start, text in enumerate(own)]
    reading = read(CharLSTM(8, 8), other[20_000:])
    said = copied({"own": own, "quoted": quoted}, vocab, Texts(training, other[20_000:], True), reading)
    first, second, compared = said["rows"]
    assert (first["share"], first["high"], first["longest"]) == (0, 0, 0)
    assert (compared["share"], compared["texts"]) == (0, NUM_TEXTS)
    assert second["share"] == pytest.approx(1 / 3, abs=0.01)
    assert second["low"] <= second["share"] <= second["high"]
    assert 100 <= second["longest"] < 105  # what comes after may be the same by chance
    assert [each["length"] for each in said["passages"]] == [second["longest"]]  # they overlap in what they quote


def test_texts_are_those_of_their_seeds_and_an_interval_has_their_mean() -> None:
    model, vocab = CharLSTM(8, 8), Vocabulary("abcdefgh")
    texts = write_texts(model, vocab, 1.0)
    assert {len(text) for text in texts} == {LENGTH}
    assert len(set(texts)) == NUM_TEXTS
    assert texts[3] == "".join(generate(model, vocab, length=LENGTH, temperature=1.0, seed=3))
    shares = np.random.default_rng(0).random(NUM_TEXTS)
    low, high = interval(shares.tolist())
    error = 1.96 * shares.std() / math.sqrt(NUM_TEXTS)
    assert (low, high) == (
        pytest.approx(shares.mean() - error, abs=0.03),
        pytest.approx(shares.mean() + error, abs=0.03),
    )
    assert interval([0.25] * NUM_TEXTS) == (0.25, 0.25)
    assert pieces_of("x" * 10) == [""] * NUM_TEXTS
    assert pieces_of("".join(map(chr, range(6000))))[-1].endswith(chr(5999))


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


def test_levels_to_compare_with_are_on_the_chart() -> None:
    rows = [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]
    chart = draw("Loss", rows, {"loss": "training"}, levels={"low": 0.0, "high": 4.0})
    assert chart is not None
    assert [(level.name, level.value, level.place) for level in chart.levels] == [
        ("high", "4.00", 0.0),
        ("low", "0.00", 100.0),
    ]
    assert [line.points for line in chart.lines] == [[(50.0, 50.0), (100.0, 75.0)]]


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
    assert marked("a\tb\n<é中😀\u200d\u05d0") == "a\tb\n<é中😀\u200d\u05d0"
    assert marked("\x00\x1b\x7f\x85\u2028\u202e\u2066\ud800") == "\u2400\u241b" + "\ufffd" * 6


def test_the_model_of_the_report_is_the_best_one(run_dir: Path) -> None:
    page = report(run_dir)
    _, vocab = load_model(find_model(run_dir))
    assert f"{len(vocab)} characters" in page.texts["dd"]
    assert find_model(run_dir).name.removeprefix("step-").lstrip("0") in page.texts["dd"].replace(",", "")


def test_a_model_that_is_too_large_or_diverged_is_not_in_the_page_which_says_so() -> None:
    vocab = Vocabulary("abcdefgh")
    said = for_own_sentence(CharLSTM(8, hidden_size=600), vocab)
    assert said == "with the model in it, the page would have 2.1 MB more"
    diverged = CharLSTM(8, hidden_size=8)
    diverged.output.bias.data[:] = math.nan
    assert "has diverged" in str(for_own_sentence(diverged, vocab))
    assert isinstance(for_own_sentence(CharLSTM(8, hidden_size=512), vocab), dict)
