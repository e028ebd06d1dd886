"""The page of one file, before a browser sees it: what it says, what is escaped, and that it needs no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from charrnn.model.evaluation import Loss
from charrnn.model.in_browser import Cost
from charrnn.model.lstm import CharLSTM
from charrnn.play.offline import offline_page
from charrnn.text.vocab import Vocabulary

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>document.title='owned'</script>\"'<img src=x onerror=alert(1)>&amp;{{ 7 }}"
STRANGE = "\x1b\x85\u2028\u202e\u2066\ud83d"
COST = Cost(Loss(1.25, 5000), Loss(1.2512, 5000), on_own_text=False)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and what is in those that hold only text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[str] = []
        self.is_raw = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.is_raw = tag in ("script", "style")
        self.raw += [""] * self.is_raw

    def handle_endtag(self, tag: str) -> None:
        self.is_raw = False

    def handle_data(self, data: str) -> None:
        if self.is_raw:
            self.raw[-1] += data


def make(name: str = "run", corpora: tuple[str, ...] = (), cost: Cost = COST) -> str:
    """The page of a model with strange characters, which nobody trained."""
    vocab = Vocabulary("".join(sorted(set(HOSTILE + STRANGE))), has_unknown=True)
    return offline_page(name, corpora, CharLSTM(len(vocab), hidden_size=8), vocab, cost)


def test_no_name_and_no_character_becomes_markup() -> None:
    source = make(HOSTILE + STRANGE, corpora=(HOSTILE + STRANGE,))
    elements = Elements(source)
    tags = [tag for tag, _ in elements.found]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (2, 1, 0)
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert HOSTILE in unescape(source)
    assert not set(source) & set(STRANGE)
    source.encode()  # it has no halves of surrogate pairs


def test_it_is_one_file_that_may_reach_nothing_and_run_nothing_else() -> None:
    elements = Elements(make())
    for tag, attributes in elements.found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "a")
        assert not {"src", "href", "style", "action"} & attributes.keys()
    policy = next(each["content"] for _, each in elements.found if each.get("http-equiv") == "Content-Security-Policy")
    style, _, script = elements.raw
    for kind, content in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_model_in_it_is_that_of_the_vocabulary() -> None:
    file = json.loads(Elements(make()).raw[1])
    assert file["characters"] == sorted(set(HOSTILE + STRANGE))
    assert file["unknown"] is True
    assert file["marks"] == {"\x1b": "␛", **dict.fromkeys("\x85\u2028\u202e\u2066\ud83d", "\ufffd")}


def said(source: str) -> str:
    """The words of a page, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", source)).split())


@pytest.mark.parametrize("on_own_text", [False, True])
def test_it_says_what_was_measured_and_on_what(on_own_text: bool) -> None:
    words = said(make(cost=Cost(COST.before, COST.after, on_own_text)))
    assert "its loss was 1.2500 nats per character before, and is 1.2512 so" in words
    assert ("5,000 characters that it wrote itself" in words) is on_own_text
    assert ("5,000 characters of text that it had not learned from" in words) is not on_own_text


def test_it_says_what_it_learned_from_if_that_is_known() -> None:
    assert "has read files:a.txt and gutenberg:11 and learned" in said(make(corpora=("files:a.txt", "gutenberg:11")))
    assert "has read some text and learned" in said(make())


def test_the_page_of_the_docs_is_what_export_writes_today() -> None:
    page = (ROOT / "docs/story.html").read_text(encoding="utf-8")
    parts = ("model/lstm.js", "outside/templates/base.css", "play/templates/offline.css", "play/templates/offline.js")
    for part in parts:
        assert (ROOT / "charrnn" / part).read_text(encoding="utf-8") in page, f"{part} has changed: make the page anew"
