"""The step as graphs, where there is no GPU: they are recorded operation by operation, and replayed so.

A recording has what a CUDA graph has: the operations of torch that a function has called, on the very tensors that it
called them on. Replaying it runs nothing of the function itself. What reads a number while it is recorded fails, as it
does on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from charrnn.training import captured, loop
from charrnn.training.captured import CapturedStep
from charrnn.training.optimizer import make_optimizer
from charrnn.training.step import Batch, Learner, training_step
from tests.conftest import SMALL, last_checkpoint, run, torchrun
from tests.test_exact import assert_close, assert_same_run
from tests.test_train import Train, train
from tests.training.test_step import LENGTH, ROWS, accelerator, make_batch, make_model, make_state

__all__ = ["accelerator", "train"]


class Recording(TorchDispatchMode):
    """The operations that are called within it; calling it calls them again, and writes where they wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, bool, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            # `clip` asks on a CPU whether there is anything to do, on a GPU never.
            assert captured_clip(args[0]), "a step reads a number"
            return float("inf")
        out, grad = func(*args, **(kwargs or {})), torch.is_grad_enabled()
        self.calls.append((func, args, kwargs or {}, grad, tensors_in(out)))
        return out

    def replay(self) -> None:
        for func, args, kwargs, grad, before in self.calls:
            # Whether an operation keeps what its backward pass needs depends on the mode; autograd itself is done.
            with torch.set_grad_enabled(grad), torch._C._AutoDispatchBelowAutograd():
                now = tensors_in(func(*args, **kwargs))
                for old, new in zip(before, now, strict=True):
                    if old.numel() and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def tensors_in(out: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]


def captured_clip(norm: Tensor) -> bool:
    """Whether a number is one that `clip` asks for: it has no graph of autograd."""
    return norm.ndim == 0 and not norm.requires_grad


def recordings_of(*functions: Callable[[], None]) -> list[Callable[[], None]]:
    """In the place of `graphs_of`."""
    for _ in range(captured.WARM_UP_STEPS):
        for function in functions:
            function()
    replays = []
    for function in functions:
        with Recording() as recording:
            function()
        replays.append(recording.replay)
    return replays


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are recordings, on a CPU."""
    monkeypatch.setattr(captured, "graphs_of", recordings_of)
    monkeypatch.setattr(captured, "DEVICE", "cpu")
    return


def learner_of(accelerator: Accelerator, **shape: Any) -> Learner:
    model = make_model(**shape)
    return Learner(accelerator, model, make_optimizer("adamw", model.parameters(), 0.01, 0.1, capturable=True))


def moments_of(learner: Learner) -> list[Tensor]:
    return [tensor for slots in learner.optimizer.state.values() for tensor in slots.values()]


def batches(model: Any, *, dropped: bool) -> list[Batch]:
    """Windows whose rows forget at different places, and one that is shorter."""
    x_TB, y_TB = make_batch()
    seams = [[(0, row) for row in range(count)] for count in range(4)]
    plain = [Batch(x_TB.roll(len(each), 1), y_TB.roll(len(each), 1), each, ROWS) for each in seams]
    plain[2] = replace(plain[2], seams=[(4, 1)])
    plain.append(Batch(x_TB[:5], y_TB[:5], [], ROWS))
    plain.append(plain[0])
    if not dropped:
        return plain
    generator = torch.Generator().manual_seed(0)
    return [
        replace(batch, masks=model.dropout_masks(ROWS, 0.3, generator), factors=model.drop_connect(0.3, generator))
        for batch in plain
    ]


@pytest.mark.parametrize("grad_clip", [0.0, 1e-3, 1e3])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("shape", [{}, {"embedding_size": 12, "tie_weights": True}], ids=["two layers", "tied"])
def test_both_roads_are_the_same(
    shape: dict[str, Any], dropped: bool, last_only: bool, grad_clip: float, accelerator: Accelerator
) -> None:
    roads = []
    for with_graphs in (False, True):
        learner, state, results, ways = learner_of(accelerator, **shape), make_state(), [], []
        graphs = CapturedStep(learner, LENGTH, last_only=last_only, grad_clip=grad_clip)
        for number, batch in enumerate(batches(learner.model, dropped=dropped)):
            asked = {"stop": number == 1, "save": number == 3}
            if with_graphs and graphs.takes(batch):
                result = graphs(batch, state, **asked)
            else:
                result = training_step(learner, batch, state, last_only=last_only, grad_clip=grad_clip, **asked)
            ways.append(graphs.takes(batch))
            state = result.state
            results.append(torch.stack([result.loss, result.stop, result.save]))
        assert ways == [True, True, False, True, False, True]
        roads.append([*results, *state, *learner.parameters, *moments_of(learner)])
    for eager, graph in zip(*roads, strict=True):
        # Bit for bit, but for the norm: a sum whose last digits depend on where in memory it begins.
        tolerance = 1e-6 if grad_clip else 0.0
        torch.testing.assert_close(graph, eager, rtol=0, atol=tolerance)


def test_a_capture_changes_nothing(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    monkeypatch.setattr(accelerator, "scaler", scaler)
    learner = learner_of(accelerator)
    batch, state = batches(learner.model, dropped=True)[0], make_state()
    for steps in range(2):  # before there are any moments, and after
        before = [tensor.detach().clone() for tensor in (*learner.parameters, *moments_of(learner))]
        scale = scaler.state_dict()
        graphs = CapturedStep(learner, LENGTH)
        graphs._capture(batch, state)
        for old, new in zip(before, (*learner.parameters, *moments_of(learner)), strict=steps > 0):
            assert torch.equal(old, new)
        assert steps or not any(moment.any() for moment in moments_of(learner))
        assert scaler.state_dict() == scale
        graphs(batch, state)
        assert not torch.equal(before[0], learner.parameters[0])


def test_a_scaled_loss_learns_the_same_and_an_overflow_is_skipped(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for scale in (0.0, 1024.0):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
        monkeypatch.setattr(accelerator, "scaler", scaler)
        learner, state = learner_of(accelerator), make_state()
        graphs = CapturedStep(learner, LENGTH, grad_clip=0.1)
        for batch in batches(learner.model, dropped=False):
            state = graphs(batch, state).state if graphs.takes(batch) else state
        weights.append(learner.parameters)
    for own, same in zip(*weights, strict=True):
        assert torch.equal(own, same)
    # Of the same graphs, which decide on the device alone.
    assert scaler is not None
    scaler.load_state_dict({**scaler.state_dict(), "scale": torch.inf})
    before = [parameter.clone() for parameter in learner.parameters]
    assert not torch.isfinite(graphs(batch, state).norm)
    assert all(torch.equal(*pair) for pair in zip(before, learner.parameters, strict=True))


def test_what_a_step_gives_lies_always_in_the_same_place(accelerator: Accelerator) -> None:
    learner, state = learner_of(accelerator), make_state()
    graphs = CapturedStep(learner, LENGTH)
    places = set()
    for batch in batches(learner.model, dropped=True)[:2]:
        result = graphs(batch, state)
        places.add(tuple(tensor.data_ptr() for tensor in (*result.state, *result[1:])))
        state = result.state
    assert len(places) == 1


FLAGS = (*SMALL, "--preset", "laptop", "--tracker", "none", "--log-every", "1", "--state-drop", "0.1")
FLAGS += ("--max-steps", "60", "--eval-every", "25", "--checkpoint-every", "20")


@pytest.mark.parametrize(
    "flags",
    [(), ("--num-layers", "2", "--drop-connect", "0.2"), ("--min-seq-length", "14")],
    ids=["", "dropped", "odd"],
)
def test_runs_with_and_without_graphs(
    flags: tuple[str, ...], train: Train, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    step = CapturedStep.__call__
    monkeypatch.setattr(CapturedStep, "__call__", lambda *args, **kwargs: (steps.append(1), step(*args, **kwargs))[1])
    common = (*FLAGS, *flags, "--corpus", f"files:{text_file}")
    assert train(*common, "--run-dir", "eager", "--no-cuda-graphs") == 0
    assert not steps
    assert train(*common, "--run-dir", "graphs") == 0
    assert len(steps) > 15
    assert_close(Path("eager"), Path("graphs"), 1e-6)


def test_a_run_that_ended_in_a_step_goes_on_bit_for_bit(
    train: Train, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (*FLAGS, "--drop-connect", "0.1", "--corpus", f"files:{text_file}")
    assert train(*common, "--run-dir", "unbroken") == 0
    take_step = loop.take_step

    def fail(job: Any, save_due: bool) -> Any:
        if job.state.step == 33 and job.run.path.name == "broken":
            raise KeyboardInterrupt
        return take_step(job, save_due)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", fail)
        assert train(*common, "--run-dir", "broken") == 130
    assert last_checkpoint(Path("broken")).name == "step-000000025"
    assert train("--run-dir", "broken", "--resume") == 0
    assert_same_run(Path("unbroken"), Path("broken"))


@pytest.mark.slow
def test_two_processes_with_graphs_learn_as_one_without(train: Train, text_file: Path) -> None:
    Path("trainer.py").write_text(
        "import sys\n"
        "import charrnn.train\n"
        "from charrnn.training import captured\n"
        "from tests.training.test_captured import recordings_of\n"
        "captured.graphs_of, captured.DEVICE = recordings_of, 'cpu'\n"
        "sys.exit(charrnn.train.main())\n"
    )
    common = (*FLAGS, "--corpus", f"files:{text_file}")
    assert train(*common, "--run-dir", "one", "--no-cuda-graphs") == 0
    *launcher, _, _ = torchrun(2)
    run(
        ["env", f"PYTHONPATH={Path(__file__).parents[2]}", *launcher, "trainer.py"],
        *common,
        "--run-dir",
        "two",
    )
    assert_close(Path("one"), Path("two"), 1e-5)


def test_without_a_gpu_there_are_none(train: Train, text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "DEVICE", "cuda")
    monkeypatch.setattr(captured, "graphs_of", lambda *_: pytest.fail("it captures a step on a CPU"))
    assert train(*FLAGS, "--corpus", f"files:{text_file}", "--cuda-graphs", "--run-dir", "run") == 0
