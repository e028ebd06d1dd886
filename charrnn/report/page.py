"""The page: what its template shows of a run, section by section; the template escapes all of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from charrnn.model.lstm import CharLSTM
from charrnn.outside.printable import printable as printable_with
from charrnn.report.cells import named_cells
from charrnn.report.copied import SHORTEST, Passage, copied_lengths, copied_passages
from charrnn.report.curves import draw
from charrnn.report.reading import Reading, read
from charrnn.run.shading import MOST_BITS
from charrnn.text.vocab import Ids, Vocabulary

Row = Mapping[str, Any]

MAX_COLUMNS = 6
"""Samples side by side."""

EXCERPT = 3000
"""Characters of the text that is shaded by surprise."""

LINE = 200
"""Characters within which it may begin with a line."""

READABLE = 0.3
"""A weaker correlation is not one that a person sees in the coloured text."""

SHADES = 4
"""Shades of a cell on each side of its mean; the darkest is two standard deviations away."""

MAX_PASSAGES = 6
"""Copied passages that are listed."""

CONTEXT = 40
"""Characters of the training text shown on each side of a copied passage."""

_NAMED = {" ": "␣", "\n": "↵", "\t": "⇥"}


@dataclass(frozen=True)
class Texts:
    """The text that the model was trained on, and the one it is watched reading."""

    train: Ids
    read: Ids
    is_held_out: bool


def render(
    name: str,
    facts: Mapping[str, str],
    words: str,
    metrics: Sequence[Row],
    samples: Sequence[Row],
    model: CharLSTM,
    vocab: Vocabulary,
    texts: Texts | str,
) -> str:
    """The page of a run, one HTML file that needs no other; without texts, the reason why stands in their place.

    ``words`` say how good the model is, if that is known.
    """
    environment = Environment(
        loader=PackageLoader("charrnn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    templates = resources.files("charrnn.report") / "templates"
    script = (templates / "page.js").read_text(encoding="utf-8")
    values: dict[str, Any] = {
        "name": name,
        "facts": facts,
        "words": words,
        "style": Markup((templates / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        # Only this script may run: whatever a text smuggles in, the browser refuses.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "charts": curves(metrics),
        "samples": side_by_side(samples),
        "texts": texts,
    }
    if isinstance(texts, Texts):
        reading = read(model, texts.read)
        values["copied"] = copied(latest(samples), vocab, texts, reading)
        values["surprise"] = surprise(reading, vocab)
        values["cells"] = cells(reading, vocab, model.hidden_size)
    return environment.get_template("page.html.jinja").render(values)


def printable(text: str) -> str:
    """A text with a mark, one character wide, in the place of each that must not be raw."""
    return printable_with(text, lambda raw: chr(0x2400 + ord(raw)) if raw < " " else "\ufffd")


def curves(metrics: Sequence[Row]) -> list[Any]:
    """The charts of metrics.jsonl, those without values left out."""
    charts = [
        draw("Loss, nats per character", metrics, {"train_loss": "training", "val_loss": "validation"}),
        draw("Learning rate", metrics, {"learning_rate": "learning rate"}),
        draw("Norm of the gradient", metrics, {"grad_norm": "norm"}),
        draw("Characters per second", metrics, {"chars_per_second": "speed"}),
    ]
    return [chart for chart in charts if chart]


def side_by_side(samples: Sequence[Row]) -> dict[float, list[Row]]:
    """For each temperature its samples from some of the steps, the first and the last among them.

    The steps lie closer together at the beginning, where samples change most.
    """
    steps = sorted({row["step"] for row in samples})
    shown = {steps[round(index) - 1] for index in np.geomspace(1, len(steps), MAX_COLUMNS)} if steps else set()
    temperatures = sorted({row["temperature"] for row in samples})
    return {
        temperature: [row for row in samples if row["step"] in shown and row["temperature"] == temperature]
        for temperature in temperatures
    }


def latest(samples: Sequence[Row]) -> list[Row]:
    """The last sample of each temperature."""
    return [rows[-1] for rows in side_by_side(samples).values()]


def copied(samples: Sequence[Row], vocab: Vocabulary, texts: Texts, reading: Reading) -> dict[str, Any]:
    """How much of the samples stands in the training text; and how much of a text that was not copied."""
    written = [(f"temperature {row['temperature']:g}", row["text"]) for row in samples]
    if texts.is_held_out:
        written.append(("the validation text, to compare", vocab.decode(reading.tokens_N)))
    found = copied_passages([text for _, text in written], vocab, texts.train)
    rows = []
    for (name, text), passages in zip(written, found, strict=True):
        lengths = copied_lengths(passages, len(text))
        share = np.count_nonzero(lengths) / max(1, len(text))
        longest = int(lengths.max(initial=0))
        stretches = [] if text.isspace() else _stretches(text, lengths.tolist())
        rows.append({"name": name, "characters": len(text), "share": share, "longest": longest, "stretches": stretches})
    named = [(name, passage) for (name, _), own in zip(written[: len(samples)], found, strict=False) for passage in own]
    named.sort(key=lambda pair: -pair[1].length)
    return {
        "rows": rows,
        "samples": rows[: len(samples)],
        "longest": [_in_context(name, passage, vocab, texts.train) for name, passage in named[:MAX_PASSAGES]],
        "shortest": SHORTEST,
        "num_characters": len(texts.train),
    }


def _in_context(name: str, passage: Passage, vocab: Vocabulary, training: Ids) -> dict[str, Any]:
    start, stop = passage.source, passage.source + passage.length
    return {
        "name": name,
        "length": passage.length,
        "source": start,
        "before": vocab.decode(training[max(0, start - CONTEXT) : start]),
        "text": vocab.decode(training[start:stop]),
        "after": vocab.decode(training[stop : stop + CONTEXT]),
    }


def surprise(reading: Reading, vocab: Vocabulary) -> dict[str, Any]:
    """Each character of the excerpt with its shade, 0 to `MOST_BITS`, and what the model expected in its place."""
    text = vocab.decode(reading.tokens_N)
    start = text.find("\n", 0, LINE) + 1
    characters = []
    for index in range(start, min(start + EXCERPT, len(text))):
        bits = float(reading.surprise_N[index])
        expected = zip(reading.likeliest_NK[index], reading.probability_NK[index], strict=True)
        lines = [f"{share:6.1%}  {_named(vocab.decode([token]))}" for token, share in expected]
        note = "\n".join([f"{_named(text[index])} had {2**-bits:.1%}, {bits:.1f} bits", *lines])
        characters.append((min(MOST_BITS, round(bits)), text[index], note))
    return {"characters": characters, "mean": float(reading.surprise_N.mean()), "most": MOST_BITS}


def cells(reading: Reading, vocab: Vocabulary, hidden_size: int) -> dict[str, Any]:
    """The cells that follow a feature, each with a text in its shades; and the features that none follows."""
    text = vocab.decode(reading.tokens_N)
    found = named_cells(reading.cells_NC, text)
    shown = []
    for named in found:
        if abs(named.correlation) < READABLE:
            continue
        values = reading.cells_NC[:, named.cell]
        deviations = (values[named.excerpt] - values.mean()) / (values.std() or 1.0)
        shades = np.clip((deviations * SHADES / 2).round(), -SHADES, SHADES).astype(int)
        shown.append(
            {
                "feature": named.feature,
                "layer": named.cell // hidden_size + 1,
                "cell": named.cell % hidden_size,
                "correlation": named.correlation,
                "stretches": _stretches(text[named.excerpt], shades.tolist()),
            }
        )
    return {
        "shown": shown,
        "others": [named for named in found if abs(named.correlation) < READABLE],
        "num_cells": reading.cells_NC.shape[1],
        "num_characters": len(text),
    }


def _named(character: str) -> str:
    return _NAMED.get(character) or printable(character)


def _stretches(text: str, values: Sequence[int]) -> list[tuple[int, str]]:
    """The text cut where the value of its characters changes."""
    pairs = groupby(zip(values, text, strict=True), key=lambda pair: pair[0])
    return [(value, "".join(character for _, character in run)) for value, run in pairs]
