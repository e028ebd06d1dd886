"""Which of a run's checkpoints is meant: the best, the last, one that is whole; and which are kept."""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from charrnn.errors import CheckpointError, UserError, did_you_mean
from charrnn.outside.foreign import inside, is_there, shown
from charrnn.outside.printable import one_line, quoted
from charrnn.run.checkpoint import MANIFEST, TRAINING_FILES, DamagedError, FormatError, read_training, verify

LOG = logging.getLogger(__name__)

T = TypeVar("T")

_NAME = re.compile(r"step-(\d{9})")


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
    """Which run is meant where there is none of that name, or where the folder holds runs."""
    names: list[str] = []
    with suppress(OSError):
        folder = run if run.is_dir() else run.absolute().parent
        names = sorted(path.name for path in folder.iterdir() if is_there(path / "checkpoints"))
        if folder == run and names:
            return one_line(f": did you mean {quoted(run / names[-1])}?")
    return one_line(did_you_mean(run.name, names, ": is it the folder of a run?"))
