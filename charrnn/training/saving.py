"""Saving a run and going on with it: a checkpoint of the job, and its way back into the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.distributed.collectives import on_main
from charrnn.errors import CheckpointError
from charrnn.model.card import model_card
from charrnn.model.evaluation import Loss
from charrnn.model.folder import restore_model
from charrnn.run import checkpoint, finding
from charrnn.training.job import Job, circumstances


def save(job: Job, loss: Loss | None) -> None:
    """Saves a checkpoint, with the state of all rows, and removes those no longer wanted; all processes call it."""
    state = job.state.state_dict()

    def write() -> None:
        about: dict[str, Any] = {
            "val_loss": loss.nats if loss else None,
            "files": job.run.lengths(),
            "text": job.store.digest,
            "config": job.config.model_dump(),
            "circumstances": circumstances(job.learner),
        }
        card = model_card(job.config.corpus, job.state.step, loss)
        checkpoint.save_checkpoint(job.run.checkpoints, job.model, job.store.vocab, card, state | about)
        finding.retain(job.run.checkpoints, job.config.keep)

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
