"""The shape of a model: what config.json says, and the weights that a file must then hold. It needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from safetensors import safe_open

from charrnn.foreign import Strict, read, regular

MAX_VOCABULARY = 0x110000 + 1
"""Every code point there is, and <unk>."""


class Shape(Strict):
    """The arguments of `CharLSTM`, as its config.json has them."""

    model_config = ConfigDict(extra="forbid")

    vocab_size: Annotated[int, Field(ge=1, le=MAX_VOCABULARY)]
    hidden_size: Annotated[int, Field(ge=1, le=1 << 24)]
    num_layers: Annotated[int, Field(ge=1, le=1000)] = 1
    embedding_size: Annotated[int, Field(ge=0, le=1 << 24)] = 64
    tie_weights: bool = False

    @model_validator(mode="after")
    def _check_ties(self) -> Self:
        if self.tie_weights and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tied weights need embedding_size {self.embedding_size} == hidden_size {self.hidden_size}"
            )
        return self

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The sizes of all weights by their names, those that are tied once."""
        gates = 4 * self.hidden_size
        sizes: dict[str, tuple[int, ...]] = {"output.bias": (self.vocab_size,)}
        if self.embedding_size:
            sizes["embedding.weight"] = (self.vocab_size, self.embedding_size)
        if not self.tie_weights:
            sizes["output.weight"] = (self.vocab_size, self.hidden_size)
        for layer in range(self.num_layers):
            read_size = self.hidden_size if layer else self.embedding_size or self.vocab_size
            sizes |= {f"lstms.{layer}.bias_{which}_l0": (gates,) for which in ("ih", "hh")}
            sizes[f"lstms.{layer}.weight_ih_l0"] = (gates, read_size)
            sizes[f"lstms.{layer}.weight_hh_l0"] = (gates, self.hidden_size)
        return sizes


def read_shape(folder: Path) -> Shape:
    """The shape of the model in a folder; raises `OSError` or, in one line, `ValueError`."""
    try:
        return read(Shape, folder / "config.json", folder)
    except ValueError as error:
        raise ValueError(f"config.json: {error}") from error


def check_weights(file: Path, shape: Shape, folder: Path | None = None) -> Path:
    """Checks that a file holds the weights of a shape, by its header: nothing is allocated. Returns where it is.

    Raises `OSError`, `SafetensorError` or, naming the weight, `ValueError`.
    """
    real = regular(file, folder)
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    with safe_open(real, framework="numpy") as header:
        for name in header.keys():  # noqa: SIM118  # it is no mapping
            part = header.get_slice(name)
            found[name] = part.get_dtype(), tuple(part.get_shape())
    wanted = {name: ("F32", size) for name, size in shape.weights().items()}
    if found != wanted:
        name = min(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        there, here = (_described(each.get(name)) for each in (found, wanted))
        raise ValueError(f"{file.name} has {there} as {name}, where config.json asks for {here}")
    return real


def _described(weight: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{weight[0]} of {weight[1]}" if weight else "nothing"
