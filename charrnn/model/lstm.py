"""The model: characters in, logits and the new state out. It knows nothing of training."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from safetensors.torch import load_model
from torch import Tensor, nn

from charrnn.model.shape import Shape, check_weights
from charrnn.outside.foreign import checked

RECURRENT = "weight_hh_l0"
"""torch's name of the recurrent weights of a one-layer LSTM."""
State = tuple[Tensor, Tensor]
"""Hidden and cell state of every layer and row: (h_LBH, c_LBH)."""


class CharLSTM(nn.Module, PyTorchModelHubMixin, library_name="charrnn", tags=["char-rnn", "text-generation"]):
    """Stacked one-layer LSTMs over an embedding (or one-hot characters) with a linear output.

    LSTM: Hochreiter & Schmidhuber 1997; one-hot and tied models with a forget-gate bias of 1 at the start (Gers et al.
    2000; Jozefowicz et al. 2015), as char-rnn has it. Tied weights: Press & Wolf 2017; Inan et al. 2017.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int = 1,
        embedding_size: int = 64,
        tie_weights: bool = False,
    ) -> None:
        """An ``embedding_size`` of 0 feeds one-hot characters; tied weights need embedding_size == hidden_size."""
        super().__init__()
        sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size, "num_layers": num_layers}
        checked(Shape, sizes | {"embedding_size": embedding_size, "tie_weights": tie_weights})
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.tie_weights = tie_weights
        self.embedding = nn.Embedding(vocab_size, embedding_size) if embedding_size else None
        input_sizes = [embedding_size or vocab_size] + [hidden_size] * (num_layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(size, hidden_size) for size in input_sizes)
        self.output = nn.Linear(hidden_size, vocab_size)
        if tie_weights:
            assert self.embedding is not None
            self.output.weight = self.embedding.weight
        with torch.no_grad():
            fresh_inputs = self.embedding is not None and not tie_weights
            if fresh_inputs:
                # Inputs of standard deviation 2 to the gates, where torch gives them 0.2: the first thing to learn is
                # which character was read (benchmarks/records has what it brings, and zero forget-gate biases).
                bound = 2 * math.sqrt(3 / embedding_size)
                self.lstms[0].get_parameter("weight_ih_l0").uniform_(-bound, bound)
            elif self.embedding is not None:
                # The unit variance that torch gives an embedding would be far too much for an output layer.
                self.embedding.weight.uniform_(-0.1, 0.1)
            for name, parameter in self.lstms.named_parameters():
                # LSTM biases hold the gates one after another: input, forget, cell, output.
                if "bias" in name:
                    forget = slice(hidden_size, 2 * hidden_size)
                    parameter[forget] = 1.0 if "bias_ih" in name and not fresh_inputs else 0.0

    def _save_pretrained(self, save_directory: Path) -> None:
        """What the mixin's `save_pretrained` calls.

        On a GPU the weights of an LSTM lie in one block of memory, for cuDNN, which safetensors refuses to save: what
        is saved is a copy, in which each has its own.
        """
        super(CharLSTM, copy.deepcopy(self).cpu())._save_pretrained(save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **shape: Any,
    ) -> CharLSTM:
        """What the mixin's `from_pretrained` calls: whole safetensors weights or an error, and never a pickle.

        As torch does, it raises `RuntimeError` for weights that are of no such model: before anything is allocated.
        """
        file = Path(model_id) / SAFETENSORS_SINGLE_FILE
        if not file.is_file():
            file = Path(
                hf_hub_download(
                    model_id,
                    SAFETENSORS_SINGLE_FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        for name in ("map_location", "strict", "proxies", "resume_download"):
            shape.pop(name, None)
        try:
            check_weights(file, checked(Shape, shape))
        except ValueError as error:
            raise RuntimeError(f"{model_id} cannot be read: {error}") from error
        model = cls(**shape)
        load_model(model, file, strict=True)
        return model

    def forward(self, x_TB: Tensor, state: State, masks: Sequence[Tensor] = ()) -> tuple[Tensor, State]:
        """Reads T characters in each of B rows, going on from ``state``; returns (logits_TBV, new state).

        ``masks``, from `dropout_masks`, are multiplied into what each LSTM gives to the next or to the output layer.
        """
        if self.embedding is not None:
            features_TBF = self.embedding(x_TB)
        else:
            features_TBF = F.one_hot(x_TB, self.vocab_size).to(self.output.weight.dtype)
        h_LBH, c_LBH = state
        new_h, new_c = [], []
        for layer, lstm in enumerate(self.lstms):
            features_TBF, (h, c) = lstm(features_TBF, (h_LBH[layer : layer + 1], c_LBH[layer : layer + 1]))
            new_h.append(h)
            new_c.append(c)
            if masks:
                features_TBF = features_TBF * masks[layer].to(features_TBF.dtype)
        return self.output(features_TBF), (torch.cat(new_h), torch.cat(new_c))

    @property
    def num_parameters(self) -> int:
        """How many weights there are; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def zero_state(self, num_rows: int) -> State:
        """The fresh state of ``num_rows`` rows, with which every evaluation and sample starts."""
        shape = (self.num_layers, num_rows, self.hidden_size)
        return self.output.weight.new_zeros(shape), self.output.weight.new_zeros(shape)

    def dropout_masks(self, num_rows: int, dropout: float, generator: torch.Generator) -> list[Tensor]:
        """Locked dropout: for the output of each layer one mask a row, the same over the whole window, shape (B, H).

        Gal & Ghahramani 2016 (variational dropout), as applied in AWD-LSTM (Merity et al. 2018).
        """
        shape, device = (self.num_layers, num_rows, self.hidden_size), self.output.weight.device
        kept = torch.rand(shape, generator=generator, device=device) >= dropout
        return list((kept / (1.0 - dropout)).unbind())

    def drop_connect(self, share: float, generator: torch.Generator) -> list[Tensor]:
        """What to multiply the recurrent weights of each layer by, shape (4 H, H): 0 for a share of them.

        The others are scaled up. DropConnect (Wan et al. 2013) as applied in AWD-LSTM (Merity et al. 2018): the same
        for all rows and over the whole window. One random byte decides about each weight, which rounds the share to
        256ths: numbers from 0 to 1 would take as long as a quarter of a step.
        """
        dropped = round(256 * share)
        factors = []
        for lstm in self.lstms:
            weight = lstm.get_parameter(RECURRENT)
            draws = torch.randint(
                -(2**63), 2**63 - 1, (-(-weight.numel() // 8),), generator=generator, device=weight.device
            )
            mask = draws.view(torch.uint8)[: weight.numel()].view_as(weight) >= dropped
            factors.append(mask * (256 / (256 - dropped)))
        return factors

    @contextmanager
    def multiplied(self, factors: Sequence[Tensor]) -> Iterator[None]:
        """Within it the recurrent weights are multiplied by factors from `drop_connect`, and so is their gradient.

        The product is written where the weights are: on a GPU all weights of an LSTM lie in one block of memory, and
        with others in the place of some of them cuDNN would be given a new block at every call.
        """
        weights = [lstm.get_parameter(RECURRENT) for lstm in self.lstms] if factors else []
        true = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight, factor in zip(weights, factors, strict=True):
                weight.mul_(factor)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, factor, kept in zip(weights, factors, true, strict=True):
                    weight.copy_(kept)
                    if weight.grad is not None:
                        weight.grad.mul_(factor)
