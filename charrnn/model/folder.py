"""A model in a folder: weights, shape, vocabulary and card, as `CharLSTM.from_pretrained` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load_file

from charrnn.errors import CheckpointError, VocabularyError
from charrnn.model.shape import check_weights, read_shape
from charrnn.outside.foreign import reason, regular
from charrnn.outside.printable import counted, named_in_utf8
from charrnn.text.vocab import Vocabulary

# torch takes more than a second to import: `charrnn sample`, which needs the weights alone, must not wait for it.
if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM
    from charrnn.model.stepper import Weights

MODEL_FILES = ("config.json", "model.safetensors", "vocab.json", "README.md")


def save_model(folder: Path, model: CharLSTM, vocab: Vocabulary, card: str) -> None:
    """Writes a model with its vocabulary and its card."""
    model.save_pretrained(folder)
    vocab.save(folder / "vocab.json")
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_model(folder: Path) -> tuple[CharLSTM, Vocabulary]:
    """Reads a model and its vocabulary; raises `CheckpointError` if they are missing, damaged or do not fit."""
    from safetensors.torch import load_model as load_tensors

    from charrnn.model.lstm import CharLSTM

    for name in MODEL_FILES[:3]:
        try:
            regular(folder / name, folder)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CheckpointError(f"{folder} is no model: it has no {name}") from error
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read: {reason(error)}") from error
    vocab, weights = _read_vocabulary(folder), _checked_weights(folder)
    try:
        model = CharLSTM(**dict(read_shape(folder)))
        with named_in_utf8(weights.parent) as named:
            load_tensors(model, named / weights.name, strict=True)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(f"{folder} cannot be read: {reason(error)}") from error
    _check_size(folder, model.vocab_size, vocab)
    return model, vocab


def load_weights(folder: Path) -> tuple[Weights, Vocabulary]:
    """What `generate` needs of a model folder; raises `CheckpointError` or `VocabularyError` if it is no model's.

    Importing torch, which the model itself needs, takes longer than writing thousands of characters.
    """
    vocab = _read_vocabulary(folder)
    try:
        weights = load_file(_checked_weights(folder))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder} cannot be read: {reason(error)}") from error
    _check_size(folder, len(weights["output.bias"]), vocab)
    return weights, vocab


def _read_vocabulary(folder: Path) -> Vocabulary:
    path = folder / "vocab.json"
    try:
        regular(path, folder)
    except OSError as error:
        raise VocabularyError(f"{path}: cannot be read: {reason(error)}") from error
    return Vocabulary.load(path)


def _checked_weights(folder: Path) -> Path:
    """The file with the weights, of which the header is that of the model in config.json."""
    try:
        return check_weights(folder / "model.safetensors", read_shape(folder), folder)
    except (SafetensorError, ValueError, OSError) as error:
        at_fault = getattr(error, "filename", None) or folder
        raise CheckpointError(f"{at_fault} cannot be read: {reason(error)}") from error


def _check_size(folder: Path, num_characters: int, vocab: Vocabulary) -> None:
    if num_characters != len(vocab):
        raise CheckpointError(f"{folder}: the model has {num_characters} characters, its vocabulary {len(vocab)}")


def restore_model(folder: Path, model: CharLSTM, vocab: Vocabulary) -> None:
    """Puts the weights of a folder into a model; raises a `UserError` with the difference if they are of another."""
    saved, saved_vocab = load_model(folder)
    if saved_vocab != vocab:
        raise VocabularyError(f"{folder} was trained with another vocabulary: {_difference(saved_vocab, vocab)}")
    there, here = ({n: tuple(w.shape) for n, w in each.state_dict().items()} for each in (saved, model))
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{folder} is of another model: {name} is {there.get(name)} there, {here.get(name)} here"
            )
    if saved.tie_weights != model.tie_weights:
        tied = "" if saved.tie_weights else "not "
        raise CheckpointError(f"{folder} is of another model: its weights are {tied}tied")
    model.load_state_dict(saved.state_dict())


def _difference(there: Vocabulary, here: Vocabulary) -> str:
    only_there = sorted(set(there.characters) - set(here.characters))
    only_here = sorted(set(here.characters) - set(there.characters))
    sides = [
        f"{counted(len(only), 'character')} only {side}, such as {only[0]!r}"
        for only, side in ((only_there, "there"), (only_here, "here"))
        if only
    ]
    if there.normal_form != here.normal_form:
        sides.append(f"text in {there.normal_form or 'no normal form'} there, in {here.normal_form or 'none'} here")
    return "; ".join(sides) or f"<unk> {'there' if there.has_unknown else 'here'} alone"
