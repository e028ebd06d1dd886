"""The training loop: steps, and what is due between them: metrics, evaluation, samples, checkpoints, stopping."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config.settings import TrainConfig
from charrnn.distributed.processes import sum_over_processes
from charrnn.errors import UserError
from charrnn.model.evaluation import Loss, loss_sum, num_rows_for
from charrnn.model.sampling import default_prompt, generate_scored
from charrnn.run.folder import METRICS, SAMPLES
from charrnn.training.job import Job, Position, save_position
from charrnn.training.optimizer import learning_rate_at, set_learning_rate
from charrnn.training.randomness import derived_seed, generator_at
from charrnn.training.rows import row_share
from charrnn.training.step import training_step

CHECK_EVERY = 10
"""Steps between two looks at whether to stop, on a device where a look has to wait for it."""


LOWER = "lower --learning-rate or --grad-clip and start again (what was saved before is kept)"


class DivergedError(UserError):
    """The loss is no longer a number."""


def train_to_end(job: Job, at: Position) -> str:
    """Trains from a position to the end of the run; returns ``finished``, or ``preempted`` if told to stop."""
    config = job.config
    job.terminal.begin(job.total_steps(), at.step)
    started, started_at = time.monotonic(), job.progress(at.step, at.time)
    saved = lap = started
    lap_time = at.time
    while job.progress(at.step, at.time) < 1.0:
        save_due = 0 < config.checkpoint_minutes * 60 < time.monotonic() - saved
        epoch = at.time // job.rows.row_length
        norm = take_step(job, at, save_due)
        job.terminal.advance()
        progress = job.progress(at.step, at.time)
        ended = progress >= 1.0
        epoch_ended = ended or at.time // job.rows.row_length > epoch
        evaluating = epoch_ended or _every(config.eval_every, at.step)
        loss, improved = None, False
        if evaluating or _every(config.log_every, at.step):
            train_loss, grad_norm = read_figures(job, at, norm)
            now = time.monotonic()
            speed = (at.time - lap_time) * config.batch_size / max(now - lap, 1e-9)
            left = (now - started) * (1 - progress) / (progress - started_at)
            loss = measure(job) if evaluating else None
            if loss is not None and not math.isfinite(loss.nats):
                raise DivergedError(f"the validation loss is no longer a number at step {at.step}: {LOWER}")
            improved = loss is not None and (at.best_loss is None or loss.nats < at.best_loss)
            at.best_loss = loss.nats if loss is not None and improved else at.best_loss
            report(job, at, train_loss, grad_norm, loss, speed, left)
        if epoch_ended or _every(config.sample_every, at.step):
            write_samples(job, at, loss)
        stop, save = _requests(job, at)
        if epoch_ended or improved or stop or save or _every(config.checkpoint_every, at.step):
            check_weights(job, at, norm)
            save_position(job, at, loss)
            saved = time.monotonic()
        if at.loss_count == 0:
            lap, lap_time = time.monotonic(), at.time
        if stop and not ended:
            return "preempted"
    return "finished"


def _every(steps: int, step: int) -> bool:
    return steps > 0 and step % steps == 0


def _requests(job: Job, at: Position) -> tuple[bool, bool]:
    """Whether any process was told to stop, and whether the main one wants to save: the same answer on all."""
    if job.device.type != "cpu" and not _every(CHECK_EVERY, at.step):
        return False, False
    return bool(job.gradients.stop > 0), bool(job.gradients.save > 0)


def window_length(config: TrainConfig, step: int) -> int:
    """The length of a step's window, drawn where it is random."""
    if not config.min_seq_length:
        return config.seq_length
    span = config.seq_length - config.min_seq_length + 1
    return config.min_seq_length + derived_seed(config.seed, step, "window length") % span


def take_step(job: Job, at: Position, save_due: bool) -> Tensor:
    """One training step from a position, which it moves on; returns the gradient norm."""
    config, device = job.config, job.device
    length = window_length(config, at.step)
    window = job.rows.window(at.time, length)
    rate = learning_rate_at(
        config.schedule,
        config.learning_rate,
        progress=job.progress(at.step + 1, at.time + length),
        epoch=at.time / job.rows.row_length,
        warmup=config.warmup,
        final=config.final_learning_rate,
    )
    set_learning_rate(job.optimizer, rate)
    # What is random is drawn for the rows of all processes, so that no row's luck depends on who owns it.
    own = slice(job.share.start, job.share.stop)
    masks, recurrent, seams = None, None, window.seams
    if config.dropout > 0:
        generator = generator_at(config.seed, at.step, "dropout", device)
        masks = [mask[own] for mask in job.model.dropout_masks(config.batch_size, config.dropout, generator)]
    if config.drop_connect > 0:
        recurrent = job.model.drop_connect(
            config.drop_connect, generator_at(config.seed, at.step, "drop connect", device)
        )
    if config.state_drop > 0:
        draw = torch.rand(config.batch_size, generator=generator_at(config.seed, at.step, "state drop"))
        seams = [(0, row) for row, number in enumerate(draw[own].tolist()) if number < config.state_drop] + seams
    at.state, norm = training_step(
        job.accelerator,
        job.model,
        job.optimizer,
        job.gradients,
        _to_device(window.x_TB, device),
        _to_device(window.y_TB, device),
        at.state,
        num_rows=config.batch_size,
        seams=seams,
        masks=masks,
        recurrent=recurrent,
        last_only=config.loss_on == "last",
        grad_clip=config.grad_clip,
        stop=bool(job.stop),
        save=save_due and job.accelerator.is_main_process,
    )
    at.loss_sum += job.gradients.loss
    at.loss_count += 1
    at.step += 1
    at.time += length
    return norm


def _to_device(array: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def read_figures(job: Job, at: Position, norm: Tensor) -> tuple[float, float]:
    """The mean loss since the last figures and the gradient norm; waits for the device, and resets the mean."""
    check_finite(job, at, norm)
    train_loss = float(at.loss_sum) / at.loss_count
    at.loss_sum, at.loss_count = torch.zeros_like(at.loss_sum), 0
    return train_loss, float(norm)


def check_finite(job: Job, at: Position, norm: Tensor) -> None:
    """Raises `DivergedError` if the loss or the gradient is not finite; a scaled fp16 gradient may overflow."""
    skipped = job.accelerator.mixed_precision == "fp16"
    if not math.isfinite(float(at.loss_sum)) or not (skipped or math.isfinite(float(norm))):
        raise DivergedError(f"the loss is no longer a number at step {at.step}: {LOWER}")


def check_weights(job: Job, at: Position, norm: Tensor) -> None:
    """Raises `DivergedError` if anything that a checkpoint would keep is not finite."""
    check_finite(job, at, norm)
    if not all(bool(torch.isfinite(weight).all()) for weight in job.model.parameters()):
        raise DivergedError(f"a weight is no longer a number at step {at.step}: {LOWER}")


def measure(job: Job) -> Loss | None:
    """The exact validation loss, each process evaluating its share of the rows; ``None`` without validation text."""
    tokens = job.text.val
    if len(tokens) < 2:
        return None
    num_rows = num_rows_for(len(tokens))
    share = row_share(num_rows, job.accelerator.process_index, job.accelerator.num_processes)
    total = loss_sum(job.model, tokens, share, num_rows)
    if job.accelerator.num_processes > 1:
        total = total.to(job.device)
        sum_over_processes(total)
    return Loss(float(total) / (len(tokens) - 1), len(tokens) - 1)


def report(
    job: Job, at: Position, train_loss: float, grad_norm: float, loss: Loss | None, speed: float, left: float
) -> None:
    """Writes a line of metrics to the run folder, the tracker and the terminal."""
    row = {
        "step": at.step,
        "epoch": round(at.time / job.rows.row_length, 6),
        "train_loss": train_loss,
        "val_loss": loss.nats if loss else None,
        "val_bpc": loss.bpc if loss else None,
        "learning_rate": job.optimizer.param_groups[0]["lr"],
        "grad_norm": grad_norm,
        "chars_per_second": speed,
    }
    if job.accelerator.is_main_process:
        job.run.append(METRICS, row)
        job.tracker.log({name: value for name, value in row.items() if value is not None and name != "step"}, at.step)
    job.terminal.progress(row, left)


def write_samples(job: Job, at: Position, loss: Loss | None) -> None:
    """Samples on the main process: from a fresh state, with the same seed every time, at each temperature."""
    if not job.accelerator.is_main_process or job.config.sample_length == 0:
        return
    prompt = job.config.prompt or default_prompt(job.text.vocab)
    length, seed = job.config.sample_length, derived_seed(job.config.seed, 0, "samples")
    scored = [
        list(generate_scored(job.model, job.text.vocab, prompt, length=length, temperature=temperature, seed=seed))
        for temperature in job.config.temperatures
    ]
    rows = [
        {
            "epoch": round(at.time / job.rows.row_length, 6),
            "step": at.step,
            "temperature": temperature,
            "prompt": prompt,
            "text": "".join(character for character, _ in characters),
            "val_loss": loss.nats if loss else None,
        }
        for temperature, characters in zip(job.config.temperatures, scored, strict=True)
    ]
    for row in rows:
        job.run.append(SAMPLES, row)
    job.tracker.log_samples(rows, scored, at.step)
    job.terminal.samples(rows)
