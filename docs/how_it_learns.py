"""Draws the pictures of how-it-learns.md from a run, and prints the figures that the page names.

    charrnn train --corpus gutenberg:1597 --preset laptop --hidden-size 256 --dropout 0.3 --max-steps 2132 \\
        --num-threads 1 --tracker none --run-dir runs/andersen
    python docs/how_it_learns.py runs/andersen docs

A minute and a half of one core. The sentences that the model reads are nobody's text; its own text is only measured.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
import torch.nn.functional as F
from picture import STYLE, curve, text_at
from torch import Tensor

import charrnn
from charrnn.model.lstm import CharLSTM, State
from charrnn.model.sampling import probabilities
from charrnn.model.stepper import Stepper
from charrnn.run.checkpoint import read_training
from charrnn.run.finding import read_chosen
from charrnn.run.text import Consent, trained_text
from charrnn.training.rows import RowBatches

WIDTH, LEFT, RIGHT = 400, 16, 384
"""Narrow enough to be read on a phone without turning it."""
PROMPT = "Once upon a tim"
SENTENCE = "The little girl went into the garden and looked at the moon."
TAILOR = "The rain had stopped, and the old tailor opened his window to hear who was singing there."
TEMPERATURES = (0.1, 0.5, 1.0, 1.5)
NUM_ROWS, WINDOW = 16, 32

MORE_STYLE = """
  svg { max-width: 100%; height: auto }
  text { font-size: 14px } .code { font-size: 13.5px } .small { font-size: 12.5px } .bold { font-weight: 600 }
  .bar { fill: var(--accent); stroke: none } .pale { fill: var(--soft); stroke: none } .cut { stroke: var(--accent) }
  .dashed { stroke-dasharray: 4 4 } .on { fill: var(--paper); font-weight: 600 }
"""


def svg(height: float, title: str, parts: Iterable[str]) -> str:
    """A picture of the page's width."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}{MORE_STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="10"/>',
            *parts,
            "</svg>\n",
        ]
    )


def box(x: float, y: float, width: float, height: float, style: str = "bar", opacity: float = 1.0) -> str:
    """A filled rectangle."""
    shade = f' opacity="{opacity:.2f}"' if opacity < 1 else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{style}"{shade}/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str = "") -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def visible(character: str) -> str:
    """A character as it is shown alone."""
    return {" ": "space", "\n": "new line"}.get(character, character)


def bars(top: float, rows: Sequence[tuple[str, float]]) -> list[str]:
    """Probabilities as horizontal bars, each with its character before it and its per cent behind."""
    parts = []
    for number, (name, probability) in enumerate(rows):
        y = top + 21 * number
        parts += [text_at(LEFT + 62, y + 13, name, "code end")]
        parts += [box(LEFT + 70, y + 2, max(1.0, 236 * probability), 14)]
        parts += [text_at(LEFT + 76 + 236 * probability, y + 13, percent(probability), "small faint")]
    return parts


def percent(probability: float) -> str:
    """A probability for the eye."""
    return "under 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"


def strip(x: float, y: float, numbers: npt.NDArray[np.floating], per_line: int = 64) -> list[str]:
    """Numbers as a strip of cells: the further from 0, the darker."""
    strength = np.minimum(1.0, np.abs(numbers) / max(1e-9, np.quantile(np.abs(numbers), 0.98)))
    width = (RIGHT - x) / per_line
    return [
        box(x + width * (index % per_line), y + 8 * (index // per_line), width - 0.6, 7, "bar", max(0.05, value))
        for index, value in enumerate(strength.tolist())
    ]


def arrow(x: float, y1: float, y2: float) -> str:
    """An arrow downwards."""
    return curve([(x, y1), (x, y2)], "soft") + curve([(x - 4, y2 - 5), (x, y2), (x + 4, y2 - 5)], "soft")


def way(model: charrnn.Model) -> str:
    """One character's way through the model, with the numbers that this run has."""
    tokens = torch.from_numpy(model.vocab.encode(PROMPT).astype(np.int64))[:, None]
    with torch.no_grad():
        _, before = model.lstm(tokens[:-1], model.lstm.zero_state(1))
        logits, after = model.lstm(tokens[-1:], before)
    assert model.lstm.embedding is not None
    embedding = model.lstm.embedding.weight[tokens[-1, 0]].detach().numpy()
    chances = probabilities(logits[0, 0].numpy(), 1.0)
    best = np.argsort(-chances)[:5]
    names = model.vocab.decode(best)
    cells, features = model.lstm.hidden_size, len(embedding)
    parts = [text_at(LEFT, 30, f"It has read “{PROMPT[:-1]}”; now comes:")]
    parts += [box(LEFT, 44, 34, 30), text_at(LEFT + 17, 65, PROMPT[-1], "code on middle")]
    parts += [text_at(LEFT + 46, 64, f"the character, number {int(tokens[-1, 0])} of {len(model.vocab)}", "faint")]
    parts += [
        arrow(LEFT + 17, 76, 92),
        text_at(LEFT, 108, f"its embedding: {features} numbers, learnt"),
    ]
    parts += strip(LEFT, 116, embedding)
    parts += [
        arrow(LEFT + 17, 128, 144),
        text_at(LEFT, 160, f"the state, {cells} cells, as “{PROMPT[-2]}” left it"),
    ]
    parts += strip(LEFT, 168, before[0][0, 0].numpy())
    parts += [arrow(LEFT + 17, 202, 218), text_at(LEFT, 234, "the LSTM makes of both the new state")]
    parts += strip(LEFT, 242, after[0][0, 0].numpy())
    parts += [text_at(LEFT + 30, 292, "… and this state waits for the next character", "small faint")]
    parts += [
        arrow(LEFT + 17, 276, 300),
        text_at(LEFT, 316, f"how likely each of the {len(model.vocab)} characters is now:"),
    ]
    parts += bars(326, [(visible(name), float(chances[index])) for name, index in zip(names, best, strict=True)])
    return svg(442, f"The way of the character {PROMPT[-1]} through the model", parts)


def windows() -> str:
    """What three rows read in their first windows, by the code that trains."""
    length, num_rows, shown = 8, 3, 3
    tokens = np.array([ord(character) for character in TAILOR], dtype=np.uint32)
    rows = RowBatches(tokens, num_rows, length, range(num_rows))
    parts = [text_at(LEFT, 30, f"A text of {len(TAILOR)} characters, read in {num_rows} rows:")]
    wide = (RIGHT - LEFT - 44) / shown
    for number in range(shown):
        x = LEFT + 40 + wide * number
        parts += [text_at(x + wide / 2, 58, f"window {number + 1}", "small faint middle")]
        window = rows.window(number * length, length)
        for row in range(num_rows):
            y = 70 + 40 * row
            text = "".join(map(chr, window.x_TB[:, row])).replace(" ", "·")
            parts += [f'<rect x="{x + 3:.1f}" y="{y}" width="{wide - 6:.1f}" height="28" rx="4"/>']
            parts += [text_at(x + wide / 2, y + 19, text, "code middle")]
            if number == 0:
                parts += [text_at(LEFT, y + 19, f"row {row + 1}", "small faint")]
            if number:
                parts += [line(x - 4, y + 14, x + 4, y + 14, "cut")]
        if number:
            parts += [line(x, 64, x, 198, "cut dashed")]
    parts += [text_at(LEFT, 220, "A step reads one window of all rows at once.")]
    parts += [text_at(LEFT, 239, "At a dashed line the state goes on; the")]
    parts += [text_at(LEFT, 258, "gradient does not go back: detach.", "accent")]
    return svg(276, "Three rows of a text in windows of eight characters", parts)


def state_losses(model: CharLSTM, tokens: npt.NDArray[np.integer], length: int = 256) -> npt.NDArray[np.float64]:
    """The mean loss of the first, second, ... character that a fresh state predicts, from all over a text."""
    starts = np.arange(0, len(tokens) - length - 1, 17)
    position = starts + np.arange(length)[:, None]
    x_TB, y_TB = (torch.from_numpy(tokens[position + ahead].astype(np.int64)) for ahead in (0, 1))
    with torch.inference_mode():
        logits, _ = model(x_TB, model.zero_state(len(starts)))
        losses = F.cross_entropy(logits.flatten(0, 1), y_TB.flatten(), reduction="none").view(y_TB.shape)
    means: npt.NDArray[np.float64] = losses.mean(dim=1).double().numpy()
    return means


BINS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 128), (129, 256))
"""Characters read since the state was fresh, from and to."""


def binned(losses: npt.NDArray[np.float64]) -> list[float]:
    """The mean loss of each bin."""
    return [float(losses[first - 1 : last].mean()) for first, last in BINS]


def memory(losses: npt.NDArray[np.float64]) -> str:
    """The loss by what the state has read."""
    means = binned(losses)
    top, bottom, low, high = 66, 250, math.floor(min(means) * 2) / 2, math.ceil(max(means) * 2) / 2
    left, step = LEFT + 36, (RIGHT - LEFT - 50) / (len(BINS) - 1)

    def y(loss: float) -> float:
        return bottom - (bottom - top) * (loss - low) / (high - low)

    parts = [text_at(LEFT, 30, "Loss of the next character, in nats, by how many")]
    parts += [text_at(LEFT, 49, "characters the state has read since it was empty")]
    for tick in np.arange(low, high + 0.01, 0.5):
        parts += [
            line(left - 6, y(tick), RIGHT, y(tick)),
            text_at(left - 10, y(tick) + 4, f"{tick:g}", "small faint end"),
        ]
    points = [(left + 6 + step * index, y(mean)) for index, mean in enumerate(means)]
    parts += [curve(points)]
    for index, ((x, at), (first, last)) in enumerate(zip(points, BINS, strict=True)):
        parts += [f'<circle cx="{x:.1f}" cy="{at:.1f}" r="3.5"/>']
        if index in (0, 1, 3, 5, 7, 9):
            label = str(first) if first == last else f"{first}–{last}"
            parts += [text_at(min(x, RIGHT - 26), bottom + 22, label, "small faint middle")]
    for index in (0, len(means) - 1):
        x, at = points[index]
        parts += [
            text_at(
                x + 10 if index == 0 else x,
                at + 4 if index == 0 else at - 12,
                f"{means[index]:.2f}",
                "bold" + ("" if index == 0 else " end"),
            )
        ]
    return svg(290, "The loss falls with what the state has read", parts)


def growth(
    model: CharLSTM, tokens: npt.NDArray[np.integer], num_windows: int, *, detach: bool
) -> list[dict[str, float]]:
    """CPU seconds of each window, forward and backward, and megabytes that the process has grown by."""
    rows = RowBatches(tokens, NUM_ROWS, WINDOW, range(NUM_ROWS))
    state, process, found = model.zero_state(NUM_ROWS), psutil.Process(), []
    before = process.memory_info().rss
    for number in range(num_windows):
        window = rows.window(number * WINDOW, WINDOW)
        began = time.process_time()
        loss, state = read(model, torch.from_numpy(window.x_TB), torch.from_numpy(window.y_TB), state)
        model.zero_grad()
        loss.backward(retain_graph=not detach)
        if detach:
            state = (state[0].detach(), state[1].detach())
        seconds = time.process_time() - began
        found.append({"ms": 1000 * seconds, "mb": (process.memory_info().rss - before) / 1e6})
    return found


def read(model: CharLSTM, x_TB: Tensor, y_TB: Tensor, state: State) -> tuple[Tensor, State]:
    """The mean loss of a window, and the state after it."""
    logits, state = model(x_TB, state)
    return F.cross_entropy(logits.flatten(0, 1), y_TB.flatten()), state


def refusals(model: CharLSTM, tokens: npt.NDArray[np.integer]) -> list[str]:
    """What torch says to a second window without detach: as it is, and if the graph is retained and weights change."""
    said = []
    for retain in (False, True):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        rows, state = RowBatches(tokens, NUM_ROWS, WINDOW, range(NUM_ROWS)), model.zero_state(NUM_ROWS)
        try:
            for number in range(2):
                window = rows.window(number * WINDOW, WINDOW)
                loss, state = read(model, torch.from_numpy(window.x_TB), torch.from_numpy(window.y_TB), state)
                loss.backward(retain_graph=retain)
                optimizer.step()
        except RuntimeError as error:
            said.append(str(error).split(". ")[0].split(": [")[0])
    return said


def detaching(with_detach: list[dict[str, float]], without: list[dict[str, float]]) -> str:
    """Time and memory of each window, with and without detach."""
    parts = [text_at(LEFT, 30, "One window after another, of the same size,")]
    parts += [text_at(LEFT, 49, "without detach", "accent bold"), text_at(LEFT + 130, 49, "and with it:", "faint")]
    for panel, (unit, name) in enumerate(
        (("ms", "milliseconds of one core a window"), ("mb", "megabytes more than at first"))
    ):
        top = 86 + 166 * panel
        bottom = top + 104
        highest = max(row[unit] for row in [*without, *with_detach])
        parts += [text_at(LEFT, top - 12, name)]
        for tick in (0, highest):
            y = bottom - (bottom - top) * tick / highest
            parts += [line(LEFT + 48, y, RIGHT, y), text_at(LEFT + 42, y + 4, f"{tick:,.0f}", "small faint end")]
        for rows, style in ((with_detach, "soft"), (without, "")):
            step = (RIGHT - LEFT - 48) / (len(rows) - 1)
            points = [
                (LEFT + 48 + step * index, bottom - (bottom - top) * max(0.0, row[unit]) / highest)
                for index, row in enumerate(rows)
            ]
            parts += [curve(points, style)]
        parts += [
            text_at(LEFT + 48, bottom + 20, "window 1", "small faint"),
            text_at(RIGHT, bottom + 20, f"window {len(without)}", "small faint end"),
        ]
    return svg(390, "Without detach the time and the memory of a window grow", parts)


def reach(model: CharLSTM, tokens: npt.NDArray[np.integer], length: int = 128) -> list[float]:
    """How much the loss of a window's last character depends on the character 0, 1, ... before it, as shares of all."""
    num_rows = 200
    starts = np.arange(num_rows) * ((len(tokens) - length - 1) // num_rows)
    position = starts + np.arange(length)[:, None]
    x_TB, y_B = (
        torch.from_numpy(tokens[position].astype(np.int64)),
        torch.from_numpy(tokens[position[-1] + 1].astype(np.int64)),
    )
    assert model.embedding is not None
    embedded = model.embedding(x_TB).detach().requires_grad_()
    features = embedded
    for lstm in model.lstms:
        features, _ = lstm(features)
    F.cross_entropy(model.output(features[-1]), y_B, reduction="sum").backward()
    assert embedded.grad is not None
    norms = embedded.grad.norm(dim=2).mean(dim=1).flip(0)
    return (norms / norms.sum()).tolist()


def costs(model: charrnn.Model) -> list[float]:
    """What each character of the sentence after the first costs, in nats."""
    tokens = model.vocab.encode(SENTENCE)
    stepper = Stepper(model.lstm)
    return [
        -math.log(probabilities(stepper.step(token[np.newaxis])[0], 1.0)[after])
        for token, after in itertools.pairwise(tokens)
    ]


def nats(found: list[float]) -> str:
    """The sentence with a bar over each character, as high as what it cost."""
    per_line, wide, parts = 30, (RIGHT - LEFT) / 30, []
    mean = sum(found) / len(found)
    parts += [text_at(LEFT, 30, "What each character cost a model that had read all")]
    parts += [text_at(LEFT, 49, f"before it; {mean:.2f} nats on average:")]
    highest = max(found)
    for index, character in enumerate(SENTENCE):
        x, baseline = LEFT + wide * (index % per_line), 152 + 116 * (index // per_line)
        if index:
            height = 78 * found[index - 1] / highest
            parts += [box(x + 1, baseline - 18 - height, wide - 2, height)]
        parts += [text_at(x + wide / 2, baseline, character, "code middle")]
    for number in range(math.ceil(len(SENTENCE) / per_line)):
        y = 152 + 116 * number - 18 - 78 * mean / highest
        parts += [line(LEFT, y, RIGHT, y, "dashed")]
    y = 152 + 116 * (math.ceil(len(SENTENCE) / per_line) - 1)
    sizes = "    ".join(f"{loss:g} nats: {math.exp(loss):.1f}" for loss in (0.5, 1.4, 3.0))
    parts += [text_at(LEFT, y + 34, "As unsure as one who guesses among so many:", "small")]
    parts += [text_at(LEFT, y + 54, sizes, "small faint")]
    return svg(y + 70, "The cost of each character of a sentence", parts)


def temperatures(model: charrnn.Model) -> tuple[str, dict[str, list[tuple[str, float]]]]:
    """What follows a beginning, at several temperatures, and the numbers of it."""
    prompt = "The old "
    stepper = Stepper(model.lstm)
    for token in model.vocab.encode(prompt):
        logits = stepper.step(token[np.newaxis])[0]
    order = np.argsort(-logits)[:5]
    parts, figures = [text_at(LEFT, 30, f"What the model expects after “{prompt}”:")], {}
    for number, temperature in enumerate(TEMPERATURES):
        chances = probabilities(logits, temperature)
        rows = [(visible(model.vocab.decode([index])), float(chances[index])) for index in order]
        rows.append(("others", float(1 - chances[order].sum())))
        top = 62 + 160 * number
        parts += [text_at(LEFT, top, f"temperature {temperature:g}", "bold"), *bars(top + 8, rows)]
        figures[f"{temperature:g}"] = rows
    return svg(62 + 160 * len(TEMPERATURES), "One distribution at four temperatures", parts), figures


def main() -> None:
    """Draws all pictures and prints the figures."""
    run, target = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    model = charrnn.load(run)
    training = read_chosen(run, "best", read_training)
    with TemporaryDirectory() as temporary:
        text = trained_text(run, training, model.vocab, Path(temporary), Consent(trust=True))
    lost = state_losses(model.lstm, text.val)
    growth(model.lstm, text.train, 2, detach=True)  # what is slow but once
    flat = growth(model.lstm, text.train, 40, detach=True)
    grown = growth(model.lstm, text.train, 40, detach=False)
    spent = costs(model)
    picture, drawn = temperatures(model)
    pictures = {
        "way": way(model),
        "windows": windows(),
        "memory": memory(lost),
        "detach": detaching(flat, grown),
        "nats": nats(spent),
        "temperature": picture,
    }
    for name, drawing in pictures.items():
        (target / f"learn-{name}.svg").write_text(drawing, encoding="utf-8")
    shares = reach(model.lstm, text.train)
    figures: dict[str, Any] = {
        "loss by characters read": dict(zip((f"{a}-{b}" for a, b in BINS), binned(lost), strict=True)),
        "with detach, first and last window": [flat[0], flat[-1]],
        "without, windows 1, 10, 20, 40": [grown[number - 1] for number in (1, 10, 20, 40)],
        "torch says": refusals(model.lstm, text.train),
        "share of the gradient within so many characters": {n: sum(shares[:n]) for n in (1, 4, 8, 16, 32, 64)},
        "nats of the sentence": sum(spent) / len(spent),
        "dearest and cheapest": [
            (SENTENCE[i + 1], round(spent[i], 3)) for i in np.argsort(spent)[[-1, -2, -3, 0, 1, 2]]
        ],
        "temperatures": drawn,
        "samples": {str(t): model.generate("The old ", length=240, temperature=t) for t in TEMPERATURES},
    }
    print(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
