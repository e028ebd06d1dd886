"""`charrnn corpora`: which corpora there are, what text a spec yields, and what a catalogue holds."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import tyro

from charrnn.config.settings import Repeated
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PluginOptions:
    """Which plugins there are, for every action."""

    plugin: Repeated = ()
    """A module with a corpus of your own."""
    block_plugin: Repeated = ()
    """A plugin that is not to be loaded."""


@dataclass(frozen=True)
class ListOptions(PluginOptions):
    """List the schemes, each with its plugin, version and help, and the plugins that are broken.

    Example: charrnn corpora
    """


@dataclass(frozen=True)
class ShowOptions(PluginOptions):
    """Print the text that a spec yields, as a model would see it.

    Example: charrnn corpora show gutenberg:1597 | less
    """

    spec: Annotated[str, tyro.conf.Positional]
    """The corpus, SCHEME:ARGUMENT."""


@dataclass(frozen=True)
class SearchOptions(PluginOptions):
    """Search the catalogues of corpora that have one, and print specs to copy.

    Example: charrnn corpora search "andersen fairy"
    """

    words: Annotated[str, tyro.conf.Positional]
    """Words that all have to occur."""
    limit: int = 25
    """Lines to print at most."""


def main(args: Sequence[str]) -> int:
    """Runs `list` (the default), `show` or `search`."""
    actions = {"list": list_schemes, "show": show, "search": search}
    if args and args[0] in actions:
        return actions[args[0]](args[1:])
    if args and not args[0].startswith("-"):
        raise CorpusError(f"`charrnn corpora {args[0]}` is not there: use list, show SPEC or search WORDS")
    return list_schemes(args)


def list_schemes(args: Sequence[str]) -> int:
    """Prints each scheme, and each plugin that cannot be used with the reason."""
    options = tyro.cli(
        ListOptions,
        args=list(args),
        prog="charrnn corpora",
        description=f"{ListOptions.__doc__}\nOther actions: charrnn corpora show SPEC, charrnn corpora search WORDS.",
    )
    corpora = Corpora(options.plugin, options.block_plugin)
    for scheme in corpora.schemes:
        offers = corpora.offers(scheme)
        for offer in offers:
            clash = "  [clash: block one of the plugins with --block-plugin NAME]" if len(offers) > 1 else ""
            print(f"{scheme}:  ({offer.plugin} {offer.version}){clash}\n    {offer.help or 'no help'}")
    for plugin in corpora.plugins:
        if plugin.error:
            print(f"not loaded: {plugin.name} ({plugin.source} {plugin.version}): {plugin.error}")
    return 0


def show(args: Sequence[str]) -> int:
    """Prints a corpus, its documents joined as training joins them."""
    options = tyro.cli(ShowOptions, args=list(args), prog="charrnn corpora show")
    spec = CorpusSpec.parse(options.spec)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may not show every character
    end = "\n"
    for document in Corpora(options.plugin, options.block_plugin).find(spec).documents(spec):
        if end != "\n":
            sys.stdout.write("\n")
            end = "\n"
        for piece in document:
            sys.stdout.write(piece)
            end = piece[-1]
    return 0


def search(args: Sequence[str]) -> int:
    """Prints the specs that a search finds, with what each is."""
    options = tyro.cli(SearchOptions, args=list(args), prog="charrnn corpora search")
    if options.limit < 1:
        raise ConfigError(f"--limit {options.limit}: it must be 1 or more")
    corpora = Corpora(options.plugin, options.block_plugin)
    found: list[tuple[str, str]] = []
    failures: list[CorpusError] = []
    for corpus in (offer for scheme in corpora.schemes for offer in corpora.offers(scheme)):
        try:
            found += islice(corpus.found(options.words), options.limit + 1 - len(found))
        except CorpusError as error:
            failures.append(error)
    if not found:
        raise (failures or [CorpusError(f"no catalogue has {options.words!r}: try fewer or other words")])[0]
    for failure in failures:
        LOG.warning("%s", failure)
    for spec, description in found[: options.limit]:
        print(f"{spec}  {description}")
    if len(found) > options.limit:
        print(f"and more: add words, or --limit {10 * options.limit}", file=sys.stderr)
    return 0
