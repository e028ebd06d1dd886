"""The corpus ``python:stdlib`` or ``python:PACKAGE``: Python sources that are on every machine, one document a file."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from charrnn import hookimpl
from charrnn.errors import CorpusError
from charrnn.text.corpus import files_digest

from .reading.names import shown

log = logging.getLogger(__name__)

_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
_READER = 2  # part of the cache key: raise it when the same files become another text


@hookimpl
def register_corpora(register: Callable[..., None]) -> None:
    register("python", python, cache_key=cache_key)


def python(argument: str) -> Iterator[str]:
    """python:stdlib reads the standard library of the running Python, without its tests; python:PACKAGE reads an
    installed package or module such as python:asyncio or python:torch.nn; one document a .py file.

    Nothing is imported. A file that is not in the encoding it declares is named in a warning and skipped. Raises
    `CorpusError` for what is not installed or has no sources.
    """
    for path in _sources(argument):
        try:
            with tokenize.open(path) as file:
                yield file.read()
        except (SyntaxError, UnicodeDecodeError, OSError) as error:
            log.warning("skipped %s: %s", shown(path), shown(error))


def cache_key(argument: str) -> str:
    """The interpreter's version and a digest of every file's path, size and time of change."""
    return f"{_READER} {sys.version} {files_digest(_sources(argument))}"


def _sources(argument: str) -> list[Path]:
    """The .py files of the standard library or of a package, each root's in the order of their paths."""
    if argument == "stdlib":
        roots, left_out = [Path(sysconfig.get_path("stdlib"))], _NOT_STDLIB
    else:
        roots, left_out = _locate(argument), set()
    sources = [path for root in roots for path in _python_files(root, left_out)]
    if not sources:
        raise CorpusError(f"python:{argument} has no .py files here: name another module, such as python:asyncio")
    return sources


def _locate(name: str) -> list[Path]:
    """The folders or the files a module may lie in, found without an import, which would run its parent's code."""
    top, *rest = name.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        raise CorpusError(f"python:{name}: write a name as it is imported, such as python:sklearn, or python:stdlib")
    try:
        # On the path first: what Python has frozen into itself, such as os, has its sources there as well.
        spec = PathFinder.find_spec(top) or find_spec(top)
    except ValueError:  # a module made by hand, such as __main__
        spec = None
    if spec is None:
        raise CorpusError(f"python:{name}: no module {top} is installed here: pip install it, or use python:stdlib")
    if spec.submodule_search_locations:
        places = [Path(folder, *rest) for folder in spec.submodule_search_locations]
        return [place if place.is_dir() else place.with_suffix(".py") for place in places]
    return [Path(spec.origin)] if spec.origin and not rest else []


def _python_files(root: Path, left_out: set[str]) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix == ".py" else []
    found: list[Path] = []
    for parent, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in left_out]
        found += [Path(parent, name) for name in names if name.endswith(".py")]
    return sorted(found)
