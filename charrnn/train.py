"""The main command: from corpora to a trained model, its checkpoints and its samples."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from charrnn.config.presets import default_preset
from charrnn.config.settings import TrainConfig
from charrnn.config.sources import parse
from charrnn.distributed import launcher
from charrnn.distributed.accelerator import precision_of, start_accelerator, training_timeout, wait_at_most
from charrnn.distributed.collectives import VISIBILITY_TIMEOUT, LostProcessError, on_each, on_main, require_shared
from charrnn.distributed.machine import settings_of_training
from charrnn.distributed.stopping import StoppedError, StopRequest
from charrnn.errors import CheckpointError, ConfigError, UserError
from charrnn.model.folder import MODEL_FILES
from charrnn.outside.foreign import as_dict
from charrnn.outside.output import guarded, log_to_stderr, tell
from charrnn.outside.printable import quoted
from charrnn.run.baselines import record_baselines
from charrnn.run.finding import find_whole
from charrnn.run.folder import METRICS, RunFolder
from charrnn.run.quality import quality_of
from charrnn.run.schema import Metrics, read_rows
from charrnn.training.forecast import extended, forecast, make_plan
from charrnn.training.job import Job
from charrnn.training.loop import train_to_end
from charrnn.training.preparation import (
    as_begun,
    begin,
    choose_run_dir,
    claim,
    prepare,
    read_inputs,
    shared_settings,
    shared_versions,
    wanted_precision,
)

LOG = logging.getLogger(__name__)

DEFAULT_CORPUS = "python:asyncio"
REFUSAL_SECONDS = 30.0
"""How long a process that refuses a job waits for the main one to have said why."""
PREEMPTED = 75
"""The exit code of a run that was told to stop and has saved (EX_TEMPFAIL: try again later)."""


def main(args: Sequence[str] | None = None) -> int:
    """Trains as the arguments say; returns 0, or 75 for a run that was told to stop, or the code of an error."""
    is_main = launcher.rank() == 0
    log_to_stderr(logging.INFO if is_main else logging.ERROR)
    try:
        stop = StopRequest()
        with guarded() as output:
            config = parse(sys.argv[1:] if args is None else args, default_preset(has_gpu=torch.cuda.is_available()))
            # From here on the job is what the run folder gets; who looks on may leave.
            output.matters = False
            _, outcome = train(config, stop)
    except UserError as error:
        is_heard = is_main or isinstance(error, LostProcessError)
        return tell(error) if is_heard or not is_told_by_main(stop) else error.exit_code
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        return tell(ConfigError("there is not enough memory: lower --batch-size, --seq-length or --hidden-size"))
    except StoppedError as error:
        print(error, file=sys.stderr)
        outcome = "preempted"
    except KeyboardInterrupt:
        return 130
    # torchrun takes any code but 0 for a crash, and would start the run again that it was told to stop.
    return PREEMPTED if outcome == "preempted" and not launcher.is_elastic() else 0


def is_told_by_main(stop: StopRequest) -> bool:
    """Whether the main process says what is wrong, if all refuse the job, and not this one.

    A launcher ends all processes as soon as one is gone, so this one must not go first. Where it is the only one that
    refuses, the main one waits for it, and nothing comes.
    """
    return not launcher.is_launched() or stop.comes(within=REFUSAL_SECONDS)


def train(config: TrainConfig, stop: StopRequest) -> tuple[Path, str]:
    """One run, or the rest of one; returns its folder, and ``finished``, or ``preempted`` if it was told to stop."""
    began, patience = time.monotonic(), training_timeout()
    lines: list[str] = []
    if not config.corpus:
        lines.append(f"no corpus was named: this trains on {DEFAULT_CORPUS}, a part of Python's own library")
        config = config.model_copy(update={"corpus": (DEFAULT_CORPUS,)})
    with settings_of_training(num_threads=config.num_threads, deterministic=config.deterministic, tf32=config.tf32):
        accelerator = start_accelerator(wanted_precision(config))
        config = config.model_copy(update={"precision": precision_of(accelerator)})
        on_each(accelerator, lambda: (None, shared_versions()), "install the same on all")
        on_each(accelerator, lambda: (None, shared_settings(config)), "start all with the same flags")
        run = RunFolder(on_main(accelerator, lambda: choose_run_dir(config)))
        try:
            earlier = on_main(accelerator, lambda: claim(run, config))
            config, minutes = as_begun(config, earlier.config), config.minutes
            require_shared(accelerator, run.path, min(patience, VISIBILITY_TIMEOUT))
            read = "give all nodes the same files"
            inputs = on_each(accelerator, lambda: read_inputs(config, run.path, earlier), read)
            if config.minutes:
                inputs, planned = make_plan(accelerator, run, inputs, stop, began)
                lines += planned
            job = on_each(accelerator, lambda: (prepare(accelerator, run, inputs, earlier, stop), {}))
            if minutes.startswith("+") and not launcher.restarts() and earlier.checkpoint:
                if job.progress >= 1.0:
                    job, said = extended(job, float(minutes))
                    lines += said
                else:
                    lines.append(f"this run goes on to its own end: --minutes {minutes} is for one that has finished")
            job, left = forecast(job)
            lines.append(left)
            on_main(accelerator, lambda: begin(job, earlier.checkpoint, lines))
        except BaseException:
            # The launcher ends this process as soon as another one is gone; what it has to say comes first.
            stop.armed = True
            run.close(unused=True)
            raise
        outcome, reason = "failed", ""
        try:
            stop.armed = True
            wait_at_most(patience)
            outcome = train_to_end(job)
            reason = stop.reason
        except BaseException as error:
            reason = str(error) or type(error).__name__
            raise
        finally:
            conclude(job, outcome, reason)
        accelerator.end_training()
    return run.path, outcome


def conclude(job: Job, outcome: str, reason: str) -> None:
    """Closes what the main process opened and says what there is now."""
    job.terminal.end()
    if not job.accelerator.is_main_process:
        return
    run = job.run
    try:
        if outcome == "finished" and job.config.log_model:
            best = find_whole(run.checkpoints)
            job.tracker.log_model([best / name for name in MODEL_FILES])
        advice = job.tracker.close(failed=outcome == "failed")
    finally:
        try:
            run.write_status(outcome, step=job.state.step, reason=reason, pid=os.getpid(), launcher=launcher.parent())
        except CheckpointError as error:
            # Said, not raised: what ended the run is the news, unless it is this.
            if str(error) != reason:
                LOG.warning("%s", error)
        run.close()
    if outcome == "preempted":
        job.terminal.say(
            f"stopped at step {job.state.step} ({reason}); go on with --run-dir {quoted(run.path)} --resume"
        )
    elif outcome == "finished":
        loss = f"best validation loss {job.state.best_loss:.4f}; " if job.state.best_loss is not None else ""
        job.terminal.say(f"finished: {loss}more text with: charrnn sample {quoted(run.path)}")
        # What was told to stop is in a hurry.
        if not job.stop and (words := closing_words(job)):
            job.terminal.say(words)
    if advice:
        job.terminal.say(advice)


def closing_words(job: Job) -> str:
    """How good the model is, if that is known: measured only now, when all that matters is saved."""
    record_baselines(job.run.path, job.store)
    try:
        rows = list(map(as_dict, read_rows(Metrics, job.run.path / METRICS)))
    except (OSError, ValueError):
        return ""  # which `charrnn runs` tells of
    return quality_of(job.run.path, rows, finished=True).sentence()


if __name__ == "__main__":
    exit_code = main()
    if launcher.world_size() > 1:
        # Gloo's threads can outlive the interpreter and abort a process that has done its work (pytorch #179291).
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
