"""What several commands are told: which run, and which plugins there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from charrnn.config.options import Group, Options, Repeated
from charrnn.errors import UserError
from charrnn.run.checkpoint import checkpoints, find_model

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

    def find_model(self) -> Path:
        """The folder of the model; raises `CheckpointError` if there is none."""
        return find_model(self.run, self.checkpoint)

    def read_model(self, read: Callable[[Path], T]) -> T:
        """What is read of the model's folder, looked for again if a trainer has put another checkpoint in its place."""
        while True:
            before = checkpoints(self.run / "checkpoints")
            try:
                return read(self.find_model())
            except UserError:
                if checkpoints(self.run / "checkpoints") == before:
                    raise


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
