"""Checkpoints: the whole truth of a run in plain files, visible only when whole, and never unpickled.

A checkpoint is a folder ``step-000001234``. Its model half (config.json, model.safetensors, vocab.json, README.md) is
what `CharLSTM.from_pretrained` reads; training.safetensors holds the optimizer's moments and the state of all rows,
training.json the position and everything else. manifest.json, written last, has the checksum of each. The folder is
written under another name, flushed to disk and renamed: one that bears the name is complete.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError

from charrnn.errors import CheckpointError, UserError, did_you_mean
from charrnn.model.folder import MODEL_FILES, save_model
from charrnn.outside.disk import flush, to_json
from charrnn.outside.foreign import as_dict, inside, is_there, open_file, parsed, read_text, reason, regular, shown
from charrnn.outside.printable import named_in_utf8, one_line
from charrnn.run.schema import Format, Manifest, Training
from charrnn.text.vocab import Vocabulary

# torch takes more than a second to import: `charrnn sample`, which only looks for a model here, must not wait for it.
if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM

LOG = logging.getLogger(__name__)

T = TypeVar("T")

FORMAT = 2
MANIFEST = "manifest.json"
TRAINING_FILES = ("training.json", "training.safetensors")
"""What only going on needs, beside the files of the model."""
_NAME = re.compile(r"step-(\d{9})")


def save_checkpoint(parent: Path, model: CharLSTM, vocab: Vocabulary, card: str, state: Mapping[str, Any]) -> Path:
    """Writes a checkpoint of a model and of the state of its training, which has tensors and what JSON can hold.

    It is there whole or not at all. Raises `CheckpointError` if the disk does not take it.
    """
    from safetensors.torch import save_file
    from torch import Tensor

    folder = parent / f"step-{state['step']:09d}"
    temporary = parent / f".writing-{folder.name}"
    tensors = {name: value.cpu().contiguous() for name, value in state.items() if isinstance(value, Tensor)}
    values = {"format": FORMAT, **{name: value for name, value in state.items() if name not in tensors}}
    try:
        remove_unfinished(parent)
        temporary.mkdir(parents=True)
        save_model(temporary, model, vocab, card)
        save_file(tensors, _training(temporary, "safetensors"))
        _training(temporary, "json").write_text(to_json(values, indent=2) + "\n")
        files = {path.name: _checksum(path) for path in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(to_json({"format": FORMAT, "sha256": files}, indent=2) + "\n")
        for path in [*temporary.iterdir(), temporary]:
            flush(path)
        if folder.exists():
            os.rename(folder, parent / f".writing-over-{folder.name}")
        os.rename(temporary, folder)
        flush(parent)
        flush(parent.parent)  # which has the name of the first checkpoint's folder
        remove_unfinished(parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        advice = "the disk is full: make room, then add --resume" if full else str(error)
        raise CheckpointError(f"cannot save {folder}: {advice}") from error
    return folder


def _training(folder: Path, suffix: str) -> Path:
    return folder / f"training.{suffix}"


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_unfinished(parent: Path) -> None:
    """Removes what a killed job left half-written; the caller holds the run's lock."""
    for path in parent.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)


class DamagedError(CheckpointError):
    """A checkpoint of which a file is missing or is not what was written."""


class FormatError(CheckpointError):
    """A checkpoint that an earlier or a later version has written."""


def verify(folder: Path) -> None:
    """Raises `DamagedError`, naming the file, unless every file of a checkpoint is what was written.

    A checkpoint of another format, or a disk that cannot be read, is no damage: a plain `CheckpointError`.
    """
    try:
        text = read_text(folder / MANIFEST, folder)
        _check_format(folder, parsed(Format, text).format)
        checksums = parsed(Manifest, text).sha256
        for name in (*MODEL_FILES, *TRAINING_FILES):
            with open_file(folder / name, folder) as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
            if checksum != checksums.get(name):
                raise DamagedError(f"{folder / name} is not what was written: it is damaged or was changed")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{error.filename} is missing") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise DamagedError(f"{folder / MANIFEST} is damaged") from error


def _check_format(folder: Path, found: int) -> None:
    if found != FORMAT:
        advice = "use the charrnn that wrote it, or start a new run in another --run-dir"
        raise FormatError(f"{folder} has format {found}; this version reads format {FORMAT}: {advice}")


def checkpoints(parent: Path) -> list[Path]:
    """The checkpoints of a run, newest first, not verified."""
    try:
        found = [path for path in parent.glob("step-*") if _NAME.fullmatch(path.name)] if parent.is_dir() else []
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(str(parent))}: {error.strerror}") from error
    return sorted(found, reverse=True)


def latest(parent: Path) -> Path | None:
    """The newest checkpoint that is whole; a damaged one is said aloud, kept under another name and passed over.

    Raises `CheckpointError`, and leaves everything as it is, if there are checkpoints but none that can be used.
    """
    damaged: list[tuple[Path, str]] = []
    for folder in checkpoints(parent):
        try:
            verify(folder)
        except DamagedError as error:
            damaged.append((folder, str(error)))
        else:
            for bad, complaint in damaged:
                aside = _free_name(bad)
                LOG.warning("%s: going back to %s; this one is kept as %s", complaint, folder.name, aside.name)
                _rename(bad, aside)
            return folder
    if damaged:
        raise CheckpointError(f"no checkpoint in {parent} is whole: {damaged[0][1]}: start a new run")
    return None


def _rename(folder: Path, to: Path) -> None:
    try:
        os.rename(folder, to)
    except OSError as error:
        raise CheckpointError(f"cannot rename {folder}: {error.strerror}: make its folder writable") from error


def _free_name(folder: Path) -> Path:
    first = folder.with_name(f"damaged-{folder.name}")
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([first], others) if not name.exists())


def read_training(folder: Path) -> dict[str, Any]:
    """The training.json of a checkpoint."""
    path = _training(folder, "json")
    try:
        text = read_text(path, folder)
        _check_format(folder, parsed(Format, text).format)
        return as_dict(parsed(Training, text))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from error


def training_of(folder: Path) -> dict[str, Any] | None:
    """The training.json of a checkpoint; a model alone has none."""
    return read_training(folder) if is_there(folder / "training.json") else None


def read_state(folder: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given as the state of the training, tensors and all else."""
    from safetensors.torch import load_file

    path = _training(folder, "safetensors")
    try:
        real = regular(path, folder)
        with named_in_utf8(real.parent) as named:
            return load_file(named / real.name) | read_training(folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from error


def best(parent: Path) -> Path | None:
    """The checkpoint with the lowest validation loss; the newest where none was measured."""
    folders = checkpoints(parent)
    losses = [(loss, folder) for folder in folders if (loss := _val_loss(folder)) is not None]
    return min(losses)[1] if losses else next(iter(folders), None)


def _val_loss(folder: Path) -> float | None:
    try:
        loss = read_training(folder).get("val_loss")
    except FormatError:
        return None  # which `verify` tells of, once
    except CheckpointError as error:
        # One that cannot be read is no candidate; it must not end a run that only tidies up.
        if folder.exists():  # else a trainer has just removed it
            LOG.warning("%s", error)
        return None
    return loss if isinstance(loss, int | float) and math.isfinite(loss) else None


def retain(parent: Path, keep: int) -> None:
    """Removes all checkpoints but the ``keep`` newest (at least one) and the best."""
    kept = {*checkpoints(parent)[: max(1, keep)], best(parent)}
    for folder in checkpoints(parent):
        if folder not in kept:
            # Renamed first: a removal that is interrupted must not leave a part that looks like a checkpoint.
            doomed = folder.with_name(f".writing-{folder.name}")
            try:
                os.rename(folder, doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                LOG.warning("cannot remove the old checkpoint %s: %s", folder, error.strerror)


def find_model(run: Path, which: str = "best") -> Path:
    """The model folder that RUN means: itself, or the best or last (verified) checkpoint of a run folder.

    A checkpoint that is named itself is verified too.
    """
    parent = run / "checkpoints"
    try:
        if is_there(run / "model.safetensors"):
            if _NAME.fullmatch(run.name) or any(is_there(run / name) for name in (MANIFEST, *TRAINING_FILES)):
                verify(run)
            return run
        if is_there(parent):
            inside(parent, run)
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(str(error.filename))}: {error.strerror}") from error
    return find_whole(parent, which)


def read_chosen(run: Path, which: str, read: Callable[[Path], T]) -> T:
    """What is read of the model folder that RUN means.

    A trainer that goes on meanwhile may remove the checkpoint, or save it again, at any moment between: then it is
    looked for again, and all of it read again. Raises the `UserError` of what is wrong with one that has stayed.
    """
    while True:
        before = _identities(run / "checkpoints")
        try:
            return read(find_model(run, which))
        except UserError:
            if _identities(run / "checkpoints") == before:
                raise


def _identities(parent: Path) -> dict[Path, int]:
    """The checkpoints of a run with the numbers of their folders: another one has another number."""
    found = {}
    for folder in checkpoints(parent):
        with suppress(OSError):
            found[folder] = folder.stat().st_ino
    return found


def find_whole(parent: Path, which: str = "best") -> Path:
    """The best or the last checkpoint in a folder, verified; another one where that is damaged."""
    first = best(parent) if which == "best" else None
    candidates = ([first] if first else []) + [folder for folder in checkpoints(parent) if folder != first]
    for folder in candidates:
        try:
            inside(folder, parent)
            verify(folder)
        except DamagedError as error:
            if folder.exists():  # else a trainer has just removed it
                LOG.warning("%s: looking for another checkpoint", error)
        except OSError as error:
            raise CheckpointError(f"cannot read {folder}: {error.strerror}") from error
        else:
            return folder
    whole = "whole " if candidates else ""
    raise CheckpointError(f"{shown(str(parent.parent))} holds no {whole}checkpoint{_hint(parent.parent)}")


def _hint(run: Path) -> str:
    """Which run is meant where there is none of that name."""
    names: list[str] = []
    if not is_there(run):
        with suppress(OSError):
            names = [path.name for path in run.absolute().parent.iterdir() if is_there(path / "checkpoints")]
    return one_line(did_you_mean(run.name, names, ": is it the folder of a run?"))
