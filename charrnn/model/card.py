"""The model card that travels with a model's weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

from charrnn.model.evaluation import Loss
from charrnn.outside.printable import counted, one_line


def code_span(text: str) -> str:
    """A text as Markdown shows it unchanged, on one line: a fence of more backticks than it has anywhere in a row."""
    line = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    # Of a blank at both ends one is taken off: it keeps backticks from the fence, and saves those of the text.
    blank = " " if re.match("[ `]", line) or re.search("[ `]$", line) else ""
    return f"{fence}{blank}{line}{blank}{fence}"


def model_card(corpora: Sequence[str], step: int, loss: Loss | None) -> str:
    """A Hugging Face model card: what the model is, what it was trained on, how to use it."""
    measured = f"Validation loss: {loss.nats:.4f} nats per character ({loss.bpc:.4f} bpc).\n" if loss else ""
    trained_on = ", ".join(map(code_span, corpora))
    return f"""---
library_name: charrnn
pipeline_tag: text-generation
tags: [charrnn, char-rnn, lstm]
---

# A character-level LSTM language model

Trained with charrnn, a trainer of character-level language models, on {trained_on}, {counted(step, "step")}.
{measured}
```python
from pathlib import Path

import charrnn

model = charrnn.CharLSTM.from_pretrained("PATH_OR_HUB_ID")
vocab = charrnn.Vocabulary.load(Path("PATH") / "vocab.json")
print("".join(charrnn.generate(model, vocab, length=500, temperature=0.8)))
```
"""
