"""Errors that a user can mend: each becomes one line on the terminal and an exit code, never a traceback."""


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
