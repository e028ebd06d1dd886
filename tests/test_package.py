"""The package: its public names, and what importing it costs."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import charrnn


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after some code."""
    report = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = modules_after("import charrnn")
    assert "charrnn" in loaded
    assert not loaded & {"torch", "numpy", "pluggy", "accelerate", "huggingface_hub", "pydantic"}


@pytest.mark.parametrize("name", ["hookimpl", "Vocabulary"])
def test_names_that_are_about_text_do_not_import_torch(name: str) -> None:
    assert not modules_after(f"from charrnn import {name}") & {"torch", "accelerate", "huggingface_hub"}


def test_bundled_plugins_are_cheap_to_import() -> None:
    loaded = modules_after("import charrnn_plugins.files, charrnn_plugins.gutenberg, charrnn_plugins.hf")
    assert not loaded & {"torch", "datasets", "httpx", "numpy"}


@pytest.mark.parametrize("name", charrnn.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(charrnn, name).__module__.split(".")[0] in ("charrnn", "pluggy")
    assert inspect.getdoc(getattr(charrnn, name))


def test_all_is_what_a_star_imports_and_what_type_checkers_see() -> None:
    names: dict[str, object] = {}
    exec("from charrnn import *", names)
    assert names.keys() - {"__builtins__"} == set(charrnn.__all__) <= set(dir(charrnn))
    # A type checker sees what is imported for it alone; any other name it takes from `__getattr__`, as Any.
    tree = ast.parse(Path(charrnn.__file__).read_text(encoding="utf-8"))
    (for_types,) = (
        each for each in tree.body if isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test)
    )
    imported = [line for line in for_types.body if isinstance(line, ast.ImportFrom)]
    homes = {alias.asname: line.module for line in imported for alias in line.names if alias.asname == alias.name}
    assert homes == charrnn._HOMES
    assert set(homes) == set(charrnn.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = charrnn.nonsense


def test_the_version_is_that_of_the_installed_package() -> None:
    assert charrnn.__version__ == version("charrnn-lm")


def test_a_sample_needs_no_torch() -> None:
    loaded = modules_after("import charrnn.cli.sample")
    assert "numpy" in loaded
    assert not loaded & {"torch", "accelerate", "huggingface_hub"}
