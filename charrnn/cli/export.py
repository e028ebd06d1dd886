"""`charrnn export RUN FOLDER`: a run's model as a folder for `CharLSTM.from_pretrained` and the Hugging Face Hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Annotated

from charrnn.cli.options import ModelOptions
from charrnn.config.options import Group
from charrnn.errors import CheckpointError
from charrnn.model.folder import MODEL_FILES, load_model
from charrnn.outside.foreign import open_file, shown
from charrnn.outside.printable import one_line


class ExportOptions(ModelOptions):
    """Write a run's model, without what only training needs, as a folder that can be shared.

    Example: charrnn export runs/my-run my-model
    """

    folder: Annotated[Path, Group.ARGUMENTS]
    """Where to write; it must not be there yet."""


def main(args: Sequence[str]) -> int:
    """Copies the model half of a checkpoint."""
    options = ExportOptions.from_args(args, "charrnn export")
    with ExitStack() as files:
        # All are opened before the folder is made: what cannot be had leaves nothing behind.
        contents = options.read_model(partial(opened, files))
        try:
            options.folder.mkdir(parents=True)
        except FileExistsError as error:
            raise CheckpointError(f"{options.folder} is there already: choose another folder") from error
        except OSError as error:
            raise CheckpointError(f"cannot make {shown(str(options.folder))}: {error.strerror}") from error
        try:
            for name, content in contents.items():
                with open(options.folder / name, "xb") as file:
                    shutil.copyfileobj(content, file)
        except OSError as error:
            shutil.rmtree(options.folder, ignore_errors=True)
            raise CheckpointError(f"cannot write {options.folder}: {error.strerror}") from error
    print(f"{one_line(options.folder)}: load it with charrnn.CharLSTM.from_pretrained({str(options.folder)!r})")
    return 0


def opened(files: ExitStack, source: Path) -> dict[str, BufferedReader]:
    """The files of a model by their names, once it has been read; ``files`` closes them."""
    load_model(source)
    try:
        return {name: files.enter_context(open_file(source / name, source)) for name in MODEL_FILES}
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error
