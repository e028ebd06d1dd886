"""The training step: the same gradient as plain autograd, from one process or from several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from torch.func import functional_call

from charrnn.model.lstm import CharLSTM, State
from charrnn.training.optimizer import make_optimizer
from charrnn.training.rows import RowBatches, rows_of_rank
from charrnn.training.step import Batch, Learner, StepResult, forget, forward_window, training_step

VOCAB, ROWS, LENGTH = 6, 7, 10


@pytest.fixture(scope="module")
def accelerator() -> Iterator[Accelerator]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Accelerator(cpu=True)
    torch.set_num_threads(before)


def make_model(**shape: Any) -> CharLSTM:
    torch.manual_seed(3)
    return CharLSTM(VOCAB, 12, num_layers=2, **{"embedding_size": 5, **shape})


def make_batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randint(VOCAB, (LENGTH, ROWS)), torch.randint(VOCAB, (LENGTH, ROWS))


def make_state() -> State:
    torch.manual_seed(5)
    return torch.randn(2, ROWS, 12), torch.randn(2, ROWS, 12)


def learner_of(accelerator: Accelerator, model: CharLSTM) -> Learner:
    """A model that no step moves: what a step leaves is in the gradients."""
    return Learner(accelerator, model, torch.optim.SGD(model.parameters(), lr=0.0))


def step(learner: Learner, rows: range, *, masks: Any = (), factors: Any = (), **changes: Any) -> StepResult:
    """A step over some of the rows."""
    (x_TB, y_TB), (h_LBH, c_LBH), own = make_batch(), make_state(), slice(rows.start, rows.stop)
    batch = Batch(x_TB[:, own], y_TB[:, own], [], ROWS, masks, factors)
    return training_step(learner, batch, (h_LBH[:, own], c_LBH[:, own]), **changes)


def read(model: CharLSTM, x_TB: Tensor, state: State, seams: Any = (), masks: Any = ()) -> Any:
    """A window read with its seams."""
    return forward_window(model, Batch(x_TB, x_TB, list(seams), ROWS, masks), state)


def gradient_of(model: CharLSTM) -> Tensor:
    """The gradient that a step has left, flat."""
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def plain_gradient(model: CharLSTM, *, last_only: bool = False) -> tuple[Tensor, Tensor]:
    """The mean loss of the whole batch and its gradient, by autograd alone."""
    x_TB, y_TB = make_batch()
    logits_TBV, _ = model(x_TB, make_state())
    if last_only:
        logits_TBV, y_TB = logits_TBV[-1:], y_TB[-1:]
    loss = F.cross_entropy(logits_TBV.flatten(0, 1), y_TB.flatten())
    return loss.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize(
    "shape", [{}, {"embedding_size": 12, "tie_weights": True}, {"embedding_size": 0}], ids=["", "tied", "one-hot"]
)
@pytest.mark.parametrize("last_only", [False, True])
def test_the_gradient_is_that_of_autograd(accelerator: Accelerator, shape: dict[str, Any], last_only: bool) -> None:
    model = make_model(**shape)
    loss, gradient = plain_gradient(model, last_only=last_only)
    # Twice: nothing may be left over from the step before.
    for _ in range(2):
        result = step(learner_of(accelerator, model), range(ROWS), last_only=last_only, stop=True)
    torch.testing.assert_close(gradient_of(model), gradient, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(result.loss, loss)
    torch.testing.assert_close(result.norm, gradient.norm())
    assert (float(result.stop), float(result.save)) == (1.0, 0.0)
    assert not any(part.requires_grad for part in (*result.state, result.loss, result.norm))


def test_the_state_goes_on_through_a_step(accelerator: Accelerator) -> None:
    model = make_model()
    result = step(learner_of(accelerator, model), range(ROWS))
    _, expected = model(make_batch()[0], make_state())
    torch.testing.assert_close(result.state, expected)


@pytest.mark.parametrize("max_norm", [0.01, 0.5, 1e6])
def test_clipping_is_that_of_torch(accelerator: Accelerator, max_norm: float) -> None:
    model = make_model()
    norm = step(learner_of(accelerator, model), range(ROWS), grad_clip=max_norm).norm
    other = make_model()
    parameters = list(other.parameters())
    parts = plain_gradient(other)[1].split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)
    expected_norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    torch.testing.assert_close(norm, expected_norm, rtol=1e-6, atol=0)
    for parameter, expected in zip(model.parameters(), parameters, strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-5, atol=1e-6 * max_norm)


@pytest.mark.parametrize("num_processes", [2, 3, 7])
@pytest.mark.parametrize("last_only", [False, True])
def test_the_sum_over_processes_is_one_process(accelerator: Accelerator, num_processes: int, last_only: bool) -> None:
    model = make_model()
    masks = model.dropout_masks(ROWS, 0.3, torch.Generator().manual_seed(0))

    factors = model.drop_connect(0.3, torch.Generator().manual_seed(0))

    def flat(rows: range, own_masks: list[Tensor], *, save: bool) -> Tensor:
        """The gradient over some rows, and the numbers that travel with it."""
        result = step(
            learner_of(accelerator, model),
            rows,
            masks=own_masks,
            factors=factors,
            last_only=last_only,
            save=save,
        )
        return torch.cat([gradient_of(model), torch.stack([result.loss, result.stop, result.save])])

    expected = flat(range(ROWS), masks, save=True)
    total = torch.zeros_like(expected)
    for rank in range(num_processes):
        rows = rows_of_rank(ROWS, rank, num_processes)
        total += flat(rows, [mask[rows.start : rows.stop] for mask in masks], save=rank == 0)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-7)


def test_one_row_forgets_in_the_middle_of_a_window() -> None:
    model, (x_TB, _), state = make_model(), make_batch(), make_state()
    logits_TBV, (h_LBH, c_LBH) = read(model, x_TB, state, [(4, 2)])
    for row in range(ROWS):
        own = (state[0][:, [row]], state[1][:, [row]])
        before, middle = model(x_TB[:4, [row]], own)
        after, end = model(x_TB[4:, [row]], model.zero_state(1) if row == 2 else middle)
        torch.testing.assert_close(logits_TBV[:, [row]], torch.cat([before, after]))
        torch.testing.assert_close((h_LBH[:, [row]], c_LBH[:, [row]]), end)


def test_a_window_over_several_seams_is_read_from_each_of_them() -> None:
    # One row that reads its whole text twice and a half in one window, from the middle.
    model = make_model()
    tokens = np.array([1, 2, 3, 4, 0], dtype=np.uint8)
    window = RowBatches(tokens, 1, 4, range(1)).window(2, 10)
    assert window.seams == [(2, 0), (6, 0)]
    x_TB, state = torch.from_numpy(window.x_TB), (torch.ones(2, 1, 12), torch.ones(2, 1, 12))
    logits_TBV, end = read(model, x_TB, state, window.seams)
    first, _ = model(x_TB[:2], state)
    second, _ = model(x_TB[2:6], model.zero_state(1))
    third, expected_end = model(x_TB[6:], model.zero_state(1))
    torch.testing.assert_close(logits_TBV, torch.cat([first, second, third]))
    torch.testing.assert_close(end, expected_end)


def test_a_seam_at_the_beginning_and_masks_over_all_parts() -> None:
    model, (x_TB, _), state = make_model(), make_batch(), make_state()
    masks = model.dropout_masks(ROWS, 0.5, torch.Generator().manual_seed(1))
    expected, expected_state = model(x_TB, forget(state, [3]), masks)
    logits_TBV, end = read(model, x_TB, state, [(0, 3)], masks)
    torch.testing.assert_close(logits_TBV, expected)
    torch.testing.assert_close(end, expected_state)
    unmasked, _ = read(model, x_TB, state, [(0, 3)])
    assert not torch.allclose(unmasked, logits_TBV)


def test_the_gradient_is_that_of_the_true_weights_and_these_come_back(accelerator: Accelerator) -> None:
    # Over several parts of a window, too.
    model, (x_TB, y_TB), state = make_model(), make_batch(), make_state()
    factors = model.drop_connect(0.5, torch.Generator().manual_seed(1))
    batch = Batch(x_TB, y_TB, [(4, 2)], ROWS, factors=factors)
    training_step(learner_of(accelerator, model), batch, state)
    other, dropped = make_model(), make_model()
    weights = {name: weight.detach().requires_grad_() for name, weight in other.named_parameters()}
    used = dict(weights)
    for layer, factor in enumerate(factors):
        used[f"lstms.{layer}.weight_hh_l0"] = weights[f"lstms.{layer}.weight_hh_l0"] * factor
    middle, state = functional_call(dropped, used, (x_TB[:4], state))
    rest, _ = functional_call(dropped, used, (x_TB[4:], forget(state, [2])))
    F.cross_entropy(torch.cat([middle, rest]).flatten(0, 1), y_TB.flatten()).backward()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name))
        torch.testing.assert_close(parameter.grad, weights[name].grad)


def test_weights_come_back_from_a_step_that_fails() -> None:
    model = make_model()
    with contextlib.suppress(ZeroDivisionError), model.multiplied(model.drop_connect(0.5, torch.Generator())):
        assert not torch.equal(model.lstms[0].weight_hh_l0, make_model().lstms[0].weight_hh_l0)
        raise ZeroDivisionError
    for own, other in zip(model.parameters(), make_model().parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_gradient_does_not_pass_a_seam() -> None:
    model, (x_TB, _) = make_model(), make_batch()
    h_LBH, c_LBH = (part.requires_grad_() for part in make_state())
    logits_TBV, _ = read(model, x_TB, (h_LBH, c_LBH), [(5, 1)])
    logits_TBV[5:].sum().backward()
    assert h_LBH.grad is not None
    assert not h_LBH.grad[:, 1].any()
    assert h_LBH.grad[:, 0].any()


def test_forgetting_clears_what_is_no_number() -> None:
    state = (torch.full((2, 3, 4), torch.nan), torch.full((2, 3, 4), torch.inf))
    h_LBH, c_LBH = forget(state, [1])
    assert not h_LBH[:, 1].any()
    assert not c_LBH[:, 1].any()
    assert h_LBH[:, [0, 2]].isnan().all()
    assert c_LBH[:, [0, 2]].isinf().all()


def test_steps_learn(accelerator: Accelerator) -> None:
    model, (x_TB, _) = make_model(), make_batch()
    learner = Learner(accelerator, model, torch.optim.Adam(model.parameters(), lr=0.02))
    batch = Batch(x_TB[:-1], x_TB[1:], [], ROWS)
    losses = [float(training_step(learner, batch, model.zero_state(ROWS), grad_clip=1.0).loss) for _ in range(150)]
    assert losses[-1] < losses[0] / 5


def test_a_scaled_loss_learns_the_same_and_an_overflow_is_skipped(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x_TB, y_TB = make_batch()

    def learned(scale: float) -> CharLSTM:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
        monkeypatch.setattr(accelerator, "scaler", scaler)
        model = make_model()
        optimizer = make_optimizer("adamw", model.parameters(), 0.01, 0.1)
        training_step(Learner(accelerator, model, optimizer), Batch(x_TB, y_TB, [], ROWS), make_state(), grad_clip=0.1)
        return model

    models = (make_model(), learned(0.0), learned(1024.0), learned(torch.inf))
    for untouched, own, same, kept in zip(*(model.parameters() for model in models), strict=True):
        assert not torch.equal(own, untouched)
        assert torch.equal(own, same)
        assert torch.equal(kept, untouched)
