"""Which files a path, a folder or a glob stands for."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

from charrnn.errors import CorpusError

from ..reading.names import shown
from ..reading.unpacking import SUFFIXES


def expand(argument: str) -> Path:
    """The path that a user named, with their home folder for ``~``."""
    return Path(os.path.expanduser(argument))


def find(argument: str) -> tuple[list[Path], list[Path]]:
    """The paths to read, in sorted order, and the files of a folder that are left out for their names."""
    root = expand(argument)
    if not argument:
        raise CorpusError("files: needs a path, for example files:my.txt, files:my-folder or files:books/**/*.txt")
    if os.path.isdir(root):
        return _folder(root, argument)
    if os.path.lexists(root):
        return [root], []
    paths = _glob(root)
    if not paths:
        raise CorpusError(
            f"files:{shown(argument)} matches no file: check the path, or use a glob such as files:books/**/*.txt"
        )
    return paths, []


def _folder(root: Path, argument: str) -> tuple[list[Path], list[Path]]:
    paths: list[Path] = []
    others: list[Path] = []
    for path in sorted(_walk(root, set())):
        (paths if _is_text_name(path) or os.path.isdir(path) else others).append(path)
    if not paths:
        raise CorpusError(
            f"files:{shown(argument)} holds no .txt, .text or .md files: name others by a glob such as **/*.html"
        )
    return paths, others


def _is_text_name(path: Path) -> bool:
    name = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return name.suffix.lower() in (".txt", ".text", ".md")


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Every file below a folder, hidden ones left out, and, to be named later, every folder that cannot be entered."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        yield folder
        return
    seen.add(identity)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry):
            yield from _walk(entry, seen)
        else:
            yield entry


def _glob(path: Path) -> list[Path]:
    """The files that a pattern matches, sorted, hidden ones left out as in a shell."""
    parts = path.parts
    if not any(letter in str(path) for letter in "*?["):
        return []
    if any("**" in part and part != "**" for part in parts):
        raise CorpusError(f"files:{shown(path)}: ** stands for whole folder names, as in books/**/*.txt")
    if parts[-1] == "**":
        parts = (*parts, "*")
    start, rest = (Path(path.anchor), parts[1:]) if path.anchor else (Path(), parts)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in rest)
    return sorted({match for match in _matches(start, rest, hidden) if not os.path.isdir(match)})


def _matches(folder: Path, parts: tuple[str, ...], hidden: bool) -> Iterator[Path]:
    """What parts of a pattern match below a folder: each a name, if there is one, before it is a pattern."""
    if not parts:
        yield folder
        return
    part, *rest = parts
    if part == "**":
        for parent, folders, _ in os.walk(folder):
            folders[:] = sorted(name for name in folders if hidden or not name.startswith("."))
            yield from _matches(Path(parent), tuple(rest), hidden)
    elif os.path.lexists(folder / part):
        yield from _matches(folder / part, tuple(rest), hidden)
    elif any(letter in part for letter in "*?["):
        try:
            names = os.listdir(folder)
        except OSError:  # a file, or a folder that cannot be entered: it has no match
            return
        # Here too brackets are brackets of a name before they are a choice of letters.
        named = [name for name in names if fnmatch.fnmatchcase(name, part.replace("[", "[[]"))]
        for name in named or [name for name in names if fnmatch.fnmatchcase(name, part)]:
            if hidden or not name.startswith("."):
                yield from _matches(folder / name, tuple(rest), hidden)
