"""The main command: from corpora to a trained model, its checkpoints and its samples."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from charrnn.config.settings import SHAPE, TrainConfig, check_resumed, load_config, parse, to_json
from charrnn.distributed import launcher, processes
from charrnn.distributed.processes import LostProcessError, StopRequest, on_each, on_main
from charrnn.errors import CheckpointError, ConfigError, UserError, tell
from charrnn.model.lstm import CharLSTM
from charrnn.run import checkpoint
from charrnn.run.folder import SAMPLES, RunFolder, new_run_folder, read_json, read_lines, write_text
from charrnn.run.trackers import TRACKERS, Terminal
from charrnn.text.run_text import open_text
from charrnn.text.store import TokenStore
from charrnn.text.vocab import Vocabulary
from charrnn.training.job import Job, Position, circumstances, fresh_position, restored_position, versions
from charrnn.training.loop import train_to_end
from charrnn.training.optimizer import make_optimizer
from charrnn.training.randomness import derived_seed
from charrnn.training.rows import RowBatches, row_share
from charrnn.training.step import Gradients

LOG = logging.getLogger(__name__)

DEFAULT_CORPUS = "python:asyncio"
OF_THE_NODE = (
    *("config", "run_dir", "resume", "num_threads"),
    *("corpus", "val_corpus", "test_corpus", "plugin", "block_plugin", "vocab", "init_from"),
)
"""Settings that may differ between the nodes: digests tell whether they mean the same."""
PREEMPTED = 75
"""The exit code of a run that was told to stop and has saved (EX_TEMPFAIL: try again later)."""


def main(args: Sequence[str] | None = None) -> int:
    """Trains as the arguments say; returns 0, or 75 for a run that was told to stop, or the code of an error."""
    is_main = launcher.launched_rank() == 0
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for name in ("charrnn", "charrnn_plugins"):
        logging.getLogger(name).setLevel(logging.INFO if is_main else logging.ERROR)
    try:
        stop = StopRequest()
        config = parse(sys.argv[1:] if args is None else args, "gpu" if torch.cuda.is_available() else "laptop")
        _, outcome = train(config, stop)
    except UserError as error:
        return tell(error) if is_main or isinstance(error, LostProcessError) else error.exit_code
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        return tell(ConfigError("there is not enough memory: lower --batch-size, --seq-length or --hidden-size"))
    except processes.StoppedError as error:
        print(error, file=sys.stderr)
        outcome = "preempted"
    except KeyboardInterrupt:
        return 130
    # torchrun takes any code but 0 for a crash, and would start the run again that it was told to stop.
    return PREEMPTED if outcome == "preempted" and not launcher.is_elastic() else 0


def train(config: TrainConfig, stop: StopRequest) -> tuple[Path, str]:
    """One run, or the rest of one; returns its folder, and ``finished``, or ``preempted`` if it was told to stop."""
    patience = processes.timeout()
    accelerator = processes.start_accelerator(num_threads=config.num_threads, deterministic=config.deterministic)
    processes.require_same(accelerator, {n: versions()[n] for n in ("charrnn", "torch")}, "install the same on all")
    config = replace(config, corpus=config.corpus or (DEFAULT_CORPUS,))
    run = RunFolder(on_main(accelerator, lambda: choose_run_dir(config)))
    resume = on_main(accelerator, lambda: config.resume or crashed_here(run.path))
    on_main(accelerator, lambda: run.open(resume=resume))
    try:
        processes.require_shared(accelerator, run.path, min(patience, processes.SHARED_WITHIN))
        own = run.path if on_main(accelerator, lambda: run.begun) else None
        config, start, vocab = on_each(accelerator, lambda: starting_point(config, own))
        processes.require_same(accelerator, shared_settings(config), "start all with the same flags")
        text = on_each(accelerator, lambda: open_text(config, run.path, vocab))
        processes.require_same(accelerator, digests(text, start), "give all nodes the same files")
        job = on_each(accelerator, lambda: prepare(config, accelerator, run, text, start, stop))
        newest = on_main(accelerator, lambda: find_checkpoint(job) if resume else None)
        at = on_each(accelerator, lambda: restored_position(job, newest) if newest else fresh_position(job))
        on_main(accelerator, lambda: begin(job, newest))
    except BaseException:
        # The launcher ends this process as soon as another one is gone; what it has to say comes first.
        stop.armed = True
        run.close(unused=True)
        raise
    outcome, reason = "failed", ""
    try:
        stop.armed = True
        processes.wait_at_most(patience)
        outcome = train_to_end(job, at)
        reason = stop.reason
    except BaseException as error:
        reason = str(error) or type(error).__name__
        raise
    finally:
        conclude(job, at, outcome, reason)
    accelerator.end_training()
    return run.path, outcome


def shared_settings(config: TrainConfig) -> dict[str, str]:
    """The settings that all processes must share, by their flags; each may have paths and threads of its own."""
    return {
        f"--{name.replace('_', '-')}": str(value) for name, value in asdict(config).items() if name not in OF_THE_NODE
    }


def digests(text: TokenStore, start: CharLSTM | None) -> dict[str, str]:
    """The beginnings of the digests of what each node reads for itself."""
    weights = hashlib.sha256()
    for tensor in start.state_dict().values() if start else ():
        weights.update(tensor.numpy().tobytes())
    found = {"vocabulary": text.vocab.digest, "text": text.digest, "starting model": weights.hexdigest()}
    return {name: digest[:12] for name, digest in found.items()}


def crashed_here(run_dir: Path) -> bool:
    """Whether torchrun has started this job again after it crashed in that very run folder."""
    status = run_dir / "status.json"
    return launcher.restarts() > 0 and status.exists() and read_json(status).get("launcher") == launcher.parent()


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
        hint = f", for example --run-dir {newest.parent}" if newest else ""
        raise ConfigError(f"--resume needs the --run-dir to go on with{hint}")
    return new_run_folder(parent, config.corpus)


def starting_point(config: TrainConfig, own: Path | None) -> tuple[TrainConfig, CharLSTM | None, Vocabulary | None]:
    """What --init-from and --vocab say: the configuration with that model's shape, its weights, the vocabulary.

    A run that is resumed has all of it in its own folder, whatever became of the files it once came from.
    """
    if own is not None and checkpoint.checkpoints(own / "checkpoints"):
        if config.init_from:
            saved = load_config(own / "config.json")
            config = replace(config, **{name: saved[name] for name in SHAPE})
        return config, None, Vocabulary.load(own / "vocab.json") if config.init_from or config.vocab else None
    if not config.init_from:
        return config, None, Vocabulary.load(Path(config.vocab)) if config.vocab else None
    model, vocab = checkpoint.load_model(checkpoint.find_model(Path(config.init_from)))
    return replace(config, **{name: getattr(model, name) for name in SHAPE}), model, vocab


def prepare(
    config: TrainConfig,
    accelerator: Accelerator,
    run: RunFolder,
    text: TokenStore,
    start: CharLSTM | None,
    stop: StopRequest,
) -> Job:
    """Everything a process needs to train; raises a `UserError` for what cannot work, before anything is written."""
    if config.prompt:
        text.vocab.encode(config.prompt)
    if config.val_corpus and len(text.val) < 2:
        raise ConfigError(f"--val-corpus {' '.join(config.val_corpus)}: too short to be measured")
    if config.batch_size < accelerator.num_processes:
        raise ConfigError(
            f"--batch-size {config.batch_size} has fewer rows than the job has processes: "
            f"use {accelerator.num_processes} or more"
        )
    share = row_share(config.batch_size, accelerator.process_index, accelerator.num_processes)
    rows = RowBatches(text.train, config.batch_size, config.seq_length, share)
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
    model = CharLSTM(
        len(text.vocab), config.hidden_size, config.num_layers, config.embedding_size, tie_weights=config.tie_weights
    )
    if start:
        model.load_state_dict(start.state_dict())
    # Not prepared by Accelerate: its DistributedDataParallel would sum the gradients in an order of its own, and its
    # optimizer looks through the installed packages in every step (0.16 ms from a disk, more from a network).
    model.to(accelerator.device)
    optimizer = make_optimizer(config.optimizer, model.parameters(), config.learning_rate, config.weight_decay)
    return Job(
        config=config,
        accelerator=accelerator,
        text=text,
        share=share,
        rows=rows,
        model=model,
        optimizer=optimizer,
        gradients=Gradients(model.parameters()),
        stop=stop,
        run=run,
        tracker=TRACKERS[config.tracker](accelerator, run.path),
        terminal=Terminal(shown=accelerator.is_main_process),
    )


def find_checkpoint(job: Job) -> Path | None:
    """The checkpoint that a resumed run goes on from; raises `ConfigError` for settings it cannot go on with."""
    if not job.run.begun:
        return None
    for change in check_resumed(job.config, load_config(job.run.path / "config.json")):
        LOG.warning("resuming with %s", change)
    newest = checkpoint.latest(job.run.checkpoints)
    if newest is None:
        LOG.warning("%s has no checkpoint yet: starting afresh", job.run.path)
        return None
    before = checkpoint.read_training(newest)["circumstances"]
    for name, now in circumstances(job.accelerator).items():
        if now != before.get(name, now):
            LOG.warning("resuming with %s %s (it was %s): the last digits may differ", name, now, before[name])
    return newest


def begin(job: Job, newest: Path | None) -> None:
    """Makes the run folder that of this run, cut back to the checkpoint, and starts the tracker."""
    run, config = job.run, job.config
    told_until = run.last_step()
    run.cut_back(checkpoint.read_training(newest)["files"] if newest else {})
    checkpoint.remove_unfinished(run.checkpoints)
    job.tracker.resume(read_lines(run.path / SAMPLES), told_until)
    about = {
        f"{report.split} corpus {report.spec}": f"{report.documents} documents, {report.characters} characters, "
        f"{report.unknown_share:.4%} <unk>"
        for report in job.text.corpora
    }
    job.tracker.start(config.project, config.run_name or run.path.name, {**asdict(config), **versions(), **about})
    write_text(run.path / "vocab.json", job.text.vocab.to_json())
    run.write_status("running", pid=os.getpid(), launcher=launcher.parent())
    write_text(run.path / "config.json", to_json(config))
    announce(job, newest)


def announce(job: Job, newest: Path | None) -> None:
    """Says what is about to happen."""
    for corpus in job.text.corpora:
        unknown = f", {corpus.unknown_share:.2%} <unk>" if corpus.unknown_share else ""
        use = {"train": "", "val": " (to validate)", "test": " (for a test)"}[corpus.split]
        job.terminal.say(f"{corpus.spec}{use}: {corpus.documents} documents, {corpus.characters:,} characters{unknown}")
    parameters = sum(parameter.numel() for parameter in job.model.parameters())
    threads = f", {torch.get_num_threads()} threads each" if job.device.type == "cpu" else ""
    job.terminal.say(
        f"{len(job.text.train):,} characters to train on, {len(job.text.val):,} to validate, "
        f"{len(job.text.vocab)} different; {parameters:,} parameters; "
        f"{job.accelerator.num_processes} process(es) on {job.device.type}{threads}"
    )
    job.terminal.say(f"{'going on from ' + str(newest) if newest else 'run folder ' + str(job.run.path)}")


def conclude(job: Job, at: Position, outcome: str, reason: str) -> None:
    """Closes what the main process opened and says what there is now."""
    job.terminal.end()
    if not job.accelerator.is_main_process:
        return
    run = job.run
    try:
        if outcome == "finished" and job.config.log_model:
            best = checkpoint.find_model(run.path)
            job.tracker.log_model([best / name for name in checkpoint.MODEL_FILES])
        advice = job.tracker.finish(failed=outcome == "failed")
    finally:
        try:
            run.write_status(outcome, step=at.step, reason=reason, pid=os.getpid(), launcher=launcher.parent())
        except CheckpointError as error:
            # Said, not raised: what ended the run is the news.
            LOG.warning("%s", error)
        run.close()
    if outcome == "preempted":
        job.terminal.say(f"stopped at step {at.step} ({reason}); go on with --run-dir {run.path} --resume")
    elif outcome == "finished":
        loss = f"best validation loss {at.best_loss:.4f}; " if at.best_loss is not None else ""
        job.terminal.say(f"finished: {loss}more text with: charrnn sample {run.path}")
    if advice:
        job.terminal.say(advice)


if __name__ == "__main__":
    exit_code = main()
    if launcher.launched_processes() > 1:
        # Gloo's threads can outlive the interpreter and abort a process that has done its work (pytorch #179291).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
