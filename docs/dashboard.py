"""Takes the picture of Trackio's page about some runs, which need not have been tracked: they are told to it again.

The picture in the documentation is of two runs of some minutes on two cores, the second of which was stopped early:

    charrnn train --corpus files:tinyshakespeare.txt --minutes 3 --tracker none --run-dir runs/tinyshakespeare
    charrnn train --corpus python:asyncio --hidden-size 192 --max-steps 1500 --eval-every 100 --tracker none \
        --run-dir runs/asyncio
    python docs/dashboard.py runs/tinyshakespeare runs/asyncio docs/dashboard.webp

It needs `pip install -e '.[trackio]' playwright pillow` and Debian's Chromium.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from charrnn.run.folder import METRICS, SAMPLES, read_json, read_lines

PROJECT = "charrnn"
SHOWN = "_loss"
"""The charts with this in their names are in the picture."""
WIDTH, HEIGHT = 1200, 520
QUALITY = 80


def tell(run: Path) -> None:
    """Tells Trackio what a run recorded, as the run itself would have."""
    from accelerate import Accelerator

    from charrnn.run.trackers import Trackio

    tracker = Trackio(Accelerator(cpu=True), run)
    tracker.start(PROJECT, run.name, read_json(run / "config.json"))
    for row in read_lines(run / METRICS):
        tracker.log({name: value for name, value in row.items() if name != "step"}, row["step"])
    for step, rows in groupby(read_lines(run / SAMPLES), key=lambda row: row["step"]):
        samples = list(rows)
        tracker.log_samples(samples, [[] for _ in samples], step)
    tracker.finish(failed=False)


def photograph(address: str) -> bytes:
    """A PNG of the page, its charts alone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        page.get_by_placeholder("e.g., loss").fill(SHOWN)
        page.get_by_text("val_loss").first.wait_for()
        page.get_by_text("Project", exact=True).first.scroll_into_view_if_needed()
        page.wait_for_timeout(2000)  # until the charts have been drawn
        picture = page.screenshot()
        browser.close()
    return picture


def main(*args: str) -> None:
    """Writes the picture, the last argument, of the runs before it."""
    *runs, target = map(Path, args)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRACKIO_DIR"] = folder  # read when trackio is first imported
        for run in runs:
            tell(run)
        import trackio
        from PIL import Image

        server, address, *_ = trackio.show(PROJECT, host="127.0.0.1", open_browser=False, block_thread=False)
        Image.open(io.BytesIO(photograph(f"{address}?project={PROJECT}"))).save(target, quality=QUALITY)
        server.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
