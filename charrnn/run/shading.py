"""Text as HTML in which each character is shaded by how surprised the model was by it."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from charrnn.outside.printable import printable

MOST_BITS = 8
"""Surprise, in bits, from which on a character has the full colour."""


def shaded_html(scored: Iterable[tuple[str, float]], title: str) -> str:
    """One self-contained piece of HTML from (character, probability) pairs, in which nothing is raw."""
    spans = []
    for character, probability in scored:
        bits = -math.log2(max(probability, 1e-12))
        shade = f"rgba(214, 69, 41, {min(1.0, bits / MOST_BITS):.2f})"
        spans.append(
            f'<span style="background:{shade}" title="{bits:.1f} bits">{html.escape(printable(character))}</span>'
        )
    return (
        f'<p style="font:13px sans-serif">{html.escape(title)}; the redder, the more the character surprised the '
        f'model</p><pre style="white-space:pre-wrap;font:14px/1.5 monospace">{"".join(spans)}</pre>'
    )


def shaded_spans(scored: Iterable[tuple[str, float]]) -> str:
    """HTML to which more can be added, in which nothing is raw: characters of a bit and more in <b class="s3">."""
    pieces = []
    for character, probability in scored:
        bits = min(MOST_BITS, round(-math.log2(max(probability, 1e-12))))
        text = html.escape(printable(character))
        pieces.append(f'<b class="s{bits}">{text}</b>' if bits else text)
    return "".join(pieces)
