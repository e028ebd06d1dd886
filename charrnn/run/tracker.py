"""Where the metrics and the samples of a run go: what all trackers do, and in what form they take a text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from charrnn.errors import ConfigError
from charrnn.outside.printable import encodable, named_in_utf8, printable

LOG = logging.getLogger(__name__)

COLUMNS = ("epoch", "step", "temperature", "prompt", "text", "val_loss")
"""The columns of the sample table."""

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
            with self.spared(f"the metrics of step {step}"):
                self.accelerator.log(known, step=step)

    def log_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        """Adds rows of `COLUMNS` to the sample table; ``scored`` has each one's characters with their probability."""
        rows = list(map(_encodable, rows))
        self.rows += rows
        if step > self.told_until:
            with self.spared(f"the samples of step {step}"):
                self.show_samples(rows, scored, step)

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        """Shows new rows, which `rows` has already, as the tracker can."""

    def log_model(self, files: Sequence[Path]) -> None:
        """Stores the files of a model with the run, where the tracker can."""

    def finish(self, failed: bool) -> str:
        """Closes the tracker, if it was started; returns what the user may do next with what it recorded."""
        with self.spared("the end of the run"):
            for tracker in self.accelerator.trackers:
                tracker.finish()
        self.accelerator.trackers = []
        self._names.close()
        return ""

    def close(self, failed: bool) -> str:
        """`finish`, whatever it comes to: the run's own record is not to be without an end for it."""
        advice = ""
        with self.spared("its last part"):
            advice += self.finish(failed)
        self.accelerator.trackers = []  # what failed once would fail again when Accelerate ends
        return advice

    @contextmanager
    def spared(self, what: str) -> Iterator[None]:
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

    def init(self, kind: str, project: str, config: dict[str, Any] | None, **options: Any) -> None:
        if find_spec(kind) is None:
            raise ConfigError(f"{kind} is not installed: pip install {kind}, or use another --tracker")
        folder = str(self._names.enter_context(named_in_utf8(self.run_dir)))
        self.accelerator.log_with = filter_trackers(kind, folder)
        self.accelerator.project_configuration.set_directories(folder)
        if kind == "wandb":
            options["dir"] = folder
        with one_line_of(kind):
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


def in_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them: lists are lists, and what JSON has not, such as a path, is a text."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return value if isinstance(value, int | float | None) else encodable(str(value))

    return {encodable(key): plain(value) for key, value in config.items()}


@contextmanager
def one_line_of(kind: str) -> Iterator[None]:
    """Makes a `ConfigError` of what a tracker's client raises: it is about the user's account or the service."""
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split()).rstrip(".")
        offline = "use WANDB_MODE=offline to upload later, or " if kind == "wandb" else "use "
        raise ConfigError(f"{kind} cannot start: {message}: {offline}another --tracker") from error
