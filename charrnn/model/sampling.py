"""Sampling: streams of characters from a model, drawn side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from charrnn.config.options import AtLeast0, NotNegative, Number, Options, Repeated
from charrnn.errors import CheckpointError, ConfigError, VocabularyError
from charrnn.model.stepper import Array, Stepper, Tokens, Weights
from charrnn.text.vocab import Vocabulary, named

if TYPE_CHECKING:
    from charrnn.model.lstm import CharLSTM

STREAMS = 64
"""Texts that are written side by side where many are asked for: on one core more would hardly be faster."""


def probabilities(
    logits: npt.NDArray[np.floating], temperature: float, top_k: int = 0, top_p: float = 1.0
) -> npt.NDArray[np.float64]:
    """The distributions to draw from, along the last axis: softmax(logits / temperature), perhaps cut.

    ``top_k`` > 0 keeps the k likeliest (Fan et al. 2018), ``top_p`` < 1 the smallest set of the likeliest that holds
    that much probability (Holtzman et al. 2020). A temperature of 0 puts everything on the likeliest.
    """
    if temperature == 0:
        certain: npt.NDArray[np.bool_] = np.arange(logits.shape[-1]) == logits.argmax(axis=-1, keepdims=True)
        return certain.astype(np.float64)
    weights = logits.astype(np.float64)
    weights -= weights.max(axis=-1, keepdims=True)
    # A lower temperature would overflow, and could change nothing: logits that differ do so by more.
    weights /= max(temperature, 1e-200)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    if top_k > 0 or top_p < 1.0:
        likeliest = np.argsort(-weights, axis=-1, kind="stable")
        ordered = np.take_along_axis(weights, likeliest, axis=-1)
        mass_before = ordered.cumsum(axis=-1) - ordered
        ordered[mass_before >= top_p] = 0.0
        if top_k > 0:
            ordered[..., top_k:] = 0.0
        np.put_along_axis(weights, likeliest, ordered, axis=-1)
        weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def default_prompt(vocab: Vocabulary) -> str:
    """What a sample starts from when no prompt is given: a new line, or else the vocabulary's first character."""
    return "\n" if "\n" in vocab else vocab.characters[:1]


class Sampling(Options):
    """How to draw: the settings of `generate`, of `charrnn sample` and of the page to play with."""

    length: AtLeast0 = 1000
    """Characters to write."""
    temperature: NotNegative = 0.8
    """Below 1 is more careful, above 1 wilder; 0 always takes the likeliest character."""
    top_k: AtLeast0 = 0
    """Choose among the k likeliest characters only; 0 for all."""
    top_p: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Choose among the likeliest characters that hold this much probability only; 1 for all."""
    seed: AtLeast0 = 0
    """The same seed writes the same text."""
    stop: Repeated = ()
    """End where the model writes this text, which is left out; can be given several times."""

    @field_validator("stop")
    @classmethod
    def _is_not_empty(cls, stops: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stops:
            raise ValueError("an empty text stands everywhere: leave it out")
        return stops


class SamplingKeywords(TypedDict, total=False):
    """The fields of `Sampling` as keywords."""

    length: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    stop: str | Sequence[str]


def generate(
    model: CharLSTM | Weights, vocab: Vocabulary, prompt: str = "", **settings: Unpack[SamplingKeywords]
) -> Iterator[str]:
    """Yields ``length`` characters that go on from a prompt, from a fresh state; <unk> is never drawn.

    With ``stop``, a text or several, they end before the first of them that the model writes. The settings are those of
    `Sampling`. Raises `VocabularyError` for a prompt with characters that the model never saw and cannot map to <unk>,
    and for a stop with those that it never writes; and `ConfigError` for impossible settings: all at once, before the
    first character is asked for.
    """
    scored = generate_scored(model, vocab, prompt, **settings)
    return (character for character, _ in scored)


def generate_scored(
    model: CharLSTM | Weights, vocab: Vocabulary, prompt: str = "", **settings: Unpack[SamplingKeywords]
) -> Iterator[tuple[str, float]]:
    """The characters of `generate`, each with the probability that the model gave it."""
    how = Sampling.from_values(settings)
    steps = write(model, vocab, [prompt], seeds=[how.seed], how=how)
    return ((character, probability) for step in steps for _, character, probability in step)


def generate_all(
    model: CharLSTM | Weights, vocab: Vocabulary, prompts: Sequence[str], **settings: Unpack[SamplingKeywords]
) -> Iterator[str]:
    """What `generate` writes for each of many prompts, in their order: side by side, which is many times faster."""
    how = Sampling.from_values(settings)
    if isinstance(prompts, str):
        raise ConfigError("prompts must be a list of texts: `generate` takes one")
    for number, prompt in enumerate(prompts, 1):
        try:
            vocab.encode(prompt)
        except VocabularyError as error:
            raise VocabularyError(f"prompt {number}: {error}") from error
    _stops(vocab, how)

    def texts() -> Iterator[str]:
        for first in range(0, len(prompts), STREAMS):
            part = prompts[first : first + STREAMS]
            written: list[list[str]] = [[] for _ in part]
            for step in write(model, vocab, part, seeds=[how.seed] * len(part), how=how):
                for stream, character, _ in step:
                    written[stream].append(character)
            yield from map("".join, written)

    return texts()


def write(
    model: CharLSTM | Weights, vocab: Vocabulary, prompts: Sequence[str], *, seeds: Sequence[int], how: Sampling
) -> Iterator[list[tuple[int, str, float]]]:
    """The texts of prompts and seeds side by side: yields after each step which characters they get.

    Each is said with the number of its text before it and its probability behind it. What may be the beginning of a
    stop is waited with. Raises what `draw` raises.
    """
    steps = draw(model, vocab, prompts, seeds=seeds, how=how)
    stops, characters = _stops(vocab, how), vocab.decode(range(len(vocab)))
    waiting: list[list[tuple[int, str, float]]] = [[] for _ in seeds]

    def settled(stream: int) -> list[tuple[int, str, float]]:
        """What a text has for certain after its last character."""
        texts = waiting[stream]
        end = "".join(character for _, character, _ in texts)
        ended = next((len(stop) for stop in stops if end.endswith(stop)), 0)
        begun = (size for size in range(len(end), 0, -1) if any(stop.startswith(end[-size:]) for stop in stops))
        size = ended or next(begun, 0)
        certain, waiting[stream] = texts[: len(texts) - size], [] if ended else texts[len(texts) - size :]
        return certain

    def pieces() -> Iterator[list[tuple[int, str, float]]]:
        for streams_B, tokens_B, logits_BV in steps:
            drawn = zip(streams_B.tolist(), tokens_B.tolist(), scores(tokens_B, logits_BV).tolist(), strict=True)
            step = [(stream, characters[token], probability) for stream, token, probability in drawn]
            if stops:
                for piece in step:
                    waiting[piece[0]].append(piece)
                step = [piece for stream, _, _ in step for piece in settled(stream)]
            yield step
        yield [piece for texts in waiting for piece in texts]

    return pieces()


def scores(tokens_B: Tokens, logits_BV: Array) -> npt.NDArray[np.float64]:
    """The probability of each token: the model's own, whatever temperature, top-k and top-p made of it."""
    return probabilities(logits_BV, 1.0)[np.arange(len(tokens_B)), tokens_B]


def draw(
    model: CharLSTM | Weights, vocab: Vocabulary, prompts: Sequence[str], *, seeds: Sequence[int], how: Sampling
) -> Iterator[tuple[Tokens, Tokens, Array]]:
    """The texts of prompts and seeds side by side: which of them go on, their next tokens, and the logits of these.

    A text that has ended with a stop, the last character of which is drawn, goes on no more. A text is that of its
    prompt and seed, the one that `generate` writes, except that a product of matrices may be rounded in another way for
    another number of rows: a number drawn that falls within a millionth of the border between two characters can then
    be either's.
    """
    prompt_tokens = [vocab.encode(default_prompt(vocab) if prompt == "" else prompt) for prompt in prompts]
    stops, characters = _stops(vocab, how), vocab.decode(range(len(vocab)))
    stepper = Stepper(model)

    def steps() -> Iterator[tuple[Tokens, Tokens, Array]]:
        logits_BV, streams_B = stepper.read(prompt_tokens), np.arange(len(seeds))
        rngs = [np.random.default_rng(seed) for seed in seeds]
        ends, longest = [""] * len(seeds), max(map(len, stops), default=0)
        for _ in range(how.length):
            if not np.isfinite(logits_BV).all():
                raise CheckpointError(
                    "the model gives no numbers any more: its training has diverged; use another checkpoint"
                )
            allowed_BV = logits_BV
            if vocab.has_unknown:
                allowed_BV = logits_BV.copy()
                allowed_BV[:, 0] = -np.inf
            cumulative_BV = probabilities(allowed_BV, how.temperature, how.top_k, how.top_p).cumsum(axis=-1)
            drawn_B1 = np.array([[rngs[stream].random()] for stream in streams_B]) * cumulative_BV[:, -1:]
            tokens_B = (cumulative_BV <= drawn_B1).sum(axis=-1)
            yield streams_B, tokens_B, logits_BV
            if stops:
                for stream, token in zip(streams_B, tokens_B, strict=True):
                    ends[stream] = (ends[stream] + characters[token])[-longest:]
                going_B = np.array([not ends[stream].endswith(stops) for stream in streams_B])
                if not going_B.all():
                    stepper.keep(going_B)
                    streams_B, tokens_B = streams_B[going_B], tokens_B[going_B]
                if not going_B.any():
                    return
            logits_BV = stepper.step(tokens_B)

    return steps()


def draw_own(model: CharLSTM | Weights, vocab: Vocabulary, number: int, how: Sampling) -> Iterator[Tokens]:
    """So many texts of a model's own, from no prompt and the seeds 0, 1, 2, ...: after each step their next tokens."""
    return (tokens for _, tokens, _ in draw(model, vocab, [""] * number, seeds=range(number), how=how))


def _stops(vocab: Vocabulary, how: Sampling) -> tuple[str, ...]:
    """The stops as the model writes them; raises `VocabularyError` for one that it cannot write."""
    stops = tuple(map(vocab.normalized, how.stop))
    for stop in stops:
        if missing := vocab.missing(stop):
            raise VocabularyError(f"no text can end with {stop!r}: the model does not know {named(missing)}")
    return stops
