"""The quickstart notebook runs from top to bottom, without a network, and does what it says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import status

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


@pytest.mark.slow
def test_the_quickstart_runs_from_top_to_bottom() -> None:
    Path(os.environ["HOME"]).mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [
        "".join(output.text for output in cell.outputs if output.get("name") == "stdout").strip() for cell in cells
    ]
    assert [status(Path("runs", name))["state"] for name in ("quickstart", "sums")] == ["finished", "finished"]
    (expected, unexpected) = (float(bits) for bits in re.findall(r"([\d.]+) bits", outputs[3]))
    assert expected < unexpected
    right = re.search(r"(\d+) of 100 sums are right", outputs[-1])
    assert right
    assert int(right[1]) >= 90
