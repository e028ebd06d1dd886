"""`charrnn sample RUN`: text from a trained model, shown as it is made."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from charrnn.cli.options import ModelOptions
from charrnn.config.options import AtLeast1
from charrnn.distributed.machine import one_blas_thread
from charrnn.model.folder import load_weights
from charrnn.model.sampling import Sampling, draw, scores
from charrnn.outside.printable import printable

LOG = logging.getLogger(__name__)

# From the 256 colours every terminal has, those that read on white and on black (contrast 3.9 or more on both).
COLORS = ((0.5, ""), (0.2, "\033[38;5;64m"), (0.05, "\033[38;5;130m"), (0.0, "\033[4;38;5;196m"))
"""The style of a character of at least so much probability; the least likely are underlined, not only coloured."""
PLAIN = "\033[0m"


class SampleOptions(ModelOptions, Sampling):
    """Write text with a trained model, from a fresh state.

    Example: charrnn sample runs/my-run --prompt "Once upon a time" --temperature 0.8
    """

    prompt: str = ""
    """What the text begins with; the default is a new line, which is not shown."""
    num_samples: AtLeast1 = 1
    """Texts to write, all at once, which takes far less time than one after another: those of SEED, SEED + 1, ..."""
    color: bool = False
    """Color each character by the probability the model gave it: plain from 1/2 on, green from 1/5, orange from 1/20,
    red and underlined below. On a terminal only, and not where NO_COLOR is set; FORCE_COLOR=1 colors a pipe too."""


def main(args: Sequence[str]) -> int:
    """Writes the prompt and the text to standard output; several texts each under a line with its seed."""
    options = SampleOptions.from_args(args, "charrnn sample")
    one_blas_thread()
    model, vocab = options.read_model(load_weights)
    seeds = range(options.seed, options.seed + options.num_samples)
    steps = draw(model, vocab, options.prompt, seeds=seeds, how=options)
    colors = options.color and colors_wanted()
    # A file gets what the model writes; a terminal nothing that it would obey.
    shown = printable if sys.stdout.isatty() else str
    characters = [shown(character) for character in vocab.decode(range(len(vocab)))]
    begins = [(f"--- seed {seed} ---\n" if len(seeds) > 1 else "") + shown(options.prompt) for seed in seeds]
    sys.stdout.write(begins[0])
    others = [[begin] for begin in begins[1:]]
    for tokens_B, logits_BV in steps:
        pieces = [characters[token] for token in tokens_B]
        if colors:
            pieces = list(map(colored, pieces, scores(tokens_B, logits_BV)))
        sys.stdout.write(pieces[0])
        sys.stdout.flush()
        for other, piece in zip(others, pieces[1:], strict=True):
            other.append(piece)
    sys.stdout.write("\n")
    sys.stdout.writelines(piece for other in others for piece in (*other, "\n"))
    return 0


def colors_wanted() -> bool:
    """Whether standard output takes colors, by the conventions of no-color.org and force-color.org; says why not."""
    if os.environ.get("NO_COLOR"):
        LOG.warning("--color: the text stays plain, since NO_COLOR is set")
        return False
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        return True
    LOG.warning("--color: the text stays plain, since it goes to no terminal; FORCE_COLOR=1 colors it all the same")
    return False


def colored(character: str, probability: float) -> str:
    """A character in the style of its probability, and plain again after it, wherever the text is cut off."""
    style = next(style for least, style in COLORS if probability >= least)
    return f"{style}{character}{PLAIN}" if style else character
