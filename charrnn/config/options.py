"""Options: fields that say all about themselves (type, bounds, help, group, rules), read from flags or from values."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from charrnn.errors import ConfigError, UsageError, did_you_mean


class Group(StrEnum):
    """Under which heading --help shows a field, in this order."""

    ARGUMENTS = "arguments"
    """Given by its place, without a flag."""
    COMMON = "what most people need"
    TEXT = "the text"
    MODEL = "the model"
    TRAINING = "the training"
    SAVING = "saving and resuming"
    SAMPLES = "samples and trackers"
    MACHINE = "the machine"
    FLAGS = "flags"


def _number(value: object) -> object:
    """Refuses what some reader would take for a number, though nobody can tell which: true, 010, 1:30."""
    if isinstance(value, str) and re.match(r"[+-]?0\d", value):
        raise ValueError("write it without the 0 in front")
    if isinstance(value, bool) or (isinstance(value, str) and not _DIGITS.fullmatch(value)):
        raise ValueError("write a number in digits, such as 90 or 1.5")
    return value


_DIGITS = re.compile(r"[+-]?[\d_.]+(e[+-]?\d+)?", re.IGNORECASE)
Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
AtLeast0 = Annotated[Whole, Field(ge=0)]
AtLeast1 = Annotated[Whole, Field(ge=1)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Repeated = tuple[str, ...]
"""A flag that can be given several times."""


class Options(BaseModel):
    """The base of all options. A subclass's docstring and those of its fields are what --help says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _one_of_several(cls, value: object, info: ValidationInfo) -> object:
        """One of what can be several needs no brackets."""
        several = get_origin(cls.model_fields[info.field_name or ""].annotation) is tuple
        return (value,) if several and isinstance(value, str | int | float | Path) else value

    @classmethod
    def from_args(cls, args: Sequence[str], prog: str) -> Self:
        """Reads a command line; raises `ConfigError` in one line for what is wrong with it."""
        return cls.from_values(read_flags(cls, args, prog), flag)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], spelled: Callable[[str], str] = str) -> Self:
        """Checks values by their names; raises `ConfigError` for the first that cannot be, spelling its name so."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(told(cls, error.errors()[0], spelled)) from error


def flag(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def told(kind: type[Options], error: Mapping[str, Any], spelled: Callable[[str], str] = str) -> str:
    """One line about an error of pydantic, the names of fields spelled so, with nothing in it that is not printable."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    name = spelled(repr(error["loc"][0])[1:-1])
    if error["type"] == "extra_forbidden":
        return f"there is no {name}{did_you_mean(name, map(spelled, kind.model_fields))}"
    value = error["input"]
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]  # given without brackets
    shown = repr(value)[1:-1] if isinstance(value, str) else repr(value)
    shown = f"{name} {shown[:60]}{'...' * (len(shown) > 60)}"
    if error["type"] == "literal_error":
        choices = get_args(kind.model_fields[error["loc"][0]].annotation)
        return shown + did_you_mean(str(value), choices, f": choose {', '.join(choices)}")
    message = next((words for words, kinds in _WANTED.items() if error["type"].startswith(kinds)), message)
    return f"{shown}: {message[0].lower()}{message[1:]}"


_WANTED = {
    "must be a text": ("string",),
    "must be a whole number": ("int",),
    "must be a number": ("float",),
    "must be true or false": ("bool",),
    "must be one, or several in a list": ("tuple",),
    "must be a path": ("path",),
}
"""What pydantic's errors of a type come to."""


def read_flags(kind: type[Options], args: Sequence[str], prog: str, epilog: str = "") -> dict[str, Any]:
    """What a command line gives of some options, by their names, not checked yet; --help prints and exits.

    Raises `UsageError` for flags that there are not.
    """
    parser = _parser(kind, prog, epilog)
    values, rest = parser.parse_known_args([re.sub(r"^--[^=]*", lambda m: m[0].replace("_", "-"), arg) for arg in args])
    for arg in rest:
        name = arg.split("=")[0]
        raise UsageError(f"there is no {name}{did_you_mean(name, map(flag, kind.model_fields))}: see {prog} --help")
    return vars(values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')}: see {self.prog} --help")


class _Formatter(argparse.HelpFormatter):
    """Wraps each line of a description for itself: an example stands on its own."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = (textwrap.fill(line, width, subsequent_indent="    ") for line in text.splitlines())
        return "\n".join(indent + line for line in lines)


def _parser(kind: type[Options], prog: str, epilog: str) -> argparse.ArgumentParser:
    """A parser with a flag for each field; it lets values through as they are written, and says only what was given."""
    parser = _Parser(
        prog=prog,
        # Lines of a paragraph belong together, but an example is a line of its own.
        description=re.sub(r"(?<=\S)\n(?=\S)(?!Example)", " ", inspect.getdoc(kind) or ""),
        epilog=epilog,
        formatter_class=_Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    texts = documented(kind)
    fields = sorted(kind.model_fields.items(), key=lambda item: list(Group).index(_group(item[1])))
    arguments = [name.upper() for name, field in fields if _group(field) is Group.ARGUMENTS]
    parser.usage = " ".join(["%(prog)s", *arguments, "[FLAGS]"])
    for title, members in groupby(fields, lambda item: _group(item[1])):
        group = parser.add_argument_group(title)
        for name, field in members:
            group.add_argument(
                name if title is Group.ARGUMENTS else flag(name), **_argument(name, field, texts.get(name, ""))
            )
    parser.add_argument_group("help").add_argument("-h", "--help", action="help", help="show this and end")
    return parser


def documented(kind: type[Options]) -> dict[str, str]:
    """The docstring of each field that has one.

    pydantic can read them, too (use_attribute_docstrings), but does when a class is made, for which every command would
    wait a tenth of a second.
    """
    texts = {}
    for base in reversed(kind.__mro__[: kind.__mro__.index(Options)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    texts[name] = " ".join(words.split())
    return texts


def _group(field: FieldInfo) -> Group:
    return next((each for each in field.metadata if isinstance(each, Group)), Group.FLAGS)


def _argument(name: str, field: FieldInfo, text: str) -> dict[str, Any]:
    """What `add_argument` is to know of a field."""
    kind, is_several = field.annotation, get_origin(field.annotation) is tuple
    if is_several:
        kind = get_args(kind)[0]
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if not (field.is_required() or kind is bool or field.default in ("", (), None)):
        shown = field.default if is_several else (field.default,)
        text = f"{text.removesuffix('.')} (default: {' '.join(map(str, shown))})"
    argument: dict[str, Any] = {"help": text.replace("%", "%%")}
    if kind is bool:
        return argument | {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        argument["metavar"] = "{" + ",".join(get_args(kind)) + "}"
    else:
        argument["metavar"] = "N" if kind is int else "X" if kind is float else "TEXT"
    if _group(field) is Group.ARGUMENTS:
        nargs = "+" if is_several else None if field.is_required() else "?"
        return argument | {"nargs": nargs, "metavar": name.upper()}
    if is_several:
        # Texts come one a flag, so that an argument may follow; numbers in a row.
        argument |= {"action": "append"} if kind is str else {"action": "extend", "nargs": "+"}
    return argument
