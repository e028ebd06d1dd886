"""Dynamic evaluation: the loss of a text from which the model goes on learning, each part after it was scored.

Krause, Kahembwe, Murray & Renals 2018, "Dynamic Evaluation of Neural Sequence Models": steps divided by the root mean
square of each weight's gradient, and a pull back to the trained weights that is strongest where gradients are large.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from charrnn.errors import ConfigError
from charrnn.model.evaluation import Loss
from charrnn.model.lstm import CharLSTM, State
from charrnn.model.sampling import Sampling, draw_own
from charrnn.text.vocab import Vocabulary

LEARNING_RATE = 5e-4
"""The size of a step; it and the decay were chosen on one half of a text and reported on the other."""
DECAY = 1e-3
"""The share of its distance to the trained weights that a weight with a mean gradient goes back at each step."""
SEGMENT = 20
"""Characters between two steps, as in the paper."""
OWN_TEXTS, OWN_LENGTH = 32, 320
"""How much text the model writes to learn what gradients are usual."""
FLOOR = 0.1
"""What is added to every root mean square, as a share of their mean: some characters never occur in the own texts."""


def evaluate_dynamically(
    model: CharLSTM,
    vocab: Vocabulary,
    tokens: npt.NDArray[np.integer],
    learning_rate: float = LEARNING_RATE,
    decay: float = DECAY,
) -> Loss:
    """The loss of a text of at least two tokens, read once by a copy of the model that learns from what it has read.

    Raises `ConfigError` where the steps are so large that the weights are no numbers any more.
    """
    if not (0 <= learning_rate < math.inf and 0 <= decay <= 1):
        raise ConfigError(f"the learning rate is {learning_rate} and the decay {decay}: 0 or more, the decay at most 1")
    learner = copy.deepcopy(model)
    parameters = list(learner.parameters())
    scales = usual_gradients(learner, vocab)
    # Of a vocabulary of one character all gradients are 0.
    mean = max(sum(float(scale.sum()) for scale in scales) / sum(scale.numel() for scale in scales), 1e-30)
    trained = [parameter.detach().clone() for parameter in parameters]
    steps = [learning_rate / (scale + FLOOR * mean) for scale in scales]
    decays = [(decay * scale / mean).clamp(max=1.0) for scale in scales]
    state, total = learner.zero_state(1), 0.0
    for start in tqdm(range(0, len(tokens) - 1, SEGMENT), desc="dynamic evaluation", disable=None, leave=False):
        loss, state = _learn(learner, tokens[start : start + SEGMENT + 1], state)
        total += float(loss) * min(SEGMENT, len(tokens) - 1 - start)
        with torch.no_grad():
            for parameter, step, start_weight, share in zip(parameters, steps, trained, decays, strict=True):
                assert parameter.grad is not None
                parameter.addcmul_(parameter.grad, step, value=-1.0)
                parameter.lerp_(start_weight, share)
    if not math.isfinite(total):
        raise ConfigError(f"with the learning rate {learning_rate} the model diverges: take a lower one")
    return Loss(total / (len(tokens) - 1), len(tokens) - 1)


def usual_gradients(model: CharLSTM, vocab: Vocabulary) -> list[Tensor]:
    """The root mean square of each weight's gradient over segments of texts that the model writes itself.

    The paper takes training text, which a model folder comes without; the results differ by less than 0.1 %.
    """
    how = Sampling(length=OWN_LENGTH, temperature=1.0)
    texts = np.stack(list(draw_own(model, vocab, OWN_TEXTS, how)), axis=1)
    parameters = list(model.parameters())
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    starts = range(0, OWN_LENGTH - SEGMENT, SEGMENT)
    for text in texts:
        state = model.zero_state(1)
        for start in starts:
            _, state = _learn(model, text[start : start + SEGMENT + 1], state)
            for square, parameter in zip(squares, parameters, strict=True):
                assert parameter.grad is not None
                square.addcmul_(parameter.grad, parameter.grad)
    return [(square / (len(texts) * len(starts))).sqrt() for square in squares]


def _learn(model: CharLSTM, tokens: npt.NDArray[np.integer], state: State) -> tuple[Tensor, State]:
    """Reads a segment; leaves the gradient of its mean loss with the parameters, and returns that loss."""
    ids = torch.from_numpy(tokens.astype(np.int64)).to(model.output.weight.device)
    logits_TBV, (h, c) = model(ids[:-1, None], state)
    loss = F.cross_entropy(logits_TBV[:, 0], ids[1:])
    model.zero_grad()
    torch.autograd.backward(loss)
    return loss.detach(), (h.detach(), c.detach())
