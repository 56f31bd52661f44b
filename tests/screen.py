"""A page with a viewer in it, used as a reader would: panes by name, positions in image pixels."""

import base64
import io
import re

import numpy as np
from PIL import Image

from utils import rsna

SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = rsna.SERIES
SEVERE = (0xD5, 0x5E, 0x00)
PAINT_FRAMES = 3  # the pane that has changed is drawn first, the lines in the others a frame later
THREE_FRAMES = f"""async () => {{
  for (let i = 0; i < {PAINT_FRAMES}; i++) await new Promise(requestAnimationFrame);
}}"""
ALL_LAYERS = """view => {
  const layers = [...view.querySelectorAll("canvas")];
  const { width, height } = layers[0];
  const whole = Object.assign(document.createElement("canvas"), { width, height });
  for (const layer of layers) whole.getContext("2d").drawImage(layer, 0, 0);
  return whole.toDataURL();
}"""
IS_PAINTED = """canvas => canvas.getContext("2d")
  .getImageData(0, 0, canvas.width, canvas.height).data
  .some((v, i) => i % 4 < 3 && v > 60 && v < 200)"""


def spoken(element):
    """What a screen reader says of an element."""
    return element.get_attribute("aria-label")


class Screen:
    """A page with one viewer.

    page    playwright's
    data    the Payload that the viewer shows; needed for positions in a pane only
    inside  the part of the page to look at, if it holds more than one viewer

    noise lists what the page logs, raises and requests.
    """

    def __init__(self, page, data, inside=None):
        self.page = page
        self.data = data
        self.inside = inside or page
        self.noise = []
        self.devtools = None
        page.on("console", lambda message: self.hear(message.text))
        page.on("pageerror", lambda error: self.noise.append(str(error)))
        page.on("request", lambda request: self.noise.append(request.url))

    def hear(self, text):
        if "willReadFrequently" not in text:  # caused by the tests, which read the canvases
            self.noise.append(text)

    def touch(self, name, *points):
        """A touch event ("touchStart", "touchMove", "touchEnd") of fingers at these px."""
        if self.devtools is None:  # a touch belongs to the session in which it started
            self.devtools = self.page.context.new_cdp_session(self.page)
        fingers = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
        self.devtools.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": fingers})

    # ---- Parts of the viewer

    def pane(self, kind):
        return self.inside.locator(f'[data-kind="{kind}"]')

    def view(self, kind):
        return self.pane(kind).locator(".view")

    def button(self, name):
        return self.inside.get_by_role("button", name=name, exact=True)

    def cell(self, condition, level):
        return self.inside.get_by_role("button", name=f"{condition}, {level}:")

    @property
    def chosen(self):
        """The cell of the grid that is selected."""
        return self.inside.locator(".cell[aria-pressed=true]")

    def detail(self):
        """The text of the panel beside the grid."""
        return self.inside.locator(".detail").inner_text()

    # ---- What a pane says

    def text(self, kind, corner):
        """What a corner says, once the pane and then the lines in the others have been drawn."""
        self.page.evaluate(THREE_FRAMES)
        return self.pane(kind).locator(f".{corner}").inner_text()

    def slice(self, kind):
        """Number of the slice on show, counted from 1."""
        return int(re.match(r"Slice (\d+) of \d+", self.text(kind, "bl"))[1])

    def slices(self):
        return [self.slice(kind) for kind in rsna.SERIES]

    def window(self, kind):
        """Width and level."""
        numbers = re.match(r"W (-?\d+)\nL (-?\d+)", self.text(kind, "br"))
        return tuple(map(int, numbers.groups()))

    # ---- Positions: from an image pixel to the page, for a pane in which the whole image is shown,
    # in the middle, with one scale for both axes

    def at(self, kind, xy):
        """Page coordinates of an image pixel."""
        entry = next(s for s in self.data.study["series"] if s["description"] == kind)
        size = np.array(entry["slices"][0]["size"])
        spacing = np.array(entry["slices"][0]["spacing"])
        start, pane = self.canvas_box(kind)
        scale = (pane / (size * spacing)).min()
        return start + pane / 2 + (np.asarray(xy) - (size - 1) / 2) * spacing * scale

    def canvas_box(self, kind):
        """Upper left corner and size of a pane's canvas, in page coordinates."""
        box = self.pane(kind).locator("canvas").first.bounding_box()
        return np.array([box["x"], box["y"]]), np.array([box["width"], box["height"]])

    def on_canvas(self, kind, at):
        """Column and row of the canvas at page coordinates."""
        start, _ = self.canvas_box(kind)
        return np.round(at - start).astype(int)

    # ---- Mouse and keys

    def move(self, kind, xy, **more):
        self.page.mouse.move(*self.at(kind, xy), **more)

    def click(self, kind, xy, **more):
        self.page.mouse.click(*self.at(kind, xy), **more)

    def drag(self, kind, by, **more):
        start = self.at(kind, (40, 30))
        self.page.mouse.move(*start)
        self.page.mouse.down(**more)
        self.page.mouse.move(*(start + by), steps=3)
        self.page.mouse.up(**more)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    # ---- What a pane shows

    def pixels(self, kind):
        """Image and overlay, (height, width, 3)."""
        self.page.evaluate(THREE_FRAMES)
        url = self.view(kind).evaluate(ALL_LAYERS)
        png = base64.b64decode(url.partition(",")[2])
        return np.array(Image.open(io.BytesIO(png)).convert("RGB"))

    def outline(self, kind):
        """Width and height on the screen of an image whose grey is the middle of its window."""
        grey = np.abs(self.pixels(kind)[..., 0].astype(int) - 128) < 6
        columns = np.flatnonzero(grey.mean(axis=0) > 0.1)
        rows = np.flatnonzero(grey.mean(axis=1) > 0.1)
        return np.ptp(columns) + 1, np.ptp(rows) + 1

    def colour(self, kind, xy):
        """RGB of the canvas at an image pixel."""
        x, y = self.on_canvas(kind, self.at(kind, xy))
        return tuple(int(v) for v in self.pixels(kind)[y, x])

    def wait(self):
        """Until every pane with slices has painted its image; at most 2 s each."""
        for canvas in self.inside.locator(".view:not(.empty) canvas:first-child").all():
            for _ in range(100):
                if canvas.evaluate(IS_PAINTED):
                    break
                self.page.wait_for_timeout(20)
        return self
