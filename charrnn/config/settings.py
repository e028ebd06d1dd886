"""The settings of a run: what each is and may be, and which go together."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from charrnn.config.options import AtLeast0, AtLeast1, Group, NotNegative, Number, Options, Repeated, Share, Whole, flag
from charrnn.outside import disk

COMMON, TEXT, MODEL, TRAINING = Group.COMMON, Group.TEXT, Group.MODEL, Group.TRAINING
SAVING, SAMPLES, MACHINE = Group.SAVING, Group.SAMPLES, Group.MACHINE


class Rule(Enum):
    """What holds for a setting besides its type and bounds."""

    FIXED = auto()
    """A resumed run cannot change it: it is about the text, the model, or what the saved state belongs to.

    Corpora can be named otherwise: the digest of their text is what must stay.
    """
    SHAPE = auto()
    """A starting model says it of the model that is trained, whatever a preset or a file says."""
    OF_NODE = auto()
    """It may differ between the nodes of a job: digests tell whether it means the same."""
    OF_CALL = auto()
    """It is about one call; a file says it of the call that wrote it, and no other takes it over."""


FIXED, SHAPE, OF_NODE, OF_CALL = Rule


def _minutes(value: object) -> str:
    """A number of minutes as it was written; with a plus sign it is added to a run that has finished."""
    text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    if text and not (re.fullmatch(r"\+?(\d+\.?\d*|\.\d+)", text) and float(text) > 0):
        raise ValueError("write a number of minutes above 0, such as 5 or 0.5, or +10 to go on with a finished run")
    return text


Minutes = Annotated[str, BeforeValidator(_minutes)]
NormalForm = Literal["none", "NFC", "NFD", "NFKC", "NFKD"]
LossOn = Literal["all", "last"]
Optimizer = Literal["adamw", "adam", "rmsprop"]
Schedule = Literal["cosine", "trapezoid", "constant", "char-rnn"]
Precision = Literal["auto", "float32", "bf16", "fp16"]
TrackerName = Literal["wandb", "trackio", "tensorboard", "none"]


class TrainConfig(Options):
    """Train a character-level LSTM on any text.

    Example: charrnn train --corpus gutenberg:1597
    Example: accelerate launch -m charrnn.train --corpus files:my-novel.txt --preset laptop-long
    """

    corpus: Annotated[Repeated, COMMON, OF_NODE] = ()
    """What to train on, SCHEME:ARGUMENT, for example gutenberg:1597 or files:my.txt; can be given several times:
    all feed one vocabulary. `charrnn corpora` lists the schemes. The default is a part of
    Python's own library, which needs no network."""
    val_corpus: Annotated[Repeated, TEXT, OF_NODE] = ()
    """What to validate on instead of the last part of each corpus; can be given several times."""
    test_corpus: Annotated[Repeated, TEXT, OF_NODE] = ()
    """What `charrnn eval --split test` measures and training never looks at; can be given several times."""
    plugin: Annotated[Repeated, TEXT, OF_NODE] = ()
    """A module with a corpus of your own, which needs no packaging; can be given several times."""
    block_plugin: Annotated[Repeated, TEXT, OF_NODE] = ()
    """A plugin, by its name, that is not to be loaded; can be given several times."""
    preset: Annotated[str, COMMON, FIXED] = ""
    """A named set of values that the other flags then change; `charrnn presets` shows them."""
    config: Annotated[str, SAVING, OF_NODE, OF_CALL] = ""
    """A JSON or YAML file of these values, such as the config.json of a run that is to be repeated."""

    run_dir: Annotated[str, COMMON, OF_NODE, OF_CALL] = ""
    """The folder of this run; the default is a new one under runs/."""
    resume: Annotated[bool, COMMON, OF_NODE, OF_CALL] = False
    """Go on from the last checkpoint in --run-dir, exactly; start afresh if there is none."""
    init_from: Annotated[str, MODEL, FIXED, OF_NODE] = ""
    """A run (or a model folder) whose weights and vocabulary a new run starts from: fine-tuning. Characters that it
    lacks are added."""
    seed: Annotated[Whole, TRAINING, FIXED] = 0
    """What is random in the run is a function of this number."""

    val_fraction: Annotated[Share, TEXT, FIXED] = 0.1
    """Share of each corpus, its last part, that is held out to measure the loss on, unless there is a --val-corpus; 0
    for none."""
    test_fraction: Annotated[Share, TEXT, FIXED] = 0.0
    """Share of each corpus, after the validation part, that training never looks at."""
    min_freq: Annotated[AtLeast1, TEXT, FIXED] = 1
    """Characters seen less often become <unk>."""
    max_size: Annotated[AtLeast0, TEXT, FIXED] = 0
    """The vocabulary's largest size, counting <unk>; 0 for no limit."""
    vocab: Annotated[str, TEXT, FIXED, OF_NODE] = ""
    """A vocab.json to use instead of building a vocabulary."""
    normalize: Annotated[NormalForm, TEXT, FIXED] = "none"
    """Unicode normal form that the text is brought to."""

    hidden_size: Annotated[AtLeast1, MODEL, FIXED, SHAPE] = 512
    """Cells in each LSTM layer."""
    num_layers: Annotated[AtLeast1, MODEL, FIXED, SHAPE] = 1
    """LSTM layers."""
    embedding_size: Annotated[AtLeast0, MODEL, FIXED, SHAPE] = 64
    """Size of a character's embedding; 0 feeds one-hot characters."""
    tie_weights: Annotated[bool, MODEL, FIXED, SHAPE] = False
    """Use the embedding as the output matrix too; needs embedding-size = hidden-size."""
    dropout: Annotated[Share, TRAINING] = 0.2
    """Probability of locked dropout between layers and before the output."""
    drop_connect: Annotated[Number, TRAINING] = 0.0
    """Probability that a recurrent weight is left out of a window (DropConnect): 0, or from 0.004 to 0.99."""
    state_drop: Annotated[Share, TRAINING] = 0.02
    """Probability that a row forgets its state at the beginning of a window."""

    minutes: Annotated[Minutes, COMMON] = ""
    """How long to train on this machine; what is not given (size, epochs, dropout and the like) is then planned to make
    the best of that time. It is 5 unless a preset, --epochs or --max-steps says how long. With --resume, +10 goes on
    with a finished run for so many minutes more."""
    epochs: Annotated[NotNegative, TRAINING] = 4.0
    """Times the text is read; a fraction is allowed."""
    max_steps: Annotated[AtLeast0, TRAINING] = 0
    """Steps after which the run ends, whatever --epochs says; 0 for none."""
    batch_size: Annotated[AtLeast1, TRAINING, FIXED] = 16
    """Parallel rows of text in the whole run, over all processes."""
    seq_length: Annotated[AtLeast1, TRAINING] = 32
    """Characters in a window: back-propagation through time stops at its beginning, the state goes on."""
    min_seq_length: Annotated[AtLeast0, TRAINING] = 0
    """If above 0, each window's length is drawn between this and --seq-length."""
    thin: Annotated[AtLeast1, TRAINING, FIXED] = 1
    """Train on one in so many pieces of the text, from all over it: for a text that cannot be read once in the time."""
    start_at: Annotated[Share, TRAINING, FIXED] = 0.0
    """The share of its part of the text after which each row begins to read. A plan has a run that reads a part of an
    epoch begin so that it ends with the end of the text, which is nearest to what is held out."""
    loss_on: Annotated[LossOn, TRAINING] = "all"
    """Learn from every character of a window, or from its last one only."""
    optimizer: Annotated[Optimizer, TRAINING, FIXED] = "adamw"
    """The optimizer."""
    learning_rate: Annotated[Number, Field(gt=0), TRAINING] = 4e-3
    """The peak learning rate."""
    schedule: Annotated[Schedule, TRAINING] = "cosine"
    """How the learning rate goes over the run; trapezoid: the peak until 60 %, then straight down; char-rnn: times 0.97
    every epoch after the tenth."""
    schedule_start: Annotated[NotNegative, TRAINING] = 0.0
    """The epoch at which the schedule begins; what was trained before had a schedule of its own."""
    warmup: Annotated[Share, TRAINING] = 0.01
    """Share of the run over which the learning rate rises to its peak."""
    final_learning_rate: Annotated[Number, Field(ge=0, le=1), TRAINING] = 0.01
    """What is left of the learning rate at the end of the run, as a share of the peak."""
    weight_decay: Annotated[NotNegative, TRAINING] = 0.1
    """Weight decay of matrices, with adamw; the other optimizers have none."""
    grad_clip: Annotated[NotNegative, TRAINING] = 1.0
    """Largest norm of the gradient; 0 for no limit."""

    eval_every: Annotated[AtLeast0, SAVING] = 0
    """Measure the validation loss every so many steps too, not only after each epoch; 0 for never."""
    val_characters: Annotated[AtLeast0, SAVING] = 0
    """Measure the validation loss on so many characters, from all over the validation text; 0 for all of it."""
    checkpoint_every: Annotated[AtLeast0, SAVING] = 0
    """Save every so many steps too, not only after each epoch; 0 for never."""
    checkpoint_minutes: Annotated[NotNegative, SAVING] = 10.0
    """Save at least this often; 0 for never."""
    keep: Annotated[AtLeast0, SAVING] = 2
    """Latest checkpoints to keep, besides the best."""
    sample_every: Annotated[AtLeast0, SAMPLES] = 0
    """Write samples every so many steps too, not only after each epoch; 0 for never."""
    log_every: Annotated[AtLeast1, SAMPLES] = 50
    """Steps between two lines of metrics."""
    num_threads: Annotated[AtLeast0, Field(le=1024), MACHINE, OF_NODE] = 0
    """CPU threads of this process; 0 for its share of the cores."""
    precision: Annotated[Precision, MACHINE] = "auto"
    """Arithmetic of the model in training: auto is fp16 on a GPU (but with rmsprop), bf16 for a plan on processors
    that are faster with it, else float32. What Accelerate's launcher was told wins. Losses are measured in float32."""
    tf32: Annotated[bool, MACHINE] = True
    """Let a GPU's LSTM multiply with ten bits after the point instead of 23: in TF32 where precision is float32. With
    --no-tf32 precision auto is float32."""
    cuda_graphs: Annotated[bool, MACHINE] = True
    """On a GPU, start all kernels of a training step at once, as CUDA graphs."""
    deterministic: Annotated[bool, MACHINE] = False
    """Bitwise the same result every time on a GPU too, at some cost in speed."""

    prompt: Annotated[str, SAMPLES] = ""
    """What samples begin with; the default is a new line."""
    temperatures: Annotated[tuple[NotNegative, ...], SAMPLES] = (0.5, 0.8, 1.0)
    """Temperatures of the samples."""
    sample_length: Annotated[AtLeast0, SAMPLES] = 400
    """Characters in a sample; 0 for no samples."""
    tracker: Annotated[TrackerName, COMMON] = "wandb"
    """Where metrics and samples go, besides the run's folder."""
    project: Annotated[str, SAMPLES] = "charrnn"
    """The project's name in the tracker."""
    log_model: Annotated[bool, SAMPLES] = False
    """Store the best model as an artifact of the wandb run when the run ends."""
    run_name: Annotated[str, SAMPLES] = ""
    """The run's name in the tracker; the default is the run folder's name."""

    @property
    def fractions(self) -> tuple[float, float]:
        """The shares of each corpus that are really set apart to validate and to test."""
        return 0.0 if self.val_corpus else self.val_fraction, self.test_fraction

    @property
    def mean_seq_length(self) -> float:
        """The mean length of a window."""
        return ((self.min_seq_length or self.seq_length) + self.seq_length) / 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Raises an error that names the flag for the first setting that does not go with another."""
        given = self.init_from or self.vocab
        given_for = {"val_corpus": self.corpus, "test_corpus": (*self.corpus, *self.val_corpus)}
        twice = [(name, spec) for name, others in given_for.items() for spec in getattr(self, name) if spec in others]
        connected = self.drop_connect == 0 or 0.004 <= self.drop_connect <= 0.99
        tied = self.embedding_size == self.hidden_size or bool(self.init_from)  # which has a shape of its own
        for is_wrong, name, demand in (
            (not connected, "drop_connect", "must be 0, or from 0.004 to 0.99"),
            (sum(self.fractions) >= 1, "test_fraction", "leaves nothing to train on with --val-fraction"),
            (self.test_corpus and self.test_fraction, "test_fraction", "must be 0 with --test-corpus"),
            (not (self.epochs or self.max_steps), "epochs", "must be above 0"),
            (self.minutes[:1] == "+" and not self.resume, "minutes", "goes on with a finished run, with --resume"),
            (self.min_seq_length > self.seq_length, "min_seq_length", "is above --seq-length"),
            (
                self.schedule_start and self.max_steps,
                "schedule_start",
                "goes with --epochs, not with --max-steps",
            ),
            (self.schedule_start >= self.epochs > 0, "schedule_start", f"leaves nothing of --epochs {self.epochs:g}"),
            (self.tie_weights and not tied, "tie_weights", f"needs --embedding-size {self.hidden_size}"),
            (self.init_from and self.vocab, "vocab", "contradicts --init-from, which has its own"),
            (given and self.min_freq > 1, "min_freq", "cannot change the vocabulary of --vocab or --init-from"),
            (given and self.max_size, "max_size", "cannot change the vocabulary of --vocab or --init-from"),
            (self.log_model and self.tracker != "wandb", "log_model", "needs --tracker wandb"),
        ):
            if is_wrong:
                raise ValueError(f"{flag(name)} {getattr(self, name)}: it {demand}")
        for name, spec in twice:
            raise ValueError(f"{flag(name)} {spec}: it is given for something else already")
        return self


def ruled(rule: Rule) -> tuple[str, ...]:
    """The settings that a rule holds for."""
    return tuple(name for name, field in TrainConfig.model_fields.items() if rule in field.metadata)


def to_json(config: TrainConfig) -> str:
    """The settings as the text of a config.json."""
    return disk.to_json(config.model_dump(), indent=2) + "\n"
