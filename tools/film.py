"""A short film of the viewer, for the top of the README.

python -m tools.film PAGE docs/viewer.webp

PAGE is a page of a study with predictions, as notebook 4 leaves them in out/report. Needs Chromium.
"""

import io
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from utils import cli
from utils.errors import LumbarError
from utils.files import write_atomic
from utils.rsna import SAGITTAL_T2

WIDE, HIGH = 1000, 760  # px of the page
QUALITY = 60  # of a frame
MS = 120  # a frame is shown; the last of a scene STILL_MS
STILL_MS = 1200
VIEWER = ".spine-viewer"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def scenes(page: Page) -> Iterator[None]:
    """Scroll through the spine, go to three targets, outline the structures; yields where a frame
    is taken, twice in a row at the end of a scene."""
    viewer = page.locator(VIEWER)
    yield
    yield
    viewer.locator(f'[data-kind="{SAGITTAL_T2}"] .view').hover()
    for step in (-1, -1, -1, 1, 1, 1, 1, 1, 1, -1, -1, -1):
        page.mouse.wheel(0, 100 * step)
        yield
    yield
    for cell in (3, 8, 18):
        viewer.locator(".cell").nth(cell).click()
        yield
        yield
    page.keyboard.press("s")
    yield
    yield


def film(browser: Browser, source: Path, target: Path) -> Path:
    """The scenes on a saved page as an animated WebP."""
    shots: list[bytes] = []
    page = browser.new_page(viewport={"width": WIDE, "height": HIGH})
    page.goto(source.resolve().as_uri())
    for _ in scenes(page):
        page.wait_for_timeout(200)
        shots.append(page.locator(VIEWER).screenshot())
    page.close()
    frames = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    lasts = [*(a == b for a, b in itertools.pairwise(shots)), True]
    data = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "loop": 0, "quality": QUALITY}
    frames[0].save(data, "WEBP", duration=[STILL_MS if last else MS for last in lasts], **options)
    write_atomic(target, data.getvalue())
    return target


def main() -> None:
    parser = cli.parser("tools.film", __doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("target", type=Path)
    a = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        raise LumbarError("no Chromium on this machine; apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print(film(browser, a.page, a.target))


if __name__ == "__main__":
    cli.run(main)
