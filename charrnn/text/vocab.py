"""The vocabulary: which characters a model knows, and the number of each."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from charrnn.errors import ConfigError, VocabularyError
from charrnn.outside.foreign import Strict, Text, parsed, read_text

UNKNOWN = "<unk>"
FORMAT = "charrnn vocabulary"
VERSION = 2

NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
Ids: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


class _File(Strict):
    """A vocab.json."""

    format: Literal["charrnn vocabulary"]
    version: Literal[2]
    unknown: Literal["<unk>"] | None
    normal_form: NormalForm | None
    characters: Annotated[list[Annotated[Text, Field(min_length=1, max_length=1)]], Field(min_length=1)]


@dataclass(frozen=True)
class Vocabulary:
    """Distinct characters in code-point order, numbered from 0; with `has_unknown`, 0 is <unk> and they start at 1.

    `normal_form` is the Unicode normal form, if any, that text is brought to before its characters are looked up.
    """

    characters: str
    has_unknown: bool = False
    normal_form: NormalForm | None = None

    def __post_init__(self) -> None:
        if self.characters != "".join(sorted(set(self.characters))):
            raise VocabularyError("the characters of a vocabulary must be distinct and in code-point order")

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], min_freq: int = 1, max_size: int | None = None) -> Vocabulary:
        """The characters seen at least `min_freq` times, at most `max_size` ids in all: the most frequent are kept.

        Of equally frequent characters the lower code points are kept. If any is dropped, the vocabulary has <unk>.
        """
        if min_freq < 1 or (max_size is not None and max_size < 1):
            raise ConfigError(f"min_freq ({min_freq}) and max_size ({max_size}) of a vocabulary must be at least 1")
        seen = {character for character, count in counts.items() if count > 0}
        kept = sorted((c for c in seen if counts[c] >= min_freq), key=lambda c: (-counts[c], c))
        has_unknown = len(kept) < len(seen) or (max_size is not None and len(kept) > max_size)
        if max_size is not None:
            kept = kept[: max_size - has_unknown]
        if not kept:
            raise VocabularyError(
                f"no character is left with min_freq {min_freq} and max_size {max_size}: "
                f"{len(seen)} are in the text, the most frequent {max(counts.values(), default=0)} times"
            )
        return cls("".join(sorted(kept)), has_unknown)

    def __len__(self) -> int:
        return len(self.characters) + self.has_unknown

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and not self.missing(character)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest unsigned integer that holds every id, little-endian."""
        return _smallest_unsigned(len(self) - 1)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the content: equal for equal vocabularies, on every machine."""
        content = (UNKNOWN if self.has_unknown else "") + (self.normal_form or "") + "\n" + self.characters
        return hashlib.sha256(content.encode("utf-32-le", "surrogatepass")).hexdigest()

    @property
    def newline(self) -> int:
        """The id of a new line; raises `VocabularyError` if there is none."""
        if "\n" not in self:
            raise VocabularyError("the model knows no new line, with which a line begins and ends")
        return int(self.ids_of("\n")[0])

    def encode(self, text: str) -> Ids:
        """The ids of a text, brought to the normal form first, as those of `ids_of`."""
        return self.ids_of(self.normalized(text))

    def normalized(self, text: str) -> str:
        """A text in the normal form; raises `VocabularyError` for what is no text."""
        if not isinstance(text, str):
            raise VocabularyError(f"a text is wanted, not {text!r:.60}")
        return unicodedata.normalize(self.normal_form, text) if self.normal_form else text

    def ids_of(self, text: str) -> Ids:
        """The ids of a text's characters as they are.

        A character outside is <unk>, or without one raises `VocabularyError`, which names it.
        """
        ids = self._lookup(text)
        if not self.has_unknown and ids.size and ids.max() == self._absent:
            names = named(self.missing(text))
            raise VocabularyError(
                f"the vocabulary has no {names}, and no {UNKNOWN} to stand for them: leave them out, or train a model "
                "with --min-freq 2, which makes one of what is rare"
            )
        return ids.astype(self.dtype, copy=False)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids; <unk> becomes U+FFFD. Raises `IndexError` for what is no id."""
        characters = ("\ufffd" if self.has_unknown else "") + self.characters
        table = _utf32(characters)
        return table[np.asarray(ids, dtype=np.intp)].tobytes().decode("utf-32-le", "surrogatepass")

    def missing(self, text: str) -> str:
        """The characters of a text that the vocabulary does not have, each once, in order of first appearance."""
        absent = np.flatnonzero(self._lookup(text) == self._absent)
        return "".join(dict.fromkeys(text[index] for index in absent))

    def grown(self, characters: str) -> Vocabulary:
        """This vocabulary with more characters; with <unk>, which stands for all others, it stays as it is."""
        if self.has_unknown:
            return self
        return replace(self, characters="".join(sorted({*self.characters, *characters})))

    def to_json(self) -> str:
        """The vocabulary as readable JSON; `from_json` reads it back."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "unknown": UNKNOWN if self.has_unknown else None,
            "normal_form": self.normal_form,
            "characters": list(self.characters),
        }
        # UTF-8 has no lone surrogates; their backslash form happens to be JSON's own escape.
        return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace").decode("utf-8")

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Reads what `to_json` wrote; raises `VocabularyError` for anything else."""
        try:
            content = parsed(_File, text)
        except ValueError as error:
            raise VocabularyError(
                f"not a vocabulary of format version {VERSION}: was it written by another charrnn? ({error})"
            ) from error
        return cls("".join(content.characters), content.unknown is not None, content.normal_form)

    def save(self, path: Path) -> None:
        """Writes `to_json` to a file."""
        path.write_text(self.to_json(), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads a file that `save` wrote; raises `VocabularyError`, which names the file."""
        try:
            return cls.from_json(read_text(path))
        except OSError as error:
            raise VocabularyError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, VocabularyError) as error:
            raise VocabularyError(f"{path}: {error}") from error

    def _lookup(self, text: str) -> Ids:
        return self._table.take(_code_points(text), mode="clip")

    @property
    def _absent(self) -> int:
        """What a character outside is looked up as: <unk>, or else the first number that is no id."""
        return 0 if self.has_unknown else len(self)

    @cached_property
    def _table(self) -> Ids:
        codes = _utf32(self.characters)
        # One entry more than the last character has: code points beyond are clipped to it.
        table = np.full(int(codes[-1]) + 2 if codes.size else 1, self._absent, _smallest_unsigned(len(self)))
        table[codes] = np.arange(self.has_unknown, len(self))
        return table


class Numbering:
    """Numbers the characters seen so far in code-point order: ids at once, should no other character follow.

    Each new character makes another numbering, which is named by how many characters it knows.
    """

    def __init__(self, counting: bool) -> None:
        self._codes = np.zeros(0, "<u4")  # as they appeared: the numbering of n characters knows the first n
        self._counts = np.zeros(0x110000, np.int64) if counting else None
        self._extend(self._codes)

    def number(self, text: str) -> tuple[Ids, int, int]:
        """The numbers of a text's characters, how many are known, and the size of the text as UTF-8."""
        codes = _code_points(text)
        numbers = self._look_up(codes)
        absent = np.iinfo(numbers.dtype).max
        if numbers.max() == absent:
            self._extend(np.unique(codes[numbers == absent]))
            numbers = self._look_up(codes)
        known = len(self._codes)
        if self._counts is not None:
            self._counts[np.sort(self._codes)] += np.bincount(numbers, minlength=known)
        longer = () if text.isascii() else (0x80, 0x800, 0x10000)
        return numbers, known, len(text) + sum(int(np.count_nonzero(codes >= first)) for first in longer)

    def characters(self, known: int | None = None) -> str:
        """The characters of a numbering, by default of the last, in their order."""
        return "".join(map(chr, np.sort(self._codes[:known]).tolist()))

    def counted(self) -> Counter[str]:
        """How often each character came since this was called last; empty if it is not counted."""
        if self._counts is None:
            return Counter()
        seen = np.flatnonzero(self._counts)
        counts = Counter(dict(zip(map(chr, seen.tolist()), self._counts[seen].tolist(), strict=True)))
        self._counts[:] = 0
        return counts

    def _extend(self, codes: Ids) -> None:
        self._codes = np.concatenate([self._codes, codes])
        dtype = _smallest_unsigned(len(self._codes))
        table = np.full(0x110000, np.iinfo(dtype).max, dtype)
        table[np.sort(self._codes)] = np.arange(len(self._codes))
        self._look_up = lookup(table)


def lookup(table: Ids) -> Callable[[Ids], Ids]:
    """A function that looks numbers up in a table; numbers of 1 byte in pairs, which is twice as fast."""
    one = table.take(np.arange(256), mode="clip")
    pairs = np.stack(np.meshgrid(one, one), axis=-1).view(f"<u{2 * one.itemsize}").ravel()

    def look_up(numbers: Ids) -> Ids:
        if numbers.itemsize > 1:
            return table.take(numbers, mode="clip")
        found = np.empty(len(numbers), table.dtype)
        even = len(numbers) // 2 * 2
        pairs.take(numbers[:even].view("<u2"), mode="clip", out=found[:even].view(pairs.dtype))
        found[even:] = table.take(numbers[even:], mode="clip")
        return found

    return look_up


def named(characters: str) -> str:
    """Characters as a message names them, of more than ten the first ten and the number of the others."""
    names = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in characters[:10])
    return f"{names} and {len(characters) - 10} more" if len(characters) > 10 else names


def _code_points(text: str) -> Ids:
    """The code points of a text, as unsigned integers of 1 byte if all fit, else of 4."""
    try:
        return np.frombuffer(text.encode("latin-1"), "<u1")
    except UnicodeEncodeError:
        return _utf32(text)


def _utf32(text: str) -> Ids:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _smallest_unsigned(largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    return np.dtype("<u1" if largest < 1 << 8 else "<u2" if largest < 1 << 16 else "<u4")
