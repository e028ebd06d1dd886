"""Data sets of the Hugging Face hub: their commit, and the copy of one that is in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from charrnn.errors import CorpusError

from .asking import ask
from .folder import kind_of


def commit(argument: str, revision: str | None) -> str:
    """The commit that a revision is on the hub; raises `ConnectionError` at once if the hub cannot be asked."""
    return str(_info(argument, revision)["sha"])


def files(argument: str, revision: str | None) -> list[str]:
    """The names of all files of a data set on the hub."""
    return [file["rfilename"] for file in _info(argument, revision).get("siblings") or ()]


@cache  # a run reads one commit, whatever is pushed meanwhile
def _info(argument: str, revision: str | None) -> Any:
    from huggingface_hub import errors as hub
    from huggingface_hub import utils

    names: Any = utils  # loaded when they are used, which type checkers do not see
    try:
        names.validate_repo_id(argument)
        path = f"datasets/{argument}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
        return ask(path, expand=["sha", "siblings"])
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


def cached(
    argument: str,
    config: str | None,
    revision: str | None,
    data_files: str | None,
    encoding: str | None,
    errors: str,
    reason: ConnectionError,
) -> Any:
    """A builder over the cached copy, as `datasets` itself makes it, but without its 23 seconds of retries."""
    from datasets.packaged_modules.cache.cache import Cache

    name = argument.split("/")[-1]
    for kind in ("text", "other"):
        reading = builder_options(kind, encoding, errors) | {"data_files": data_files}
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


def builder_options(kind: str, encoding: str | None, errors: str) -> dict[str, Any]:
    """What to tell the builder of a kind of file: by default, that of text files drops the line ends."""
    options: dict[str, Any] = {} if errors == "strict" else {"encoding_errors": errors}
    if kind == "text":
        return options | {"keep_linebreaks": True, "encoding": encoding or "utf-8-sig"}
    return options | ({"encoding": encoding} if encoding else {})


def snapshot(argument: str, commit: str, names: Sequence[str], folder: str | None = None) -> str:
    """A folder with files of a data set: in the cache, unless another is given."""
    from huggingface_hub import snapshot_download

    return str(
        snapshot_download(argument, repo_type="dataset", revision=commit, allow_patterns=list(names), local_dir=folder)
    )


def cached_tables(argument: str, revision: str | None) -> str | None:
    """The newest folder of a cached copy that has CSV files, which are read from the files, not as `datasets` does."""
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE, f"datasets--{argument.replace('/', '--')}", "snapshots")
    found = [path for path in place.glob("*") if not revision or path.name.startswith(revision)]
    found = [path for path in found if any(kind_of(file) == "csv" for file in path.rglob("*"))]
    return str(max(found, key=lambda path: path.stat().st_mtime)) if found else None
