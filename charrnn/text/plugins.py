"""The one hook, and the finding, blocking, listing and blaming of the plugins that answer it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from charrnn.errors import CorpusError, did_you_mean
from charrnn.text.corpus import SCHEME, CacheKey, Corpus, CorpusSpec, Loader, Search, Size, aside

LOG = logging.getLogger(__name__)

GROUP = "charrnn"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_corpora(register: Callable[..., None]) -> None:
    """Calls ``register(scheme, loader, cache_key=None, search=None, size=None)`` once for each scheme it offers."""


@dataclass
class Plugin:
    """One plugin that was found: by the entry point of an installed package, or by ``--plugin MODULE``."""

    name: str
    source: str
    version: str
    error: str | None = None


class Corpora:
    """Every scheme that the installed plugins, and the modules named with ``--plugin``, can load."""

    def __init__(self, modules: Iterable[str] = (), blocked: Iterable[str] = ()) -> None:
        """Loads them; raises `CorpusError` for a module that does not work, and remembers what else does not."""
        self.plugins: list[Plugin] = []
        self._offers: dict[str, list[Corpus]] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(sys.modules[__name__])
        found = sorted(entry_points(group=GROUP), key=lambda point: (point.name, _source(point)))
        blocked = set(blocked)
        for name in sorted(blocked - {point.name for point in found}):
            hint = did_you_mean(name, (point.name for point in found))
            LOG.warning("--block-plugin %s: no plugin of that name is installed%s", name, hint)
        for point in found:
            plugin = Plugin(point.name, _source(point), point.dist.version if point.dist else "unknown")
            self.plugins.append(plugin)
            same_name = [_source(other) for other in found if other.name == point.name]
            if point.name in blocked:
                plugin.error = "blocked"
            elif len(same_name) > 1:
                plugin.error = f"{' and '.join(same_name)} both call a plugin {point.name}: uninstall one"
            else:
                self._load(plugin, point.load)
        for module in modules:
            plugin = Plugin(module, "--plugin", "local")
            self.plugins.append(plugin)
            self._load(plugin, partial(_import, module))
            if plugin.error:
                raise CorpusError(f"--plugin {module}: {plugin.error}")

    def _load(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        offers: list[Corpus] = []

        def register(
            scheme: str,
            loader: Loader,
            cache_key: CacheKey | None = None,
            search: Search | None = None,
            size: Size | None = None,
        ) -> None:
            if not SCHEME.fullmatch(scheme):
                raise CorpusError(
                    f"it registers {scheme!r}: a scheme is a small letter and then small letters, digits, - or _"
                )
            if not callable(loader):
                raise CorpusError(f"its loader of {scheme} is not a function but {type(loader).__name__}")
            if plugin.source == "--plugin":
                cache_key = None  # a module that is being written changes, and its version does not
            offers.append(Corpus(scheme, loader, cache_key, search, plugin.name, plugin.version, size))

        # A stranger's module may fail in any way at all, also by SystemExit; the others must still load.
        try:
            with aside():
                module = load()
            if self._manager.has_plugin(plugin.name) or self._manager.is_registered(module):
                raise CorpusError("it is loaded already: name it once, or block the installed one with --block-plugin")
            self._manager.register(module, name=plugin.name)
            others = [other for name, other in self._manager.list_name_plugin() if name != plugin.name]
            with aside():
                self._manager.subset_hook_caller("register_corpora", others)(register=register)
            if not offers:
                raise CorpusError(
                    "it registers no corpus: has it a function register_corpora marked @charrnn.hookimpl?"
                )
        except (Exception, SystemExit) as error:
            reason = f"{error}" if isinstance(error, CorpusError) else f"{type(error).__name__}: {error}"
            plugin.error = " ".join(reason.split())
            return
        for offer in offers:
            self._offers.setdefault(offer.scheme, []).append(offer)

    @property
    def schemes(self) -> list[str]:
        """The schemes that can be used, sorted."""
        return sorted(self._offers)

    def offers(self, scheme: str) -> list[Corpus]:
        """What the plugins registered for a scheme: more than one is a clash, which `find` refuses."""
        return self._offers.get(scheme, [])

    def find(self, spec: CorpusSpec) -> Corpus:
        """The corpus that loads a spec; raises `CorpusError` if no plugin does, or if two would."""
        offers = self.offers(spec.scheme)
        if len(offers) > 1:
            names = " and ".join(f"{offer.plugin} {offer.version}" for offer in offers)
            raise CorpusError(f"{spec}: two plugins claim {spec.scheme}: {names}: block one with --block-plugin NAME")
        if not offers:
            unloaded = [f"; not loaded: {plugin.name}: {plugin.error}" for plugin in self.plugins if plugin.error]
            hint = did_you_mean(spec.scheme, self.schemes, f": known are {', '.join(self.schemes) or 'none'}")
            raise CorpusError(f"{spec}: no corpus {spec.scheme!r}{hint}{''.join(unloaded)}")
        return offers[0]


def _source(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _import(module: str) -> Any:
    """Imports a module, also one that lies in the current folder, as `python -m` would find it."""
    if module.endswith(".py"):
        raise CorpusError(f"name the module as it is imported: {module.removesuffix('.py').replace('/', '.')}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(module)
