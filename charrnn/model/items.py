"""Items: lines that a model makes up, such as names or titles, each another and none in the text it was trained on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Unpack

from charrnn.errors import ConfigError, UserError
from charrnn.model.sampling import STREAMS, Sampling, SamplingKeywords, draw, scores
from charrnn.model.stepper import Weights
from charrnn.text.search import found_in
from charrnn.text.vocab import Ids, Vocabulary

if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM

PATIENCE = 1000
"""Lines that are written in vain, one after another, before no more are."""


class TooFewError(UserError):
    """The model writes no more lines that are new."""


@dataclass(frozen=True)
class Item:
    """A line: what was given of it, and what the model wrote, each character with its probability, the end too."""

    given: str
    scored: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        """The line, without its end."""
        return self.given + "".join(character for character, _ in self.scored[:-1])

    @property
    def bits(self) -> float:
        """What the model needs for it, in bits for each character that it wrote: the fewer, the likelier the line."""
        return -sum(math.log2(max(probability, 1e-300)) for _, probability in self.scored) / len(self.scored)


def write_items(
    model: CharLSTM | Weights,
    vocab: Vocabulary,
    number: int,
    texts: Sequence[Ids],
    prompt: str = "",
    **settings: Unpack[SamplingKeywords],
) -> Iterator[Item]:
    """Yields so many lines that begin with a prompt, different from one another, none of which stands in the texts.

    Neither does it stand there as a part of a longer line; white space at its ends does not count. Each begins afresh,
    after a new line: the first is that of the seed, then come those of the next seeds. A line that does not end within
    ``length`` characters is none. Raises `TooFewError` when `PATIENCE` lines in a row were no use.

    Raises `VocabularyError` for what the model cannot read or end, and `ConfigError` for impossible settings: at once.
    """
    how = Sampling.from_values(settings)
    if not isinstance(number, int) or number < 1:
        raise ConfigError(f"items {number!r}: must be a whole number, 1 or more")
    if how.stop:
        raise ConfigError("an item ends with its line: leave out stop")
    end = vocab.decode([vocab.newline])
    vocab.encode(prompt)
    begin = end + prompt
    how = how.model_copy(update={"stop": (end,)})

    def items() -> Iterator[Item]:
        written: set[str] = set()
        vain: list[str] = []
        for first in count(how.seed, STREAMS):
            lines = _lines(model, vocab, begin, range(first, first + STREAMS), how)
            words = [line.text.strip() if line else "" for line in lines]
            pieces = list(map(vocab.ids_of, filter(None, words)))
            stands = iter([any(found) for found in zip(*(found_in(text, pieces) for text in texts), strict=True)])
            for line, word in zip(lines, words, strict=True):
                known = bool(word) and next(stands)
                if line and word and not known and word not in written:
                    vain.clear()
                    written.add(word)
                    yield line
                    if len(written) == number:
                        return
                    continue
                vain.append("endless" if not line else "known" if known else "again" if word else "empty")
                if len(vain) == PATIENCE:
                    raise TooFewError(_too_few(number, len(written), Counter(vain), how))

    return items()


def _lines(
    model: CharLSTM | Weights, vocab: Vocabulary, begin: str, seeds: Sequence[int], how: Sampling
) -> list[Item | None]:
    """The lines of some seeds; ``None`` for each that does not end."""
    characters = vocab.decode(range(len(vocab)))
    scored: list[list[tuple[str, float]]] = [[] for _ in seeds]
    for streams_B, tokens_B, logits_BV in draw(model, vocab, [begin] * len(seeds), seeds=seeds, how=how):
        for stream, token, probability in zip(streams_B, tokens_B, scores(tokens_B, logits_BV), strict=True):
            scored[stream].append((characters[token], float(probability)))
    given = vocab.normalized(begin).rpartition("\n")[2]
    return [Item(given, tuple(line)) if line and line[-1][0] == "\n" else None for line in scored]


def _too_few(number: int, written: int, vain: Counter[str], how: Sampling) -> str:
    what = {
        "known": "stand in the text that it was trained on",
        "again": "had been written before",
        "empty": "are empty",
        "endless": f"do not end within {how.length:,} characters",
    }
    advice = {
        "known": "a higher --temperature makes more that are new",
        "again": "a higher --temperature makes more that are different",
        "empty": "give a --prompt that they begin with",
        "endless": "a higher --length lets them end, if the text has lines",
    }
    counted = ", ".join(f"{times:,} {what[why]}" for why, times in vain.most_common())
    ((most, _),) = vain.most_common(1)
    return f"{written:,} of {number:,} items: of the last {PATIENCE:,} lines {counted}: {advice[most]}"
