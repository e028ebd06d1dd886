"""Errors that a user can mend: each becomes one line on the terminal and an exit code, never a traceback."""

import logging
import os
import sys
import traceback


class UserError(Exception):
    """Something the user can put right; the message says what is wrong and what to do."""

    exit_code = 1


class ConfigError(UserError):
    """A flag, a preset or a configuration file that does not make sense."""


class UsageError(ConfigError):
    """Flags or a command that do not exist."""

    exit_code = 2


class CorpusError(UserError):
    """A corpus that cannot be found, read or used."""


class VocabularyError(UserError):
    """Characters that a vocabulary does not have, or a vocabulary that does not fit."""


class CheckpointError(UserError):
    """A checkpoint or run folder that is damaged, missing, in use or of another run."""


def tell(error: UserError) -> int:
    """Says what is wrong on standard error and returns the exit code; CHARRNN_TRACEBACK=1 adds where it was found."""
    if os.environ.get("CHARRNN_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def log_to_stderr(level: int = logging.INFO) -> None:
    """Lets charrnn and its plugins say on standard error what is not wrong but worth knowing, a line each."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for name in ("charrnn", "charrnn_plugins"):
        logging.getLogger(name).setLevel(level)
