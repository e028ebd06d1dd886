"""What several commands are told: which run, and which plugins there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from charrnn.config.options import Group, Options, Repeated
from charrnn.run.finding import read_chosen

T = TypeVar("T")

# `charrnn sample`, which opens no text, must not wait for what does.
if TYPE_CHECKING:
    from charrnn.run.text import Consent


class ModelOptions(Options):
    """Which model."""

    run: Annotated[Path, Group.ARGUMENTS]
    """The folder of a run, or of a model."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint of the run to use."""

    def read_model(self, read: Callable[[Path], T]) -> T:
        """What is read of the folder of the model, at once: a trainer may put another checkpoint in its place."""
        return read_chosen(self.run, self.checkpoint, read)


class PluginOptions(Options):
    """Which plugins."""

    plugin: Repeated = ()
    """A module with a corpus of your own; can be given several times."""
    block_plugin: Repeated = ()
    """A plugin that is not to be loaded; can be given several times."""


class TextOptions(PluginOptions):
    """Which text may be opened."""

    trust: bool = False
    """Open the text that the run names, wherever that is. Without it only text in the run's folder, in your cache or
    of --corpus is opened, and nothing is downloaded."""

    def consent(self, corpus: tuple[str, ...] = ()) -> Consent:
        """What these flags agree to."""
        from charrnn.run.text import Consent

        return Consent(corpus, self.plugin, self.block_plugin, self.trust)
