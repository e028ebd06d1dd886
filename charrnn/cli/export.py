"""`charrnn export RUN FOLDER`: a run's model as a folder for `CharLSTM.from_pretrained` and the Hugging Face Hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from charrnn.cli.options import ModelOptions
from charrnn.config.options import Group
from charrnn.errors import CheckpointError
from charrnn.model.folder import MODEL_FILES, load_model
from charrnn.printable import one_line


class ExportOptions(ModelOptions):
    """Write a run's model, without what only training needs, as a folder that can be shared.

    Example: charrnn export runs/my-run my-model
    """

    folder: Annotated[Path, Group.ARGUMENTS]
    """Where to write; it must not be there yet."""


def main(args: Sequence[str]) -> int:
    """Copies the model half of a checkpoint."""
    options = ExportOptions.from_args(args, "charrnn export")
    source = options.find_model()
    load_model(source)
    try:
        options.folder.mkdir(parents=True)
        for name in MODEL_FILES:
            shutil.copyfile(source / name, options.folder / name)
    except FileExistsError as error:
        raise CheckpointError(f"{options.folder} is there already: choose another folder") from error
    except OSError as error:
        raise CheckpointError(f"cannot write {options.folder}: {error.strerror}") from error
    print(f"{one_line(options.folder)}: load it with charrnn.CharLSTM.from_pretrained({str(options.folder)!r})")
    return 0
