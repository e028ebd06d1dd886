"""Checkpoints: the whole truth of a run in plain files, visible only when whole, and never unpickled.

A checkpoint is a folder ``step-000001234``. Its model half (config.json, model.safetensors, vocab.json, README.md) is
what `CharLSTM.from_pretrained` reads; training.safetensors holds the optimizer's moments and the state of all rows,
training.json the position and everything else. manifest.json, written last, has the checksum of each. The folder is
written under another name, flushed to disk and renamed: one that bears the name is complete.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from charrnn.errors import CheckpointError
from charrnn.model.folder import MODEL_FILES, save_model
from charrnn.outside.disk import flush, to_json
from charrnn.outside.foreign import as_dict, is_there, open_file, parsed, read_text, reason, regular
from charrnn.outside.printable import named_in_utf8
from charrnn.run.schema import Format, Manifest, Training
from charrnn.text.vocab import Vocabulary

# torch takes more than a second to import: `charrnn sample`, which only looks for a model here, must not wait for it.
if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM

FORMAT = 2
MANIFEST = "manifest.json"
TRAINING_FILES = ("training.json", "training.safetensors")
"""What only going on needs, beside the files of the model."""


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
