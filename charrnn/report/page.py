"""The page: one HTML file, made of what `sections` says of a run by a template that escapes all of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charrnn.model.in_browser import script
from charrnn.model.lstm import CharLSTM
from charrnn.outside.page import render as render_page
from charrnn.report import sections
from charrnn.report.reading import read
from charrnn.report.sections import Row, Texts
from charrnn.run.quality import Quality
from charrnn.text.vocab import Vocabulary


class Record(NamedTuple):
    """What a run folder says: its name, the state in its status.json or nothing, its metrics and its samples."""

    name: str
    state: str
    metrics: Sequence[Row]
    samples: Sequence[Row]


def render(
    run: Record, facts: Mapping[str, str], quality: Quality, model: CharLSTM, vocab: Vocabulary, texts: Texts | str
) -> str:
    """The page of a run, which needs no other file; without texts, the reason why stands in their place."""
    others = {**sections.baselines(quality), "blind guessing": math.log2(len(vocab))}
    values: dict[str, Any] = {
        "name": run.name,
        "facts": facts,
        "verdict": sections.verdict(quality, run.state, others),
        "charts": sections.curves(run.metrics, others),
        "samples": sections.side_by_side(run.samples),
        "texts": texts,
        "own": sections.for_own_sentence(model, vocab),
    }
    if isinstance(texts, Texts):
        reading = read(model, texts.read)
        texts_written = sections.written(run.samples, model, vocab)
        values["copied"] = sections.copied(texts_written, vocab, texts, reading)
        values["surprise"] = sections.surprise(reading, vocab)
        values["cells"] = sections.cells(reading, vocab, model.hidden_size)
    return render_page("charrnn.report", "page", values, [script()], bits=sections.bits, signed=sections.signed)
