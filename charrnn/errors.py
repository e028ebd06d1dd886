"""Errors that a user can mend: each becomes one line on the terminal and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """What a message about a name that is not there ends with: the one that is much like it, or something else."""
    by_letters = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), by_letters, n=1)
    return f": did you mean {by_letters[close[0]]}?" if close else otherwise


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
