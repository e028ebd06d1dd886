"""The `charrnn` command: one module a subcommand, imported only when it is the one asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from charrnn import __version__
from charrnn.errors import UsageError, UserError, did_you_mean
from charrnn.outside.output import guarded, log_to_stderr, tell

COMMANDS = {
    "train": "train a model (as `accelerate launch -m charrnn.train` does, in one process)",
    "sample": "write text with a trained model",
    "play": "serve a page to write with trained models, and an HTTP endpoint",
    "eval": "measure a trained model's loss on any text",
    "runs": "list runs with their corpus, steps, loss, state and age",
    "corpora": "list the corpora there are, show or search what they hold",
    "report": "write a page on how a run went and what its model has learned",
    "presets": "show the presets of training and their values",
    "export": "write a run's model to hand on: a folder for programs, a page for people",
}


def usage() -> str:
    """The help of the command itself."""
    lines = [f"  {name:8} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ["usage: charrnn COMMAND [-h] ...", "", *lines, "", "example: charrnn sample runs/my-run --length 500"]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns its exit code: 0, or 1 after a one-line error."""
    command, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if command == "train":
        # Its output is not the job: it guards that for itself.
        return int(importlib.import_module("charrnn.train").main(rest))
    log_to_stderr()
    try:
        with guarded():
            return run(command, rest)
    except UserError as error:
        return tell(error)
    except KeyboardInterrupt:
        return 130


def run(command: str, args: Sequence[str]) -> int:
    """Runs a subcommand that prints, or what the command itself is asked for."""
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(__version__)
        return 0
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS, f": choose {', '.join(COMMANDS)}")
        raise UsageError(f"there is no command {command!r}{hint}")
    return int(importlib.import_module(f"charrnn.cli.{command}").main(args))
