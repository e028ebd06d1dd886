"""What a model makes of held-out text, against compressors: bits per character and per byte.

    python benchmarks/compressors.py RUN TEXT

RUN was trained on the file TEXT; the text that it held out is measured. What a model loses, in bits, is what an
arithmetic coder driven by it would write (its first character is counted as one of equally likely ones). A compressor
is given the held-out bytes alone, and after the training text: the size of both less that of the first. Neither the
model's weights nor the training text are counted.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import zstandard

from charrnn.config.sources import read_config
from charrnn.model.dynamic import evaluate_dynamically
from charrnn.model.evaluation import Loss, evaluate
from charrnn.model.folder import load_model
from charrnn.run.baselines import bits_after, bzip2, xz
from charrnn.run.finding import find_model
from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora
from charrnn.text.store_builder import build_store

LONG = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "xz -9e": xz,
    "bzip2 -9": bzip2,
    "zstd -19": lambda data: zstandard.ZstdCompressor(level=19).compress(data),  # one alone serves one thread
    "zstd -19 --long": lambda data: zstandard.ZstdCompressor(compression_params=LONG).compress(data),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--num-threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.num_threads)
    model, vocab = load_model(find_model(arguments.run))
    config = read_config(arguments.run / "config.json")
    spec = CorpusSpec.parse(f"files:{arguments.text}")
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(
            Path(folder) / "store",
            [(str(spec), Corpora().find(spec).documents(spec))],
            vocab=vocab,
            val_fraction=config["val_fraction"],
            test_fraction=config["test_fraction"],
            normalize=None if config["normalize"] == "none" else config["normalize"],
        )
        tokens = store.val[:]
        before, held_out = (vocab.decode(part[:]).encode() for part in (store.train, store.val))
        plain, dynamic = evaluate(model, tokens), evaluate_dynamically(model, vocab, tokens)
    per_byte = len(tokens) / len(held_out)
    print(f"{len(tokens):,} held-out characters, {len(held_out):,} bytes; {len(before):,} bytes of training text\n")
    print(f"{'':24}{'bits per character':>20}{'per byte':>12}")

    def row(name: str, bits: float) -> None:
        print(f"{name:24}{bits / len(tokens):20.3f}{bits / len(tokens) * per_byte:12.3f}", flush=True)

    def bits_of(loss: Loss) -> float:
        return loss.bpc * loss.num_characters + math.log2(len(vocab))

    row("charrnn", bits_of(plain))
    row("charrnn, learning on", bits_of(dynamic))
    for name, compress in COMPRESSORS.items():
        row(name, 8 * len(compress(held_out)))
        row(f"{name}, trained", bits_after(compress, before, held_out))


if __name__ == "__main__":
    main()
