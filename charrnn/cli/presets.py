"""`charrnn presets`: the presets of training, and the values of each."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.config.options import Options, flag
from charrnn.config.presets import PRESETS
from charrnn.config.sources import written


class PresetsOptions(Options):
    """Show the presets of training, each with the flags that it stands for.

    Example: charrnn presets
    """


def main(args: Sequence[str]) -> int:
    """Prints each preset with its flags."""
    PresetsOptions.from_args(args, "charrnn presets")
    for name, (summary, values) in PRESETS.items():
        print(f"{name}: {summary}")
        flags = [f"{flag(key)} {written(value)}" for key, value in values.items()]
        print(f"    {' '.join(flags) or 'the defaults of every flag'}")
    return 0
