"""The viewer in a real Chromium: from disk as an HTML file, and as a widget in JupyterLab."""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_viewer import AXIAL, STUDY, T1, T2, predictions, write_image, write_study

from utils import dicom, rsna, viewer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("background-networking", "component-update", "sync", "gpu")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = rsna.SERIES
SEVERE = (0xD5, 0x5E, 0x00)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium on this machine; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("data"))


class Screen:
    """A page with one viewer, spoken to as a reader would: panes by name, places in pixels of an image."""

    def __init__(self, page, data):
        self.page, self.data, self.noise = page, data, []
        page.on("console", lambda message: self.noise.append(message.text))
        page.on("pageerror", lambda error: self.noise.append(str(error)))
        page.on("request", lambda request: self.noise.append(request.url))

    def pane(self, kind):
        return self.page.locator(f'[data-kind="{kind}"]')

    def view(self, kind):
        return self.pane(kind).locator(".view")

    def text(self, kind, corner):
        return self.pane(kind).locator(f".{corner}").inner_text()

    def slice(self, kind):
        """Number of the slice on show, counted from 1, once the next frame has been drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return int(re.match(r"Slice (\d+) of \d+", self.text(kind, "bl"))[1])

    def slices(self):
        return [self.slice(kind) for kind in rsna.SERIES]

    def window(self, kind):
        self.slice(kind)
        return tuple(map(int, re.match(r"W (-?\d+)\nL (-?\d+)", self.text(kind, "br")).groups()))

    def at(self, kind, xy, series=None):
        """Page coordinates of an image pixel in a pane at rest: the whole picture, in the middle, true to mm."""
        entry = next(
            s for s in self.data.study["series"] if s["id"] == (series or {SAGITTAL_T1: T1, SAGITTAL_T2: T2}.get(kind, AXIAL))
        )
        size, spacing = np.array(entry["slices"][0]["size"]), np.array(entry["slices"][0]["spacing"])
        box = self.pane(kind).locator("canvas").bounding_box()
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
        """What the pane's canvas holds, (height, width, 3)."""
        self.slice(kind)
        canvas = self.pane(kind).locator("canvas")
        png = canvas.evaluate("c => c.toDataURL()").partition(",")[2]
        return np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))

    def colour(self, kind, xy):
        """RGB of the canvas at an image pixel of a pane at rest."""
        box = self.pane(kind).locator("canvas").bounding_box()
        x, y = np.round(self.at(kind, xy) - (box["x"], box["y"])).astype(int)
        return tuple(int(v) for v in self.pixels(kind)[y, x])

    def cell(self, condition, level):
        return self.page.get_by_role("button", name=f"{condition}, {level}:")

    def wait(self):
        """Until every pane with slices has painted its picture."""
        blank = (
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v > 60 && v < 200)"
        )
        for canvas in self.page.locator(".view:not(.empty) canvas").all():
            for _ in range(100):
                if canvas.evaluate(blank):
                    break
                self.page.wait_for_timeout(20)
        return self


@pytest.fixture
def show(browser, root, tmp_path):
    """show(predictions) opens the study's HTML file from disk, with the network off."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)

    def open_file(table=None, folder=root):
        path = viewer.StudyViewer(folder, STUDY, table).save_html(tmp_path / "study.html")
        screen = Screen(context.new_page(), viewer.payload(rsna.load_tables(folder), STUDY, table))
        screen.url = path.as_uri()
        screen.page.goto(screen.url)
        return screen.wait()

    yield open_file
    context.close()


# ---- Geometry: the browser's against Python's -----------------------------------------------------------------------


def random_slices(rng, n):
    slices = []
    for i in range(n):
        axes = np.linalg.qr(rng.normal(size=(3, 2)))[0].T
        shape = rng.integers(20, 400, 2)
        slices.append(dicom.Slice(i, np.zeros(shape, np.uint8), rng.normal(0, 40, 3), axes, rng.uniform(0.3, 1.5, 2)))
    return slices


def plain(s):
    return {"size": s.pixels.shape[::-1], "origin": s.origin.tolist(), "axes": s.axes.tolist(), "spacing": s.spacing.tolist()}


def crossing(shown, other):
    """planeLine worked another way: where the edges of each rectangle pierce the other's plane, and what they share."""

    def piercings(image, plane):
        height, width = image.pixels.shape
        corners = image.to_patient([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)])
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            d, e = plane.distance(a), plane.distance(b)
            if d * e < 0:
                yield a + (b - a) * d / (d - e)

    one, two = list(piercings(shown, other)), list(piercings(other, shown))
    if len(one) < 2 or len(two) < 2:
        return None
    along = np.cross(shown.normal, other.normal)
    ends = [sorted(points, key=lambda p: p @ along) for points in (one, two)]
    start, end = max((e[0] for e in ends), key=lambda p: p @ along), min((e[1] for e in ends), key=lambda p: p @ along)
    return (start, end) if start @ along < end @ along else None


def test_geometry_agrees_with_python_on_random_planes(browser):
    rng = np.random.default_rng(0)
    slices, points, pixels = random_slices(rng, 40), rng.normal(0, 80, (40, 3)), rng.uniform(-50, 450, (40, 2))
    page = browser.new_page()
    got = page.evaluate(
        """async ([code, slices, points, pixels]) => {
          const g = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
          return {
            mm: slices.map((s, i) => g.toPatient(s, pixels[i])), px: slices.map((s, i) => g.toPixel(s, points[i])),
            off: slices.map((s, i) => g.distance(s, points[i])), nearest: points.map((p) => g.nearestSlice(slices, p)),
            lines: slices.map((s) => slices.map((o) => g.planeLine(s, o))),
          };
        }""",
        [
            Path(viewer.__file__).with_name("viewer.js").read_text("utf-8"),
            [plain(s) for s in slices],
            points.tolist(),
            pixels.tolist(),
        ],
    )
    page.close()
    np.testing.assert_allclose(got["mm"], [s.to_patient(xy) for s, xy in zip(slices, pixels, strict=True)], atol=1e-6)
    np.testing.assert_allclose(got["px"], [s.to_pixel(p) for s, p in zip(slices, points, strict=True)], atol=1e-6)
    np.testing.assert_allclose(got["off"], [s.distance(p) for s, p in zip(slices, points, strict=True)], atol=1e-6)
    series = dicom.Series(tuple(slices))
    assert got["nearest"] == [series.nearest_slice(p) for p in points]
    met = 0
    for shown, row in zip(slices, got["lines"], strict=True):
        for other, line in zip(slices, row, strict=True):
            expected = None if shown is other else crossing(shown, other)
            assert (line is None) == (expected is None)
            if line is not None:
                met += 1
                ends = sorted(shown.to_patient(line), key=lambda p: p @ np.cross(shown.normal, other.normal))
                np.testing.assert_allclose(ends, expected, atol=1e-6)
    assert met > 250  # of 1,560 pairs: the test is not about nothing


# ---- The file, from disk --------------------------------------------------------------------------------------------


def test_the_file_opens_from_disk_with_no_request_and_no_complaint(show):
    screen = show(predictions())
    assert screen.noise == [screen.url]


def test_it_opens_at_l4_l5_with_every_pane_on_the_slice_through_that_point(show):
    screen = show()
    assert screen.slices() == [3, 3, 5]  # x = 0 is the third of five; z = -20 the middle of the lower block
    assert screen.text(AXIAL_T2, "bl") == "Slice 5 of 6\nInstance 5\nI 20.0 mm"
    assert screen.text(SAGITTAL_T2, "tl") == "Sagittal T2/STIR"


def test_letters_say_where_the_patient_is(show):
    screen = show()
    edges = ("left", "right", "top", "bottom")
    assert [screen.text(AXIAL_T2, e) for e in edges] == ["R", "L", "A", "P"]  # the patient's left on the image's right
    assert [screen.text(SAGITTAL_T2, e) for e in edges] == ["A", "P", "S", "I"]


def test_a_click_takes_the_other_panes_to_the_same_place(show):
    screen = show()
    screen.click(SAGITTAL_T2, (45, 22))  # z = 60 - 2 * 22 = 16: one slice of 4 mm below the middle of the upper block
    assert screen.slices() == [3, 3, 3]
    screen.click(AXIAL_T2, (47.5, 29.5))  # 8 mm to the patient's left, the last sagittal slice
    assert screen.slices() == [5, 5, 3]
    assert screen.colour(SAGITTAL_T2, (45, 40)) != SEVERE  # the canal's label was on the middle slice


def test_wheel_keys_and_bar_scroll_and_stop_at_the_ends(show):
    screen = show()
    view = screen.view(SAGITTAL_T1)
    view.hover()
    screen.page.mouse.wheel(0, 100)
    assert screen.slice(SAGITTAL_T1) == 4
    for _ in range(6):
        screen.page.mouse.wheel(0, 5)  # a touchpad trickles: thirty in all make one slice
    assert screen.slice(SAGITTAL_T1) == 5
    screen.page.mouse.wheel(0, 100)
    assert screen.slice(SAGITTAL_T1) == 5
    view.focus()
    for key, expected in [("ArrowUp", 4), ("Home", 1), ("ArrowDown", 2), ("End", 5), ("PageUp", 1), ("PageDown", 5)]:
        screen.page.keyboard.press(key)
        assert screen.slice(SAGITTAL_T1) == expected
    bar = screen.pane(SAGITTAL_T1).get_by_label("Slice of Sagittal T1")
    bar.fill("1")
    assert screen.slice(SAGITTAL_T1) == 2
    assert bar.get_attribute("aria-valuetext") == "slice 2 of 5"
    assert screen.slices()[1:] == [3, 5]  # scrolling one pane leaves the others


def test_window_by_right_drag_presets_and_inversion(show):
    screen = show()
    assert screen.window(AXIAL_T2) == (1000, 500)
    screen.drag(AXIAL_T2, (60, 0), button="right")  # to the right: wider
    assert screen.window(AXIAL_T2) == (1200, 500)
    screen.drag(AXIAL_T2, (0, 30), button="right")  # down: a higher level, a darker picture
    assert screen.window(AXIAL_T2) == (1200, 600)
    assert screen.window(SAGITTAL_T2) == (1000, 500)
    screen.page.keyboard.press("4")
    assert screen.window(AXIAL_T2) == (350, 175)
    screen.page.get_by_role("button", name="Full").click()  # the button acts on the pane last touched
    assert screen.window(AXIAL_T2) == (1000, 500)
    before = screen.colour(AXIAL_T2, (60, 45))
    screen.page.get_by_role("button", name="Invert").click()
    after = screen.colour(AXIAL_T2, (60, 45))
    assert max(abs(a + b - 255) for a, b in zip(before, after, strict=True)) <= 2
    screen.page.mouse.dblclick(*screen.at(AXIAL_T2, (60, 45)))
    assert screen.colour(AXIAL_T2, (60, 45)) == before


def test_grey_is_what_the_window_says(show):
    screen = show()
    screen.view(SAGITTAL_T2).focus()
    grey = [screen.page.keyboard.press(key) or screen.colour(SAGITTAL_T2, (60, 45))[0] for key in ("Home", "End")]
    assert grey == pytest.approx([255 * 0.3, 255 * 0.7], abs=3)  # the first slice is 300 of 1000, the last 700


def test_a_millimetre_is_as_long_across_as_down_and_zoom_keeps_it_so(show):
    screen = show()
    screen.page.get_by_role("button", name="Planes").click()
    screen.page.get_by_role("button", name="Labels").click()

    def shape():  # the picture's outline: 80 pixels of 1 mm by 60 of 2 mm; its flat grey is 500 of 1000
        grey = np.abs(screen.pixels(SAGITTAL_T2)[..., 0].astype(int) - 128) < 6
        rows, columns = np.flatnonzero(grey.mean(axis=1) > 0.1), np.flatnonzero(grey.mean(axis=0) > 0.1)
        return np.ptp(columns) + 1, np.ptp(rows) + 1

    width, height = shape()
    assert height / width == pytest.approx(120 / 80, rel=0.02)
    screen.view(SAGITTAL_T2).focus()
    screen.page.keyboard.press("-")
    smaller = shape()
    assert smaller == pytest.approx((width * 0.8, height * 0.8), abs=3)


def test_ctrl_wheel_zooms_about_the_pointer_and_shift_drag_moves(show):
    screen = show()
    spot = screen.at(AXIAL_T2, (60, 20))

    def under_pointer():
        screen.page.mouse.move(*spot)
        return np.array([float(v) for v in re.findall(r"[LPIRAS] (\d+\.\d)", screen.text(AXIAL_T2, "tr"))])

    before = under_pointer()
    screen.page.keyboard.down("Control")
    screen.page.mouse.wheel(0, -100)
    screen.page.keyboard.up("Control")
    np.testing.assert_allclose(under_pointer(), before, atol=0.1)  # what was under the pointer still is
    screen.page.keyboard.down("Shift")
    screen.drag(AXIAL_T2, (50, 0))
    screen.page.keyboard.up("Shift")
    moved = before - under_pointer()
    scale = screen.at(AXIAL_T2, (1, 0))[0] - screen.at(AXIAL_T2, (0, 0))[0]  # screen pixels per mm at rest; 1.2 of it now
    np.testing.assert_allclose(moved, (50 / (1.2 * scale), 0, 0), atol=0.2)
    assert screen.slices() == [3, 3, 5]  # neither moved the crosshair


def test_two_fingers_zoom(show):
    screen = show()
    touch = screen.page.context.new_cdp_session(screen.page)
    (x, y), far = screen.at(AXIAL_T2, (60, 30)), screen.at(AXIAL_T2, (70, 30)) - screen.at(AXIAL_T2, (40, 30))

    def fingers(name, *places):
        touch.send(
            "Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": a, "y": y, "id": i} for i, a in enumerate(places)]}
        )

    fingers("touchStart", x - far[0])
    fingers("touchStart", x - far[0], x)
    fingers("touchMove", x - far[0] - 40, x)
    fingers("touchEnd")
    screen.page.mouse.move(x - far[0] - 40, y)
    assert screen.text(AXIAL_T2, "tr").startswith("R 9.5 · ")  # what the moving finger held, it still holds


def test_the_corner_tells_place_and_value_under_the_pointer(show):
    screen = show()
    screen.page.mouse.move(*screen.at(SAGITTAL_T2, (60, 45)))
    place, value = screen.text(SAGITTAL_T2, "tr").split("\n")
    assert place == "L 0.0 · P 20.0 · I 30.0 mm"
    assert int(value) == pytest.approx(500, abs=8)


def test_planes_are_drawn_where_they_cut_and_can_be_hidden(show):
    screen = show()
    # The lower block leans back: 15 mm behind its middle at (0, 5, -20) it lies 15 tan 15° = 4.0 mm higher.
    on_line = (45 + 15, 40 - 15 * np.tan(np.radians(15)) / 2)
    red, green, blue = screen.colour(SAGITTAL_T2, on_line)
    assert min(red, green) - blue > 40  # the axial pane's yellow
    screen.page.get_by_role("button", name="Planes").click()
    assert len(set(screen.colour(SAGITTAL_T2, on_line))) == 1  # grey again


def test_a_label_is_solid_on_its_slice_faint_on_the_next_and_gone_beyond(show):
    screen = show()
    rim = screen.at(SAGITTAL_T2, (45, 40)) + (0, -5)  # five screen pixels above the middle: on the circle
    spot = tuple(np.round(rim - list(screen.pane(SAGITTAL_T2).locator("canvas").bounding_box().values())[:2]).astype(int))
    screen.page.get_by_role("button", name="Planes").click()

    def red_over_blue():
        r, _, b = screen.pixels(SAGITTAL_T2)[spot[1], spot[0]].astype(int)
        return r - b

    screen.view(SAGITTAL_T2).focus()
    away = []
    for key in ("Home", "ArrowDown", "ArrowDown"):
        screen.page.keyboard.press(key)
        away.append(red_over_blue())
    assert away[0] == 0
    assert 20 < away[1] < 110
    assert away[2] > 180
    screen.page.keyboard.press("l")
    assert red_over_blue() == 0


def test_hovering_over_a_label_names_it(show):
    screen = show()
    screen.page.mouse.move(*screen.at(AXIAL_T2, (49.5, 29.5)))
    assert screen.text(AXIAL_T2, "tip") == "Left Subarticular Stenosis · L4/L5\nModerate"
    assert screen.colour(AXIAL_T2, (49.5, 29.5)) == (0xE6, 0x9F, 0x00)  # the left square is filled, with its grade's colour
    screen.page.mouse.move(*screen.at(AXIAL_T2, (10, 50)))
    assert not screen.pane(AXIAL_T2).locator(".tip").is_visible()


def test_the_grid_shows_grades_and_takes_every_pane_to_a_point(show):
    screen = show()
    letters = screen.page.locator("tbody .chip").all_inner_texts()
    assert letters.count("N") == 22
    assert (letters[4], letters[15], letters[18]) == ("–", "S", "M")  # row by row: L1/L2 right recess; L4/L5 canal, left recess
    screen.cell("Left Neural Foraminal Narrowing", "L4/L5").click()
    assert screen.slices() == [5, 5, 5]  # x = 8, y = 4, z = -20
    screen.cell("Spinal Canal Stenosis", "L1/L2").click()
    assert screen.slices() == [3, 3, 2]  # z = 20, the middle of the upper block
    screen.cell("Right Subarticular Stenosis", "L4/L5").hover()
    assert "Point on instance 99 of series 73, which is not here" in screen.page.locator(".detail").inner_text()
    screen.page.mouse.move(5, 5)
    assert "Spinal Canal Stenosis · L1/L2" in screen.page.locator(".detail").inner_text()  # back to the cell chosen


def test_a_click_on_a_cell_brings_its_point_into_a_zoomed_view(show):
    screen = show()
    screen.view(SAGITTAL_T2).focus()
    for _ in range(10):
        screen.page.keyboard.press("+")
    screen.cell("Spinal Canal Stenosis", "L1/L2").click()
    screen.slices()
    screen.page.mouse.move(*screen.at(SAGITTAL_T2, (39.5, 29.5)))  # the middle of the pane
    assert screen.text(SAGITTAL_T2, "tip") == "Spinal Canal Stenosis · L1/L2\nNormal/Mild"


def test_the_grid_is_walked_by_arrow_keys(show):
    screen = show()
    screen.cell("Spinal Canal Stenosis", "L4/L5").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Enter"):  # the second step down would leave the grid, and stays
        screen.page.keyboard.press(key)
    pressed = screen.page.locator(".cell[aria-pressed=true]")
    assert pressed.get_attribute("aria-label") == "Left Neural Foraminal Narrowing, L5/S1: Normal/Mild"


def test_predictions_stand_beside_the_labels(show):
    screen = show(predictions(note=["carried from T1", None]))
    labels = [screen.cell(c, "L4/L5").get_attribute("aria-label") for c in (rsna.CANAL, "Left Subarticular Stenosis")]
    assert labels == [
        "Spinal Canal Stenosis, L4/L5: Severe; predicted Severe, 70 %; right",
        "Left Subarticular Stenosis, L4/L5: Moderate; predicted Severe, 50 %; wrong",
    ]
    assert screen.cell(rsna.CANAL, "L4/L5").inner_text().split() == ["S", "✓"]
    assert screen.cell("Left Subarticular Stenosis", "L4/L5").inner_text().split() == ["M", "✗"]
    told = screen.page.locator(".detail").inner_text()
    assert "Found at L 0.0 · P 5.0 · I 17.0 mm, 3.0 mm from the label" in told
    assert "carried from T1" in told
    assert screen.colour(SAGITTAL_T1, (22.5, 38.5)) == SEVERE  # the cross, in a series that carries no label for it
    screen.page.mouse.move(*screen.at(SAGITTAL_T1, (22.5, 38.5)))
    assert screen.text(SAGITTAL_T1, "tip") == "Spinal Canal Stenosis · L4/L5\npredicted Severe, 70 %"


def test_a_cell_without_a_label_point_goes_to_the_predicted_one(show):
    table = predictions().iloc[:1].assign(row_id=rsna.row_id(STUDY, "Right Subarticular Stenosis", "L1/L2"), x_mm=-8.0, z_mm=20.0)
    screen = show(table)
    screen.cell("Right Subarticular Stenosis", "L1/L2").click()
    assert screen.slices() == [1, 1, 2]
    assert "Label: not graded" in screen.page.locator(".detail").inner_text()


def test_markup_in_a_note_stays_text(show):
    note = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    screen = show(predictions(note=note))
    assert screen.page.locator(".note").inner_text() == note
    assert screen.page.title() == f"Study {STUDY}"
    assert screen.noise == [screen.url]


def test_what_is_missing_is_said_and_the_rest_works(show, tmp_path):
    root = write_study(tmp_path / "partial")
    shutil.rmtree(root / "train_images" / str(STUDY) / str(T1))
    table = pd.read_csv(root / "train_series_descriptions.csv")
    table[table.series_id != AXIAL].to_csv(root / "train_series_descriptions.csv", index=False)
    shutil.rmtree(root / "train_images" / str(STUDY) / str(AXIAL))
    screen = show(predictions(), root)
    assert (
        screen.text(SAGITTAL_T1, "message") == f"The images of series {T1} are not on this disk; part of the download is missing."
    )
    assert screen.text(AXIAL_T2, "message") == "This study has no Axial T2 series."
    assert screen.slice(SAGITTAL_T2) == 3
    screen.view(AXIAL_T2).click()
    screen.page.keyboard.press("ArrowDown")
    assert screen.noise == [screen.url]


def test_further_series_wait_in_a_picker(show, root, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(root, more)
    for i in range(3):
        place = (i, np.full((30, 40), 400 + i), (-20, -10, 30 - 4 * i), [[1, 0, 0], [0, 1, 0]], (1.0, 1.0))
        write_image(more / "train_images" / str(STUDY) / "74", *place)
    with (more / "train_series_descriptions.csv").open("a") as file:
        file.write(f"{STUDY},74,Axial T2\n")
    screen = show(folder=more)
    picker = screen.pane(AXIAL_T2).get_by_label("Series in the Axial T2 pane")
    assert picker.locator("option").all_inner_texts()[:2] == ["Axial T2 · 73", "Axial T2 · 74"]
    screen.click(SAGITTAL_T2, (45, 17))  # z = 26
    picker.select_option("74")
    assert (screen.slice(AXIAL_T2), screen.text(AXIAL_T2, "bl")) == (2, "Slice 2 of 3\nInstance 1\nS 26.0 mm")
    screen.cell("Left Subarticular Stenosis", "L4/L5").click()  # annotated on series 73: the pane changes back
    assert picker.input_value() == "73"
    assert screen.slice(AXIAL_T2) == 5
    assert not show().pane(AXIAL_T2).get_by_label("Series in the Axial T2 pane").is_visible()


# ---- The widget, in JupyterLab --------------------------------------------------------------------------------------


@pytest.fixture
def lab(root, tmp_path):
    """The address of a JupyterLab with one notebook, whose one cell shows the viewer."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(viewer.__file__).parents[1])!r})
from utils.viewer import StudyViewer
StudyViewer({str(root)!r}, {STUDY})"""
    cell = {"cell_type": "code", "id": "a", "source": code, "metadata": {}, "outputs": [], "execution_count": None}
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "show.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {name: str(tmp_path / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    options = [
        "--no-browser",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        "--allow-root",
    ]
    log = (tmp_path / "lab.log").open("w")
    command = [sys.executable, "-m", "jupyterlab", *options, f"--notebook-dir={tmp_path}"]
    server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | home)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(150):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/api", timeout=1)
                break
            assert server.poll() is None, (tmp_path / "lab.log").read_text()[-2000:]
            time.sleep(0.2)
        yield f"{url}/lab/tree/show.ipynb"
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def test_the_widget_paints_in_jupyterlab_and_leaves_the_kernel_alone(browser, lab, root):
    page = browser.new_page(viewport={"width": 1400, "height": 1100})
    page.set_default_timeout(60_000)
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))

    def asked_of_kernel():
        return [frame for frame in sent if "comm_" in frame or "execute_request" in frame]

    page.goto(lab)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(".spine-viewer canvas").first.wait_for()
    screen = Screen(page, viewer.payload(rsna.load_tables(root), STUDY)).wait()
    assert screen.slices() == [3, 3, 5]
    assert screen.pixels(AXIAL_T2)[..., 0].std() > 20
    page.wait_for_timeout(500)
    assert asked_of_kernel()  # the run itself
    sent.clear()
    screen.click(SAGITTAL_T2, (45, 22))
    page.mouse.wheel(0, 100)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("2")  # in JupyterLab's own hands, 2 would turn the cell into a heading
    screen.drag(AXIAL_T2, (40, 0), button="right")
    assert screen.slices() == [3, 5, 3]
    assert screen.window(SAGITTAL_T2) == (600, 300)
    assert page.locator(".jp-CodeCell").count() == 1
    assert asked_of_kernel() == []
    page.close()
