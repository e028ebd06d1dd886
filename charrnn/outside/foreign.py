"""What somebody else may have written: read as what it has to be, or refused in one line, before it can do harm."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from charrnn.outside.printable import one_line

MAX_BYTES = 1 << 26
"""Of a JSON file; those of rows may be larger, and no file of ours comes near it."""
MAX_DEPTH = 16
"""Levels of JSON: ours have four."""
_FLAGS = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOFOLLOW")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


Text = Annotated[str, PlainValidator(_text)]
"""Any text, also with half a surrogate pair, which pydantic's own type refuses and a vocabulary may have."""
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Finite = Annotated[float, Field(ge=-1e30, le=1e30)]
Measured = Annotated[float, Field(allow_inf_nan=True)] | None
"""What a run measured, if it did: that of one that diverged may be no number."""


class Strict(BaseModel):
    """The base of all schemas: nothing is taken for what it is not, and what only a newer version knows is left out."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


Schema = TypeVar("Schema", bound=Strict)


def checked(kind: type[Schema], values: object) -> Schema:
    """Values as what they have to be; raises `ValueError` in one line for the first that is not."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "is not known to this version: use the charrnn that wrote it"
        elif where and first["type"] != "missing":
            message = f"{message[0].lower()}{message[1:]}, not {shown(repr(first['input']), 40)}"
        raise ValueError(f"{shown(where)}: {message}" if where else message) from error


def parsed(kind: type[Schema], text: str) -> Schema:
    """A JSON text as what it has to be; raises `ValueError` in one line."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_depth(values, MAX_DEPTH)
    return checked(kind, values)


def _check_depth(value: object, levels: int) -> None:
    """Deeper, and whoever goes through it later would fall."""
    if not levels:
        raise ValueError("it is nested too deeply")
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        if isinstance(child, Mapping | list):
            _check_depth(child, levels - 1)


def read(kind: type[Schema], path: Path, folder: Path | None = None) -> Schema:
    """A JSON file as what it has to be; raises `OSError`, or `ValueError` in one line."""
    return parsed(kind, read_text(path, folder))


def read_text(path: Path, folder: Path | None = None, most: int = MAX_BYTES) -> str:
    """The text of a file, as `open_file` opens it; raises `ValueError` if it is too long, or no UTF-8."""
    with open_file(path, folder) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content.decode("utf-8")


def open_file(path: Path, folder: Path | None = None) -> BufferedReader:
    """Opens a file to read it, and nothing else: no pipe, which would hang, and no device.

    With a folder, that in which it lies, a link that leads out of it is an error too: whoever made the folder must not
    choose which of the reader's other files is shown, or copied.
    """
    real = regular(path, folder)
    descriptor = os.open(real, os.O_RDONLY | sum(getattr(os, name, 0) for name in _FLAGS))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refusal(path, "is no file")
    return os.fdopen(descriptor, "rb")


def regular(path: Path, folder: Path | None = None) -> Path:
    """Where a file really is; raises `OSError` if it is no regular file, or not in the folder in which it lies."""
    real = inside(path, folder) if folder else Path(os.path.realpath(path, strict=True))
    mode = real.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise _refusal(path, "is no file")
    return real


def inside(path: Path, folder: Path) -> Path:
    """Where a path of a folder really is; raises `OSError` if that is out of the folder."""
    real, root = (Path(os.path.realpath(each, strict=True)) for each in (path, folder))
    # A model that the Hugging Face Hub's cache holds consists of links into the folder `blobs` beside it.
    roots = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(real.is_relative_to(each) for each in roots):
        raise _refusal(path, "leads out of its folder: if you trust it, put what it leads to in its place")
    return real


def _refusal(path: Path, reason: str) -> OSError:
    return PermissionError(errno.EPERM, reason, str(path))


def is_there(path: Path) -> bool:
    """Whether a path is there; raises `OSError` where that cannot be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def reason(error: Exception) -> str:
    """What an error of reading says, in one line."""
    return (isinstance(error, OSError) and error.strerror) or shown(" ".join(str(error).split()), 500)


def shown(text: str, most: int = 200) -> str:
    """A text as a terminal can show it without obeying it."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return one_line(cut)


def as_dict(row: Strict) -> dict[str, Any]:
    """The values of a schema by their names, not copied."""
    return dict(row)
