"""A page with a viewer in it, spoken to as a reader would."""

import base64
import io
import re

import numpy as np
from PIL import Image

from utils import rsna

SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = rsna.SERIES
SEVERE = (0xD5, 0x5E, 0x00)


class Screen:
    """A page with one viewer, spoken to as a reader would: panes by name, places in pixels of an image."""

    def __init__(self, page, data, inside=None):
        self.page, self.data, self.inside, self.noise = page, data, inside or page, []
        page.on("console", lambda message: self.hear(message.text))
        page.on("pageerror", lambda error: self.noise.append(str(error)))
        page.on("request", lambda request: self.noise.append(request.url))

    def hear(self, text):
        if "willReadFrequently" not in text:  # said of the tests' own reading of the canvases
            self.noise.append(text)

    def pane(self, kind):
        return self.inside.locator(f'[data-kind="{kind}"]')

    def view(self, kind):
        return self.pane(kind).locator(".view")

    def text(self, kind, corner):
        """What a corner says, once the pane and then the lines in the others have been drawn."""
        self.page.evaluate("async () => { for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame) }")
        return self.pane(kind).locator(f".{corner}").inner_text()

    def slice(self, kind):
        """Number of the slice on show, counted from 1."""
        return int(re.match(r"Slice (\d+) of \d+", self.text(kind, "bl"))[1])

    def slices(self):
        return [self.slice(kind) for kind in rsna.SERIES]

    def window(self, kind):
        return tuple(map(int, re.match(r"W (-?\d+)\nL (-?\d+)", self.text(kind, "br")).groups()))

    def at(self, kind, xy, series=None):
        """Page coordinates of an image pixel in a pane at rest: the whole picture, in the middle, true to mm."""
        entry = next(s for s in self.data.study["series"] if series == s["id"] or (series is None and kind == s["description"]))
        size, spacing = np.array(entry["slices"][0]["size"]), np.array(entry["slices"][0]["spacing"])
        box = self.pane(kind).locator("canvas").first.bounding_box()
        pane = np.array([box["width"], box["height"]])
        scale = (pane / (size * spacing)).min()
        return np.array([box["x"], box["y"]]) + pane / 2 + (np.asarray(xy) - (size - 1) / 2) * spacing * scale

    def click(self, kind, xy, **more):
        self.page.mouse.click(*self.at(kind, xy), **more)

    def drag(self, kind, by, **more):
        start = self.at(kind, (40, 30))
        self.page.mouse.move(*start)
        self.page.mouse.down(**more)
        self.page.mouse.move(*(start + by), steps=3)
        self.page.mouse.up(**more)

    def pixels(self, kind):
        """What the pane shows, picture and overlay, (height, width, 3)."""
        self.slice(kind)
        png = (
            self.view(kind)
            .evaluate(
                """view => {
              const layers = [...view.querySelectorAll("canvas")];
              const whole = Object.assign(document.createElement("canvas"), { width: layers[0].width, height: layers[0].height });
              for (const layer of layers) whole.getContext("2d").drawImage(layer, 0, 0);
              return whole.toDataURL();
            }"""
            )
            .partition(",")[2]
        )
        return np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))

    def outline(self, kind):
        """Width and height on the screen of a picture whose grey is in the middle of its window."""
        grey = np.abs(self.pixels(kind)[..., 0].astype(int) - 128) < 6
        rows, columns = np.flatnonzero(grey.mean(axis=1) > 0.1), np.flatnonzero(grey.mean(axis=0) > 0.1)
        return np.ptp(columns) + 1, np.ptp(rows) + 1

    def colour(self, kind, xy):
        """RGB of the canvas at an image pixel of a pane at rest."""
        box = self.pane(kind).locator("canvas").first.bounding_box()
        x, y = np.round(self.at(kind, xy) - (box["x"], box["y"])).astype(int)
        return tuple(int(v) for v in self.pixels(kind)[y, x])

    def button(self, name):
        return self.inside.get_by_role("button", name=name, exact=True)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def cell(self, condition, level):
        return self.inside.get_by_role("button", name=f"{condition}, {level}:")

    def wait(self):
        """Until every pane with slices has painted its picture."""
        blank = (
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v > 60 && v < 200)"
        )
        for canvas in self.inside.locator(".view:not(.empty) canvas:first-child").all():
            for _ in range(100):
                if canvas.evaluate(blank):
                    break
                self.page.wait_for_timeout(20)
        return self
