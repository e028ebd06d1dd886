"""The quickstart notebook runs from top to bottom, without a network, and does what it says."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

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
    said = "\n".join(outputs)
    (expected, unexpected) = (float(bits) for bits in re.findall(r"([\d.]+) bits a character: ", said))
    assert expected < unexpected
    pictures = [output.data["image/svg+xml"] for cell in cells for output in cell.outputs if "data" in output]
    assert len(pictures) == 5
    for picture in pictures:
        ElementTree.fromstring(picture)
    with_detach, without = (int(last) for last in re.findall(r"the last five (\d+) ms", said))
    assert without > 2 * with_detach
    right = re.search(r"(\d+) of 100 sums are right", outputs[-1])
    assert right
    assert int(right[1]) >= 90
