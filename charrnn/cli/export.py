"""`charrnn export RUN`: a run's model to hand on, as a folder for programs or as a page for people."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Annotated

import torch

from charrnn.cli.options import ModelOptions
from charrnn.config.options import Group
from charrnn.distributed.machine import share_of_cores
from charrnn.errors import CheckpointError, UsageError
from charrnn.model.folder import MODEL_FILES, load_model
from charrnn.model.in_browser import rounding_cost
from charrnn.model.lstm import CharLSTM
from charrnn.outside.foreign import open_file, shown
from charrnn.outside.printable import one_line
from charrnn.play.offline import offline_page
from charrnn.run.checkpoint import training_of
from charrnn.run.text import corpora_of, text_at_hand
from charrnn.text.vocab import Ids, Vocabulary

LOG = logging.getLogger(__name__)

USUAL_COST = 0.01
"""Nats per character, of which rounding costs less."""


class ExportOptions(ModelOptions):
    """Write a run's model to hand on: as a folder for programs, as a page for people, or as both.

    Example: charrnn export runs/my-run --page story.html
    """

    folder: Annotated[Path | None, Group.ARGUMENTS] = None
    """Where to write the model without what only training needs, for CharLSTM.from_pretrained and the Hugging Face Hub;
    it must not be there yet."""
    page: Path | None = None
    """Where to write one HTML file that writes with the model in any browser, from disk and without a network; it must
    not be there yet."""


def main(args: Sequence[str]) -> int:
    """Writes what was asked for, all of it or nothing."""
    options = ExportOptions.from_args(args, "charrnn export")
    if options.folder is None and options.page is None:
        raise UsageError("nothing is to be written: give a FOLDER, or --page FILE.html")
    torch.set_num_threads(share_of_cores())
    with ExitStack() as files, ExitStack() as undo:
        # All is read before anything is written: what cannot be had leaves nothing behind.
        contents, html = options.read_model(partial(read, options, files))
        if options.folder is not None:
            write_folder(options.folder, contents)
            undo.callback(shutil.rmtree, options.folder, ignore_errors=True)
        if options.page is not None:
            write_page(options.page, html)
        undo.pop_all()
    if options.folder is not None:
        folder = str(options.folder)
        print(f"{one_line(folder)}: load it with charrnn.CharLSTM.from_pretrained({folder!r})")
    if options.page is not None:
        print(f"{one_line(options.page)}: open it in a browser ({len(html.encode()) / 1e6:.1f} MB)")
    return 0


def read(options: ExportOptions, files: ExitStack, source: Path) -> tuple[dict[str, BufferedReader], str]:
    """The files of a model by their names, which ``files`` closes, and its page; empty what is not asked for."""
    model, vocab = load_model(source)
    html = make_page(options.run.resolve().name, source, model, vocab) if options.page is not None else ""
    if options.folder is None:
        return {}, html
    try:
        return {name: files.enter_context(open_file(source / name, source)) for name in MODEL_FILES}, html
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error


def make_page(name: str, source: Path, model: CharLSTM, vocab: Vocabulary) -> str:
    """The page of the model in a folder, measured on what its run held out, if that is at hand."""
    corpora: list[str] = []
    held_out: Ids | None = None
    if (training := training_of(source)) is not None:
        corpora = corpora_of(source, training)
        if text := text_at_hand(source, training, vocab):
            held_out = text.val
    cost = rounding_cost(model, vocab, held_out)
    if cost.nats > USUAL_COST:
        LOG.warning("8 bits are few for this model: on the page its loss is %.3f nats per character higher", cost.nats)
    return offline_page(name, corpora, model, vocab, cost)


def write_folder(folder: Path, contents: Mapping[str, BufferedReader]) -> None:
    """Copies the files of a model into a new folder; raises `CheckpointError`, and leaves none, if it cannot."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise CheckpointError(f"{folder} is there already: choose another folder") from error
    except OSError as error:
        raise CheckpointError(f"cannot make {shown(str(folder))}: {error.strerror}") from error
    try:
        for name, content in contents.items():
            with open(folder / name, "xb") as file:
                shutil.copyfileobj(content, file)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CheckpointError(f"cannot write {folder}: {error.strerror}") from error


def write_page(path: Path, html: str) -> None:
    """Writes a new file, through no link; raises `CheckpointError`, and leaves none, if it cannot."""
    with ExitStack() as undo:
        try:
            with open(path, "x", encoding="utf-8") as file:
                undo.callback(path.unlink)
                file.write(html)
        except FileExistsError as error:
            raise CheckpointError(f"{shown(str(path))} is there already: choose another --page") from error
        except OSError as error:
            raise CheckpointError(f"cannot write {shown(str(path))}: {error.strerror}") from error
        undo.pop_all()
