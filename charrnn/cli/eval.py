"""`charrnn eval RUN --corpus SPEC`: the exact loss of a trained model on any text, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import torch
import tyro

from charrnn.checkpoint import find_model, load_model
from charrnn.config import TrainConfig, load_config
from charrnn.corpus import CorpusSpec
from charrnn.errors import CorpusError
from charrnn.evaluation import evaluate
from charrnn.plugins import Corpora
from charrnn.processes import share_of_cores
from charrnn.store import build_store


@dataclass(frozen=True)
class EvalOptions:
    """Measure a trained model's exact loss on any text, and print it as JSON.

    Example: charrnn eval runs/my-run --corpus files:held-out.txt
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run, or of a model."""
    corpus: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """The text, SCHEME:ARGUMENT; can be given several times."""
    plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A module with a corpus of your own."""
    block_plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A plugin that is not to be loaded."""
    split: Literal["all", "val"] = "all"
    """The whole text, or only the last part of each corpus, which training held out."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint of the run to use."""


def main(args: Sequence[str]) -> int:
    """Prints loss (nats per character), bpc, and what they were measured on."""
    options = tyro.cli(EvalOptions, args=list(args), prog="charrnn eval")
    folder = find_model(options.run, options.checkpoint)
    model, vocab = load_model(folder)
    torch.set_num_threads(share_of_cores())
    corpora = Corpora(options.plugin, options.block_plugin)
    specs = [CorpusSpec.parse(spec) for spec in options.corpus]
    # The text is prepared and split as the run's own was.
    own = options.run / "config.json"
    saved = load_config(own) if (options.run / "checkpoints").is_dir() and own.exists() else {}
    settings = TrainConfig(
        **{name: saved[name] for name in ("normalize", "val_fraction", "test_fraction") if name in saved}
    )
    with TemporaryDirectory(prefix="charrnn-eval-") as temporary:
        text = build_store(
            Path(temporary) / "store",
            [(str(spec), corpora.find(spec).documents(spec)) for spec in specs],
            vocab=vocab,
            val_fraction=settings.val_fraction if options.split == "val" else 0.0,
            test_fraction=settings.test_fraction if options.split == "val" else 0.0,
            normalize=None if settings.normalize == "none" else settings.normalize,
        )
        tokens = text.val if options.split == "val" else text.train
        if len(tokens) < 2:
            raise CorpusError(f"{' '.join(options.corpus)}: too short to be measured: take at least two characters")
        loss = evaluate(model, tokens)
        result = {
            "loss": loss.nats,
            "bpc": loss.bpc,
            "characters": loss.num_characters,
            "checkpoint": str(folder),
            "corpora": [asdict(report) for report in text.corpora],
        }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0
