"""What each section of the page shows of a run, as plain values: the template escapes all of it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.model.in_browser import model_in_browser
from charrnn.model.lstm import CharLSTM
from charrnn.outside.page import marked
from charrnn.report.cells import CLEAR, FollowingCell, clearest, excerpt, following_cells
from charrnn.report.copied import SHORTEST, Passage, copied_lengths, copied_passages
from charrnn.report.curves import Chart, draw
from charrnn.report.reading import Reading
from charrnn.report.writing import interval, pieces_of, write_texts
from charrnn.run.quality import Quality
from charrnn.run.shading import MOST_BITS
from charrnn.text.vocab import Ids, Vocabulary

Row = Mapping[str, Any]

MAX_COLUMNS = 6
"""Samples side by side."""

MAX_SURPRISE = 2000
"""Characters of the text that is shaded by surprise."""

LINE = 200
"""Characters within which it may begin with a line."""

BAR = 12
"""Characters of a bar that stands for certainty."""

SHADES = 4
"""Shades of a cell on each side of its mean; the darkest is two standard deviations away."""

BROWSED = 400
"""Characters of the text in which one looks at any cell."""

MAX_BROWSED = 1_000_000
"""Values of all cells in the page: with thousands of cells the text is shorter."""

MAX_MODEL = 2_000_000
"""Bytes that the model may take in the page."""

TEMPERATURES = (0.5, 0.8, 1.0)
"""At which a model writes whose run has written no samples."""

MAX_TEMPERATURES = 5

MAX_PASSAGES = 6
"""Copied passages that are listed."""

CONTEXT = 40
"""Characters of the training text shown on each side of a copied passage."""

_NAMED = {" ": "␣", "\n": "↵", "\t": "⇥"}
_EIGHTHS = " ▏▎▍▌▋▊▉"

ENDINGS = {
    "finished": "Finished, with too few measurements to tell how well it learned",
    "running": "Not finished: it is training, or ended without a word",
    "preempted": "Interrupted: --resume goes on with it",
    "failed": "It ended with an error",
}


@dataclass(frozen=True)
class Texts:
    """The text that the model was trained on, and the one it is watched reading."""

    train: Ids
    read: Ids
    is_held_out: bool


def verdict(quality: Quality, state: str, others: Mapping[str, float]) -> dict[str, Any]:
    """How the run ended, and its model among ``others`` by the bits that each needs, the best first."""
    said = quality.verdict.advice if quality.verdict else ENDINGS.get(state, "How it ended is not known")
    beside: list[dict[str, Any]] = [{"name": name, "bits": bits, "is_model": False} for name, bits in others.items()]
    if quality.bits is not None:
        beside.append({"name": "this model", "bits": quality.bits, "is_model": True})
    beside.sort(key=lambda one: (one["bits"], not one["is_model"]))
    most = max((one["bits"] for one in beside), default=1.0)
    for one in beside:
        one["width"] = 100 * max(0.0, one["bits"]) / (most or 1.0)
    said, _, how = said.partition(" (")
    return {"said": said[0].upper() + said[1:], "how": how.rstrip(")"), "bits": quality.bits, "beside": beside}


def baselines(quality: Quality) -> dict[str, float]:
    """What others need for a character, by their names; nothing for a text of which that was not measured."""
    known = quality.baselines
    return {"letter frequencies": known.letters, "bzip2": known.bzip2, "xz": known.xz} if known else {}


def curves(metrics: Sequence[Row], levels: Mapping[str, float]) -> list[Chart]:
    """The charts of metrics.jsonl, losses in bits, those without values left out; ``levels`` are those of the loss."""
    rows = [{**row, "train": bits(row["train_loss"]), "val": bits(row["val_loss"])} for row in metrics]
    measured = [row["epoch"] for row in rows if row["val"] is not None]
    late = [row for row in rows if measured and row["epoch"] >= measured[0]]
    loss = {"train": "training text", "val": "validation text"}
    charts = [
        draw("Loss, bits a character", rows, loss, levels=levels),
        draw("Loss, close up", late, loss, "The same from the first measurement of validation text on.")
        if len(measured) > 1
        else None,
        draw("Learning rate", rows, {"learning_rate": "learning rate"}, "How far a step moves the weights, about."),
        draw(
            "Norm of the gradient",
            rows,
            {"grad_norm": "norm"},
            "The gradient says how each weight should change; its norm is how long it is in all. Peaks are steps that "
            "surprised the model; a norm that keeps growing means that training is about to diverge.",
        ),
        draw("Characters per second", rows, {"chars_per_second": "speed"}, "How fast it read the training text."),
    ]
    return [chart for chart in charts if chart]


def bits(nats: float | None) -> float | None:
    """A loss in bits; of what was not measured, nothing."""
    return None if nats is None else nats / math.log(2)


def signed(value: float) -> str:
    """A number with its sign, to two places."""
    return f"{value:+.2f}".replace("-", "−")


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


def written(samples: Sequence[Row], model: CharLSTM, vocab: Vocabulary) -> dict[str, list[str]]:
    """Texts that the model writes now, by the name of their temperature: those of the run's samples."""
    temperatures = sorted({row["temperature"] for row in samples if row["temperature"] >= 0})[:MAX_TEMPERATURES]
    return {f"temperature {each:g}": write_texts(model, vocab, each) for each in temperatures or TEMPERATURES}


def copied(written: Mapping[str, list[str]], vocab: Vocabulary, texts: Texts, reading: Reading) -> dict[str, Any]:
    """How much of what a model has written stands in the training text; and how much of a text that was not copied."""
    compared = dict(written)
    if texts.is_held_out:
        compared["validation text, to compare"] = pieces_of(vocab.decode(reading.tokens_N))
    found = iter(copied_passages([text for several in compared.values() for text in several], vocab, texts.train))
    rows, shown, passages = [], [], []
    for name, several in compared.items():
        own = [next(found) for _ in several]
        lengths = [copied_lengths(each, len(text)) for each, text in zip(own, several, strict=True)]
        shares = [float(np.count_nonzero(each) / max(1, len(each))) for each in lengths]
        low, high = interval(shares)
        longest = max(int(each.max(initial=0)) for each in lengths)
        characters = sum(map(len, several))
        row = {"name": name, "characters": characters, "share": np.mean(shares), "low": low, "high": high}
        rows.append({**row, "longest": longest, "texts": len(several)})
        if name in written:
            most = int(np.argmax(shares))
            stretches = [] if several[most].isspace() else _stretches(several[most], lengths[most].tolist())
            shown.append({"name": name, "share": shares[most], "stretches": stretches})
            passages += [
                (name, each, text[each.start : each.start + each.length])
                for text, these in zip(several, own, strict=True)
                for each in these
            ]
    return {
        "rows": rows,
        "shown": shown,
        "passages": [_in_context(*each, vocab, texts.train) for each in different(passages)],
        "shortest": SHORTEST,
        "num_characters": len(texts.train),
    }


def different(passages: Sequence[tuple[str, Passage, str]]) -> list[tuple[str, Passage, str]]:
    """The longest of some passages, no two of which have `SHORTEST` characters in a row in common."""
    chosen: list[tuple[str, Passage, str]] = []
    seen: set[str] = set()
    for name, passage, text in sorted(passages, key=lambda each: -each[1].length):
        parts = {text[start : start + SHORTEST] for start in range(len(text) - SHORTEST + 1)}
        if len(chosen) < MAX_PASSAGES and seen.isdisjoint(parts):
            chosen.append((name, passage, text))
            seen |= parts
    return chosen


def _in_context(name: str, passage: Passage, text: str, vocab: Vocabulary, training: Ids) -> dict[str, Any]:
    start, stop = passage.source, passage.source + passage.length
    return {
        "name": name,
        "length": passage.length,
        "source": start,
        "before": vocab.decode(training[max(0, start - CONTEXT) : start]),
        "text": text,
        "after": vocab.decode(training[stop : stop + CONTEXT]),
    }


def surprise(reading: Reading, vocab: Vocabulary) -> dict[str, Any]:
    """Each character of the excerpt with its shade, 0 to `MOST_BITS`, and what the model expected in its place."""
    text = vocab.decode(reading.tokens_N)
    start = text.find("\n", 0, LINE) + 1
    characters = []
    for index in range(start, min(start + MAX_SURPRISE, len(text))):
        bits = float(reading.surprise_N[index])
        expected = zip(reading.likeliest_NK[index], reading.probability_NK[index], strict=True)
        lines = [f"{share:6.1%} {_bar(share):{BAR}} {_named(vocab.decode([token]))}" for token, share in expected]
        note = "\n".join([f"{_named(text[index])} had {2**-bits:.1%}, {bits:.1f} bits", *lines])
        characters.append((min(MOST_BITS, round(bits)), text[index], note))
    return {"characters": characters, "mean": float(reading.surprise_N.mean()), "most": MOST_BITS}


def _bar(share: float) -> str:
    """A bar as long as a share, to an eighth of a character."""
    full, eighths = divmod(round(8 * BAR * float(share)), 8)
    return "█" * full + _EIGHTHS[eighths].strip()


def for_own_sentence(model: CharLSTM, vocab: Vocabulary) -> dict[str, Any] | str:
    """The model itself, in 8 bits, for the box that reads a reader's own sentence; or why there is none."""
    size = model.num_parameters * 4 / 3  # as base64
    if size > MAX_MODEL:
        return f"with the model in it, the page would have {size / 1e6:.1f} MB more"
    try:
        return model_in_browser(model, vocab)
    except CheckpointError as error:
        return str(error)


def cells(reading: Reading, vocab: Vocabulary, hidden_size: int) -> dict[str, Any]:
    """The cells that clearly follow a feature, each with a text in its shades; and all cells, to browse."""
    text = vocab.decode(reading.tokens_N)
    found = following_cells(reading.cells_NC, text)
    num_cells = reading.cells_NC.shape[1]
    start = text.find("\n", len(text) // 2, len(text) // 2 + LINE) + 1 or len(text) // 2
    browsed = slice(start, start + min(BROWSED, MAX_BROWSED // num_cells))

    def named(cell: FollowingCell) -> dict[str, Any]:
        values = reading.cells_NC[:, cell.cell]
        return {
            "name": f"layer {cell.cell // hidden_size + 1}, cell {cell.cell % hidden_size}",
            "feature": cell.feature,
            "chosen": cell.chosen,
            "held_out": cell.held_out,
            "mean": float(values.mean()),
            "deviation": float(values.std()) or 1.0,
        }

    def shaded(cell: FollowingCell, part: slice) -> list[tuple[int, str, str]]:
        """Each character of a part of the text with its shade, -`SHADES` to `SHADES`, and the cell's value after it."""
        values = reading.cells_NC[:, cell.cell]
        deviations = (values[part] - values.mean()) / (values.std() or 1.0)
        shades = np.clip((deviations * SHADES / 2).round(), -SHADES, SHADES).astype(int)
        notes = map(signed, values[part].tolist())
        return list(zip(shades.tolist(), text[part], notes, strict=True))

    in_order = np.round(127 * reading.cells_NC[browsed, [cell.cell for cell in found]].T).astype(np.int8)
    return {
        "shown": [{**named(cell), "characters": shaded(cell, excerpt(text, cell.feature))} for cell in clearest(found)],
        "browsed": list(map(named, found)),
        "first": shaded(found[0], browsed) if found else [],
        "bytes": base64.b64encode(in_order.tobytes()).decode(),
        "num_cells": num_cells,
        "num_characters": len(text),
        "threshold": CLEAR,
    }


def _named(character: str) -> str:
    return _NAMED.get(character) or marked(character)


def _stretches(text: str, values: Sequence[int]) -> list[tuple[int, str]]:
    """The text cut where the value of its characters changes."""
    pairs = groupby(zip(values, text, strict=True), key=lambda pair: pair[0])
    return [(value, "".join(character for _, character in run)) for value, run in pairs]
