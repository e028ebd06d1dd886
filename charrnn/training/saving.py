"""Saving a run and going on with it: a checkpoint of the job, and its way back into the job."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from charrnn.distributed.collectives import on_main
from charrnn.errors import CheckpointError
from charrnn.model.card import model_card
from charrnn.model.evaluation import Loss
from charrnn.model.folder import restore_model
from charrnn.run import checkpoint, finding
from charrnn.training.job import Job, circumstances


def save(job: Job, loss: Loss | None) -> None:
    """Has a checkpoint saved, with the state of all rows, and those removed that are no longer wanted.

    All processes call it.
    """
    state, model, step, alone = job.state.state_dict(), job.model, job.state.step, job.accelerator.num_processes == 1
    if alone and not job.beside.at_once:
        # Training goes on meanwhile.
        state |= {name: value.to("cpu", copy=True) for name, value in state.items() if isinstance(value, Tensor)}
        model = copy.deepcopy(model).cpu()

    def write() -> None:
        if not alone:
            job.beside.wait()
        about: dict[str, Any] = {
            "val_loss": loss.nats if loss else None,
            "files": job.run.lengths(),
            "text": job.store.digest,
            "config": job.config.model_dump(),
            "circumstances": circumstances(job.learner),
        }
        card = model_card(job.config.corpus, step, loss)
        checkpoint.save_checkpoint(job.run.checkpoints, model, job.store.vocab, card, state | about)
        finding.retain(job.run.checkpoints, job.config.keep)

    if alone:
        job.beside.do(write, has_copy=True)
    else:
        on_main(job.accelerator, write)


def restore(job: Job, folder: Path) -> None:
    """Puts what a checkpoint holds into the job: weights, moments and place.

    Raises `CheckpointError` or `VocabularyError` with the difference if it is of another model or text.
    """
    saved = checkpoint.read_state(folder)
    # First: characters that only one of two texts has are no news.
    if saved["text"] != job.store.digest:
        specs = " ".join(corpus.spec for corpus in job.store.corpora)
        raise CheckpointError(
            f"{folder} was trained on another text than {specs} is now: bring that text back, or start a new run in "
            "another --run-dir"
        )
    restore_model(folder, job.model, job.store.vocab)
    job.state.load_state_dict(saved)
