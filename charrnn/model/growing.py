"""A model that gets to know more characters: its weights in a model with a larger vocabulary."""

from __future__ import annotations

import torch

from charrnn.model.lstm import CharLSTM
from charrnn.text.vocab import Vocabulary


@torch.no_grad()
def take_weights(model: CharLSTM, vocab: Vocabulary, smaller: CharLSTM, its_vocab: Vocabulary) -> None:
    """Puts the weights of a model into one of the same shape, whose vocabulary has all its characters and maybe more.

    What belongs to a character comes to the id that it has now; what belongs to one that is new stays as it was. Raises
    `VocabularyError` if a character is not there any more.
    """
    unknown = [0] if its_vocab.has_unknown else []
    ids = torch.tensor([*unknown, *vocab.ids_of(its_vocab.characters).tolist()])
    axes = {"embedding.weight": 0, "output.weight": 0, "output.bias": 0}
    if not model.embedding_size:
        axes["lstms.0.weight_ih_l0"] = 1  # one-hot characters have a column each
    places = model.state_dict()  # which shares the memory of the model
    for name, weight in smaller.state_dict().items():
        if name in axes:
            places[name].index_copy_(axes[name], ids, weight)
        else:
            places[name].copy_(weight)
