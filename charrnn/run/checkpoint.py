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
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from charrnn.errors import CheckpointError, VocabularyError
from charrnn.text.vocab import Vocabulary

# torch takes more than a second to import: `charrnn sample`, which only looks for a model here, must not wait for it.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from charrnn.model.lstm import CharLSTM

LOG = logging.getLogger(__name__)

FORMAT = 2
MANIFEST = "manifest.json"
MODEL_FILES = ("config.json", "model.safetensors", "vocab.json", "README.md")
"""The model half of a checkpoint."""
TRAINING_FILES = ("training.json", "training.safetensors")
"""The other half: what only going on needs."""
_NAME = re.compile(r"step-(\d{9})")


def save_model(folder: Path, model: CharLSTM, vocab: Vocabulary, card: str) -> None:
    """Writes the model half of a checkpoint: weights, shape, vocabulary and a model card."""
    model.save_pretrained(folder)
    vocab.save(folder / "vocab.json")
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_model(folder: Path) -> tuple[CharLSTM, Vocabulary]:
    """Reads a model and its vocabulary; raises `CheckpointError` if they are missing, damaged or do not fit."""
    from safetensors.torch import load_model as load_weights

    from charrnn.model.lstm import CharLSTM

    for name in MODEL_FILES[:3]:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is no model: it has no {name}")
    vocab = Vocabulary.load(folder / "vocab.json")
    try:
        model = CharLSTM(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        load_weights(model, folder / "model.safetensors", strict=True)
    except (SafetensorError, RuntimeError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{folder} cannot be read: {' '.join(str(error).split())}") from error
    if model.vocab_size != len(vocab):
        raise CheckpointError(f"{folder}: the model has {model.vocab_size} characters, its vocabulary {len(vocab)}")
    return model, vocab


def save_checkpoint(
    parent: Path,
    step: int,
    model: CharLSTM,
    vocab: Vocabulary,
    card: str,
    tensors: Mapping[str, Tensor],
    training: Mapping[str, Any],
) -> Path:
    """Writes a checkpoint; it is there whole or not at all. Raises `CheckpointError` if the disk does not take it."""
    from safetensors.torch import save_file

    folder = parent / f"step-{step:09d}"
    temporary = parent / f".writing-{folder.name}"
    try:
        remove_unfinished(parent)
        temporary.mkdir(parents=True)
        save_model(temporary, model, vocab, card)
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, _training(temporary, "safetensors")
        )
        _training(temporary, "json").write_text(
            json.dumps({"format": FORMAT, "step": step, **training}, indent=2) + "\n"
        )
        files = {path.name: _checksum(path) for path in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": files}, indent=2) + "\n")
        for path in [*temporary.iterdir(), temporary]:
            _flush(path)
        if folder.exists():
            os.rename(folder, parent / f".writing-over-{folder.name}")
        os.rename(temporary, folder)
        _flush(parent)
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


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and journals renames itself.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(parent: Path) -> None:
    """Removes what a killed job left half-written; the caller holds the run's lock."""
    for path in parent.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)


class DamagedError(CheckpointError):
    """A checkpoint of which a file is missing or is not what was written."""


def verify(folder: Path) -> None:
    """Raises `DamagedError`, naming the file, unless every file of a checkpoint is what was written.

    A checkpoint of another format, or a disk that cannot be read, is no damage: a plain `CheckpointError`.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{folder} has format {manifest['format']}; this version reads format {FORMAT}")
        checksums = dict(manifest["sha256"])
        for name in (*MODEL_FILES, *TRAINING_FILES):
            if _checksum(folder / name) != checksums[name]:
                raise DamagedError(f"{folder / name} is not what was written: it is damaged or was changed")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{error.filename} is missing") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder / MANIFEST} is damaged") from error


def checkpoints(parent: Path) -> list[Path]:
    """The checkpoints of a run, newest first, not verified."""
    found = [path for path in parent.glob("step-*") if _NAME.fullmatch(path.name)] if parent.is_dir() else []
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
                os.rename(bad, aside)
            return folder
    if damaged:
        raise CheckpointError(f"no checkpoint in {parent} is whole: {damaged[0][1]}: start a new run")
    return None


def _free_name(folder: Path) -> Path:
    first = folder.with_name(f"damaged-{folder.name}")
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([first], others) if not name.exists())


def read_training(folder: Path) -> dict[str, Any]:
    """The training.json of a checkpoint."""
    try:
        values: dict[str, Any] = dict(json.loads(_training(folder, "json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{_training(folder, 'json')} cannot be read: {error}") from error
    if values.get("format") != FORMAT:
        raise CheckpointError(f"{folder} has format {values.get('format')}; this version reads format {FORMAT}")
    return values


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The training.safetensors of a checkpoint: the optimizer's moments and the rows' state."""
    from safetensors.torch import load_file

    try:
        return load_file(_training(folder, "safetensors"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{_training(folder, 'safetensors')} cannot be read: {error}") from error


def best(parent: Path) -> Path | None:
    """The checkpoint with the lowest validation loss; the newest where none was measured."""
    folders = checkpoints(parent)
    losses = [(loss, folder) for folder in folders if (loss := _val_loss(folder)) is not None]
    return min(losses)[1] if losses else next(iter(folders), None)


def _val_loss(folder: Path) -> float | None:
    try:
        loss = read_training(folder).get("val_loss")
    except CheckpointError as error:
        # One that cannot be read is no candidate; it must not end a run that only tidies up.
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
    """The model folder that RUN means: itself, or the best or last (verified) checkpoint of a run folder."""
    if (run / "model.safetensors").is_file():
        return run
    parent = run / "checkpoints"
    first = best(parent) if which == "best" else None
    candidates = ([first] if first else []) + [folder for folder in checkpoints(parent) if folder != first]
    for folder in candidates:
        try:
            verify(folder)
        except DamagedError as error:
            LOG.warning("%s: looking for another checkpoint", error)
        else:
            return folder
    raise CheckpointError(f"{run} holds no {'whole ' if candidates else ''}checkpoint: is it the folder of a run?")


def optimizer_tensors(model: CharLSTM, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and step counts by the names of the parameters they belong to."""
    import torch

    return {
        f"optimizer.{name}.{slot}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state[parameter].items()
    }


def restore(
    folder: Path, model: CharLSTM, vocab: Vocabulary, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Puts a checkpoint's weights and moments into a model and its optimizer; returns the rest of what it holds.

    Raises `CheckpointError` or `VocabularyError` with the difference if the checkpoint is of another model or text.
    """
    training, tensors = read_training(folder), read_tensors(folder)
    saved_model, saved_vocab = load_model(folder)
    if saved_vocab != vocab:
        raise VocabularyError(f"{folder} was trained with another vocabulary: {_difference(saved_vocab, vocab)}")
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    saved_shapes = {name: tuple(weight.shape) for name, weight in saved_model.state_dict().items()}
    for name in sorted(shapes.keys() | saved_shapes.keys()):
        if shapes.get(name) != saved_shapes.get(name):
            raise CheckpointError(
                f"{folder} is of another model: {name} is {saved_shapes.get(name)} there, {shapes.get(name)} here"
            )
    if saved_model.tie_weights != model.tie_weights:
        raise CheckpointError(
            f"{folder} is of another model: its weights are {'' if saved_model.tie_weights else 'not '}tied"
        )
    model.load_state_dict(saved_model.state_dict())
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        slots = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if not slots and training["step"] > 0:
            raise CheckpointError(f"{_training(folder, 'safetensors')} has no moments of {name}")
        optimizer.state[parameter] = {
            # A step count lives where its optimizer put it: on the CPU unless the optimizer is fused.
            slot: value.to(parameter.device) if value.ndim or _is_fused(optimizer) else value
            for slot, value in slots.items()
        }
    return training, tensors


def _difference(there: Vocabulary, here: Vocabulary) -> str:
    only_there = sorted(set(there.characters) - set(here.characters))
    only_here = sorted(set(here.characters) - set(there.characters))
    sides = [
        f"{len(only)} characters only {side}, such as {only[0]!r}"
        for only, side in ((only_there, "there"), (only_here, "here"))
        if only
    ]
    if there.normal_form != here.normal_form:
        sides.append(f"text in {there.normal_form or 'no normal form'} there, in {here.normal_form or 'none'} here")
    return "; ".join(sides) or f"<unk> {'there' if there.has_unknown else 'here'} alone"


def _is_fused(optimizer: torch.optim.Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused"))
