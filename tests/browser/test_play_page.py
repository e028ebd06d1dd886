"""The page of `charrnn play` in a real browser: it streams, stops, goes on and compares, and trusts no text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from charrnn.play.runs import read_playable
from tests.conftest import SMALL, train_here
from tests.play.test_app import MODELS, ended, served, wait_for

__all__ = ["ended"]

pytestmark = pytest.mark.browser

Open = Callable[..., Any]

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
LENGTH = "document.querySelectorAll('.text textarea')[{}].value.length"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of two runs: one learnt markup by heart, which is its name too."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "text.txt").write_text(f"{HOSTILE}\n" * 500, encoding="utf-8")
    flags = ["--max-steps", "300", "--learning-rate", "0.02", "--tracker", "none", "--sample-length", "0"]
    assert train_here(*SMALL, *flags, "--corpus", f"files:{folder / 'text.txt'}", "--run-dir", folder / "run") == 0
    letters = replace(MODELS["runs/letters"], beginnings=("ce d", "ab"))
    with served({"runs/letters": letters, HOSTILE: read_playable(folder / "run", "best")}) as address:
        yield f"{address}/"


@pytest.fixture
def open_page(open_address: Open, url: str) -> Open:
    """Opens the page, which may ask its own server."""

    def opened(**settings: Any) -> Any:
        page = open_address(url, url, "data:", **settings)
        page.get_by_role("button", name="Write").wait_for()
        return page

    return opened


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name).click()


def texts(page: Any) -> list[str]:
    return [box.input_value() for box in page.locator(".text textarea").all()]


def wait_for_text(page: Any, length: int, column: int = 0) -> None:
    """Waits until a column has more than so many characters."""
    page.wait_for_function(f"{LENGTH.format(column)} > {length}")


def test_markup_in_names_and_texts_is_text(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Compare").uncheck()
    page.get_by_label("Run").first.click()
    page.get_by_role("option", name=HOSTILE).click()
    page.get_by_label("Beginning").fill(HOSTILE)
    press(page, "Write")
    wait_for_text(page, len(HOSTILE) + 900)
    text = texts(page)[0]
    assert page.locator(".view").first.inner_text().startswith(HOSTILE)
    assert text.startswith(HOSTILE)
    assert "<script>" in text.removeprefix(HOSTILE)
    assert page.get_by_label("Run").first.input_value() == HOSTILE
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "charrnn"


def test_a_prompt_that_a_model_cannot_read_is_said_and_leaves_the_text(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Beginning").fill("abc")
    page.get_by_label("Compare").uncheck()
    press(page, "Write")
    wait_for_text(page, 1000)
    before = texts(page)
    page.get_by_label("Beginning").fill("<b>€</b>")
    press(page, "Write")
    page.get_by_text("the vocabulary has no '<' (U+003C), '>' (U+003E), '€' (U+20AC)").wait_for()
    assert texts(page) == before
    assert before[0].startswith("abc")


def test_a_text_stops_and_goes_on_from_where_it_was(open_page: Open, ended: threading.Semaphore) -> None:
    page = open_page()
    page.get_by_label("Compare").uncheck()
    press(page, "Write")
    wait_for_text(page, 100)
    press(page, "Stop")
    wait_for(ended)
    # What was on its way when it stopped has arrived once the server answers again.
    page.get_by_label("Compare").check()
    page.locator(".text textarea").nth(1).wait_for()
    stopped = texts(page)[0]
    page.get_by_label("Compare").uncheck()
    press(page, "Continue")
    wait_for_text(page, len(stopped) + 100)
    assert texts(page)[0].startswith(stopped)


def test_a_text_ends_with_its_tab_and_other_tabs_go_on(open_page: Open, ended: threading.Semaphore) -> None:
    stays, goes = open_page(), open_page()
    for page in (stays, goes):
        page.get_by_label("Compare").uncheck()
        press(page, "Write")
        wait_for_text(page, 100)
    goes.close()
    wait_for(ended)
    wait_for_text(stays, len(texts(stays)[0]) + 100)
    assert not ended.acquire(blocking=False)


@pytest.mark.parametrize(("temperature", "same"), [("0.8", True), ("1.2", False)])
def test_two_columns_differ_by_their_settings_alone(open_page: Open, temperature: str, same: bool) -> None:
    page = open_page()
    page.get_by_label("Run").nth(1).click()
    page.get_by_role("option", name="runs/letters").click()
    page.get_by_label("number input for Temperature").nth(1).fill(temperature)
    press(page, "Write")
    page.wait_for_function(f"{LENGTH.format(0)} == 1000 && {LENGTH.format(1)} == 1000")
    first, second = texts(page)
    assert (first == second) is same


def test_a_beginning_can_be_clicked_and_what_is_written_is_shaded(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Compare").uncheck()
    button, beginning = page.locator(".beginnings button"), "ce d"
    assert button.all_inner_texts() == [beginning]  # what not every model can read is not offered
    button.click()
    page.wait_for_function("text => document.querySelector('textarea').value === text", arg=beginning)
    press(page, "Write")
    page.wait_for_function(f"{LENGTH.format(0)} == {len(beginning) + 1000}")
    view = page.locator(".view").first
    assert view.text_content() == texts(page)[0].replace("\r\n", "\n")
    shades = view.locator("b").evaluate_all("all => all.map(each => each.className)")
    assert set(shades) <= {f"s{bits}" for bits in range(1, 9)}
    assert len(shades) > 10
    assert view.evaluate("each => each.firstChild.data").startswith(beginning)  # the beginning is not shaded


def test_it_says_which_runs_there_are_and_the_limits_of_the_sliders(open_page: Open) -> None:
    page = open_page()
    assert page.get_by_role("heading", level=1).inner_text() == "Write with a trained model"
    said = page.locator(".intro").first.inner_text()
    assert HOSTILE in said
    assert "bits a character on text it has not seen" in said
    assert page.get_by_text("2 (the most) wild").first.is_visible()
    assert page.get_by_text("100 to 10,000").is_visible()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(open_page: Open, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    press(page, "Write")
    wait_for_text(page, 900)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert (red + green + blue > 3 * 128) is (scheme == "light")
