"""The report in a real browser: hostile text, no network, hover, keyboard, touch, narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.cli import main
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
def open_page(browser: Any, report: Path) -> Iterator[Open]:
    """Opens the report from disk; at the end nothing must have gone wrong in it, nor anything else been asked for."""
    contexts, complaints = [], []

    def opened(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url == report.as_uri() or complaints.append(request.url))
        page.goto(report.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def note(page: Any) -> str:
    """What is shown of the character that is pointed at; empty if none is."""
    shown: str = page.evaluate(
        """() => {
            const at = document.querySelector('.shaded span:is(:hover, .here)');
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
    assert "<script>document.title='owned'</script></pre><img" in page.locator(".shaded").inner_text()


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
    page.locator(".shaded span").nth(5).hover()
    lines = note(page).splitlines()
    assert len(lines) == 6
    assert "bits" in lines[0]
    assert all("%" in line for line in lines)


def test_the_arrow_keys_go_from_character_to_character(open_page: Open) -> None:
    page = open_page()
    notes = page.locator(".shaded span").evaluate_all("spans => spans.map(span => span.dataset.note)")
    page.locator(".shaded").focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home", "ArrowLeft"):
        page.keyboard.press(key)
        seen.append(note(page))
        assert page.locator(".spoken").text_content() == seen[-1]
        assert page.locator(".here").evaluate("at => at.getBoundingClientRect().bottom < innerHeight - 150")
    assert seen == [notes[0], notes[1], notes[2], notes[1], notes[-1], notes[0], notes[0]]
    page.keyboard.press("Escape")
    assert page.locator(".here").count() == 0


def test_a_finger_shows_it_too(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    at = page.locator(".shaded span").nth(40)
    at.tap()
    assert page.locator(".here").get_attribute("data-note") == at.get_attribute("data-note") == note(page)


@pytest.mark.parametrize(("device", "scheme"), LOOKS)
def test_it_fits_and_can_be_read(open_page: Open, device: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(viewport={"width": WIDTHS[device], "height": 800}, color_scheme=scheme, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(background) > 200) if scheme == "light" else (max(background) < 60)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
