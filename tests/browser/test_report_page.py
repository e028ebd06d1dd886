"""The report in a real browser: hostile text, no network, hover, keyboard, touch, narrow and wide, light and dark."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.cli import main
from charrnn.model.folder import load_model
from charrnn.model.in_browser import rounded
from charrnn.model.sampling import probabilities
from charrnn.model.stepper import Stepper
from charrnn.run.finding import find_model
from tests.report.test_report import train_hostile

pytestmark = pytest.mark.browser

Open = Callable[..., Any]

WIDTHS = {"phone": 360, "desktop": 1280}
LOOKS = [(device, scheme) for device in WIDTHS for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = train_hostile(tmp_path_factory.mktemp("hostile"))
    assert main(["report", str(run_dir), "--trust"]) == 0
    return run_dir / "report.html"


@pytest.fixture
def open_page(open_address: Open, report: Path) -> Open:
    """Opens the report from disk."""
    return functools.partial(open_address, report.as_uri())


def note(page: Any) -> str:
    """What is shown of the character that is pointed at; empty if none is."""
    shown: str = page.evaluate(
        """() => {
            const at = document.querySelector('.read span:is(:hover, .here)');
            const style = at && getComputedStyle(at, '::after');
            return at && style.content !== 'none' ? at.dataset.note : '';
        }"""
    )
    return shown


def test_hostile_text_is_text(open_page: Open) -> None:
    page = open_page()
    assert page.title() == "run – charrnn report"
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert "<script>document.title='owned'</script></pre><img" in page.locator(".surprise:not(.own)").inner_text()


def test_even_markup_that_got_in_could_not_run(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate("document.body.innerHTML = '<p onclick=\"document.title = 1\">x</p>'")
        page.locator("p").click()
    assert page.title() == "run – charrnn report"
    page.close()


def test_pointing_at_a_character_shows_what_was_expected(open_page: Open) -> None:
    page = open_page(viewport={"width": 1280, "height": 800})
    assert note(page) == ""
    page.locator(".surprise span").nth(5).hover()
    lines = note(page).splitlines()
    assert len(lines) == 6
    assert "bits" in lines[0]
    assert all("%" in line for line in lines)


def test_the_arrow_keys_go_from_character_to_character(open_page: Open) -> None:
    page = open_page()
    notes = page.locator(".surprise span").evaluate_all("spans => spans.map(span => span.dataset.note)")
    page.locator(".surprise:not(.own)").focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home", "ArrowLeft"):
        page.keyboard.press(key)
        seen.append(note(page))
        spoken = re.sub("[▀-▟]+ *", "", seen[-1])  # a bar says nothing when it is read aloud
        assert page.locator(".spoken").text_content() == spoken
        assert page.locator(".here").evaluate("at => at.getBoundingClientRect().bottom < innerHeight - 150")
    assert seen == [notes[0], notes[1], notes[2], notes[1], notes[-1], notes[0], notes[0]]
    page.keyboard.press("Escape")
    assert page.locator(".here").count() == 0


def test_a_finger_shows_it_too(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    at = page.locator(".surprise span").nth(40)
    at.tap()
    assert page.locator(".here").get_attribute("data-note") == at.get_attribute("data-note") == note(page)


def test_a_bar_is_as_tall_as_the_surprise(open_page: Open) -> None:
    page = open_page()
    heights = page.evaluate(
        """() => [...document.querySelectorAll('.surprise span')].map(
            span => [Number(span.className.slice(1)), getComputedStyle(span).backgroundSize.split(' ')[1]])"""
    )
    assert {bits for bits, _ in heights} >= {0, 1, 2, 3, 4}
    assert all(height == f"{12.5 * bits:g}%" for bits, height in heights)


def test_any_cell_can_be_looked_at_with_the_keyboard(open_page: Open) -> None:
    page = open_page()
    shades = "spans => spans.map(span => [span.className, span.dataset.note])"
    span = page.locator(".browse span")
    first = span.evaluate_all(shades)
    page.locator("select").focus()
    page.keyboard.press("ArrowDown")
    second = span.evaluate_all(shades)
    assert len(second) == len(first) >= 300
    assert second != first
    page.keyboard.press("ArrowUp")
    again = span.evaluate_all(shades)
    # What is in the page is rounded once, and what the script has twice.
    assert [shade for shade, _ in again] == [shade for shade, _ in first]
    values = [[float(note.replace("−", "-")) for _, note in each] for each in (first, again)]
    assert max(abs(one - other) for one, other in zip(*values, strict=True)) < 0.02
    page.locator(".browse pre").focus()
    page.keyboard.press("ArrowRight")
    assert note(page) == again[0][1]


def test_without_scripts_all_is_there_to_be_read(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("h1").is_visible()
    assert page.locator(".scores li").count() == 5
    assert page.locator(".chart svg").count() >= 4
    page.locator(".surprise span").nth(5).hover()
    assert page.locator(".surprise span:hover").get_attribute("data-note")
    context.close()


def test_a_sentence_of_one_s_own_is_read_by_the_model_in_the_page(open_page: Open, report: Path) -> None:
    page = open_page()
    sentence = "Ba do <img src=x>"
    page.get_by_label("A sentence of your own").fill(sentence)
    page.keyboard.press("Enter")
    page.locator("#said", has_text="bits a character").wait_for()
    model, vocab = load_model(find_model(report.parent))
    stepper, tokens = Stepper(rounded(model)), vocab.encode(f"\n{sentence}")
    chances = [probabilities(stepper.step(token[np.newaxis])[0], 1.0) for token in tokens[:-1]]
    bits = [-np.log2(chance[token]) for chance, token in zip(chances, tokens[1:], strict=True)]
    said = page.locator("#said").text_content()
    assert float(said.split()[0]) == pytest.approx(np.mean(bits), abs=0.0051)
    spans = page.locator(".own span")
    assert spans.evaluate_all("spans => spans.map(span => span.textContent).join('')") == sentence
    shades = spans.evaluate_all("spans => spans.map(span => Number(span.className.slice(1)))")
    assert np.abs(np.array(shades) - np.minimum(8, bits)).max() < 0.51
    page.locator(".own").focus()
    page.keyboard.press("End")
    head, *best = note(page).splitlines()
    assert head == f"> had {2 ** -bits[-1]:.1%}, {bits[-1]:.1f} bits"
    assert [float(line.split("%")[0]) for line in best] == pytest.approx(sorted(100 * chances[-1])[:-6:-1], abs=0.0501)

    page.get_by_label("A sentence of your own").fill("Ba ☃")
    page.get_by_role("button", name="Read it").click()
    page.locator("#said", has_text="never read ☃").wait_for()
    assert page.locator(".own").is_hidden()


@pytest.mark.parametrize(("device", "scheme"), LOOKS)
def test_it_fits_and_can_be_read(open_page: Open, device: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(viewport={"width": WIDTHS[device], "height": 800}, color_scheme=scheme, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(background) > 200) if scheme == "light" else (max(background) < 60)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
