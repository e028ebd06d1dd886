"""The model card: whatever a corpus is called, Markdown shows it as it is, and nothing of it is obeyed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from charrnn.model.card import model_card
from charrnn.outside.printable import one_line

NASTY = [
    "files:a`b.txt",
    "files:`",
    "files:``a`` ```b",
    "`x`:`",
    "``",
    " a ",
    "files:a\n\n# title\n```\n",
    "files:a|b",
    "files:<script>alert(1)</script>",
    "files:![x](http://x)",
    "files:\\`",
    "files:a---\nlicense: mit",
    "files:*a* _b_ &amp; $x$",
]


def spans(card: str) -> list[str]:
    """The code spans of a card's text, as CommonMark reads them."""
    text = card.split("---\n", 2)[2]
    blocks = MarkdownIt("commonmark").parse(text)
    assert [block.type for block in blocks if block.type.endswith("_open")] == ["heading_open", "paragraph_open"]
    assert [block.info for block in blocks if block.type == "fence"] == ["python"]
    return [part.content for block in blocks for part in block.children or () if part.type == "code_inline"]


@pytest.mark.parametrize("spec", NASTY)
def test_a_corpus_is_shown_as_it_is_called(spec: str) -> None:
    assert spans(model_card([spec, "files:b.txt"], 3, None)) == [one_line(spec), "files:b.txt"]


@given(st.lists(st.text("`\\ \n<|a:é\r\u2028", min_size=1).filter(str.strip), min_size=1, max_size=3))
def test_any_corpora_are(specs: list[str]) -> None:
    assert spans(model_card(specs, 3, None)) == list(map(one_line, specs))
