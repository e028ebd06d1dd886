"""What a user writes for the model to go on from: in a file, or on standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from charrnn.errors import ConfigError
from charrnn.outside.foreign import shown

STDIN = "-"
"""The name of standard input."""


def read_prompt(name: str) -> str:
    """A prompt, or for `STDIN` what comes from there, without the new line that ends it."""
    return _read(name).removesuffix("\n").removesuffix("\r") if name == STDIN else name


def read_prompts(name: str) -> list[str]:
    """The lines of a file, or of standard input."""
    lines = _read(name).split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _read(name: str) -> str:
    """A text in UTF-8; raises `ConfigError` in one line if it is not there, or something else."""
    where = "standard input" if name == STDIN else shown(name)
    try:
        if name != STDIN:
            content = Path(name).read_bytes()
        elif sys.stdin:
            content = sys.stdin.buffer.read()
        else:
            raise ConfigError("standard input is closed: write what the text begins with after --prompt")
    except OSError as error:
        raise ConfigError(f"cannot read {where}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise ConfigError(f"{where} is not UTF-8: line {line} has the byte {byte:#04x}: convert it first") from error
