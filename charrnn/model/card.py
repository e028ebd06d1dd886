"""The model card that travels with a model's weights."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.model.evaluation import Loss


def model_card(corpora: Sequence[str], step: int, loss: Loss | None) -> str:
    """A Hugging Face model card: what the model is, what it was trained on, how to use it."""
    measured = f"Validation loss: {loss.nats:.4f} nats per character ({loss.bpc:.4f} bpc).\n" if loss else ""
    return f"""---
library_name: charrnn
pipeline_tag: text-generation
tags: [charrnn, char-rnn, lstm]
---

# A character-level LSTM language model

Trained with charrnn, a trainer of character-level language models, on `{"`, `".join(corpora)}`, {step} steps.
{measured}
```python
from pathlib import Path

import charrnn

model = charrnn.CharLSTM.from_pretrained("PATH_OR_HUB_ID")
vocab = charrnn.Vocabulary.load(Path("PATH") / "vocab.json")
print("".join(charrnn.generate(model, vocab, length=500, temperature=0.8)))
```
"""
