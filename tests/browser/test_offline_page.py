"""The page of `charrnn export --page` in a real browser: the same chances as in NumPy, and what one does with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from charrnn.cli import main
from charrnn.model.folder import load_model, save_model
from charrnn.model.in_browser import rounded
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import probabilities
from charrnn.model.stepper import Stepper
from charrnn.text.vocab import Vocabulary
from tests.conftest import run

pytestmark = pytest.mark.browser

Open = Callable[..., Any]

ROOT = Path(__file__).parents[2]
WORDS = "\n abcdefghijklmnopqrstuvwxyzé\x1b\u2028😀</script>"
LETTERS = Vocabulary("".join(sorted(set(WORDS))))
NAME = "<b>run' \" \u2028"
SHAPES: dict[str, dict[str, Any]] = {
    "embedding": {},
    "one-hot": {"embedding_size": 0},
    "tied": {"embedding_size": 34, "tie_weights": True},
    "three layers": {"num_layers": 3},
    "one-hot, two layers": {"embedding_size": 0, "num_layers": 2},
}
LIKELIEST = """tokens => {
    const lstm = new CharLSTM(file);
    return tokens.map(token => Array.from(probabilities(lstm.step(token), 0.7)));
}"""


def save(folder: Path, vocab: Vocabulary = LETTERS, **shape: Any) -> Path:
    """The folder of a model that nobody trained, but that is sure of itself; its cells do not go in fours."""
    torch.manual_seed(0)
    model = CharLSTM(len(vocab), **{"hidden_size": 34, "embedding_size": 6, **shape})
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        model.output.weight.mul_(3.0 if not model.tie_weights else 1.0)
    folder.mkdir()
    save_model(folder, model, vocab, "")
    return folder


def export(model: Path) -> Path:
    """The page of a model, beside it."""
    page = model.parent / f"{len(list(model.parent.iterdir()))}.html"
    assert main(["export", str(model), "--page", str(page)]) == 0
    return page


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(save(tmp_path_factory.mktemp("page") / NAME))


@pytest.fixture
def open_page(open_address: Open) -> Open:
    """Opens a page from disk."""
    return lambda story, **settings: open_address(story.as_uri(), **settings)


def write(page: Any, beginning: str = "") -> None:
    """Has the page write to its end."""
    page.get_by_label("How the text begins").fill(beginning)
    page.get_by_role("button", name="Write").click()
    page.locator("#status", has_text="a second").wait_for()


def written(page: Any) -> str:
    """The text as the page keeps it, with its beginning."""
    text: str = page.evaluate("beginning + thoughts.map(({ token }) => vocabulary.characters[token]).join('')")
    return text


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_its_chances_are_those_of_numpy(open_page: Open, tmp_path: Path, shape: dict[str, Any]) -> None:
    folder = save(tmp_path / "model", **shape)
    page = open_page(export(folder))
    model, vocab = load_model(folder)
    tokens = np.random.default_rng(0).integers(0, len(vocab), 300)
    found = np.array(page.evaluate(LIKELIEST, tokens.tolist()))
    same, exact = (
        np.array([probabilities(stepper.step(token[np.newaxis])[0], 0.7) for token in tokens])
        for stepper in (Stepper(rounded(model)), Stepper(model))
    )
    assert np.abs(found - same).max() < 1e-5
    assert np.abs(found - exact).sum(axis=1).mean() < 0.1
    assert exact.max(axis=1).mean() > 0.1  # else they would all be alike


def test_what_it_draws_is_as_likely_as_it_says(open_page: Open, story: Path) -> None:
    page = open_page(story)
    counts, expected = page.evaluate("""() => {
        at("temperature").value = 1.5;
        tokens = [1];
        logits = lstm.step(1);
        const counts = Array(vocabulary.characters.length).fill(0);
        for (let time = 0; time < 20000; time++) draw(), counts[tokens.at(-1)]++;
        return [counts, Array.from(probabilities(logits, 1.5))];
    }""")
    expected = np.array(expected) * 20_000
    assert (np.abs(np.array(counts) - expected) < 5 * np.sqrt(expected) + 5).all()


def test_at_temperature_0_it_writes_what_charrnn_sample_writes(
    open_page: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = open_page(export(save(tmp_path / "model")))
    page.get_by_label("Temperature").fill("0")
    write(page, "abc")
    # Of the rounded weights, which may differ from the run's own where two characters are nearly as likely.
    model, vocab = load_model(tmp_path / "model")
    (tmp_path / "rounded").mkdir()
    save_model(tmp_path / "rounded", rounded(model), vocab, "")
    capsys.readouterr()
    assert main(["sample", str(tmp_path / "rounded"), "--prompt", "abc", "--temperature", "0"]) == 0
    assert f"{written(page)}\n" == capsys.readouterr().out


def test_it_shows_how_likely_each_character_was_and_what_else(open_page: Open, story: Path) -> None:
    page = open_page(story)
    write(page, "once upon")
    assert written(page).startswith("once upon")
    spans = page.locator("#text span")
    assert spans.count() == 1000
    spans.nth(20).click()
    assert page.locator(".here").count() == 1
    shown = page.locator("#sure").text_content()
    likely = page.evaluate("thoughts[20].chance")
    assert f"{100 * likely:.{0 if likely >= 0.0995 else 1}f} % likely" in shown
    assert page.locator("#others button").count() == 5
    chances = page.evaluate("thoughts[20].best.map(({ chance }) => chance)")
    assert chances == sorted(chances, reverse=True)
    assert spans.nth(20).get_attribute("class").startswith(f"s{min(8, round(-np.log2(likely)))} ")


def test_another_character_leads_elsewhere(open_page: Open, story: Path) -> None:
    page = open_page(story)
    write(page)
    before = written(page)
    page.locator("#text span").nth(500).click()
    token = page.evaluate("thoughts[500].best.find(({ token }) => token !== thoughts[500].token).token")
    other = page.evaluate("token => vocabulary.characters[token]", token)
    page.locator("#others button").nth(
        page.evaluate("t => thoughts[500].best.findIndex((b) => b.token === t)", token)
    ).click()
    page.locator("#status", has_text="1,501 characters").wait_for()
    after = written(page)
    assert after[:501] == before[:500] + other
    assert after[501:] != before[501:]
    # What it wrote after it is what a model thinks that has read the new text.
    read = page.evaluate(
        "() => { const again = new CharLSTM(file); let last; for (const token of tokens.slice(0, -1)) "
        "last = again.step(token); return Array.from(probabilities(last)); }"
    )
    assert page.evaluate("thoughts.at(-1).chance") == pytest.approx(read[page.evaluate("tokens.at(-1)")], abs=1e-9)


def test_it_stops_and_goes_on(open_page: Open, story: Path) -> None:
    page = open_page(story)
    page.get_by_label("Slowly").check()
    page.get_by_role("button", name="Write").click()
    page.locator("#text span").nth(3).wait_for()
    page.get_by_role("button", name="Stop").click()
    stopped = written(page)
    assert 3 < len(stopped) < 200
    page.wait_for_timeout(300)
    assert written(page) == stopped
    page.get_by_label("Slowly").uncheck()
    page.get_by_role("button", name="Continue").click()
    page.locator("#status", has_text="a second").wait_for()
    assert written(page).startswith(stopped)
    assert len(written(page)) == len(stopped) + 1000
    page.get_by_role("button", name="Again").click()
    page.locator("#status", has_text="1,000 characters").wait_for()
    assert not written(page).startswith(stopped)


def test_the_temperature_counts_from_the_next_character_on(open_page: Open, story: Path) -> None:
    page = open_page(story)
    page.get_by_label("Temperature").fill("0")
    write(page)
    likeliest = page.evaluate("thoughts.every(({ token, best }) => token === best[0].token)")
    assert likeliest
    assert page.locator("#degrees").text_content() == "0.00"
    page.get_by_label("Temperature").fill("2")
    page.get_by_role("button", name="Continue").click()
    page.locator("#status", has_text="2,000 characters").wait_for()
    assert not page.evaluate("thoughts.slice(1000).every(({ token, best }) => token === best[0].token)")


def test_the_text_is_copied_as_it_is(open_page: Open, story: Path) -> None:
    page = open_page(story, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("nothing to copy yet").wait_for()
    write(page, "be")
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == written(page)


def test_where_the_clipboard_is_closed_the_text_is_selected(open_page: Open, story: Path) -> None:
    page = open_page(story)
    write(page, "be")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('closed')); }")
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("The text is selected").wait_for()
    assert page.evaluate("getSelection().toString()").startswith("be")


def test_names_and_characters_are_text(open_page: Open, story: Path) -> None:
    page = open_page(story)
    write(page, "</script>")
    assert page.locator("h1").text_content() == NAME.replace("\u2028", "\ufffd")
    assert page.locator("h1 b").count() == 0
    assert page.locator("#text b").text_content() == "</script>"
    assert not set(page.locator("#text").text_content()) & {"\x1b", "\u2028"}
    assert {"\x1b", "\u2028"} < set(written(page))  # which it has drawn


def test_markup_that_got_in_could_not_run(browser: Any, story: Path) -> None:
    page = browser.new_page()
    page.goto(story.as_uri())
    title = page.title()
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate("document.body.innerHTML = '<p onclick=\"document.title = 1\">x</p>'")
        page.locator("p").click()
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate("fetch('https://example.com').catch(() => 0)")
    assert page.title() == title
    page.close()


def test_a_beginning_that_it_cannot_read_is_refused_or_said(open_page: Open, story: Path, tmp_path: Path) -> None:
    page = open_page(story)
    write(page, "abc")
    before = written(page)
    page.get_by_label("How the text begins").fill("a€b☃€")
    page.get_by_role("button", name="Again").click()
    page.locator("#status.wrong", has_text="never read € (U+20AC), ☃ (U+2603): begin without").wait_for()
    assert written(page) == before
    assert page.get_by_label("How the text begins").get_attribute("aria-invalid") == "true"

    vocab = Vocabulary("\nabc", has_unknown=True, normal_form="NFC")
    strange = open_page(export(save(tmp_path / "with-unknown", vocab)))
    write(strange, "ab€")
    strange.locator("#status", has_text="never read € (U+20AC): it reads an unknown character there").wait_for()
    assert strange.evaluate("tokens.slice(0, 3)") == vocab.encode("ab€").tolist() == [2, 3, 0]
    assert strange.evaluate("tokens.slice(3).includes(0)") is False
    assert strange.evaluate("thoughts.some(({ best }) => best.some(({ token }) => token === 0))") is False


def test_a_beginning_is_brought_to_the_normal_form(open_page: Open, tmp_path: Path) -> None:
    vocab = Vocabulary("\nté", normal_form="NFC")
    page = open_page(export(save(tmp_path / "model", vocab)))
    write(page, "e\u0301te\u0301")
    assert page.evaluate("tokens.slice(0, 3)") == vocab.encode("été").tolist()


def test_a_model_without_a_new_line_begins_with_its_first_character(open_page: Open, tmp_path: Path) -> None:
    page = open_page(export(save(tmp_path / "model", Vocabulary("xyz"))))
    write(page)
    assert page.evaluate("tokens[0]") == 0
    assert len(written(page)) == 1000


def test_half_a_character_is_one(open_page: Open, tmp_path: Path) -> None:
    page = open_page(export(save(tmp_path / "model", Vocabulary("\n\ud83d\ude00"))))
    write(page)
    assert page.evaluate("vocabulary.characters.length") == 3
    assert set(page.locator("#text").text_content()) <= {"\n", "↵", "\ufffd"}


def test_all_of_it_with_the_keyboard(open_page: Open, story: Path) -> None:
    page = open_page(story)
    page.keyboard.press("Tab")
    page.keyboard.type("abc")
    page.keyboard.press("Control+Enter")
    page.locator("#status", has_text="a second").wait_for()
    stops = []
    for _ in range(7):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id"))
    assert stops == ["temperature", "slowly", "write", "stop", "continue", "copy", "text"]
    for key, place in (("End", 999), ("ArrowLeft", 998), ("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        assert page.evaluate("thoughts.indexOf(chosen)") == place
        assert page.locator("#spoken").text_content() == page.locator("#sure").text_content() != ""
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.id") == "others"
    page.keyboard.press("Enter")
    page.locator("#status", has_text="1,002 characters").wait_for()
    page.locator("#text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert page.locator(".here").count() == 0


LOOKS = [(width, scheme) for width in (360, 1280) for scheme in ("light", "dark")]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_fits_and_can_be_read(open_page: Open, story: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(story, viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    write(page, "abc")
    page.locator("#text span").nth(5).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(background) > 200) if scheme == "light" else (max(background) < 60)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_for_who_wants_less_motion_the_text_comes_in_pieces(open_page: Open, story: Path) -> None:
    page = open_page(story, reduced_motion="reduce")
    page.evaluate("""() => {
        window.changes = [];
        new MutationObserver(() => changes.push(performance.now())).observe(at("text"), { childList: true });
        at("slowly").checked = true;
        write.length;
    }""")
    page.get_by_role("button", name="Write").click()
    page.locator("#text span").nth(25).wait_for()
    page.get_by_role("button", name="Stop").click()
    changes = page.evaluate("changes")[2:-1]  # but for the beginning and the end
    assert len(changes) >= 2
    assert min(np.diff(changes)) > 400


def test_a_page_of_512_cells_is_small_and_writes_fast(open_page: Open, tmp_path: Path) -> None:
    vocab = Vocabulary("".join(map(chr, range(0x20, 0x20 + 96))))
    story = export(save(tmp_path / "model", vocab, hidden_size=512, embedding_size=64))
    assert story.stat().st_size < 2_000_000
    page = open_page(story)
    write(page)
    print(json.dumps({"MB": story.stat().st_size / 1e6, "said": page.locator("#status").text_content()}))


def test_the_page_of_the_docs_writes_and_is_small(open_page: Open) -> None:
    story = ROOT / "docs/story.html"
    assert story.stat().st_size < 1_000_000
    page = open_page(story)
    write(page, "Once upon a time")
    assert len(written(page)) == 1000 + len("Once upon a time")


def test_its_picture_is_taken_from_it() -> None:
    run([sys.executable, str(ROOT / "docs/page.py")], ROOT / "docs/story.html", "page.webp")
    assert 20_000 < Path("page.webp").stat().st_size < 170_000
    with Image.open("page.webp") as taken, Image.open(ROOT / "docs/page.webp") as kept:
        assert taken.width == kept.width
