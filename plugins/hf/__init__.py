"""The corpus ``hf:OWNER/NAME``: a data set of the Hugging Face hub or of a local folder, one document a row."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from charrnn import hookimpl
from charrnn.errors import CorpusError, UserError

log = logging.getLogger(__name__)

_PROBE_SECONDS = 5.0
_READER = 1  # part of the cache key: raise it when the same rows become another text


@hookimpl
def register_corpora(register: Callable[..., None]) -> None:
    register("hf", hf, cache_key=cache_key)


def hf(
    argument: str,
    config: str | None = None,
    split: str = "train",
    column: str | None = None,
    revision: str | None = None,
    data_files: str | None = None,
    encoding: str | None = None,
    streaming: str = "false",
) -> Iterator[str]:
    """hf:OWNER/NAME reads a data set of the Hugging Face hub, hf:./FOLDER one of data files or of save_to_disk; one
    document a row. Options: config, split (train; or a part such as train[:10%]), column, revision, data_files (a name
    or glob), encoding (of text files), streaming=true (do not keep a copy). Private ones need `hf auth login`.

    A text file's rows are its lines, line ends kept. Rows without a text are counted in a warning and left out. Where
    the hub cannot be reached, the copy in the cache of `datasets` is read. Raises `CorpusError` for all that is wrong.
    """
    if streaming not in ("true", "false"):
        raise CorpusError(f"hf:{argument}: streaming is true or false, not {streaming!r}")
    with _explained(argument):
        if _is_saved(argument):
            rows = _saved_rows(argument, split, config or revision or data_files or encoding or streaming == "true")
        else:
            builder = _builder(argument, config, revision, data_files, encoding)
            rows = _rows(argument, builder, split, streaming == "true")
        name = _column(argument, rows, column)
        num_missing = 0
        for batch in rows.select_columns([name]).iter(batch_size=1000):
            for text in batch[name]:
                if text is None:
                    num_missing += 1
                else:
                    yield text
        if num_missing:
            log.warning("hf:%s: left out %d rows without a text in column %s", argument, num_missing, name)


def cache_key(
    argument: str,
    config: str | None = None,
    revision: str | None = None,
    data_files: str | None = None,
    encoding: str | None = None,
    **options: str,
) -> str:
    """The commit of the data set on the hub, else in the cache; of a folder, a digest of its files' sizes and times."""
    with _explained(argument):
        if os.path.isdir(_folder(argument)):
            state = _files_digest(_folder(argument))
        else:
            try:
                state = _commit(argument, revision)
            except ConnectionError as error:
                state = _cached(argument, config, revision, data_files, encoding, error).hash
    return f"{_READER} {state} {[config, data_files, encoding, *sorted(options.items())]}"


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
        reason = " ".join(str(cause).split())
        raise CorpusError(f"hf:{argument} cannot be read: {type(cause).__name__}: {reason}{hint}") from error


def _folder(argument: str) -> str:
    return os.path.expanduser(argument)


def _files_digest(folder: str) -> str:
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            status = os.stat(path)
            digest.update(os.fsencode(os.path.abspath(path)) + f"\0{status.st_size} {status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _is_saved(argument: str) -> bool:
    names = ("dataset_dict.json", "state.json")
    return any(os.path.isfile(os.path.join(_folder(argument), name)) for name in names)


def _saved_rows(argument: str, split: str, other_options: object) -> Any:
    """The rows of a folder written by `save_to_disk`."""
    import datasets

    if other_options:
        raise CorpusError(f"hf:{argument} was written by save_to_disk: it takes only the options split and column")
    saved = datasets.load_from_disk(_folder(argument))
    splits = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
    if split not in splits:
        raise _no_split(argument, split, splits)
    return splits[split]


def _no_split(argument: str, split: str, splits: Any) -> CorpusError:
    return CorpusError(f"hf:{argument} has no split {split!r}: add ?split=NAME, one of {', '.join(map(str, splits))}")


def _builder(
    argument: str, config: str | None, revision: str | None, data_files: str | None, encoding: str | None
) -> Any:
    import datasets

    options: dict[str, Any] = {"data_files": data_files}
    path = argument
    if os.path.isdir(_folder(argument)):
        if revision:
            raise CorpusError(f"hf:{argument} is a folder: it has no revisions")
        path = _folder(argument)
    else:
        try:
            options["revision"] = _commit(argument, revision)
        except ConnectionError as error:
            builder = _cached(argument, config, revision, data_files, encoding, error)
            log.warning("hf:%s: %s: reading the copy in the cache, commit %s", argument, error, builder.hash)
            return builder
    build = partial(datasets.load_dataset_builder, path, **options)
    try:
        builder = build(config)
    except ValueError as error:
        names = datasets.get_dataset_config_names(path, **options)
        if config in names or (config is None and len(names) < 2):
            raise
        problem = "has several configurations" if config is None else f"has no configuration {config!r}"
        raise CorpusError(f"hf:{argument} {problem}: add ?config=NAME, one of {', '.join(names)}") from error
    reading = _reading(builder.name, encoding)
    return build(builder.config.name, **reading) if reading else builder


def _reading(kind: str, encoding: str | None) -> dict[str, Any]:
    """What to tell the builder of a kind of file: by default, that of text files drops the line ends."""
    if kind == "text":
        return {"keep_linebreaks": True, "encoding": encoding or "utf-8-sig"}
    return {"encoding": encoding} if encoding else {}


@cache  # a run reads one commit, whatever is pushed meanwhile
def _commit(argument: str, revision: str | None) -> str:
    """The commit that a revision is on the hub; raises `ConnectionError` at once if the hub cannot be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    try:
        info = HfApi().dataset_info(argument, revision=revision, timeout=_PROBE_SECONDS, expand=["sha"])
    except hub.HFValidationError as error:
        raise CorpusError(f"hf:{argument} is neither a folder here nor the name of a data set: OWNER/NAME") from error
    except hub.GatedRepoError as error:
        raise CorpusError(
            f"hf:{argument} is gated: ask for access at https://huggingface.co/datasets/{argument} and log in with "
            "`hf auth login`"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise CorpusError(
            f"hf:{argument}: the hub has no such data set, or it is private: check the name, or log in with "
            "`hf auth login`"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise CorpusError(f"hf:{argument} has no revision {revision!r}: name a branch, a tag or a commit") from error
    except Exception as error:  # by its version, huggingface_hub lets errors of httpx or of httpx2 through
        if isinstance(error, hub.HfHubHTTPError) and error.response.status_code == 401:
            raise CorpusError(
                f"hf:{argument}: the hub refuses your token: log in again with `hf auth login`, or mend HF_TOKEN"
            ) from error
        reason = "offline mode is on" if isinstance(error, hub.OfflineModeIsEnabled) else f"{error}".split("\n")[0]
        raise ConnectionError(f"the hub cannot be asked ({reason})") from error
    return str(info.sha)


def _cached(
    argument: str,
    config: str | None,
    revision: str | None,
    data_files: str | None,
    encoding: str | None,
    reason: ConnectionError,
) -> Any:
    """A builder over the cached copy, as `datasets` itself makes it, but without its 23 seconds of retries."""
    from datasets.packaged_modules.cache.cache import Cache

    name = argument.split("/")[-1]
    for kind in ("text", "other"):
        reading = _reading(kind, encoding) | {"data_files": data_files}
        try:
            builder = Cache(
                repo_id=argument, dataset_name=name, config_name=config, version="auto", hash="auto", **reading
            )
        except ValueError:  # nothing is cached that was read so
            continue
        if (builder.info.builder_name == "text") != (kind == "text"):
            continue
        if revision and not builder.hash.startswith(revision):
            raise CorpusError(f"hf:{argument}: {reason}, and the cached copy is commit {builder.hash}, not {revision}")
        return builder
    raise CorpusError(
        f"hf:{argument}: {reason}, and no copy read with these options is cached: go online, or use a local folder"
    )


def _rows(argument: str, builder: Any, split: str, streaming: bool) -> Any:
    if not streaming:
        builder.download_and_prepare()
    try:
        return builder.as_streaming_dataset(split) if streaming else builder.as_dataset(split)
    except ValueError as error:
        raise _no_split(argument, split, builder.info.splits or builder.as_streaming_dataset()) from error


def _column(argument: str, rows: Any, column: str | None) -> str:
    """The column to read: the one asked for, or the only one of strings, or `text`, or `content`."""
    if rows.features is None:  # streamed, and unknown until the first row
        strings = [name for name, value in next(iter(rows), {}).items() if isinstance(value, str)]
    else:
        kinds = ("string", "large_string", "string_view")
        strings = [name for name, feature in rows.features.items() if getattr(feature, "dtype", None) in kinds]
    if not strings:
        raise CorpusError(f"hf:{argument} has no column of strings: its columns are {', '.join(rows.features or ())}")
    usual = strings if len(strings) == 1 else ["text", "content"]
    for name in [column] if column else usual:
        if name in strings:
            return name
    problem = f"has no column of strings {column!r}" if column else "has several columns of strings"
    raise CorpusError(f"hf:{argument} {problem}: add ?column=NAME, one of {', '.join(strings)}")
