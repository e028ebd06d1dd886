"""The training loop of the post that charrnn grew from, as it was printed and with one line changed at a time.

    python benchmarks/the_post.py printed gutenberg:1597 --seconds 120

trains for so many CPU seconds of one core and prints one JSON line: the exact loss on the last tenth of the text at
every doubling of the time, a sample, and every 250 steps what the gradient did. The variants:

- printed: nothing clears the gradients, so that each step adds its own to the sum of all before it;
- cleared: with `zero_grad`;
- letters: one letter at a time, cut off from the one before it;
- every: cleared, and the loss is that of every character of a chunk, not of its last one alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.api import Model
from charrnn.model.evaluation import evaluate
from charrnn.model.lstm import CharLSTM
from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora
from charrnn.text.store import TokenStore
from charrnn.text.store_builder import build_store
from charrnn.text.vocab import Vocabulary

VARIANTS = ("printed", "cleared", "letters", "every")
CELLS, CHUNK, EVERY = 256, (10, 40), 250
"""Cells of the layer, the shortest and the longest chunk, and steps between two lines of the trace."""
PROMPT = "There was once "


class Net(nn.Module):
    """One-hot characters, one LSTM layer, a linear layer: all with torch's own first weights."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.lstm = nn.LSTM(vocab_size, CELLS)
        self.linear = nn.Linear(CELLS, vocab_size)

    def forward(self, characters: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Reads T characters of one text; returns the logits of the next ones, shape (T, V), and the new state."""
        features, state = self.lstm(F.one_hot(characters, self.vocab_size).float(), state)
        return self.linear(features), state

    def as_charrnn(self) -> CharLSTM:
        """The same model as charrnn's, which can be measured and can write."""
        model = CharLSTM(self.vocab_size, CELLS, embedding_size=0)
        model.lstms[0].load_state_dict(self.lstm.state_dict())
        model.output.load_state_dict(self.linear.state_dict())
        return model


def chunks(text: Tensor, variant: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The text again and again from its beginning, a chunk at a time, each with the characters that follow."""
    rng = random.Random(0)
    while True:
        start = 0
        while start + CHUNK[1] < len(text):
            length = 1 if variant == "letters" else rng.randint(*CHUNK)
            yield text[start : start + length], text[start + 1 : start + length + 1]
            start += length


def norm(tensors: list[Tensor]) -> float:
    """The length of all numbers of some tensors as one vector."""
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


def train(net: Net, store: TokenStore, variant: str, seconds: float) -> dict[str, Any]:
    """Trains for so many CPU seconds, measurements among them; returns what was seen on the way."""
    parameters = list(net.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    state = (torch.zeros(1, CELLS), torch.zeros(1, CELLS))
    losses, trace, curve = [], [], []
    looks = [seconds / 2**power for power in (4, 3, 2, 1)]
    read, began = 0, time.process_time()
    for step, (x, y) in enumerate(chunks(torch.from_numpy(store.train.astype("int64")), variant), start=1):
        looking = step % EVERY == 0
        before = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None] if looking else []

        if variant != "printed":
            optimizer.zero_grad()
        logits, state = net(x, state)
        loss = F.cross_entropy(logits, y) if variant == "every" else F.cross_entropy(logits[-1:], y[-1:])
        loss.backward()
        optimizer.step()
        state = (state[0].detach(), state[1].detach())

        read += len(x)
        losses.append(loss.item())
        if looking:
            gradient = [parameter.grad for parameter in parameters if parameter.grad is not None]
            own = [now - then for now, then in zip(gradient, before, strict=True)] if variant == "printed" else gradient
            trace.append(
                {
                    "step": step,
                    "loss": statistics.fmean(losses[-EVERY:]),
                    "spread": statistics.stdev(losses[-EVERY:]),
                    "highest": max(losses[-EVERY:]),
                    "gradient": norm(gradient),
                    "own_gradient": norm(own),
                    "weights": norm([parameter.detach() for parameter in parameters]),
                }
            )
        spent = time.process_time() - began
        if looks and spent >= looks[0]:
            curve.append({"seconds": looks.pop(0), "loss": evaluate(net.as_charrnn(), store.val).nats})
        if spent >= seconds:
            break
    curve.append({"seconds": seconds, "loss": evaluate(net.as_charrnn(), store.val).nats})
    epochs = read / len(store.train)
    return {"steps": step, "epochs": epochs, "cpu_seconds": spent, "curve": curve, "trace": trace}


def text_of(corpus: str, vocab: Vocabulary | None = None) -> TokenStore:
    """A corpus as charrnn reads it, its last tenth held out, by its own vocabulary or a given one."""
    spec = CorpusSpec.parse(corpus)
    with TemporaryDirectory() as folder:
        documents = Corpora().find(spec).documents(spec)
        return build_store(Path(folder) / "store", [(str(spec), documents)], vocab=vocab, val_fraction=0.1)


def run(variant: str, corpus: str, seconds: float) -> dict[str, Any]:
    """Trains one variant on one core; returns its figures and a sample."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    store = text_of(corpus)
    net = Net(len(store.vocab))
    figures = train(net, store, variant, seconds)
    sample = Model(Path(), net.as_charrnn(), store.vocab).generate(PROMPT, length=300, temperature=0.8)
    return {"loss": figures["curve"][-1]["loss"], **figures, "sample": sample}


def main() -> None:
    """Trains one variant and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("corpus", help="SCHEME:ARGUMENT")
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.variant, arguments.corpus, arguments.seconds)))


if __name__ == "__main__":
    main()
