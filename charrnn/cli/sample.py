"""`charrnn sample RUN`: text from a trained model, shown as it is made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from charrnn.checkpoint import find_model, load_model
from charrnn.sampling import generate


@dataclass(frozen=True)
class SampleOptions:
    """Write text with a trained model, from a fresh state.

    Example: charrnn sample runs/my-run --prompt "Once upon a time" --temperature 0.8
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run, or of a model."""
    prompt: str = ""
    """What the text begins with; the default is a new line, which is not shown."""
    length: int = 1000
    """Characters to write."""
    temperature: float = 0.8
    """Below 1 is more careful, above 1 wilder; 0 always takes the likeliest character."""
    top_k: int = 0
    """Choose among the k likeliest characters only; 0 for all."""
    top_p: float = 1.0
    """Choose among the likeliest characters that hold this much probability only; 1 for all."""
    seed: int = 0
    """The same seed writes the same text."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint of the run to use."""


def main(args: Sequence[str]) -> int:
    """Writes the prompt and the text to standard output."""
    options = tyro.cli(SampleOptions, args=list(args), prog="charrnn sample")
    model, vocab = load_model(find_model(options.run, options.checkpoint))
    text = generate(
        model,
        vocab,
        options.prompt,
        length=options.length,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
    )
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may not show every character
    sys.stdout.write(options.prompt)
    for character in text:
        sys.stdout.write(character)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
