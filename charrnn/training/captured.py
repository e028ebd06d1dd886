"""A training step as CUDA graphs: its kernels are started all at once, so that the GPU never waits for the host."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from charrnn.config.settings import TrainConfig
from charrnn.distributed.collectives import sum_over_processes
from charrnn.model.lstm import State
from charrnn.training.step import NUMBERS, Batch, Learner, StepResult, backward, pinned, update

DEVICE = "cuda"
"""The kind of device that has graphs."""
WARM_UP_STEPS = 3
"""Steps before a capture: libraries set themselves up in the first ones, which a capture does not allow."""


class CapturedStep:
    """Does what `training_step` does, for windows of one length in which no row forgets but at the beginning.

    There are two graphs, one for the forward and backward passes, one for clipping and the optimizer; between them lies
    the sum over processes. A graph reads and writes always in the same places: each step copies its window there, and
    what it returns lies there too, until the next step. All gradients lie in one buffer, with the three numbers that
    travel with them.
    """

    def __init__(self, learner: Learner, length: int, *, last_only: bool = False, grad_clip: float = 0.0) -> None:
        """For windows of ``length`` characters; the rest is as for `training_step`."""
        self._learner, self._length, self._last_only, self._grad_clip = learner, length, last_only, grad_clip
        self._graphs: list[Callable[[], None]] = []
        on_gpu = learner.accelerator.device.type == "cuda"
        self._ahead = torch.cuda.Stream() if on_gpu else None  # type: ignore[no-untyped-call]

    def ahead(self, make: Callable[[], Batch]) -> Batch:
        """A batch that the GPU makes while it is still at the step before, on a stream of its own."""
        if self._ahead is None:
            return make()
        with torch.cuda.stream(self._ahead):
            batch = make()
        here = torch.cuda.current_stream()
        here.wait_stream(self._ahead)
        for tensor in (batch.x_TB, batch.y_TB, *batch.masks, *batch.factors):
            tensor.record_stream(here)  # so that its memory is not given away before it has been read
        return batch

    def takes(self, batch: Batch) -> bool:
        """Whether a batch is such a window: a function of the step, so that a resumed run goes the same way."""
        return len(batch.x_TB) == self._length and all(time == 0 for time, _ in batch.seams)

    def __call__(self, batch: Batch, state: State, *, stop: bool = False, save: bool = False) -> StepResult:
        """Learns from a window as `training_step` does."""
        if not self._graphs:
            self._capture(batch, state)
        forward_and_backward, clip_and_optimize = self._graphs
        self._place(batch, state)
        forward_and_backward()
        for index, asked in ((-2, stop), (-1, save)):
            if asked:
                self._flat[index] = 1.0
        if self._learner.accelerator.num_processes > 1:
            sum_over_processes(self._flat)
        clip_and_optimize()
        loss, stops, saves = self._flat[-NUMBERS:].unbind()
        return StepResult(self._state, loss, self._norm, stops, saves)

    def _capture(self, batch: Batch, state: State) -> None:
        """Makes the places and the graphs; what warming up does to model, optimizer and scaler is undone."""
        parameters, device = self._learner.parameters, batch.x_TB.device
        masks, factors = ([tensor.clone() for tensor in each] for each in (batch.masks, batch.factors))
        self._batch = Batch(batch.x_TB.clone(), batch.y_TB.clone(), [], batch.num_rows, masks, factors)
        self._state = (state[0].clone(), state[1].clone())
        self._kept_B1 = torch.ones((batch.x_TB.shape[1], 1), dtype=torch.bool, device=device)
        sizes = [parameter.numel() for parameter in parameters]
        self._flat = torch.zeros(sum(sizes) + NUMBERS, device=device)
        parts = torch.split(self._flat[:-NUMBERS], sizes)
        self._gradients = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
        self._nothing, self._norm = torch.zeros(2, device=device), torch.zeros((), device=device)
        undo = undoing(self._learner)
        self._graphs = graphs_of(self._forward_and_backward, self._clip_and_optimize)
        undo()

    def _place(self, batch: Batch, state: State) -> None:
        """Copies what a step reads to where the graphs read it."""
        own = self._batch
        places = (own.x_TB, own.y_TB, *own.masks, *own.factors, *self._state)
        given = (batch.x_TB, batch.y_TB, *batch.masks, *batch.factors, *state)
        for place, tensor in zip(places, given, strict=True):
            place.copy_(tensor)
        kept_B1 = torch.ones(self._kept_B1.shape, dtype=torch.bool)
        for _, row in batch.seams:
            kept_B1[row] = False
        self._kept_B1.copy_(pinned(kept_B1, self._kept_B1.device), non_blocking=True)

    def _forward_and_backward(self) -> None:
        learner, (h_LBH, c_LBH) = self._learner, self._state
        begin = (torch.where(self._kept_B1, h_LBH, 0.0), torch.where(self._kept_B1, c_LBH, 0.0))
        end, loss = backward(learner, self._batch, begin, last_only=self._last_only)
        gradients = [parameter.grad.flatten() for parameter in learner.parameters if parameter.grad is not None]
        torch.cat([*gradients, loss.view(1), self._nothing], out=self._flat)
        for parameter, gradient in zip(learner.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        for place, part in zip(self._state, end, strict=True):
            place.copy_(part)

    def _clip_and_optimize(self) -> None:
        self._norm.copy_(update(self._learner, self._grad_clip, self._flat[:-NUMBERS]))


def is_captured(config: TrainConfig, device: torch.device) -> bool:
    """Whether a run takes its steps as graphs: with fp16 not those of RMSprop, which asks about each overflow."""
    asks = config.precision == "fp16" and config.optimizer == "rmsprop"
    return config.cuda_graphs and device.type == DEVICE and not asks


def captured_step(learner: Learner, config: TrainConfig) -> CapturedStep | None:
    """The step as graphs, where the device has them, unless the settings say no."""
    if not is_captured(config, learner.accelerator.device):
        return None
    last_only = config.loss_on == "last"
    return CapturedStep(learner, config.seq_length, last_only=last_only, grad_clip=config.grad_clip)


def undoing(learner: Learner) -> Callable[[], None]:
    """Keeps what steps change of a learner; returns what puts it back, in place."""
    scaler, moments = learner.accelerator.scaler, learner.optimizer.state
    scale = scaler.state_dict() if scaler else {}
    kept: list[tuple[Tensor, Tensor]] = [(weight, weight.detach().clone()) for weight in learner.parameters]
    kept += [(tensor, tensor.clone()) for slots in moments.values() for tensor in slots.values()]

    @torch.no_grad()
    def undo() -> None:
        for slots in moments.values():
            for tensor in slots.values():
                tensor.zero_()  # as those begin that were not there before
        for place, tensor in kept:
            place.copy_(tensor)
        if scaler:
            scaler.load_state_dict(scale)

    return undo


def graphs_of(*functions: Callable[[], None]) -> list[Callable[[], None]]:
    """Calls functions a few times in turn, then captures the kernels of each; returns what starts them again."""
    # Of their own: what cuBLAS keeps for a stream goes with the first graph that was captured on it (pytorch #193402).
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_STEPS):
            for function in functions:
                function()
    torch.cuda.current_stream().wait_stream(stream)
    graphs = []
    for function in functions:
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's, may call CUDA meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            function()
        graphs.append(graph.replay)
    return graphs
