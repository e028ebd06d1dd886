"""The configuration of a run: one flat frozen dataclass, its presets, and where its values come from."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from charrnn.config.presets import PRESETS
from charrnn.errors import ConfigError

Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
"""A flag that can be given several times."""
MAX_THREADS = 1024


@dataclass(frozen=True)
class TrainConfig:
    """Train a character-level LSTM on any text."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    corpus: Repeated = ()
    """What to train on, SCHEME:ARGUMENT, for example gutenberg:1597 or files:my.txt; can be given several times:
    all feed one vocabulary. `charrnn corpora` lists the schemes. The default is a part of
    Python's own library, which needs no network."""
    val_corpus: Repeated = ()
    """What to validate on instead of the last part of each corpus; can be given several times."""
    test_corpus: Repeated = ()
    """What `charrnn eval --split test` measures and training never looks at; can be given several times."""
    plugin: Repeated = ()
    """A module with a corpus of your own, which needs no packaging; can be given several times."""
    block_plugin: Repeated = ()
    """A plugin, by its name, that is not to be loaded; can be given several times."""
    preset: str = ""
    """A named set of values that the other flags then change (listed above)."""
    config: str = ""
    """A JSON or YAML file of these values, such as the config.json of a run that is to be repeated."""

    run_dir: str = ""
    """The folder of this run; the default is a new one under runs/."""
    resume: bool = False
    """Go on from the last checkpoint in --run-dir, exactly; start afresh if there is none."""
    init_from: str = ""
    """A run (or a model folder) whose weights and vocabulary a new run starts from: fine-tuning."""
    seed: int = 0
    """What is random in the run is a function of this number."""

    val_fraction: float = 0.1
    """Share of each corpus, its last part, that is held out to measure the loss on, unless there is a --val-corpus; 0
    for none."""
    test_fraction: float = 0.0
    """Share of each corpus, after the validation part, that training never looks at."""
    min_freq: int = 1
    """Characters seen less often become <unk>."""
    max_size: int = 0
    """The vocabulary's largest size, counting <unk>; 0 for no limit."""
    vocab: str = ""
    """A vocab.json to use instead of building a vocabulary."""
    normalize: Literal["none", "NFC", "NFD", "NFKC", "NFKD"] = "none"
    """Unicode normal form that the text is brought to."""

    hidden_size: int = 512
    """Cells in each LSTM layer."""
    num_layers: int = 1
    """LSTM layers."""
    embedding_size: int = 64
    """Size of a character's embedding; 0 feeds one-hot characters."""
    tie_weights: bool = False
    """Use the embedding as the output matrix too; needs embedding-size = hidden-size."""
    dropout: float = 0.2
    """Probability of locked dropout between layers and before the output."""
    drop_connect: float = 0.0
    """Probability that a recurrent weight is left out of a window (DropConnect): 0, or from 0.004 to 0.99."""
    state_drop: float = 0.02
    """Probability that a row forgets its state at the beginning of a window."""

    epochs: float = 4.0
    """Times the text is read; a fraction is allowed."""
    max_steps: int = 0
    """Steps after which the run ends, whatever --epochs says; 0 for none."""
    batch_size: int = 16
    """Parallel rows of text in the whole run, over all processes."""
    seq_length: int = 32
    """Characters in a window: back-propagation through time stops at its beginning, the state goes on."""
    min_seq_length: int = 0
    """If above 0, each window's length is drawn between this and --seq-length."""
    loss_on: Literal["all", "last"] = "all"
    """Learn from every character of a window, or from its last one only."""
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    """The optimizer."""
    learning_rate: float = 4e-3
    """The peak learning rate."""
    schedule: Literal["cosine", "trapezoid", "constant", "char-rnn"] = "cosine"
    """How the learning rate goes over the run; trapezoid: the peak until 60 %, then straight down; char-rnn: times 0.97
    every epoch after the tenth."""
    warmup: float = 0.01
    """Share of the run over which the learning rate rises to its peak."""
    final_learning_rate: float = 0.01
    """What is left of the learning rate at the end of the run, as a share of the peak."""
    weight_decay: float = 0.1
    """Weight decay of matrices, with adamw; the other optimizers have none."""
    grad_clip: float = 1.0
    """Largest norm of the gradient; 0 for no limit."""

    eval_every: int = 0
    """Measure the validation loss every so many steps too, not only after each epoch; 0 for never."""
    checkpoint_every: int = 0
    """Save every so many steps too, not only after each epoch; 0 for never."""
    checkpoint_minutes: float = 10.0
    """Save at least this often; 0 for never."""
    keep: int = 2
    """Latest checkpoints to keep, besides the best."""
    sample_every: int = 0
    """Write samples every so many steps too, not only after each epoch; 0 for never."""
    log_every: int = 50
    """Steps between two lines of metrics."""
    num_threads: int = 0
    """CPU threads of this process; 0 for its share of the cores."""
    deterministic: bool = False
    """Bitwise the same result every time on a GPU too, at some cost in speed."""

    prompt: str = ""
    """What samples begin with; the default is a new line."""
    temperatures: tuple[float, ...] = (0.5, 0.8, 1.0)
    """Temperatures of the samples."""
    sample_length: int = 400
    """Characters in a sample; 0 for no samples."""
    tracker: Literal["wandb", "trackio", "tensorboard", "none"] = "wandb"
    """Where metrics and samples go, besides the run's folder."""
    project: str = "charrnn"
    """The project's name in the tracker."""
    log_model: bool = False
    """Store the best model as an artifact of the wandb run when the run ends."""
    run_name: str = ""
    """The run's name in the tracker; the default is the run folder's name."""

    @property
    def fractions(self) -> tuple[float, float]:
        """The shares of each corpus that are really set apart to validate and to test."""
        return 0.0 if self.val_corpus else self.val_fraction, self.test_fraction

    def check(self) -> TrainConfig:
        """Raises `ConfigError` for the first value that cannot be, naming the flag; returns the configuration."""
        at_least_one = ("hidden_size", "num_layers", "batch_size", "seq_length", "min_freq", "log_every")
        for name in at_least_one:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "must be 1 or more")
        not_negative = ("max_size", "embedding_size", "max_steps", "min_seq_length", "eval_every", "sample_every")
        for name in (
            *not_negative,
            "checkpoint_every",
            "checkpoint_minutes",
            "keep",
            "num_threads",
            "sample_length",
            "weight_decay",
        ):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")
        _require(self.num_threads <= MAX_THREADS, "num_threads", self.num_threads, f"must be at most {MAX_THREADS}")
        allowed = self.drop_connect == 0 or 0.004 <= self.drop_connect <= 0.99
        _require(allowed, "drop_connect", self.drop_connect, "must be 0, or from 0.004 to 0.99")
        for name in ("dropout", "state_drop", "val_fraction", "test_fraction", "warmup"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "must be at least 0 and below 1")
        _require(
            sum(self.fractions) < 1,
            "test_fraction",
            self.test_fraction,
            "leaves nothing to train on with --val-fraction",
        )
        _require(
            not (self.test_corpus and self.test_fraction),
            "test_fraction",
            self.test_fraction,
            "must be 0 with --test-corpus",
        )
        for name, others in (("val_corpus", self.corpus), ("test_corpus", (*self.corpus, *self.val_corpus))):
            for spec in getattr(self, name):
                _require(spec not in others, name, spec, "is given for something else already")
        _require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "must be above 0")
        _require(self.grad_clip >= 0, "grad_clip", self.grad_clip, "must be 0 (no limit) or more")
        _require(
            0 <= self.final_learning_rate <= 1, "final_learning_rate", self.final_learning_rate, "is a share: 0 to 1"
        )
        _require(0 < self.epochs < math.inf or self.max_steps > 0, "epochs", self.epochs, "must be above 0")
        _require(self.min_seq_length <= self.seq_length, "min_seq_length", self.min_seq_length, "is above --seq-length")
        for temperature in self.temperatures:
            _require(0 <= temperature < math.inf, "temperatures", temperature, "must be 0 or more")
        # A starting model has a shape of its own, and a vocabulary.
        tied_sizes = not self.tie_weights or self.embedding_size == self.hidden_size or self.init_from
        _require(bool(tied_sizes), "tie_weights", True, f"needs --embedding-size {self.hidden_size}")
        _require(not (self.init_from and self.vocab), "vocab", self.vocab, "contradicts --init-from, which has its own")
        for name, default in (("min_freq", 1), ("max_size", 0)):
            allowed = getattr(self, name) == default or not (self.init_from or self.vocab)
            _require(allowed, name, getattr(self, name), "cannot change the vocabulary of --vocab or --init-from")
        _require(not self.log_model or self.tracker == "wandb", "log_model", True, "needs --tracker wandb")
        return self


def _require(condition: bool, name: str, value: object, demand: str) -> None:
    if not condition:
        raise ConfigError(f"--{name.replace('_', '-')} {value}: it {demand}")


EXAMPLE = "Example: accelerate launch -m charrnn.train --corpus gutenberg:1597"

SHAPE = ("hidden_size", "num_layers", "embedding_size", "tie_weights")
"""What a starting model says of the model that is trained, whatever a preset or a file says."""

FIXED_BY_RESUME = (
    *("corpus", "val_corpus", "test_corpus", "val_fraction", "test_fraction", "normalize"),
    *("vocab", "min_freq", "max_size", "init_from", "preset", "seed"),
    *(*SHAPE, "batch_size", "optimizer"),
)
"""Values that a resumed run cannot change: the text, the model, and what the saved state belongs to."""

_LISTS = ("corpus", "val_corpus", "test_corpus", "plugin", "block_plugin")
"""Flags that can be given several times."""
_OF_THE_CALL = ("config", "run_dir", "resume")
"""What a configuration file says of the call that wrote it, and no other takes over."""


def preset_help() -> str:
    """The presets and their values, a line each, for --help."""
    lines = ["presets:"]
    for name, (summary, values) in PRESETS.items():
        flags = " ".join(f"--{key.replace('_', '-')} {_flag_value(value)}" for key, value in values.items())
        lines.append(f"  {name}: {summary}: {flags or 'the values shown as defaults'}")
    return "\n".join(lines)


def _flag_value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def load_config(path: str | Path) -> dict[str, Any]:
    """Reads a JSON or YAML file of `TrainConfig` values; raises `ConfigError` in one line for anything else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        try:
            # Tried first: YAML reads JSON's escapes of characters beyond U+FFFF as two characters.
            values = json.loads(text)
        except ValueError:
            values = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold names and values, such as hidden_size: 256")
    return _checked({key: value for key, value in values.items() if key not in _OF_THE_CALL}, str(path))


def _checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values in the types of `TrainConfig`; raises `ConfigError`, which says where, for the first that has none."""
    several = {field.name for field in dataclasses.fields(TrainConfig) if isinstance(field.default, tuple)}
    # One of what can be several needs no brackets.
    values = {
        name: (value,) if name in several and isinstance(value, str | int | float) else value
        for name, value in values.items()
    }
    try:
        checked = TypeAdapter(TrainConfig).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from error
    return {key: getattr(checked, key) for key in values}


def from_saved(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration that `to_json` wrote, or that a checkpoint holds."""
    return TrainConfig(**_checked(values, "the saved configuration"))


def from_values(values: Mapping[str, Any], default_preset: str) -> TrainConfig:
    """The configuration that values by their names ask for, as `parse` makes it of flags."""
    given = _checked(values, "settings")
    base = _base(given, default_preset)
    config = dataclasses.replace(base, **{**given, "preset": base.preset})
    _refuse_shape(config, given)
    return config.check()


def parse(args: Sequence[str], default_preset: str) -> TrainConfig:
    """The configuration that command-line arguments ask for.

    A preset gives the first values, a configuration file changes those, flags win over both; with --resume the
    file is the run's own config.json, if it has begun. Exits with a usage message for flags that do not exist.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("preset", "config", "run-dir"):
        first.add_argument(f"--{name}", f"--{name.replace('-', '_')}", default="")
    first.add_argument("--resume", action="store_true")
    early, _ = first.parse_known_args(args)
    base = _base(vars(early), default_preset)
    empty: dict[str, Any] = dict.fromkeys(_LISTS, ())
    # An appending flag adds to its default, but a corpus on the command line is to replace those of a file.
    parsed = tyro.cli(
        TrainConfig,
        args=list(args),
        default=dataclasses.replace(base, **empty),
        prog="charrnn.train",
        description=f"{TrainConfig.__doc__}\n\n{EXAMPLE}\n\n{preset_help()}",
    )
    lists = {name: getattr(parsed, name) or getattr(base, name) for name in _LISTS}
    config = dataclasses.replace(parsed, preset=base.preset, **lists)
    _refuse_shape(config, [arg.partition("=")[0].removeprefix("--").replace("-", "_") for arg in args])
    return config.check()


def _refuse_shape(config: TrainConfig, given: Iterable[str]) -> None:
    """Raises `ConfigError` if the shape of a starting model is given too, by one of these names."""
    for name in SHAPE if config.init_from else ():
        if name in given:
            raise ConfigError(f"--{name.replace('_', '-')}: the model of --init-from has its own: leave it out")


def _base(given: Mapping[str, Any], default_preset: str) -> TrainConfig:
    """What the values given stand on: a preset's, changed by those of a file or of the run that is resumed."""
    saved: dict[str, Any] = {}
    own_config = Path(given.get("run_dir", "")) / "config.json"
    if given.get("config"):
        # A run that is repeated is another run, and named as such.
        saved = {name: value for name, value in load_config(given["config"]).items() if name != "run_name"}
    elif given.get("resume") and given.get("run_dir") and own_config.exists():
        saved = load_config(own_config)
    return base_config(given.get("preset") or saved.get("preset") or default_preset, saved)


def check_resumed(config: TrainConfig, saved: Mapping[str, Any]) -> list[str]:
    """What differs from the run's own configuration, a phrase each; raises `ConfigError` if it cannot be changed."""
    changes = []
    for name, before in saved.items():
        now = getattr(config, name)
        if now == before or name == "num_threads":
            continue  # how many threads there are then is what matters, and said elsewhere
        change = f"--{name.replace('_', '-')} {_flag_value(now)} (it was {_flag_value(before)})"
        if name in FIXED_BY_RESUME:
            raise ConfigError(f"a run cannot be resumed with {change}: start a new one in another --run-dir")
        changes.append(change)
    return changes


def base_config(preset: str, saved: Mapping[str, Any]) -> TrainConfig:
    """The values of a preset, changed by those of a configuration file."""
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}: choose {', '.join(PRESETS)}")
    return TrainConfig(**{**PRESETS[preset][1], **saved, "preset": preset})


def to_json(config: TrainConfig) -> str:
    """The configuration as the text of a config.json."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"
