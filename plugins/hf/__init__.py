"""The corpus ``hf:OWNER/NAME``: a data set of the Hugging Face hub or of a local folder, one document a row."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from charrnn import hookimpl
from charrnn.errors import CorpusError, UserError
from charrnn.text.corpus import files_digest

from ..reading.decoding import check_options
from ..reading.names import listed, shown
from . import hub
from .columns import texts
from .folder import data_files as find_files
from .folder import digested, kind_of
from .rows import Arrow, Part, Rows
from .tables import Reading, table

log = logging.getLogger(__name__)

_READER = 2  # part of the cache key: raise it when the same rows become another text
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}
_OWN = ("text", "csv", "json")  # the kinds of local files that are read here, each value as it stands


@hookimpl
def register_corpora(register: Callable[..., None]) -> None:
    register("hf", hf, cache_key=cache_key)


def hf(
    argument: str,
    *,
    config: str | None = None,
    split: str = "train",
    column: str | None = None,
    revision: str | None = None,
    data_files: str | None = None,
    encoding: str | None = None,
    errors: str = "strict",
    delimiter: str | None = None,
    header: str | None = None,
    streaming: str = "false",
) -> Iterator[str]:
    """hf:OWNER/NAME reads a data set of the Hugging Face hub, hf:./FOLDER one of data files or of save_to_disk; one
    document a row. Options: config, split (train; or a part such as train[:10%]), column (or one nested in it, such as
    translation.en), revision, data_files (a name or glob), encoding and errors (of files that are not UTF-8, or
    damaged), delimiter and header=true or false (of CSV files), streaming=true (do not keep a copy). Private ones need
    `hf auth login`.

    A text file's rows are its lines, line ends kept. Rows without a text are counted in a warning and left out. Where
    the hub cannot be reached, the copy in the cache of `datasets` is read. Raises `CorpusError` for all that is wrong.
    """
    for name, value in (("streaming", streaming), ("header", header or "true")):
        if value not in ("true", "false"):
            raise CorpusError(f"hf:{argument}: {name} is true or false, not {value!r}")
    check_options(encoding, errors)
    reading = Reading(encoding, errors, _delimiter(argument, delimiter), None if header is None else header == "true")
    with _explained(argument), ExitStack() as stack:
        if _is_saved(argument):
            others = config or revision or data_files or reading != Reading() or streaming == "true"
            splits = _saved(argument, others)
        elif os.path.isdir(_folder(argument)):
            if revision:
                raise CorpusError(f"hf:{argument} is a folder: it has no revisions")
            splits = _local(argument, _folder(argument), config, data_files, reading)
        else:
            splits = _hub(argument, config, revision, data_files, reading, split, streaming == "true", stack)
        yield from texts(shown(argument), _part(argument, splits, split), column)


def cache_key(
    argument: str,
    config: str | None = None,
    revision: str | None = None,
    data_files: str | None = None,
    encoding: str | None = None,
    errors: str = "strict",
    **options: str,
) -> str:
    """The commit of the data set on the hub, else in the cache; of a folder, a digest of its files' sizes and times."""
    with _explained(argument):
        if os.path.isdir(_folder(argument)):
            state = files_digest(digested(_folder(argument), data_files))
        else:
            try:
                state = hub.commit(argument, revision)
            except ConnectionError as error:
                folder = hub.cached_tables(argument, revision)
                cached = partial(hub.cached, argument, config, revision, data_files, encoding, errors, error)
                state = os.path.basename(folder) if folder else cached().hash
    return f"{_READER} {state} {[config, data_files, encoding, errors, *sorted(options.items())]}"


@contextmanager
def _explained(argument: str) -> Iterator[None]:
    """Turns whatever the readers of `datasets` raise, wrapped several times, into one line on its first cause."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        hint = ": add ?encoding=NAME, for example ?encoding=latin-1" if isinstance(cause, UnicodeError) else ""
        reason = shown(" ".join(str(cause).split()))
        raise CorpusError(f"hf:{shown(argument)} cannot be read: {type(cause).__name__}: {reason}{hint}") from error


def _folder(argument: str) -> str:
    return os.path.expanduser(argument)


def _delimiter(argument: str, delimiter: str | None) -> str | None:
    sign = _DELIMITERS.get(delimiter or "", delimiter)
    if sign is not None and (len(sign) != 1 or sign in '"\r\n'):
        raise CorpusError(f"hf:{argument}: delimiter is one character, or tab, comma, semicolon, bar or space")
    return sign


def _is_saved(argument: str) -> bool:
    names = ("dataset_dict.json", "state.json")
    return any(os.path.isfile(os.path.join(_folder(argument), name)) for name in names)


def _saved(argument: str, other_options: object) -> dict[str, Rows]:
    """The splits of a folder written by `save_to_disk`."""
    import datasets

    if other_options:
        raise CorpusError(f"hf:{argument} was written by save_to_disk: it takes only the options split and column")
    try:
        saved = datasets.load_from_disk(_folder(argument))
    except IndexError as error:  # `datasets` writes what it cannot read
        raise CorpusError(f"hf:{argument} was saved without rows: save another") from error
    splits = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
    return {str(name): Arrow(rows) for name, rows in splits.items()}


def _local(argument: str, folder: str, config: str | None, data_files: str | None, reading: Reading) -> dict[str, Rows]:
    """The splits of a folder of data files, as its card says if it has configurations, else by their names."""
    builder = None
    if not data_files and (config or _has_configurations(folder)):
        builder = _builder(argument, folder, config, {})
        kind = builder.name
        files = {str(name): [Path(path) for path in paths] for name, paths in builder.config.data_files.items()}
        reading = _with_card(reading, builder)
    else:
        kind, files = find_files(argument, folder, data_files)
    if kind in _OWN:
        return {name: table(kind, paths, reading) for name, paths in files.items()}
    for path in (path for paths in files.values() for path in paths):
        _check(path, kind)
    import datasets

    names = {name: [str(path) for path in paths] for name, paths in files.items()}
    # Streamed, since a copy in the cache of `datasets` is known by its files' times alone.
    builder = builder or datasets.load_dataset_builder(kind, data_files=names)
    return {name: Arrow(rows) for name, rows in builder.as_streaming_dataset().items()}


def _check(path: Path, kind: str) -> None:
    """Raises `CorpusError` for a file that is cut or no table, before `datasets` says so in its own words."""
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(max(-4, -path.stat().st_size), os.SEEK_END)
        end = file.read()
    if kind == "parquet" and not (start[:4] in (b"PAR1", b"PARE") and end in (b"PAR1", b"PARE")):
        problem = "is cut or no Parquet file" if start else "is empty"
        raise CorpusError(f"{shown(path)}: {problem}: mend it, or name other files with ?data_files=")


def _with_card(reading: Reading, builder: Any) -> Reading:
    """What a data set's card says of its CSV files, unless the user says something else."""
    sep = getattr(builder.config, "sep", ",")
    return replace(reading, delimiter=sep) if sep not in (",", None) and not reading.delimiter else reading


def _has_configurations(folder: str) -> bool:
    card = Path(folder, "README.md")
    is_there = card.is_file() and re.search(r"(?m)^configs:", card.read_text(encoding="utf-8", errors="replace"))
    return bool(is_there) or Path(folder, ".huggingface.yaml").is_file()


def _builder(argument: str, path: str, config: str | None, options: Mapping[str, Any]) -> Any:
    import datasets

    try:
        return datasets.load_dataset_builder(path, config, **options)
    except ValueError as error:
        names = datasets.get_dataset_config_names(path, **options)
        if config in names or (config is None and len(names) < 2):
            raise
        problem = "has several configurations" if config is None else f"has no configuration {config!r}"
        raise CorpusError(f"hf:{argument} {problem}: add ?config=NAME, one of {', '.join(names)}") from error


def _hub(
    argument: str,
    config: str | None,
    revision: str | None,
    data_files: str | None,
    reading: Reading,
    split: str,
    streaming: bool,
    stack: ExitStack,
) -> dict[str, Rows]:
    """The splits of a data set on the hub, or, where that cannot be reached, of its copy in the cache."""
    try:
        commit = hub.commit(argument, revision)
    except ConnectionError as error:
        if folder := hub.cached_tables(argument, revision):
            log.warning("hf:%s: %s: reading the copy in the cache, %s", argument, error, os.path.basename(folder))
            return _local(argument, folder, config, data_files, reading)
        builder = hub.cached(argument, config, revision, data_files, reading.encoding, reading.errors, error)
        log.warning("hf:%s: %s: reading the copy in the cache, commit %s", argument, error, builder.hash)
        return _built(argument, builder, split, streaming)
    options = {"data_files": data_files, "revision": commit}
    builder = _builder(argument, argument, config, options)
    names = {str(name): [_in_repository(url, commit) for url in urls] for name, urls in _files(builder).items()}
    if len(builder.builder_configs) < 2 and not data_files:
        _say_left_out(argument, revision, [name for some in names.values() for name in some])
    if builder.name == "csv":
        place = stack.enter_context(tempfile.TemporaryDirectory()) if streaming else None
        folder = hub.snapshot(argument, commit, [name for some in names.values() for name in some], place)
        reading = _with_card(reading, builder)
        return {
            name: table("csv", [Path(folder, path) for path in paths], reading)
            for name, paths in names.items()
            if name in re.findall(r"\w+", split) or len(names) == 1
        } or {name: table("csv", [], reading) for name in names}
    if how := hub.builder_options(builder.name, reading.encoding, reading.errors):
        builder = _builder(argument, argument, builder.config.name, options | how)
    return _built(argument, builder, split, streaming)


def _files(builder: Any) -> Mapping[Any, list[str]]:
    return getattr(builder.config, "data_files", None) or {}


def _in_repository(url: str, commit: str) -> str:
    return url.partition(f"@{commit}/")[2]


def _say_left_out(argument: str, revision: str | None, names: list[str]) -> None:
    left_out = [name for name in hub.files(argument, revision) if kind_of(Path(name)) and name not in names]
    left_out = [name for name in left_out if os.path.basename(name).lower() not in ("readme.md", "license.txt")]
    if left_out and names:
        log.warning(
            "hf:%s: left out %d data files that are no split by their names, or of another kind: %s: add "
            "?data_files=NAME or a glob to read them",
            argument,
            len(left_out),
            listed(left_out),
        )


def _built(argument: str, builder: Any, split: str, streaming: bool) -> dict[str, Rows]:
    """The one split of a data set that is asked for, by its whole name."""
    if not streaming:
        builder.download_and_prepare()
    try:
        rows = builder.as_streaming_dataset(split) if streaming else builder.as_dataset(split)
    except ValueError as error:
        raise _no_split(argument, split, builder.info.splits or builder.as_streaming_dataset()) from error
    return {split: Arrow(rows, is_text=(builder.info.builder_name or builder.name) == "text")}


def _part(argument: str, splits: Mapping[str, Rows], split: str) -> Rows:
    """The rows of a split, or of parts of splits, such as train[:10%]."""
    if split in splits:
        return splits[split]
    import datasets

    names = re.findall(r"[^\W\d]\w*(?=\[|\+|$)", split)
    if not names or not set(names) <= set(splits) or split == "".join(names):
        raise _no_split(argument, split, splits)
    sizes = {name: sum(1 for _ in splits[name]) for name in set(names)}
    try:
        parts = datasets.ReadInstruction.from_spec(split).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise CorpusError(
            f"hf:{argument}: {split!r} is no part of a split: write train[:10%25] or train[100:200]"
        ) from error
    return Part([(splits[part.splitname], part.from_ or 0, part.to) for part in parts])


def _no_split(argument: str, split: str, splits: Any) -> CorpusError:
    return CorpusError(f"hf:{argument} has no split {split!r}: add ?split=NAME, one of {', '.join(map(str, splits))}")
