"""The optimizer's groups, and the learning rate over a run."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from charrnn.config.settings import Optimizer
from charrnn.model.lstm import CharLSTM
from charrnn.training.optimizer import learning_rate_at, make_optimizer, set_learning_rate


def rate(schedule: str, progress: float, *, epoch: float = 0.0, warmup: float = 0.1, final: float = 0.01) -> float:
    return learning_rate_at(schedule, 2.0, progress=progress, epoch=epoch, warmup=warmup, final=final)


@pytest.mark.parametrize("schedule", ["cosine", "trapezoid", "constant"])
def test_the_warm_up_is_linear(schedule: str) -> None:
    assert [rate(schedule, progress) for progress in (0.0, 0.025, 0.05, 0.1)] == pytest.approx([0.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize("schedule", ["cosine", "trapezoid", "constant"])
def test_without_warm_up_the_peak_comes_first(schedule: str) -> None:
    assert rate(schedule, 0.0, warmup=0.0) == 2.0


def test_the_cosine_goes_from_the_peak_to_its_share() -> None:
    assert rate("cosine", 0.55) == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert rate("cosine", 0.325) == pytest.approx(2.0 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4))))
    assert rate("cosine", 1.0) == pytest.approx(0.02)
    assert rate("cosine", 1.0, final=0.0) == pytest.approx(0.0)
    rates = [rate("cosine", 0.1 + 0.009 * step) for step in range(101)]
    assert rates == sorted(rates, reverse=True)


def test_the_trapezoid_stays_at_the_peak_and_goes_straight_down() -> None:
    assert {rate("trapezoid", progress) for progress in (0.1, 0.3, 0.6)} == {2.0}
    assert [rate("trapezoid", progress) for progress in (0.8, 1.0)] == pytest.approx([2.0 * 0.505, 0.02])
    assert rate("trapezoid", 1.0, final=0.0) == 0.0
    assert [rate("trapezoid", progress, warmup=0.8) for progress in (0.4, 0.8, 0.9)] == pytest.approx([1.0, 2.0, 1.01])


@pytest.mark.parametrize("schedule", ["cosine", "trapezoid"])
def test_a_last_window_beyond_the_end_does_not_turn_the_rate_up_again(schedule: str) -> None:
    assert rate(schedule, 1.3) == pytest.approx(0.02)


def test_constant_stays_at_the_peak() -> None:
    assert {rate("constant", progress) for progress in (0.1, 0.5, 1.0)} == {2.0}


def test_char_rnn_decays_after_the_tenth_epoch() -> None:
    # The original multiplies at the end of every epoch from the tenth on, counted from 1: the tenth is still at the
    # peak, the eleventh (which begins at epoch 10.0) the first with less.
    assert {rate("char-rnn", 0.0, epoch=epoch) for epoch in (0.0, 5.5, 9.0, 9.999)} == {2.0}
    assert rate("char-rnn", 0.5, epoch=10.0) == pytest.approx(2.0 * 0.97)
    assert rate("char-rnn", 0.5, epoch=10.999) == pytest.approx(2.0 * 0.97)
    assert rate("char-rnn", 0.9, epoch=49.5) == pytest.approx(2.0 * 0.97**40)


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_weight_decay_is_for_matrices_and_adamw_alone(name: str) -> None:
    model = CharLSTM(5, 8, num_layers=2, embedding_size=4)
    optimizer = make_optimizer(name, model.parameters(), 1e-3, 0.1)
    decay = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {name: decay[parameter] for name, parameter in model.named_parameters()} == {
        weight: 0.1 if name == "adamw" and "bias" not in weight else 0.0 for weight, _ in model.named_parameters()
    }


def test_adamw_decays_a_matrix_without_gradient_and_no_bias() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = make_optimizer("adamw", layer.parameters(), 0.5, 0.1)
    before = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * (1 - 0.5 * 0.1))
    torch.testing.assert_close(layer.bias.detach(), before["bias"])


def test_rmsprop_is_that_of_char_rnn() -> None:
    parameter = torch.nn.Parameter(torch.tensor([[1.0]]))
    optimizer = make_optimizer("rmsprop", [parameter], 0.002, 0.0)
    parameter.grad = torch.tensor([[0.5]])
    optimizer.step()
    # One step of its update from a mean square of 0: g / sqrt(0.05 g^2 + ...) = 1 / sqrt(0.05).
    assert float(parameter.detach()) == pytest.approx(1 - 0.002 / math.sqrt(0.05), rel=1e-5)


def test_the_learning_rate_is_set_for_all_parameters() -> None:
    optimizer = make_optimizer("adamw", CharLSTM(5, 8).parameters(), 1.0, 0.1)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
