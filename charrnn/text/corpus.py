"""What a corpus is: a spec typed by the user, and a loader that turns its argument into documents."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from numbers import Real
from urllib.parse import unquote

from charrnn.errors import CorpusError, UserError, did_you_mean
from charrnn.outside.printable import quoted

Document = str | Iterable[str]
"""A text, or an iterable of pieces of one text that is too large for a single string."""

Loader = Callable[..., Iterable[Document]]
"""``loader(argument, **options)`` yields the documents of a corpus; options are strings."""

CacheKey = Callable[..., str | None]
"""``cache_key(argument, **options)``: equal strings promise equal documents, ``None`` promises nothing."""

Size = Callable[..., int | None]
"""``size(argument, **options)``: about how many bytes the text has as UTF-8; ``None`` if only reading it would tell."""

Search = Callable[[str], Iterable[tuple[str, str]]]
"""``search(words)`` yields (spec, description) of what a scheme can load, best first."""

SCHEME = re.compile(r"[a-z][a-z0-9_-]+")
"""A scheme has two or more characters, so that no drive letter is one."""

_SPEC = re.compile(
    rf"(?P<scheme>{SCHEME.pattern}):(?P<argument>.*?)(?:\?(?P<options>[a-z_]+=[^&?]*(?:&[a-z_]+=[^&?]*)*))?", re.DOTALL
)


@contextmanager
def aside() -> Iterator[None]:
    """While plugins run: what they print goes to standard error, and where they go is left again.

    Standard output is for what the user asked for, and relative paths are those of the folder that the user is in.
    """
    with redirect_stdout(sys.stderr), staying():
        yield


@contextmanager
def staying() -> Iterator[None]:
    """Goes back to where it began."""
    try:
        here = os.getcwd()
    except OSError:  # a folder that was removed: there is no way back, and nothing in it to be read
        here = ""
    try:
        yield
    finally:
        if here and os.getcwd() != here:
            os.chdir(here)


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus as the user names it: ``scheme:argument``, with ``?key=value&key=value`` at the very end.

    Values of options are percent-decoded, so that ``%26`` stands for ``&``; the argument is taken as it is.
    """

    text: str
    scheme: str
    argument: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> CorpusSpec:
        """Reads a spec; raises `CorpusError` if it has no scheme or names an option twice."""
        match = _SPEC.fullmatch(text)
        if match is None:
            hint = (
                f"did you mean {quoted(f'files:{text}')}?"
                if os.path.exists(text)
                else "for example gutenberg:1597 or files:my.txt"
            )
            raise CorpusError(f"{text!r} is not a corpus: write SCHEME:ARGUMENT, {hint}")
        pairs = [pair.split("=", 1) for pair in (match["options"] or "").split("&") if pair]
        options = tuple((key, unquote(value)) for key, value in pairs)
        names = [key for key, _ in options]
        if len(set(names)) < len(names):
            raise CorpusError(f"{text!r} gives an option twice: {', '.join(names)}")
        return cls(text, match["scheme"], match["argument"], options)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Corpus:
    """A scheme that a plugin registered: its loader, perhaps a cache key and a search, and whom to blame."""

    scheme: str
    loader: Loader
    cache_key: CacheKey | None
    search: Search | None
    plugin: str
    version: str
    size: Size | None = None

    @property
    def help(self) -> str:
        """The first paragraph of the loader's docstring, on one line: the scheme's help text."""
        return " ".join((inspect.getdoc(self.loader) or "").split("\n\n")[0].split())

    def check(self, spec: CorpusSpec) -> None:
        """Raises `CorpusError` if the loader does not take one of the spec's options, and lists those it takes."""
        parameters = list(inspect.signature(self.loader).parameters.values())
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        known = [parameter.name for parameter in parameters[1:]]
        for key, _ in spec.options:
            if key not in known:
                takes = did_you_mean(key, known, f": it takes {', '.join(known) or 'none'}")
                raise CorpusError(f"{spec}: {self.scheme} has no option {key!r}{takes}")

    def fingerprint(self, spec: CorpusSpec) -> str | None:
        """The loader's cache key for this spec, tied to the plugin's version; ``None`` if the text must be read."""
        self.check(spec)
        with aside(), self._blamed(spec):
            key = self.cache_key(spec.argument, **dict(spec.options)) if self.cache_key else None
            if not isinstance(key, str | None):
                raise TypeError(f"its cache key is {type(key).__name__}, not text")
        return None if key is None else f"{self.plugin} {self.version} {spec} {key}"

    def num_bytes(self, spec: CorpusSpec) -> int | None:
        """About how many bytes of UTF-8 a spec has; ``None`` if the loader cannot tell before it reads them."""
        self.check(spec)
        with aside(), self._blamed(spec):
            size: object = self.size(spec.argument, **dict(spec.options)) if self.size else None
            if not (size is None or (isinstance(size, Real) and 0 <= float(size) < math.inf)):
                raise TypeError(f"its size is {size!r}, not a number of bytes")
            return None if size is None else math.ceil(float(size))

    def documents(self, spec: CorpusSpec) -> Iterator[Iterator[str]]:
        """Yields each document as an iterator of non-empty pieces, to be read to its end before the next."""
        self.check(spec)
        with self._blamed(spec):
            documents = self.loader(spec.argument, **dict(spec.options))
            if isinstance(documents, str):  # whose characters would all be documents
                raise TypeError("it returned a string, not documents: yield it")
            with staying():  # for the corpus that is read next
                for document in documents:
                    yield self._pieces(spec, document)

    def found(self, words: str) -> Iterator[tuple[str, str]]:
        """Yields (spec, description) of what the scheme's catalogue, if it has one, holds of some words."""
        if self.search:
            with self._blamed(f"{self.scheme}: search for {words!r}"):
                # Taken apart here, where what is no pair is the plugin's failure.
                yield from ((spec, description) for spec, description in self.search(words))

    def _pieces(self, spec: CorpusSpec, document: Document) -> Iterator[str]:
        with self._blamed(spec):
            # To go through the keys of a data set's row, or through the numbers of bytes, is never what was meant.
            whole = isinstance(document, str | bytes | Mapping)
            for piece in [document] if whole else document:
                if not isinstance(piece, str):
                    raise CorpusError(
                        f"{spec}: the plugin {self.plugin} yielded {type(piece).__name__}, not text: tell its author"
                    )
                if piece:
                    yield piece

    @contextmanager
    def _blamed(self, what: object) -> Iterator[None]:
        """Makes one line that names the plugin of whatever fails in it, also by SystemExit; a `UserError` passes."""
        try:
            yield
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CorpusError(f"{what}: the plugin {self.plugin} {self.version} failed: {reason}") from error


def files_digest(paths: Iterable[str | os.PathLike[str]]) -> str:
    """A digest of files' paths, sizes, times of change and whether they may be read, for a loader's cache key.

    The time of the last change of a file's status is among them: it shows a file that was replaced by one of the same
    size and time, and nobody can set it.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {os.access(path, os.R_OK)}"
        except OSError as error:
            state = f"error {error.errno}"
        digest.update(os.fsencode(os.path.abspath(path)) + f"\0{state}\0".encode())
    return digest.hexdigest()
