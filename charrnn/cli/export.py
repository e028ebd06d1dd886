"""`charrnn export RUN FOLDER`: a run's model as a folder for `CharLSTM.from_pretrained` and the Hugging Face Hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from charrnn.errors import CheckpointError
from charrnn.run.checkpoint import MODEL_FILES, find_model, load_model


@dataclass(frozen=True)
class ExportOptions:
    """Write a run's model, without what only training needs, as a folder that can be shared.

    Example: charrnn export runs/my-run my-model
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run."""
    folder: Annotated[Path, tyro.conf.Positional]
    """Where to write; it must not be there yet."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint of the run to use."""


def main(args: Sequence[str]) -> int:
    """Copies the model half of a checkpoint."""
    options = tyro.cli(ExportOptions, args=list(args), prog="charrnn export")
    source = find_model(options.run, options.checkpoint)
    load_model(source)
    try:
        options.folder.mkdir(parents=True)
        for name in MODEL_FILES:
            shutil.copyfile(source / name, options.folder / name)
    except FileExistsError as error:
        raise CheckpointError(f"{options.folder} is there already: choose another folder") from error
    except OSError as error:
        raise CheckpointError(f"cannot write {options.folder}: {error.strerror}") from error
    print(f"{options.folder}: load it with charrnn.CharLSTM.from_pretrained({str(options.folder)!r})")
    return 0
