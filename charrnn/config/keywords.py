"""The settings as the keywords of `charrnn.fit`, for editors and type checkers; a test holds them to the fields."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TypedDict

from charrnn.config.settings import LossOn, NormalForm, Optimizer, Precision, Schedule, TrackerName


class Keywords(TypedDict, total=False):
    """What `charrnn.fit` takes besides the corpus: the flags of `charrnn train`, with underscores."""

    val_corpus: str | Sequence[str]
    test_corpus: str | Sequence[str]
    plugin: str | Sequence[str]
    block_plugin: str | Sequence[str]
    preset: str
    config: str | PathLike[str]
    run_dir: str | PathLike[str]
    resume: bool
    init_from: str | PathLike[str]
    seed: int
    val_fraction: float
    test_fraction: float
    min_freq: int
    max_size: int
    vocab: str | PathLike[str]
    normalize: NormalForm
    hidden_size: int
    num_layers: int
    embedding_size: int
    tie_weights: bool
    dropout: float
    drop_connect: float
    state_drop: float
    minutes: str | float
    epochs: float
    max_steps: int
    batch_size: int
    seq_length: int
    min_seq_length: int
    thin: int
    start_at: float
    loss_on: LossOn
    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    schedule_start: float
    warmup: float
    final_learning_rate: float
    weight_decay: float
    grad_clip: float
    eval_every: int
    val_characters: int
    checkpoint_every: int
    checkpoint_minutes: float
    keep: int
    sample_every: int
    log_every: int
    num_threads: int
    precision: Precision
    tf32: bool
    cuda_graphs: bool
    deterministic: bool
    prompt: str
    temperatures: float | Sequence[float]
    sample_length: int
    tracker: TrackerName
    project: str
    log_model: bool
    run_name: str
