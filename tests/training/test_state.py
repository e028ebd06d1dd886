"""The state of a training that another run saved is refused, in one line, and leaves everything as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.errors import CheckpointError
from tests.run.test_checkpoint import Trainer, assert_identical

WEIGHT = "optimizer.lstms.0.weight_hh_l0.exp_avg"
CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "turned": lambda saved: {WEIGHT: saved[WEIGHT].T.contiguous()},
    "scalar": lambda saved: {WEIGHT: torch.zeros(())},
    "half": lambda saved: {WEIGHT: saved[WEIGHT].bfloat16()},
    "other rows": lambda saved: {"state.h": saved["state.h"][:, :2]},
    "no state": lambda saved: {"state.c": None},
    "a sum of two": lambda saved: {"loss_sum": torch.zeros(2)},
    "steps": lambda saved: {"optimizer.output.bias.step": torch.zeros(3)},
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_state_of_another_shape_is_refused(how: str, tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.train(2)
    saved = trainer.state.state_dict()
    before = {name: tensor.clone() for name, tensor in trainer.everything().items()}
    with pytest.raises(CheckpointError, match="the state is of another run") as caught:
        trainer.state.load_state_dict(saved | CHANGES[how](saved))
    assert "\n" not in str(caught.value)
    assert_identical(trainer.everything(), before)
