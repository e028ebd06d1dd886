"""Where settings come from: a preset, changed by a file or by the run that is resumed, changed by what was given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from charrnn import __version__
from charrnn.config.options import flag, read_flags
from charrnn.config.presets import PRESETS
from charrnn.config.settings import Rule, TrainConfig, ruled
from charrnn.errors import ConfigError, did_you_mean
from charrnn.outside.foreign import shown

DEFAULT_MINUTES = "5"
"""How long to train where nothing says so."""


def parse(args: Sequence[str], default_preset: str) -> TrainConfig:
    """The settings that command-line arguments ask for; raises `ConfigError`, and --help prints and exits."""
    presets = "\n".join(f"  {name}: {summary}" for name, (summary, _) in PRESETS.items())
    epilog = f"presets (`charrnn presets` shows their values):\n{presets}"
    return resolve(read_flags(TrainConfig, args, "charrnn train", epilog), default_preset, flag)


def resolve(given: Mapping[str, Any], default_preset: str, spelled: Callable[[str], str] = str) -> TrainConfig:
    """The settings that values by their names ask for, from flags or from Python; raises `ConfigError`.

    A preset gives the first values, a configuration file changes those, what is given wins over both; with ``resume``
    the file is the run's own config.json, if it has begun. Where nothing says how long to train, it is for
    `DEFAULT_MINUTES`; with minutes but without a preset, what is not in ``model_fields_set`` is for a plan to choose.
    A name that is wrong is told as ``spelled`` has it.
    """
    given = {name: fspath(value) if isinstance(value, PathLike) else value for name, value in given.items()}
    for name in ("config", "run_dir"):
        if not isinstance(given.get(name, ""), str):
            raise ConfigError(f"{spelled(name)} {given[name]!r}: must be a path")
    own = Path(given.get("run_dir") or "", "config.json")
    path, saved = given.get("config"), {}
    if path:
        saved = read_config(path)
        saved.pop("run_name", None)  # a run that is repeated is another run, and named as such
    elif given.get("resume") and given.get("run_dir") and own.exists():
        path, saved = own, known(read_config(own), own)
        if saved.get("plugin") and not given.get("plugin"):
            named = shown(str(saved["plugin"]))
            raise ConfigError(f"{own} names the plugins {named}, which are code: give --plugin for those you trust")
    values = {**saved, **given}
    if values.get("minutes") in (None, "") and not any(map(values.get, ("preset", "epochs", "max_steps"))):
        values["minutes"] = DEFAULT_MINUTES
    preset = values.get("preset") or ("" if values.get("minutes") or "preset" in values else default_preset)
    config = TrainConfig.from_values(
        {**values_of_preset(preset, timed=bool(values.get("minutes"))), **values, "preset": preset},
        lambda name: f"{path}: {name}" if name in saved and name not in given else spelled(name),
    )
    for name in ruled(Rule.SHAPE) if config.init_from else ():
        if name in given:
            raise ConfigError(f"{flag(name)}: the model of --init-from has its own: leave it out")
    return config


def values_of_preset(name: str, *, timed: bool) -> dict[str, Any]:
    """All values that a preset stands for, but for its length if minutes say how long to train; none without a name."""
    if name and name not in PRESETS:
        hint = did_you_mean(str(name), PRESETS, f": choose {', '.join(PRESETS)}")
        raise ConfigError(f"there is no preset {name!r}{hint}")
    if not name:
        return {}
    values = {key: field.default for key, field in TrainConfig.model_fields.items()} | PRESETS[name][1]
    return {key: value for key, value in values.items() if not (timed and key in ("epochs", "max_steps"))}


def read_config(path: str | Path) -> dict[str, Any]:
    """The values of a JSON or YAML file by their names, not checked yet; raises `ConfigError` for any other file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        try:
            # Tried first: YAML reads JSON's escapes of characters beyond U+FFFF as two characters.
            values = json.loads(text, object_pairs_hook=_named_once)
        except json.JSONDecodeError:
            values = _from_yaml(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold names and values, such as hidden_size: 256")
    return {name: value for name, value in values.items() if name not in ruled(Rule.OF_CALL)}


def _named_once(pairs: Iterable[tuple[object, Any]]) -> dict[str, Any]:
    """Names with values, spelled with underscores or hyphens; no name may come twice."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = str(key).replace("-", "_")
        if name in values:
            raise ValueError(f"it has {name} twice")
        values[name] = value
    return values


def _from_yaml(text: str) -> Any:
    """The content of a YAML file, its words as they are written: the type of a setting tells what they mean.

    YAML itself would read 2e-3 as a word, 010 as 8, 1:30 as 90 and no as false.
    """
    import yaml  # takes longer to import than all else here

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012  # what yaml itself declares
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_constructor(
        "tag:yaml.org,2002:map", lambda loader, node: _named_once(loader.construct_pairs(node, deep=True))
    )
    try:
        return yaml.load(text, Loader)  # a SafeLoader's child
    except yaml.YAMLError as error:
        raise ValueError(f"it is neither JSON nor YAML: {error}") from error


def from_saved(values: Mapping[str, Any], where: str | Path) -> TrainConfig:
    """The settings that a checkpoint or a config.json holds; raises `ConfigError`, which says where."""
    return TrainConfig.from_values(known(values, where), lambda name: f"{where}: {name}")


def known(values: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """The settings that a run wrote down; raises `ConfigError` for one of another version, which is no mistyped one."""
    for name in values:
        if name not in TrainConfig.model_fields:
            raise ConfigError(
                f"{where} has a setting {name!r} that charrnn {__version__} does not know: "
                "go on with the version that wrote it, or start a new run in another --run-dir"
            )
    return dict(values)


def check_resumed(config: TrainConfig, saved: TrainConfig) -> list[str]:
    """What differs from the run's own settings, a phrase each; raises `ConfigError` for what cannot be changed."""
    changes = []
    for name in filter(saved.model_fields_set.__contains__, TrainConfig.model_fields):
        now, before = getattr(config, name), getattr(saved, name)
        if now == before or name in ("num_threads", "precision", "minutes"):
            continue  # the threads, precision and steps that there are then are what matters, and said elsewhere
        change = f"{flag(name)} {written(now)} (it was {written(before)})"
        if name in ruled(Rule.FIXED):
            raise ConfigError(f"a run cannot be resumed with {change}: start a new one in another --run-dir")
        changes.append(change)
    return changes


def written(value: object) -> str:
    """A value as flags have it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
