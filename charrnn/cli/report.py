"""`charrnn report RUN`: one page on how a run went and what its model has learned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from charrnn.cli.options import ModelOptions
from charrnn.distributed.machine import share_of_cores
from charrnn.errors import CheckpointError, UserError
from charrnn.model.folder import load_model
from charrnn.model.lstm import CharLSTM
from charrnn.printable import one_line
from charrnn.report.page import Texts, render
from charrnn.report.reading import MAX_CHARACTERS
from charrnn.run.checkpoint import read_training
from charrnn.run.folder import METRICS, SAMPLES, read_lines, write_text
from charrnn.run.text import trained_text
from charrnn.text.vocab import Vocabulary

LOG = logging.getLogger(__name__)


class ReportOptions(ModelOptions):
    """Write RUN/report.html: curves, samples and what of them is copied, the model's surprise, and its cells.

    Example: charrnn report runs/my-run
    """


def main(args: Sequence[str]) -> int:
    """Writes the page and prints where it is."""
    options = ReportOptions.from_args(args, "charrnn report")
    run = options.run
    if not (run / METRICS).is_file():
        raise CheckpointError(f"{run} is not the folder of a run: it has no {METRICS}")
    folder = options.find_model()
    model, vocab = load_model(folder)
    torch.set_num_threads(share_of_cores())
    metrics, samples = read_rows(run / METRICS), read_rows(run / SAMPLES)
    try:
        texts: Texts | str = find_texts(folder, vocab, run)
    except UserError as error:
        LOG.warning("the report lacks what needs the run's text: %s", error)
        texts = str(error)
    page = render(run.resolve().name, facts(metrics, folder, model, vocab), metrics, samples, model, vocab, texts)
    target = run / "report.html"
    write_text(target, page)
    print(one_line(target))
    return 0


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; raises `CheckpointError` if one is not whole."""
    try:
        return read_lines(path)
    except ValueError as error:
        raise CheckpointError(f"{path} has a row that is not whole: if the run is writing it, try again") from error


def find_texts(folder: Path, vocab: Vocabulary, run: Path) -> Texts:
    """The run's own text; raises a `UserError` if it is no longer there or no longer the same."""
    text = trained_text(folder, vocab, run)
    if len(text.val) > 1:
        return Texts(text.train, text.val, is_held_out=True)
    return Texts(text.train, text.train[-MAX_CHARACTERS:], is_held_out=False)


def facts(metrics: Sequence[dict[str, Any]], folder: Path, model: CharLSTM, vocab: Vocabulary) -> dict[str, str]:
    """What the head of the page says."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training = read_training(folder)
    found = {
        "Text": " + ".join(training["config"]["corpus"]),
        "Model": f"{model.num_layers} × {model.hidden_size} cells, {parameters:,} parameters, {len(vocab)} characters",
    }
    if metrics:
        found["Trained"] = f"{metrics[-1]['epoch']:.3g} epochs, {metrics[-1]['step']:,} steps"
    loss = training["val_loss"]
    measured = "" if loss is None else f", validation loss {loss:.4f} nats per character"
    found["Checkpoint shown"] = f"step {training['step']:,}{measured}"
    return found
