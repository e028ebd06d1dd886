"""What comes before the first step: the run folder, what was there already, what each process reads, the job."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from charrnn.config.options import flag
from charrnn.config.settings import Rule, TrainConfig, ruled, to_json
from charrnn.config.sources import check_resumed, from_saved, read_config
from charrnn.distributed import launcher
from charrnn.distributed.accelerator import has_fast_bf16
from charrnn.distributed.stopping import StopRequest
from charrnn.errors import ConfigError
from charrnn.model.folder import load_model
from charrnn.model.growing import take_weights
from charrnn.model.lstm import CharLSTM
from charrnn.outside.printable import counted, quoted
from charrnn.run import checkpoint, finding
from charrnn.run.folder import CONFIG, SAMPLES, RunFolder, new_run_folder, read_json, whole_rows, write_text
from charrnn.run.terminal import Terminal
from charrnn.run.text import run_text
from charrnn.run.trackers import TRACKERS
from charrnn.text.rare import find_rare
from charrnn.text.store import TokenStore
from charrnn.text.vocab import Vocabulary, named
from charrnn.training.beside import Beside
from charrnn.training.captured import captured_step
from charrnn.training.job import Job, circumstances, make_learner, rows_of, versions
from charrnn.training.planning import free
from charrnn.training.randomness import derived_seed
from charrnn.training.rows import rows_of_rank
from charrnn.training.saving import restore
from charrnn.training.state import TrainingState

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """What the run folder holds of an earlier start of this run: its settings, and the checkpoint to go on from."""

    config: TrainConfig | None = None
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Inputs:
    """What a process has read: the settings, with the shape of the model to start from, that model, and the text."""

    config: TrainConfig
    store: TokenStore
    model: CharLSTM | None
    model_vocab: Vocabulary | None = None

    def digests(self) -> dict[str, str]:
        """The beginnings of the digests of what each node reads for itself."""
        weights = hashlib.sha256(self.model_vocab.digest.encode() if self.model_vocab else b"")
        for tensor in self.model.state_dict().values() if self.model else ():
            weights.update(tensor.numpy().tobytes())
        digests = {"vocabulary": self.store.vocab.digest, "text": self.store.digest}
        digests["starting model"] = weights.hexdigest()
        return {name: digest[:12] for name, digest in digests.items()}


def shared_versions() -> dict[str, str]:
    """The versions that all processes must share."""
    return {name: versions()[name] for name in ("charrnn", "torch")}


def shared_settings(config: TrainConfig) -> dict[str, str]:
    """The settings that all processes must share, by their flags; each may have paths and threads of its own."""
    own = ruled(Rule.OF_NODE)
    return {flag(name): str(getattr(config, name)) for name in TrainConfig.model_fields if name not in own}


def wanted_precision(config: TrainConfig) -> str:
    """The precision that was asked for, or that which suits this machine: on a GPU fp16, if TF32 would be enough.

    RMSprop would wait for the GPU at every step, to know whether something overflowed. A plan takes bf16 on processors
    that are fast with it; a preset on a CPU is for repeating its results, in float32.
    """
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        half = config.tf32 and config.optimizer != "rmsprop" and torch.cuda.get_device_capability() >= (7, 0)
        return "fp16" if half else "float32"
    return "bf16" if config.minutes and not config.preset and has_fast_bf16() else "float32"


def choose_run_dir(config: TrainConfig) -> Path:
    """The run folder: the one asked for, or the one this launcher's crashed attempt used, or a new one."""
    if config.run_dir:
        return Path(config.run_dir)
    parent = Path("runs")
    for status in sorted(parent.glob("*/status.json"), reverse=True) if launcher.restarts() else ():
        if crashed_here(status.parent):
            return status.parent
    if config.resume:
        newest = max(parent.glob("*/config.json"), default=None)
        hint = f", for example --run-dir {quoted(newest.parent)}" if newest else ""
        raise ConfigError(f"--resume needs the --run-dir to go on with{hint}")
    return new_run_folder(parent, config.corpus)


def crashed_here(run_dir: Path) -> bool:
    """Whether torchrun has started this job again after it crashed in that very run folder."""
    if launcher.restarts() == 0:
        return False
    try:
        status = read_json(run_dir / "status.json")
    except (OSError, ValueError):
        return False  # another run's, perhaps; what this job writes is whole
    return isinstance(status, dict) and launcher.is_parent(status.get("launcher"))


def claim(run: RunFolder, config: TrainConfig) -> Earlier:
    """Takes the run folder for this process, the main one, and looks what is in it.

    Raises `CheckpointError` for a folder that cannot be used, `ConfigError` for settings it cannot go on with.
    """
    run.open(resume=config.resume or crashed_here(run.path))
    if not run.begun:
        return Earlier()
    own = run.path / CONFIG
    saved = from_saved(read_config(own), own)
    config = as_begun(config, saved)
    for change in check_resumed(with_shape(config, saved) if config.init_from else config, saved):
        LOG.warning("resuming with %s", change)
    newest = finding.latest(run.checkpoints)
    if newest is None:
        LOG.warning("%s has no checkpoint yet: starting afresh", run.path)
    return Earlier(saved, newest)


def as_begun(config: TrainConfig, saved: TrainConfig | None) -> TrainConfig:
    """The settings of a start of a run that has begun with others: what was planned then is not planned again."""
    if saved is None:
        return config
    planned = {name: getattr(saved, name) for name in free(config)} if config.minutes else {}
    return config.model_copy(update=planned | {"minutes": ""})


def with_shape(config: TrainConfig, model: CharLSTM | TrainConfig) -> TrainConfig:
    """The settings with the shape of a model, or with that which other settings have."""
    return config.model_copy(update={name: getattr(model, name) for name in ruled(Rule.SHAPE)})


def read_inputs(config: TrainConfig, run_dir: Path, earlier: Earlier) -> tuple[Inputs, Mapping[str, object]]:
    """What --init-from, --vocab and the corpora hold, and the digests of it.

    A run that is resumed has a model and a vocabulary in its own folder, whatever became of the files it came from.
    """
    model, vocab = None, None
    if earlier.checkpoint and earlier.config:
        if config.init_from:
            config = with_shape(config, earlier.config)
        if config.init_from or config.vocab:
            vocab = Vocabulary.load(run_dir / "vocab.json")
    elif config.init_from:
        model, vocab = finding.read_chosen(Path(config.init_from), "best", load_model)
        config = with_shape(config, model)
    elif config.vocab:
        vocab = Vocabulary.load(Path(config.vocab))
    store = run_text(config, run_dir, vocab, grow=model is not None)
    if model and vocab and (new := vocab.missing(store.vocab.characters)):
        LOG.info("the model of --init-from has yet to learn %s", named(new))
    inputs = Inputs(config, store, model, vocab if model else None)
    return inputs, inputs.digests()


def prepare(accelerator: Accelerator, run: RunFolder, inputs: Inputs, earlier: Earlier, stop: StopRequest) -> Job:
    """Everything a process needs to train; raises a `UserError` for what cannot work, before anything is written."""
    config, store = inputs.config, inputs.store
    if config.prompt:
        store.vocab.encode(config.prompt)
    if config.val_corpus and len(store.val) < 2:
        raise ConfigError(f"--val-corpus {' '.join(config.val_corpus)}: too short to be measured")
    if config.batch_size < accelerator.num_processes:
        raise ConfigError(
            f"--batch-size {config.batch_size} has fewer rows than the job has processes: "
            f"use {accelerator.num_processes} or more"
        )
    own_rows = rows_of_rank(config.batch_size, accelerator.process_index, accelerator.num_processes)
    rows = rows_of(config, store, own_rows)
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
    shape = {name: getattr(config, name) for name in ruled(Rule.SHAPE)}
    model = CharLSTM(len(store.vocab), **shape)
    if inputs.model and inputs.model_vocab:
        take_weights(model, store.vocab, inputs.model, inputs.model_vocab)
    # Not prepared by Accelerate: its DistributedDataParallel would sum the gradients in an order of its own, and its
    # optimizer looks through the installed packages in every step (0.16 ms from a disk, more from a network).
    model.to(accelerator.device)
    learner = make_learner(accelerator, model, config)
    job = Job(
        config=config,
        store=store,
        rows=rows,
        learner=learner,
        state=TrainingState.at_start(learner, own_rows, config.batch_size),
        stop=stop,
        run=run,
        tracker=TRACKERS[config.tracker](accelerator, run.path),
        terminal=Terminal(run.path, shown=accelerator.is_main_process),
        beside=Beside(accelerator.device),
        captured=captured_step(learner, config),
    )
    if earlier.checkpoint:
        restore(job, earlier.checkpoint)
    return job


def begin(job: Job, newest: Path | None, outlook: Sequence[str] = ()) -> None:
    """Makes the run folder that of this run, cut back to the newest checkpoint, and starts the tracker.

    ``outlook`` are the lines to say of what comes.
    """
    run, config = job.run, job.config
    training = checkpoint.read_training(newest) if newest else {"files": {}, "circumstances": {}}
    for name, now in circumstances(job.learner).items():
        before = training["circumstances"].get(name, now)
        if now != before and None not in (now, before):
            LOG.warning("resuming with %s %s (it was %s): the last digits may differ", name, now, before)
    told_until = run.last_step()
    run.cut_back(training["files"])
    checkpoint.remove_unfinished(run.checkpoints)
    job.tracker.resume(whole_rows(run.path / SAMPLES), told_until)
    about = {
        f"{each.split} corpus {each.spec}": f"{counted(each.documents, 'document')}, "
        f"{counted(each.characters, 'character')}, {each.unknown_share:.4%} <unk>"
        for each in job.store.corpora
    }
    size = {"parameters": job.model.num_parameters, "vocab_size": len(job.store.vocab)}
    settings = {**config.model_dump(), **size, **versions(), **about}
    job.tracker.start(config.project, config.run_name or run.path.name, settings)
    write_text(run.path / "vocab.json", job.store.vocab.to_json())
    run.write_status("running", pid=os.getpid(), launcher=launcher.parent())
    announce(job, newest)
    for line in outlook:
        job.terminal.say(line)
    # Last: a folder that has it is that of a run that has begun.
    write_text(run.path / CONFIG, to_json(config))


def announce(job: Job, newest: Path | None) -> None:
    """Says what is about to happen."""
    for corpus in job.store.corpora:
        unknown = f", {corpus.unknown_share:.2%} <unk>" if corpus.unknown_share else ""
        use = {"train": "", "val": " (to validate)", "test": " (for a test)"}[corpus.split]
        read = f"{counted(corpus.documents, 'document')}, {counted(corpus.characters, 'character')}{unknown}"
        job.terminal.say(f"{corpus.spec}{use}: {read}, the first line: {corpus.first_line}")
    threads, each = counted(torch.get_num_threads(), "thread"), " each" if job.accelerator.num_processes > 1 else ""
    job.terminal.say(
        f"{counted(len(job.store.train), 'character')} to train on, {len(job.store.val):,} to validate, "
        f"{len(job.store.vocab)} different; {counted(job.model.num_parameters, 'parameter')}; "
        f"{counted(job.accelerator.num_processes, 'process', 'processes')} on {job.device.type}"
        + (f", {threads}{each}" if job.device.type == "cpu" else _arithmetic(job))
    )
    if job.learner.precision != job.accelerator.mixed_precision:
        job.terminal.say(
            f"in float32: this processor's bf16 gives models of {job.config.hidden_size:,} cells wrong gradients"
        )
    free = not (newest or job.config.vocab or job.config.init_from)
    size = len(job.store.vocab)
    if free and (rare := find_rare(job.store.train, size)):
        job.terminal.say(
            f"{rare.characters:,} of the {size:,} different characters are {100 * rare.share:.2g}% of the text: "
            f"without them (--min-freq {rare.min_freq}) steps are faster"
        )
    job.terminal.say(f"{'going on from ' + str(newest) if newest else 'run folder ' + str(job.run.path)}")


def _arithmetic(job: Job) -> str:
    """In what a GPU computes, which may be less than was asked for; nothing for others."""
    if job.device.type != "cuda":
        return ""
    precision = job.config.precision
    tf32 = precision == "float32" and job.config.tf32 and torch.cuda.get_device_capability() >= (8, 0)
    return f", in {precision}{' (the LSTM in TF32)' if tf32 else ''}"
