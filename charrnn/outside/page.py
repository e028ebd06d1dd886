"""A page of one file: what it shows is escaped, no script but its own may run, and it can reach nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from charrnn.outside.printable import printable

Filter = Callable[..., object]


def render(package: str, name: str, values: Mapping[str, Any], scripts: Sequence[str] = (), **filters: Filter) -> str:
    """A page of a package: its NAME.html.jinja with its NAME.css and its NAME.js, which comes after other scripts.

    The template says what a browser may run, by ``script_hash`` and ``style_hash``: not what a text smuggles in.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": marked, **filters}
    script = "\n".join([*scripts, _template(package, f"{name}.js")])
    style = _template("charrnn.outside", "base.css") + _template(package, f"{name}.css")
    own = {
        "script": Markup(script),
        "script_hash": _hash(script),
        "style": Markup(style),
        "style_hash": _hash(style),
    }
    return environment.get_template(f"{name}.html.jinja").render(values, **own)


def marked(text: str) -> str:
    """A text with a mark, one character wide, in the place of each that must not be raw."""
    return printable(text, lambda raw: chr(0x2400 + ord(raw)) if raw < " " else "\ufffd")


def _template(package: str, name: str) -> str:
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """How a Content-Security-Policy names a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
