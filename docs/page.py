"""Takes a picture of the page to hand on, as a phone shows it by day and by night, for the README.

    python docs/page.py docs/story.html docs/page.webp

It needs what `make test-browser` installs. The page draws lots; here they are drawn from a seed.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

WIDTH, HEIGHT, SCALE = 390, 844, 1.5
GAP = 24
BEGINNING = "Once upon a time "
LOOKED_AT = 27
"""The character that is looked at."""
QUALITY = 60
LOTS = "let state = 7; Math.random = () => (state = (state * 48271) % 2147483647) / 2147483647;"


def picture(browser: Browser, page: Path, scheme: str) -> Image.Image:
    """A page that has written, from its top to what was thought of."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, color_scheme=scheme
    )
    opened = context.new_page()
    opened.add_init_script(LOTS)
    opened.goto(page.resolve().as_uri())
    opened.get_by_label("How the text begins").fill(BEGINNING)
    opened.get_by_label("Temperature").fill("0.6")
    opened.get_by_role("button", name="Write").click()
    opened.locator("#status", has_text="a second").wait_for()
    opened.locator("#text span").nth(LOOKED_AT).click()
    bottom = opened.locator("#thought").evaluate("element => element.getBoundingClientRect().bottom + scrollY")
    shown = {"x": 0, "y": 0, "width": WIDTH, "height": bottom + GAP}
    shot = Image.open(io.BytesIO(opened.screenshot(full_page=True, clip=shown)))
    context.close()
    return shot.convert("RGB")


def main(page: Path, target: Path) -> None:
    """Puts both pictures side by side, in few colours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shots = [picture(browser, page, scheme) for scheme in ("light", "dark")]
        browser.close()
    gap = round(SCALE * GAP)
    whole = Image.new("RGBA", (sum(shot.width for shot in shots) + gap, shots[0].height))
    for shot, left in zip(shots, (0, shots[0].width + gap), strict=True):
        whole.paste(shot, (left, 0))
    whole.save(target, quality=QUALITY)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
