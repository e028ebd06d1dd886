"""The state of a training that another run saved is refused, in one line, and leaves everything as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from charrnn.errors import CheckpointError
from tests.run.test_checkpoint import Trainer, assert_identical

WEIGHT = "optimizer.lstms.0.weight_hh_l0.exp_avg"
CHANGES: dict[str, tuple[str, Callable[[Tensor], Tensor | None]]] = {
    "turned": (WEIGHT, lambda moment: moment.T.contiguous()),
    "scalar": (WEIGHT, lambda moment: moment.sum()),
    "half": (WEIGHT, Tensor.bfloat16),
    "other rows": ("state.h", lambda state: state[:, :2]),
    "no state": ("state.c", lambda _: None),
    "a sum of two": ("loss_sum", lambda loss: loss.repeat(2)),
    "a list of norms": ("undone", lambda norm: norm.repeat(2)),
    "steps": ("optimizer.output.bias.step", lambda step: step.repeat(3)),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_state_of_another_shape_is_refused(how: str) -> None:
    name, change = CHANGES[how]
    trainer = Trainer()
    trainer.train(2)
    saved = trainer.state.state_dict()
    before = {name: tensor.clone() for name, tensor in trainer.everything().items()}
    with pytest.raises(CheckpointError, match="the state is of another run") as caught:
        trainer.state.load_state_dict(saved | {name: change(saved[name])})
    assert "\n" not in str(caught.value)
    assert_identical(trainer.everything(), before)
