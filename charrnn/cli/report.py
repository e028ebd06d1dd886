"""`charrnn report RUN`: one page on how a run went and what its model has learned."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from charrnn.cli.options import ModelOptions, TextOptions
from charrnn.config.options import Repeated
from charrnn.distributed.machine import share_of_cores
from charrnn.errors import CheckpointError, UserError
from charrnn.model.folder import load_model
from charrnn.model.lstm import CharLSTM
from charrnn.outside.foreign import as_dict, is_there, read, reason, shown
from charrnn.outside.printable import one_line
from charrnn.report.page import Record, render
from charrnn.report.reading import MAX_CHARACTERS
from charrnn.report.sections import Texts, bits
from charrnn.run.checkpoint import read_training
from charrnn.run.folder import METRICS, SAMPLES, write_text
from charrnn.run.quality import quality_of
from charrnn.run.schema import Metrics, Sample, Status, read_rows
from charrnn.run.text import corpora_of, trained_text
from charrnn.text.store import TokenStore
from charrnn.text.vocab import Vocabulary

LOG = logging.getLogger(__name__)


class ReportOptions(ModelOptions, TextOptions):
    """Write RUN/report.html: curves, samples and what of them is copied, the model's surprise, and its cells.

    Example: charrnn report runs/my-run
    """

    corpus: Repeated = ()
    """A copy of the run's text, SCHEME:ARGUMENT, where the run's own is not at hand; can be given several times."""


def main(args: Sequence[str]) -> int:
    """Writes the page and prints where it is."""
    options = ReportOptions.from_args(args, "charrnn report")
    run = options.run
    metrics, samples = read_run(run)
    folder, training, model, vocab = options.read_model(read_all)
    torch.set_num_threads(share_of_cores())
    with TemporaryDirectory(prefix="charrnn-report-") as scratch:
        try:
            consent = options.consent(options.corpus)
            texts: Texts | str = parts_of(trained_text(folder, training, vocab, Path(scratch), consent))
        except UserError as error:
            LOG.warning("the report lacks what needs the run's text: %s", error)
            texts = str(error)
        head = facts(metrics, folder, training, model, vocab)
        state = state_of(run)
        quality = quality_of(run, metrics, finished=state == "finished")
        record = Record(run.resolve().name, state, metrics, samples)
        page = render(record, head, quality, model, vocab, texts)
    target = run / "report.html"
    write_text(target, page)
    print(one_line(target))
    return 0


def read_run(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a run's metrics and samples; raises `CheckpointError` if it is no run, or one is not whole."""
    found: list[list[dict[str, Any]]] = []
    for name, kind in ((METRICS, Metrics), (SAMPLES, Sample)):
        path = run / name
        try:
            if name == METRICS and not is_there(path):
                raise CheckpointError(f"{shown(str(run))} is not the folder of a run: it has no {METRICS}")
            found.append(list(map(as_dict, read_rows(kind, path))))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{shown(str(path))} cannot be read: {reason(error)}") from error
    metrics, samples = found
    return metrics, samples


def state_of(run: Path) -> str:
    """How a run says that it is or ended, if it says so."""
    try:
        return read(Status, run / "status.json", run).state
    except (OSError, ValueError):
        return ""


def read_all(folder: Path) -> tuple[Path, dict[str, Any], CharLSTM, Vocabulary]:
    """A checkpoint's folder, what it says of its training, its model and its vocabulary."""
    return folder, read_training(folder), *load_model(folder)


def parts_of(text: TokenStore) -> Texts:
    """The parts of a run's text that the page shows: what was held out, or the end of the rest."""
    if len(text.val) > 1:
        return Texts(text.train, text.val, is_held_out=True)
    return Texts(text.train, text.train[-MAX_CHARACTERS:], is_held_out=False)


def facts(
    metrics: Sequence[dict[str, Any]], folder: Path, training: Mapping[str, Any], model: CharLSTM, vocab: Vocabulary
) -> dict[str, str]:
    """What the head of the page says."""
    shape = f"{model.num_layers} × {model.hidden_size} cells"
    found = {
        "Text": " + ".join(corpora_of(folder, training)),
        "Model": f"{shape}, {model.num_parameters:,} parameters, {len(vocab)} characters",
    }
    if metrics:
        found["Trained"] = f"{metrics[-1]['epoch']:.3g} × through the text (epochs), {metrics[-1]['step']:,} steps"
    loss = bits(training["val_loss"])
    measured = "" if loss is None else f", {loss:.2f} bits a character of validation text"
    found["Checkpoint shown"] = f"step {training['step']:,}{measured}"
    return found
