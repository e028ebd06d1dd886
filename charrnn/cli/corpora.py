"""`charrnn corpora`: which corpora there are, what text a spec yields, and what a catalogue holds."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

from charrnn.cli.options import PluginOptions
from charrnn.config.options import AtLeast1, Group
from charrnn.errors import CorpusError, did_you_mean
from charrnn.outside.printable import one_line, printable
from charrnn.text.corpus import CorpusSpec, aside
from charrnn.text.documents import joined
from charrnn.text.plugins import Corpora

LOG = logging.getLogger(__name__)


class ListOptions(PluginOptions):
    """List the schemes, each with its plugin, version and help, and the plugins that are broken.

    Example: charrnn corpora
    Example: charrnn corpora show SPEC
    Example: charrnn corpora search WORDS
    """


class ShowOptions(PluginOptions):
    """Print the text that a spec yields, as a model would see it.

    Example: charrnn corpora show gutenberg:1597 | less
    """

    spec: Annotated[str, Group.ARGUMENTS]
    """The corpus, SCHEME:ARGUMENT."""


class SearchOptions(PluginOptions):
    """Search the catalogues of corpora that have one, and print specs to copy.

    Example: charrnn corpora search "andersen fairy"
    """

    words: Annotated[str, Group.ARGUMENTS]
    """Words that all have to occur."""
    limit: AtLeast1 = 25
    """Lines to print at most."""


def main(args: Sequence[str]) -> int:
    """Runs `list` (the default), `show` or `search`."""
    actions = {"list": list_schemes, "show": show, "search": search}
    if args and args[0] in actions:
        return actions[args[0]](args[1:])
    if args and not args[0].startswith("-"):
        hint = did_you_mean(args[0], actions, ": use list, show SPEC or search WORDS")
        raise CorpusError(f"there is no `charrnn corpora {args[0]}`{hint}")
    return list_schemes(args)


def list_schemes(args: Sequence[str]) -> int:
    """Prints each scheme, and each plugin that cannot be used with the reason."""
    options = ListOptions.from_args(args, "charrnn corpora")
    corpora = Corpora(options.plugin, options.block_plugin)
    for scheme in corpora.schemes:
        offers = corpora.offers(scheme)
        for offer in offers:
            clash = "  [clash: block one of the plugins with --block-plugin NAME]" if len(offers) > 1 else ""
            print(one_line(f"{scheme}:  ({offer.plugin} {offer.version}){clash}"))
            print(f"    {one_line(offer.help or 'no help')}")
    for plugin in corpora.plugins:
        if plugin.error:
            print(one_line(f"not loaded: {plugin.name} ({plugin.source} {plugin.version}): {plugin.error}"))
    return 0


def show(args: Sequence[str]) -> int:
    """Prints a corpus, its documents joined as training joins them."""
    options = ShowOptions.from_args(args, "charrnn corpora show")
    spec = CorpusSpec.parse(options.spec)
    out = sys.stdout
    # A file gets the text as it is; a terminal nothing that it would obey.
    shown = printable if out.isatty() else str
    with aside():
        text = joined(Corpora(options.plugin, options.block_plugin).find(spec).documents(spec))
        out.writelines(map(shown, text))
    return 0


def search(args: Sequence[str]) -> int:
    """Prints the specs that a search finds, with what each is."""
    options = SearchOptions.from_args(args, "charrnn corpora search")
    corpora = Corpora(options.plugin, options.block_plugin)
    found: list[tuple[str, str]] = []
    failures: list[CorpusError] = []
    for corpus in (offer for scheme in corpora.schemes for offer in corpora.offers(scheme)):
        try:
            with aside():
                found += islice(corpus.found(options.words), options.limit + 1 - len(found))
        except CorpusError as error:
            failures.append(error)
    if not found:
        raise (failures or [CorpusError(f"no catalogue has {options.words!r}: try fewer or other words")])[0]
    for failure in failures:
        LOG.warning("%s", failure)
    for spec, description in found[: options.limit]:
        print(f"{one_line(spec)}  {one_line(description)}")
    if len(found) > options.limit:
        print(f"and more: add words, or --limit {10 * options.limit}", file=sys.stderr)
    return 0
