"""Whether a run was still learning, had begun to learn by heart, or was done, and how that is said."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.run.quality import OFTEN, Verdict, judge, quality_of
from charrnn.training.planning import MOST_EPOCHS


def rows(held_out: list[float], training: list[float], every: float = 1.0) -> list[dict[str, Any]]:
    """Lines of metrics: a measurement after so many epochs, with a line of training alone before each."""
    found = []
    for number, (loss, trained) in enumerate(zip(held_out, training, strict=True), 1):
        epoch = number * every
        found.append({"step": 10 * number - 5, "epoch": epoch - every / 2, "train_loss": trained + 0.02})
        found.append({"step": 10 * number, "epoch": epoch, "train_loss": trained - 0.02, "val_loss": loss})
    return found


def state(held_out: list[float], training: list[float], every: float = 1.0) -> str | None:
    verdict = judge(rows(held_out, training, every))
    return verdict and verdict.state


def test_a_loss_that_still_falls_with_that_of_training_is_still_learning() -> None:
    # The laptop preset on tiny Shakespeare; its last epoch is flatter, as the learning rate goes down.
    laptop = judge(rows([1.5840, 1.4951, 1.4399, 1.4202], [1.72, 1.50, 1.43, 1.39]))
    assert laptop == Verdict("more time", "still learning: more minutes would help (--resume --minutes +10)")
    # A part of one epoch.
    assert state([2.06, 1.87, 1.82], [2.5, 1.95, 1.80], every=0.24) == "more time"


def test_what_was_learnt_long_before_a_measurement_does_not_count() -> None:
    # 128 cells on python:asyncio, two epochs; the first begins with what is easy.
    training = [2.0524, 1.4537, 1.3577, 1.2841, 1.2107, 1.1154, 1.1181, 1.1291, 1.1563, 1.1268]
    metrics: list[dict[str, Any]] = [
        {"step": number, "epoch": number / 5, "train_loss": loss} for number, loss in enumerate(training, 1)
    ]
    metrics[4]["val_loss"], metrics[9]["val_loss"] = 1.3459, 1.2654
    verdict = judge(metrics)
    assert verdict is not None
    assert verdict.state == "more time"


def test_a_training_loss_far_below_does_not_matter_if_both_fall() -> None:
    assert state([1.1524, 1.0731, 1.0186, 0.9959], [1.2, 0.74, 0.64, 0.58]) == "more time"


def test_a_loss_that_rises_while_that_of_training_falls_is_learning_by_heart() -> None:
    # Two layers of 1,024 cells on tiny Shakespeare.
    losses = [2.1237, 1.7482, 1.5780, 1.4985, 1.4682, 1.4443, 1.4292, 1.4362, 1.4501, 1.5221, 1.6578, 1.9070]
    verdict = judge(rows(losses, [2.6 - 0.2 * number for number in range(12)]))
    assert verdict is not None
    assert verdict.state == "by heart"
    assert verdict.advice == "began to learn by heart at epoch 7.0: more text helps more than more minutes"


def test_a_loss_that_is_flat_for_half_of_the_run_is_done() -> None:
    assert state([1.7, 1.42, 1.415, 1.413], [1.7, 1.42, 1.41, 1.40]) == "finished"
    assert state([1e-3] * 6, [1e-3] * 6) == "finished"


def test_a_run_that_has_hardly_begun_has_no_verdict() -> None:
    # Three steps of a text of 5,000 different characters: as if all of them were equally likely.
    assert state([8.517, 8.518, 8.518], [8.53, 8.52, 8.52], every=0.01) is None


def test_a_text_that_was_read_often_is_done_however_the_loss_fell() -> None:
    # laptop-long, evaluated after each of ten epochs: what it learnt in the last ones is the learning rate's fall.
    losses = [1.5702, 1.5190, 1.5063, 1.4870, 1.4732, 1.4567, 1.4335, 1.4126, 1.3878, 1.3792]
    training = [1.8, 1.55, 1.51, 1.49, 1.47, 1.45, 1.42, 1.39, 1.36, 1.34]
    assert state(losses, training) == "more time"
    assert state(losses, training, every=1.2) == "finished"
    # A plan says of no text that is read less often that more time would not help.
    assert min(most for _, most in MOST_EPOCHS) >= OFTEN


def test_a_loss_that_hardly_falls_while_that_of_training_falls_far_is_done() -> None:
    # 1,024 cells, ten epochs of tiny Shakespeare: what is learnt in the end is the text itself.
    losses = [1.5911, 1.5174, 1.4858, 1.4689, 1.4467, 1.4341, 1.4257, 1.4185, 1.4156, 1.4167]
    assert state(losses, [1.8, 1.5, 1.44, 1.40, 1.36, 1.31, 1.26, 1.21, 1.16, 1.14]) == "finished"


def test_a_loss_that_rises_with_that_of_training_has_no_verdict() -> None:
    assert state([1.5, 1.45, 1.9], [1.5, 1.45, 1.9]) is None


def test_a_rise_within_an_epoch_is_no_learning_by_heart() -> None:
    assert state([1.60, 1.57, 1.50, 1.47, 1.49], [1.6, 1.5, 1.48, 1.45, 1.43], every=0.25) != "by heart"


def test_one_measurement_tells_nothing() -> None:
    assert judge([]) is None
    assert judge(rows([1.5], [1.5])) is None
    assert judge([{"step": 1, "epoch": 1.0, "train_loss": None, "val_loss": 2.0}] * 5) is None


measured = st.none() | st.floats()


@given(st.lists(st.fixed_dictionaries({"epoch": st.floats(0, 1e12), "val_loss": measured, "train_loss": measured})))
def test_any_measurements_have_a_verdict_or_none(metrics: list[dict[str, Any]]) -> None:
    verdict = judge(metrics)
    assert verdict is None or verdict.advice
    assert quality_of(Path("nowhere"), metrics, finished=False).verdict is None


def test_the_sentence_says_what_is_known() -> None:
    metrics = rows([1.5840, 1.4951, 1.4399, 2.05 * math.log(2)], [1.72, 1.50, 1.43, 1.39])
    bare = "2.05 bits a character on text it has not seen"
    assert quality_of(Path(), metrics, finished=False).sentence() == bare
    learning = "; still learning: more minutes would help (--resume --minutes +10)"
    assert quality_of(Path(), metrics, finished=True).sentence() == bare + learning
    known = {"text": "", "letters": 4.784, "bzip2": 2.4, "xz": 2.449}
    Path("baselines.json").write_text(json.dumps(known))
    beside = " (letter frequencies 4.78, bzip2 2.40, xz 2.45)"
    assert quality_of(Path(), metrics, finished=True).sentence() == bare + beside + learning
    for nothing in ([], [{"step": 1, "epoch": 1.0, "train_loss": 1.0, "val_loss": None}]):
        assert quality_of(Path(), nothing, finished=True).sentence() == ""


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_what_is_no_number_is_no_loss(loss: float) -> None:
    metrics = [{"step": 1, "epoch": 1.0, "train_loss": loss, "val_loss": loss}]
    assert quality_of(Path(), metrics, finished=True).sentence() == ""
