"""What several commands are told: which run, and which plugins there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from charrnn.config.options import Group, Options, Repeated
from charrnn.run.checkpoint import find_model

# `charrnn sample`, which opens no text, must not wait for what does.
if TYPE_CHECKING:
    from charrnn.run.text import Consent


class ModelOptions(Options):
    """Which model."""

    run: Annotated[Path, Group.ARGUMENTS]
    """The folder of a run, or of a model."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint of the run to use."""

    def find_model(self) -> Path:
        """The folder of the model; raises `CheckpointError` if there is none."""
        return find_model(self.run, self.checkpoint)


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
