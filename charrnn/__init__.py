"""charrnn: a character-level LSTM language-model trainer. Names are loaded when they are first used."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.api import Model as Model
    from charrnn.api import fit as fit
    from charrnn.api import load as load
    from charrnn.distributed.stopping import StoppedError as StoppedError
    from charrnn.model.items import Item as Item
    from charrnn.model.lstm import CharLSTM as CharLSTM
    from charrnn.model.sampling import generate as generate
    from charrnn.model.sampling import generate_all as generate_all
    from charrnn.text.plugins import hookimpl as hookimpl
    from charrnn.text.vocab import Vocabulary as Vocabulary

__version__ = "0.1.0"

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads of OpenMP spin while they wait for each other, by default so long that one other busy program makes
    # training three times slower. Read when torch is imported, and so set before; benchmarks/busy.py measures it.
    os.environ["GOMP_SPINCOUNT"] = "3000"

_HOMES = {
    "CharLSTM": "charrnn.model.lstm",
    "Item": "charrnn.model.items",
    "Model": "charrnn.api",
    "StoppedError": "charrnn.distributed.stopping",
    "Vocabulary": "charrnn.text.vocab",
    "fit": "charrnn.api",
    "generate": "charrnn.model.sampling",
    "generate_all": "charrnn.model.sampling",
    "hookimpl": "charrnn.text.plugins",
    "load": "charrnn.api",
}
__all__ = [
    "CharLSTM",
    "Item",
    "Model",
    "StoppedError",
    "Vocabulary",
    "fit",
    "generate",
    "generate_all",
    "hookimpl",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        # With these Python itself asks whether another name was meant.
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
