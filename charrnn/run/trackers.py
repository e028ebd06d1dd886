"""Metrics and sample text to the tracker that was chosen: wandb, trackio, tensorboard or none."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from charrnn.errors import ConfigError
from charrnn.outside.printable import encodable, named_in_utf8, printable, quoted
from charrnn.run.folder import METRICS, read_json, whole_rows, write_json
from charrnn.run.shading import shaded_html

LOG = logging.getLogger(__name__)

COLUMNS = ("epoch", "step", "temperature", "prompt", "text", "val_loss")
"""The columns of the sample table."""

ALL_SAMPLES = "samples_all"
"""The table of a wandb run that is whole at its end, beside `samples`, which is there from the first epoch on."""

BEST = ("val_loss", "val_bpc")
"""What a wandb run's summary has of the best measurement, too."""


Row = Mapping[str, Any]
Scored = Sequence[tuple[str, float]]


class Tracker:
    """Where metrics and samples go on the main process, through Accelerate's trackers; this one is nowhere.

    ``rows`` are all rows of the sample table so far. ``told_until`` is the last step that an interrupted attempt
    already logged: a resumed run repeats those steps with the same values, and the tracker is not told twice.
    """

    def __init__(self, accelerator: Accelerator, run_dir: Path) -> None:
        self.accelerator = accelerator
        self.run_dir = run_dir
        self.rows: list[Row] = []
        self.told_until = 0
        self._complaints: set[str] = set()
        self._names = ExitStack()

    def resume(self, rows: Sequence[Row], told_until: int) -> None:
        """Before `start`: takes over what an earlier attempt left."""
        self.rows = list(map(_encodable, rows))
        self.told_until = told_until

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        """Begins a run, or goes on with one; raises `ConfigError` if the tracker cannot be used."""

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Logs the numbers of a line of metrics against its step."""
        if step > self.told_until:
            known = {name: value for name, value in metrics.items() if value is not None}
            with self._spared(f"the metrics of step {step}"):
                self.accelerator.log(known, step=step)

    def log_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        """Adds rows of `COLUMNS` to the sample table; ``scored`` has each one's characters with their probability."""
        rows = list(map(_encodable, rows))
        self.rows += rows
        if step > self.told_until:
            with self._spared(f"the samples of step {step}"):
                self.show_samples(rows, scored, step)

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        """Shows new rows, which `rows` has already, as the tracker can."""

    def log_model(self, files: Sequence[Path]) -> None:
        """Stores the files of a model with the run, where the tracker can."""

    def finish(self, failed: bool) -> str:
        """Closes the tracker, if it was started; returns what the user may do next with what it recorded."""
        with self._spared("the end of the run"):
            for tracker in self.accelerator.trackers:
                tracker.finish()
        self.accelerator.trackers = []
        self._names.close()
        return ""

    def close(self, failed: bool) -> str:
        """`finish`, whatever it comes to: the run's own record is not to be without an end for it."""
        advice = ""
        with self._spared("its last part"):
            advice += self.finish(failed)
        self.accelerator.trackers = []  # what failed once would fail again when Accelerate ends
        return advice

    @contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        """Lets training go on where a tracker fails, on a full disk or for a service that gives no answer.

        The run folder has it all. What fails for the same reason at another step is not said again.
        """
        try:
            yield
        except Exception as error:
            # Without the file, of which each step has another.
            said = (isinstance(error, OSError) and error.strerror) or str(error)
            reason = " ".join(said.split()) or type(error).__name__
            complaint = f"{what.rstrip('0123456789')}: {reason}"
            if complaint not in self._complaints:
                self._complaints.add(complaint)
                kind = type(self).__name__.lower()
                LOG.warning("%s did not take %s, which %s has: %s", kind, what, self.run_dir, reason)

    def _init(self, kind: str, project: str, config: dict[str, Any] | None, **options: Any) -> None:
        if find_spec(kind) is None:
            raise ConfigError(f"{kind} is not installed: pip install {kind}, or use another --tracker")
        folder = str(self._names.enter_context(named_in_utf8(self.run_dir)))
        self.accelerator.log_with = filter_trackers(kind, folder)
        self.accelerator.project_configuration.set_directories(folder)
        if kind == "wandb":
            options["dir"] = folder
        with _one_line(kind):
            self.accelerator.init_trackers(encodable(project), config, {kind: options})


def _encodable(row: Row) -> Row:
    """A row as every tracker takes it."""
    return {name: encodable(value) if isinstance(value, str) else value for name, value in row.items()}


def in_block(row: Row) -> str:
    """What a row of the sample table has written, as Markdown shows it line by line and obeys nothing in it.

    That is in a block indented by four spaces. Other ends of lines than a newline, such as a carriage return, would end
    it.
    """
    return "\n".join(f"    {line}" for line in printable(f"{row['prompt']}{row['text']}").split("\n"))


def in_paragraphs(row: Row) -> str:
    """The same for Trackio, whose Markdown knows no blocks and no breaks of lines: each line is a paragraph.

    It begins with a space of no width, so that it is neither empty nor a heading, and its indentation does not break.
    """
    lines = printable(f"{row['prompt']}{row['text']}").expandtabs(4).split("\n")
    return "\n\n".join("\u200b" + line.replace("**", "*\u200b*").replace("  ", "\u00a0 ") for line in lines)


def _in_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them: lists are lists, and what JSON has not, such as a path, is a text."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return value if isinstance(value, int | float | None) else encodable(str(value))

    return {encodable(key): plain(value) for key, value in config.items()}


def _best(rows: Iterable[Row]) -> Row:
    """The row of metrics with the lowest loss on held-out text; an empty one if that was not measured."""
    measured = [row for row in rows if row.get("val_loss") is not None]
    return min(measured, key=lambda row: row["val_loss"], default={})


@contextmanager
def _one_line(kind: str) -> Iterator[None]:
    """Makes a `ConfigError` of what a tracker's client raises: it is about the user's account or the service."""
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split()).rstrip(".")
        offline = "use WANDB_MODE=offline to upload later, or " if kind == "wandb" else "use "
        raise ConfigError(f"{kind} cannot start: {message}: {offline}another --tracker") from error


class Wandb(Tracker):
    """Weights & Biases: online with credentials, else offline, to be uploaded later."""

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        import wandb

        # The client would wait for days, at the run's end, for a service that has gone away; what is on disk by then
        # can be uploaded later. Read when the client first looks at its settings.
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", "60")
        mode = os.environ.get("WANDB_MODE")
        if mode in (None, "online"):
            # Finds out in seconds, where `wandb.init` takes minutes, that the service does not answer; and nobody can
            # be asked for a key in a launched job.
            with _one_line("wandb"):
                known = wandb.login(prompt=False)
            mode = mode or ("online" if known else "offline")
        # The client keeps the command line, and would fail at a name in it that is not UTF-8.
        sys.argv[1:] = map(encodable, sys.argv[1:])
        id_file = self.run_dir / "wandb.json"
        if not id_file.exists():
            write_json(id_file, {"id": secrets.token_hex(4)})
        try:
            run_id = read_json(id_file)["id"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{id_file} is damaged: remove it, to go on as another wandb run") from error
        resume = None if mode == "offline" else "allow"
        # The numbers are in the terminal already, and what to do with an offline run is this trainer's last line.
        wished = {"quiet": True, "silent": mode == "offline"}
        told = {name: on for name, on in wished.items() if on and f"WANDB_{name.upper()}" not in os.environ}
        self._init(
            "wandb",
            project,
            _in_json(config),
            name=encodable(run_name),
            dir=str(self.run_dir),
            id=run_id,
            mode=mode,
            resume=resume,
            settings=wandb.Settings(**told),
        )
        self._run = self.accelerator.get_tracker("wandb", unwrap=True)
        # Everything is shown against training's own step, the rarer validation with points at its own. The step itself
        # is no chart.
        self._run.define_metric("*", step_metric="step")
        self._run.define_metric("step", hidden=True)
        self._losses = [row for row in whole_rows(self.run_dir / METRICS) if row.get("val_loss") is not None]
        self._keep_best()
        # Grows by the rows that are new to the run: the client goes on with a resumed run's table.
        self._table = wandb.Table(columns=list(COLUMNS), log_mode="INCREMENTAL")
        if not self._run.offline:
            self._catch_up()

    def _catch_up(self) -> None:
        """Logs what an interrupted attempt could not send any more; only the run knows up to where it came."""
        self.told_until = self._run.starting_step - 1
        for row in whole_rows(self.run_dir / METRICS):
            self.log(row, row["step"])
        self._add([row for row in self.rows if row["step"] > self.told_until])

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        # The axis that `start` defines must be in the row: where it is not, the client puts zero.
        super().log({**metrics, "step": step}, step)
        if metrics.get("val_loss") is not None and step not in {row["step"] for row in self._losses}:
            self._losses.append({**metrics, "step": step})
            self._keep_best()

    def _keep_best(self) -> None:
        if best := _best(self._losses):
            with self._spared("the best loss"):
                # The client's own way to keep the lowest makes a mapping of it, which it shows nowhere as a number.
                self._run.summary.update({f"best_{name}": best[name] for name in BEST if name in best})

    def _both_losses(self) -> Any:
        """A chart of the training and the validation loss, of which the client makes a panel each."""
        import wandb

        series = {"training": "train_loss", "validation": "val_loss"}
        rows = [row for row in self._losses if row.get("train_loss") is not None]
        steps = [row["step"] for row in rows]
        values = [[row[column] for row in rows] for column in series.values()]
        return wandb.plot.line_series(steps, values, keys=list(series), title="Loss, nats a character", xname="step")

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        import wandb

        self._add(rows)
        shaded = {
            f"surprise/temperature {row['temperature']:g}": wandb.Html(
                shaded_html(characters, f"Epoch {row['epoch']:.2f}, temperature {row['temperature']:g}"),
                data_is_not_path=True,
            )
            for row, characters in zip(rows, scored, strict=True)
        }
        both = {"losses": self._both_losses()} if self._losses else {}
        self._run.log({"samples": self._table, **both, **shaded, "step": step}, step=step)

    def log_model(self, files: Sequence[Path]) -> None:
        import wandb

        with self._spared("the model"):
            artifact = wandb.Artifact(f"model-{self._run.id}", type="model")
            for file in files:
                artifact.add_file(str(file))
            self._run.log_artifact(artifact)

    def _add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._table.add_data(*(row[column] for column in COLUMNS))

    def finish(self, failed: bool) -> str:
        import wandb

        if not self.accelerator.trackers:
            return ""
        offline = self._run.offline
        if self.rows:
            # The growing table is stored in parts; a whole one at the end is what people download. It belongs to no
            # step: logged at one, it could take the place of metrics that a resumed run has yet to log.
            data = [[row[column] for column in COLUMNS] for row in self.rows]
            with self._spared("the table of all samples"):
                self._run.summary[ALL_SAMPLES] = wandb.Table(columns=list(COLUMNS), data=data)
        if failed:
            with self._spared("the end of the run"):
                self._run.finish(exit_code=1)
        super().finish(failed)
        if not offline:
            return ""
        attempts = sorted((self.run_dir / "wandb").glob("offline-run-*"))
        return "wandb ran offline; upload with: wandb sync " + " ".join(map(quoted, attempts))


class Trackio(Tracker):
    """Trackio: a local database beside the run folder, for it and its neighbours, unless TRACKIO_DIR names another."""

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        # Read when trackio is first imported.
        self._folder = os.environ.setdefault("TRACKIO_DIR", str(self.run_dir.absolute().parent / "trackio"))
        self._project = encodable(project)
        # Another run of the same name, which a new folder may have, is not gone on with.
        resume = "allow" if self.told_until else "never"
        self._init("trackio", project, _in_json(config), name=encodable(run_name), resume=resume)

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        import trackio

        # Trackio's table does not grow: each has the rows of its step. It shows texts cut, with their lines joined; its
        # reports are whole.
        data = [[row[column] for column in COLUMNS] for row in rows]
        table = trackio.Table(columns=list(COLUMNS), data=data)
        report = "\n\n".join(f"**Temperature {row['temperature']:g}**\n\n{in_paragraphs(row)}" for row in rows)
        self.accelerator.log({"samples": table, "samples as text": trackio.Markdown(report)}, step=step)

    def finish(self, failed: bool) -> str:
        super().finish(failed)
        return (
            f"look at the run with: TRACKIO_DIR={quoted(self._folder)} trackio show --project {quoted(self._project)}"
        )


class TensorBoard(Tracker):
    """TensorBoard: event files in the run folder."""

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        self._init("tensorboard", "tensorboard", None)
        from torch.utils.tensorboard.summary import hparams

        # The writer's own `add_hparams` makes a run of its own for each call, without metrics.
        plain = {name: str(value) if isinstance(value, list) else value for name, value in _in_json(config).items()}
        writer = self.accelerator.get_tracker("tensorboard", unwrap=True)
        for summary in hparams(plain, dict.fromkeys(("val_loss", "val_bpc", "train_loss"), 0.0)):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        for row in rows:
            self.accelerator.log({f"samples/temperature {row['temperature']}": in_block(row)}, step=step)

    def finish(self, failed: bool) -> str:
        super().finish(failed)
        return f"look at the run with: tensorboard --logdir {quoted(self.run_dir)}"


TRACKERS: dict[str, type[Tracker]] = {"wandb": Wandb, "trackio": Trackio, "tensorboard": TensorBoard, "none": Tracker}
