"""`charrnn sample RUN`: text from a trained model, shown as it is made."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

from pydantic import field_validator, model_validator

from charrnn.cli.options import ModelOptions, TextOptions
from charrnn.cli.prompts import read_prompt, read_prompts
from charrnn.config.options import AtLeast0, AtLeast1, Repeated
from charrnn.distributed.machine import one_blas_thread
from charrnn.model.folder import load_weights
from charrnn.model.sampling import Sampling, SamplingKeywords, generate_all, write
from charrnn.model.stepper import Weights
from charrnn.outside.disk import to_json
from charrnn.outside.output import takes_colors
from charrnn.outside.printable import in_json, printable
from charrnn.run.checkpoint import training_of
from charrnn.text.vocab import Vocabulary

LOG = logging.getLogger(__name__)

# From the 256 colours every terminal has, those that read on white and on black (contrast 3.9 or more on both).
COLORS = ((0.5, ""), (0.2, "\033[38;5;64m"), (0.05, "\033[38;5;130m"), (0.0, "\033[4;38;5;196m"))
"""The style of a character of at least so much probability; the least likely are underlined, not only coloured."""
PLAIN = "\033[0m"
LEGEND = ("probability 1/2 or more", "1/5 or more", "1/20 or more", "less")
"""What `COLORS` say, in words that fit a line of 60 columns."""


class SampleOptions(TextOptions, ModelOptions, Sampling):
    """Write text with a trained model, from a fresh state.

    Example: charrnn sample runs/my-run --prompt "Once upon a time" --temperature 0.8
    Example: charrnn sample runs/my-run --items 20
    """

    prompt: str = ""
    """What the text begins with; the default is a new line, which is not shown. With - it is read from standard input,
    without the new line at its end."""
    prompts: str = ""
    """A file with a prompt on each line, or - for standard input. What is written for each is printed as a line of
    JSON, in the order of the file, with the same seed."""
    stop: Repeated = ()
    """End where the model writes this text, which is not printed; can be given several times. Here \\n is a new line,
    \\t a tab and \\\\ a backslash."""
    items: AtLeast0 = 0
    """Print so many lines, such as names or titles, each another and none of them in the training text, nor a part of
    what stands there. Before each, and a tab, is what the model needs for it in bits a character: the fewer, the
    likelier. One that does not end within --length characters is none."""
    corpus: Repeated = ()
    """With --items: a copy of the training text, SCHEME:ARGUMENT, where the run's own is not at hand."""
    num_samples: AtLeast1 = 1
    """Texts to write, all at once, which takes far less time than one after another: those of SEED, SEED + 1, ..."""
    color: bool = False
    """Color each character by the probability the model gave it: plain from 1/2 on, green from 1/5, orange from 1/20,
    red and underlined below. On a terminal only, and not where NO_COLOR is set; FORCE_COLOR=1 colors a pipe too."""

    @field_validator("stop")
    @classmethod
    def _escaped(cls, stops: tuple[str, ...]) -> tuple[str, ...]:
        meant = {"n": "\n", "t": "\t", "\\": "\\"}
        return tuple(re.sub(r"\\([nt\\])", lambda match: meant[match[1]], stop) for stop in stops)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Raises an error for the first flag that does not go with another."""
        is_of_items = self.corpus or self.plugin or self.block_plugin or self.trust
        for is_wrong, demand in (
            (self.items and self.num_samples > 1, "--items says how many lines: leave out --num-samples"),
            (self.items and self.prompts, "--items has one --prompt: leave out --prompts"),
            (self.items and self.stop, "--items ends each at the end of its line: leave out --stop"),
            ("items" in self.model_fields_set and not self.items, "--items 0: write 1 or more"),
            (is_of_items and not self.items, "--corpus, --trust and plugins are those of --items: add it"),
            (self.prompts and self.prompt, "--prompts has them all: leave out --prompt"),
            (self.prompts and self.num_samples > 1, "--prompts writes one text for each: leave out --num-samples"),
            (self.prompts and self.color, "--prompts prints JSON, which has no color: leave out --color"),
        ):
            if is_wrong:
                raise ValueError(demand)
        return self

    def sampling(self) -> SamplingKeywords:
        """How to draw, as keywords."""
        return cast(SamplingKeywords, {name: getattr(self, name) for name in Sampling.model_fields})

    def read(self, folder: Path) -> tuple[Path, dict[str, Any] | None, Weights, Vocabulary]:
        """A folder, what it says of its training if that is needed and it does, its model and its vocabulary."""
        return folder, training_of(folder) if self.items else None, *load_weights(folder)


def main(args: Sequence[str]) -> int:
    """Writes what was asked for to standard output: a text, several, lines, or lines of JSON."""
    options = SampleOptions.from_args(args, "charrnn sample")
    one_blas_thread()
    prompts = read_prompts(options.prompts) if options.prompts else [read_prompt(options.prompt)]
    folder, training, model, vocab = options.read_model(options.read)
    if options.prompts:
        print_results(options, model, vocab, prompts)
    elif options.items:
        print_items(options, folder, training, model, vocab, *prompts)
    else:
        print_texts(options, model, vocab, *prompts)
    if options.color and sys.stdout.isatty() and takes_colors(sys.stdout):
        print(f"\n{legend()}")
    return 0


def print_results(options: SampleOptions, model: Weights, vocab: Vocabulary, prompts: Sequence[str]) -> None:
    """Prints a line of JSON for each prompt."""
    texts = generate_all(model, vocab, prompts, **options.sampling())
    for prompt, text in zip(prompts, texts, strict=True):
        print(in_json(to_json({"prompt": prompt, "text": text}, ensure_ascii=False)), flush=True)


def print_items(
    options: SampleOptions,
    folder: Path,
    training: Mapping[str, Any] | None,
    model: Weights,
    vocab: Vocabulary,
    prompt: str,
) -> None:
    """Prints lines that the training text does not have, each after its bits a character."""
    # What `charrnn sample` without it must not wait for.
    from charrnn.model.items import write_items
    from charrnn.run.text import text_of_model

    style = styled(options)
    with TemporaryDirectory(prefix="charrnn-sample-") as scratch:
        text = text_of_model(folder, training, vocab, Path(scratch), options.consent(options.corpus))
        texts = (text.train, text.val, text.test)
        for item in write_items(model, vocab, options.items, texts, prompt, **options.sampling()):
            print(f"{item.bits:.2f}\t{shown(item.given)}{''.join(starmap(style, item.scored[:-1]))}", flush=True)


def print_texts(options: SampleOptions, model: Weights, vocab: Vocabulary, prompt: str) -> None:
    """Writes the prompt and the text; several texts each under a line with its seed."""
    seeds = range(options.seed, options.seed + options.num_samples)
    steps = write(model, vocab, [prompt] * len(seeds), seeds=seeds, how=options)
    style = styled(options)
    others = [[(f"--- seed {seed} ---\n" if len(seeds) > 1 else "") + shown(prompt)] for seed in seeds]
    sys.stdout.write(others[0].pop())
    for step in steps:
        for stream, character, probability in step:
            piece = style(character, probability)
            if stream == 0:
                sys.stdout.write(piece)
            else:
                others[stream].append(piece)
        sys.stdout.flush()
    sys.stdout.writelines(piece for other in others for piece in (*other, "\n"))


def shown(text: str) -> str:
    """A text as it is for a file, and for a terminal without what that would obey."""
    return printable(text) if sys.stdout.isatty() else text


def styled(options: SampleOptions) -> Callable[[str, float], str]:
    """How a character of some probability is written."""
    if options.color and colors_wanted():
        return lambda character, probability: colored(shown(character), probability)
    return lambda character, _: shown(character)


def colors_wanted() -> bool:
    """Whether standard output takes colors; says why not."""
    if takes_colors(sys.stdout):
        return True
    nowhere = "it goes to no terminal; FORCE_COLOR=1 colors it all the same"
    LOG.warning("--color: the text stays plain, since %s", "NO_COLOR is set" if os.environ.get("NO_COLOR") else nowhere)
    return False


def colored(text: str, probability: float) -> str:
    """A text in the style of a probability, and plain again after it, wherever it is cut off."""
    style = next(style for least, style in COLORS if probability >= least)
    return f"{style}{text}{PLAIN}" if style else text


def legend() -> str:
    """What the styles say, under a text on a terminal."""
    return "  ".join(colored(words, least) for (least, _), words in zip(COLORS, LEGEND, strict=True))
