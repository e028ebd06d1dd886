"""What a processor's bf16 gives: the gradients of float32, for any number of cells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from charrnn.distributed import accelerator
from charrnn.distributed.accelerator import has_fast_bf16, learns_in_bf16, start_accelerator
from charrnn.errors import ConfigError
from charrnn.model.lstm import CharLSTM
from charrnn.training.step import Batch, Learner, backward


@pytest.fixture
def in_bf16(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
    """An accelerator of the CPU that computes in bf16."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    try:
        joined = start_accelerator("bf16")
    except ConfigError as error:
        pytest.skip(str(error))
    yield joined
    start_accelerator()


# With AMX those of 1,024 and 1,056 were wrong; the others are beside them on both sides.
@pytest.mark.parametrize("num_cells", [32, 512, 992, 1008, 1024, 1040, 1056])
def test_a_step_has_the_gradient_of_float32(num_cells: int, in_bf16: Accelerator) -> None:
    torch.manual_seed(1)
    model = CharLSTM(9, num_cells, embedding_size=8)
    x_TB, y_TB = torch.randint(9, (2, 6, 4))
    parameters = list(model.parameters())
    logits_TBV, _ = model(x_TB, model.zero_state(4))
    exact = torch.autograd.grad(F.cross_entropy(logits_TBV.flatten(0, 1), y_TB.flatten()), parameters)
    learner = Learner(in_bf16, model, torch.optim.SGD(parameters, lr=0.0))
    backward(learner, Batch(x_TB, y_TB, [], 4), model.zero_state(4), last_only=False)
    for parameter, expected in zip(parameters, exact, strict=True):
        assert parameter.grad is not None
        assert float((parameter.grad - expected).norm()) < 0.03 * float(expected.norm())


@pytest.mark.usefixtures("in_bf16")
def test_asking_whether_bf16_is_right_draws_no_random_number() -> None:
    learns_in_bf16.cache_clear()  # an answer that is remembered draws none in any case
    before = torch.get_rng_state()
    assert learns_in_bf16(8)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        # As a virtual machine shows it, whose host keeps AMX for itself.
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
@pytest.mark.parametrize("computes", [True, False])
def test_bf16_is_fast_where_it_was_measured_to_be(
    features: dict[str, object], fast: bool, computes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(accelerator, "_computes_bf16", lambda: computes)
    assert has_fast_bf16() == (fast and computes)
