"""The data files of a folder: which are read, as which split, and what is left out, by name and number."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from charrnn.errors import CorpusError

from ..reading.names import listed
from ..reading.unpacking import SUFFIXES

log = logging.getLogger(__name__)

KINDS = {
    "text": (".txt", ".text", ".md"),
    "csv": (".csv", ".tsv"),
    "json": (".jsonl", ".json", ".ndjson"),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
}
_NO_DATA = ("readme.md", "readme.txt", "license.txt", "license.md", "dataset_infos.json", "dataset_info.json")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
_SHARD = re.compile(r"[-_. ]?\d+([-_. ]of[-_. ]\d+)?$")
_ENDS = re.compile(
    rf"(?:(?P<first>{'|'.join(_SPLIT_OF)})(?:[-_. ](?P<rest>.+))?|(?P<head>.+)[-_. ](?P<last>{'|'.join(_SPLIT_OF)}))"
)


def data_files(argument: str, folder: str, pattern: str | None) -> tuple[str, dict[str, list[Path]]]:
    """The kind of a folder's data files and the files of each split; raises `CorpusError` if there are none."""
    paths = _named(folder, pattern) if pattern else _walk(folder)
    kinds = {path: kind_of(path) for path in paths}
    counts = Counter(kind for kind in kinds.values() if kind)
    if not counts:
        raise CorpusError(f"hf:{argument} cannot be read: {_nothing(paths, pattern)}")
    (kind, most), *others = counts.most_common()
    if others and others[0][1] == most:
        choices = " or ".join(f"?data_files=*{_end(kinds, each)}" for each in counts)
        raise CorpusError(f"hf:{argument} has as many {kind} files as {others[0][0]} files: add {choices}")
    chosen = [path for path in paths if kinds[path] == kind]
    rest = [path for path in paths if kinds[path] != kind]
    if rest:
        advice = f": add ?data_files=*{_end(kinds, others[0][0])} to read those" if others else ""
        log.warning(
            "hf:%s: read %d files of %s, left out %d: %s%s",
            argument,
            most,
            kind,
            len(rest),
            listed(os.path.relpath(path, folder) for path in rest),
            advice,
        )
    return kind, {"train": chosen} if pattern else _splits(argument, folder, chosen)


def digested(folder: str, pattern: str | None) -> list[Path]:
    """All files that the text of a folder may depend on, those named outside of it as well."""
    named = _named(folder, pattern) if pattern else []
    return [*(Path(parent, name) for parent, name in _everything(folder)), *named]


def kind_of(path: Path) -> str | None:
    """The kind of a data file, told by its name in large or small letters, packed or not."""
    name = path.name.lower()
    if Path(name).suffix in SUFFIXES:
        name = name.removesuffix(Path(name).suffix)
    return next((kind for kind, ends in KINDS.items() if name.endswith(ends)), None)


def _end(kinds: dict[Path, str | None], kind: str) -> str:
    return next(path.suffix for path, each in kinds.items() if each == kind)


def _nothing(paths: Sequence[Path], pattern: str | None) -> str:
    known = ", ".join(end for ends in KINDS.values() for end in ends)
    if not paths:
        return f"no file matches {pattern!r}" if pattern else f"the folder holds no data files ({known})"
    ends = Counter(path.suffix or path.name for path in paths)
    held = listed(f"{end} ({count})" for end, count in ends.most_common())
    return f"of {held} nothing is a data file ({known}): convert them, or read them as text with files:"


def _everything(folder: str) -> list[tuple[str, str]]:
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [(parent, name) for name in sorted(names)]
    return found


def _walk(folder: str) -> list[Path]:
    """All files below a folder, but for hidden ones and those that describe it."""
    paths = [Path(parent, name) for parent, name in _everything(folder)]
    return [
        path
        for path in paths
        if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
        and path.name.lower() not in _NO_DATA
    ]


def _named(folder: str, pattern: str) -> list[Path]:
    """The files that a name or a glob stands for, from the folder on; a name is a name before it is a glob."""
    path = os.path.join(folder, os.path.expanduser(pattern))
    if os.path.isfile(path):
        return [Path(path)]
    if os.path.isdir(path):
        return _walk(path)
    found = sorted(glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True))
    if not found:  # *.txt means *.TXT as well, and files of folders below too
        found = sorted(str(each) for each in _walk(folder) if fnmatch.fnmatch(each.name.lower(), pattern.lower()))
    return [Path(each) for each in found if os.path.isfile(each)]


def _splits(argument: str, folder: str, paths: list[Path]) -> dict[str, list[Path]]:
    """The files of each split: by folders or names that are a split's and nothing else, or differ in that alone."""
    exact = {path: _exact(path.relative_to(folder)) for path in paths}
    if not all(exact.values()) and (halves := _by_ends(paths)):
        exact = dict(halves)
    splits: dict[str, list[Path]] = {}
    for path, split in exact.items():
        splits.setdefault(split or "", []).append(path)
    without = splits.pop("", [])
    if without and "train" in splits:
        log.warning(
            "hf:%s: read %d files of train, left out %d whose names are no split's: %s: add ?data_files=NAME or a glob "
            "to read them",
            argument,
            len(splits["train"]),
            len(without),
            listed(os.path.relpath(path, folder) for path in without),
        )
    elif without:
        splits = {"train": without, **splits}
    splits = {name: splits[name] for name in _SPLITS if name in splits}
    for split, files in splits.items():
        if split != "train" or len(splits) > 1:
            names = listed(os.path.relpath(path, folder) for path in files)
            log.info("hf:%s: the split %s (%d): %s", argument, split, len(files), names)
    return splits


def _exact(path: Path) -> str | None:
    """The split whose name a file's name is, but for the number of a part, or that of a folder it lies in."""
    for part in path.parts[:-1]:
        if split := _SPLIT_OF.get(part.lower()):
            return split
    return _SPLIT_OF.get(_SHARD.sub("", _stem(path)))


def _stem(path: Path) -> str:
    name = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return name.stem.lower()


def _by_ends(paths: list[Path]) -> dict[Path, str] | None:
    """The splits of files such as tales_train.csv and tales_test.csv; ``None`` if their names differ in more."""
    found: dict[Path, tuple[str, str]] = {}
    for path in paths:
        match = _ENDS.fullmatch(_SHARD.sub("", _stem(path)))
        if match is None:
            return None
        found[path] = (_SPLIT_OF[match["first"] or match["last"]], _SHARD.sub("", match["rest"] or match["head"] or ""))
    same_rest = len({rest for _, rest in found.values()}) == 1
    return {path: split for path, (split, _) in found.items()} if same_rest and len(paths) > 1 else None
