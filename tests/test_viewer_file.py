"""The viewer in a real Chromium, as an HTML file opened from disk with the network off."""

import base64
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from screen import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SEVERE, Screen, spoken
from test_viewer import (
    AXIAL,
    LEFT_FORAMEN,
    LEFT_RECESS,
    RIGHT_RECESS,
    SAGITTAL_AXES,
    STUDY,
    T1,
    T2,
    TILT,
    flat_image,
    predictions,
    write_image,
    write_study,
)

from utils import dicom, rsna, viewer
from utils.structures import SAC, Outline

CANAL = rsna.CANAL
AXIAL_AXES = [[1, 0, 0], [0, 1, 0]]
MODERATE = (0xE6, 0x9F, 0x00)
MATCHES = {"atol": 1e-6}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("data"))


@pytest.fixture
def show(browser, root, tmp_path):
    """show(predictions) opens the study's HTML file from disk, with the network off."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)

    def open_file(table=None, folder=root, outlines=()):
        one = viewer.StudyViewer(folder, STUDY, table, outlines=lambda study: outlines)
        path = one.save_html(tmp_path / "study.html")
        data = viewer.payload(rsna.load_tables(folder), STUDY, table)
        screen = Screen(context.new_page(), data)
        screen.url = path.as_uri()
        screen.page.goto(screen.url)
        return screen.wait()

    yield open_file
    context.close()


# ---- Geometry: the browser's against Python's ----------------------------------------------------

GEOMETRY = """async ([code, slices, points, pixels]) => {
  const g = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  return {
    mm: slices.map((s, i) => g.toPatient(s, pixels[i])),
    px: slices.map((s, i) => g.toPixel(s, points[i])),
    off: slices.map((s, i) => g.distance(s, points[i])),
    nearest: points.map((p) => g.nearestSlice(slices, p)),
    lines: slices.map((s) => slices.map((o) => g.planeLine(s, o))),
  };
}"""


@pytest.fixture(scope="module")
def computed(browser):
    """40 random slices, points in mm and points in px, and what the browser makes of them."""
    rng = np.random.default_rng(0)
    slices = random_slices(rng, 40)
    points = rng.normal(0, 80, (40, 3))
    pixels = rng.uniform(-50, 450, (40, 2))
    page = browser.new_page()
    sent = [viewer.module(), [plain(s) for s in slices], points.tolist(), pixels.tolist()]
    got = page.evaluate(GEOMETRY, sent)
    page.close()
    return slices, points, pixels, got


def random_slices(rng, n):
    slices = []
    for i in range(n):
        axes = np.linalg.qr(rng.normal(size=(3, 2)))[0].T
        pixels = np.zeros(rng.integers(20, 400, 2), np.uint8)
        origin = rng.normal(0, 40, 3)
        slices.append(dicom.Slice(i, pixels, origin, axes, rng.uniform(0.3, 1.5, 2)))
    return slices


def plain(s):
    """A slice as the payload has it."""
    plane = {"origin": s.origin.tolist(), "axes": s.axes.tolist(), "spacing": s.spacing.tolist()}
    return {"size": s.pixels.shape[::-1], **plane}


def test_pixels_and_millimetres_agree_with_python_on_random_planes(computed):
    slices, points, pixels, got = computed
    mm = [s.to_patient(xy) for s, xy in zip(slices, pixels, strict=True)]
    px = [s.to_pixel(p) for s, p in zip(slices, points, strict=True)]
    off = [s.distance(p) for s, p in zip(slices, points, strict=True)]
    np.testing.assert_allclose(got["mm"], mm, **MATCHES)
    np.testing.assert_allclose(got["px"], px, **MATCHES)
    np.testing.assert_allclose(got["off"], off, **MATCHES)


def test_the_nearest_slice_is_the_one_that_python_finds(computed):
    slices, points, _, got = computed
    series = dicom.Series(tuple(slices))
    assert got["nearest"] == [series.nearest_slice(p) for p in points]


def test_images_intersect_where_their_edges_say(computed):
    slices, _, _, got = computed
    intersecting = 0
    for shown, row in zip(slices, got["lines"], strict=True):
        for other, line in zip(slices, row, strict=True):
            expected = None if shown is other else intersection(shown, other)
            assert (line is None) == (expected is None)
            if line is not None:
                intersecting += 1
                along = np.cross(shown.normal, other.normal)
                ends = sorted(shown.to_patient(line), key=lambda p, along=along: p @ along)
                np.testing.assert_allclose(ends, expected, **MATCHES)
    assert intersecting > 250  # of 1,560 pairs: the test is not about nothing


def intersection(shown, other):
    """planeLine worked another way: where the edges of each rectangle cross the other's plane, and
    the part of the line that both have."""
    here, there = crossings(shown, other), crossings(other, shown)
    if len(here) < 2 or len(there) < 2:
        return None
    along = np.cross(shown.normal, other.normal)

    def position(point):
        return point @ along

    first, last = zip(*(sorted(points, key=position) for points in (here, there)), strict=True)
    start, end = max(first, key=position), min(last, key=position)
    return (start, end) if position(start) < position(end) else None


def crossings(image, plane):
    """In mm, where the four edges of an image cross the plane of another."""
    height, width = image.pixels.shape
    right, bottom = width - 1, height - 1
    corners = image.to_patient([(0, 0), (right, 0), (right, bottom), (0, bottom)])
    found = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        d, e = plane.distance(a), plane.distance(b)
        if d * e < 0:
            found.append(a + (b - a) * d / (d - e))
    return found


# ---- The file, from disk -------------------------------------------------------------------------


def test_the_file_opens_from_disk_with_no_request_and_no_complaint(show):
    screen = show(predictions())
    assert screen.noise == [screen.url]


def test_it_opens_at_l4_l5_with_every_pane_on_the_slice_through_that_point(show):
    screen = show()
    # x = 0 is the third of five; z = -20 is the middle of the lower block.
    assert screen.slices() == [3, 3, 5]
    assert screen.text(AXIAL_T2, "bl") == "Slice 5 of 6\nInstance 5\nI 20.0 mm"
    assert screen.text(SAGITTAL_T2, "tl") == "Sagittal T2/STIR"


def test_letters_say_how_the_patient_is_oriented(show):
    screen = show()
    edges = ("left", "right", "top", "bottom")
    # In an axial image the patient's left is on the image's right.
    assert [screen.text(AXIAL_T2, edge) for edge in edges] == ["R", "L", "A", "P"]
    assert [screen.text(SAGITTAL_T2, edge) for edge in edges] == ["A", "P", "S", "I"]


def test_a_click_takes_the_other_panes_to_the_same_position(show):
    screen = show()
    # z = 60 - 2 * 22 = 16: one slice of 4 mm below the middle of the upper block.
    screen.click(SAGITTAL_T2, (45, 22))
    assert screen.slices() == [3, 3, 3]
    screen.click(AXIAL_T2, (47.5, 29.5))  # 8 mm to the patient's left, the last sagittal slice
    assert screen.slices() == [5, 5, 3]
    # The canal's label was on the middle slice.
    assert screen.colour(SAGITTAL_T2, (45, 40)) != SEVERE


def test_the_wheel_scrolls_and_stops_at_the_end(show):
    screen = show()
    screen.view(SAGITTAL_T1).hover()
    screen.page.mouse.wheel(0, 100)
    assert screen.slice(SAGITTAL_T1) == 4
    for _ in range(6):
        screen.page.mouse.wheel(0, 5)  # a touchpad sends small steps: thirty make one slice
    assert screen.slice(SAGITTAL_T1) == 5
    screen.page.mouse.wheel(0, 100)
    assert screen.slice(SAGITTAL_T1) == 5


PAGE_TALLER = """() => {
  document.body.insertAdjacentHTML("afterbegin", '<p style="height: 700px">text</p>');
  document.body.insertAdjacentHTML("beforeend", '<p style="height: 3000px">text</p>');
  scrollTo(0, 0);
}"""


def scrolled(screen):
    return round(screen.page.evaluate("scrollY"))


# One movement as the browser tells it, 40 px every 16 ms, however busy the machine is. Dispatched
# events do not scroll: whether the pane has prevented that is what is returned.
MOVEMENT = """(view, [count, delta, start]) => {
  const prevented = [];
  for (let k = 0; k < count; k++) {
    const event = new WheelEvent("wheel", { deltaY: delta, bubbles: true, cancelable: true,
                                            composed: true });
    Object.defineProperty(event, "timeStamp", { value: start + 16 * k });
    view.dispatchEvent(event);
    prevented.push(event.defaultPrevented);
  }
  return prevented;
}"""


def wheel(where, count, delta, start_ms):
    """Which events of one movement over an element do not scroll the page."""
    return where.evaluate(MOVEMENT, [count, delta, start_ms])


def test_a_page_that_is_being_scrolled_is_not_stopped_by_a_pane(show):
    screen = show()
    before = screen.slices()
    wheel(screen.page.locator("body"), 20, 40, 1e6)
    assert not any(wheel(screen.view(SAGITTAL_T2), 20, 40, 1e6 + 16 * 20))
    assert screen.slices() == before
    assert all(wheel(screen.view(SAGITTAL_T2), 1, 60, 1e7))  # it has rested: a new movement
    assert screen.slices() != before


def test_really_scrolling_the_page_passes_over_the_panes(show):
    screen = show()
    screen.page.evaluate(PAGE_TALLER)
    screen.page.mouse.move(600, 400)  # on the text; the panes come under the pointer
    for _ in range(40):
        screen.page.mouse.wheel(0, 40)
    screen.page.wait_for_function("scrollY >= 0.9 * 40 * 40")


def test_at_the_last_slice_a_new_movement_scrolls_the_page(show):
    screen = show()
    view = screen.view(SAGITTAL_T1)
    assert all(wheel(view, 8, 60, 1e6))  # on and on: the pane keeps what began in it
    assert screen.slice(SAGITTAL_T1) == 5
    assert not any(wheel(view, 3, 60, 2e6))
    assert all(wheel(view, 1, -60, 3e6))  # the other way there are slices
    assert screen.slice(SAGITTAL_T1) == 4


def test_a_movement_that_began_in_a_pane_scrolls_neither_the_page_nor_another_pane(show):
    screen = show()
    wheel(screen.view(SAGITTAL_T1), 1, 60, 1e6)
    before = screen.slice(AXIAL_T2)
    assert all(wheel(screen.view(AXIAL_T2), 5, -60, 1e6 + 16))
    assert screen.slice(AXIAL_T2) == before


def swipe(screen, start, by, steps=10):
    """One finger from start (px of the page) by (x, y) px."""
    for k in range(steps + 1):
        at = [start[i] + by[i] * k / steps for i in (0, 1)]
        screen.touch("touchMove" if k else "touchStart", at)
        screen.page.wait_for_timeout(16)
    screen.touch("touchEnd")


def tap(screen, *points):
    screen.touch("touchStart", *points)
    screen.touch("touchEnd")


def test_a_finger_up_or_down_scrolls_the_page_past_a_pane(show):
    screen = show()
    screen.page.evaluate(PAGE_TALLER)
    screen.view(AXIAL_T2).scroll_into_view_if_needed()
    before, start = screen.slices(), scrolled(screen)
    swipe(screen, screen.at(AXIAL_T2, (20, 30)), (0, -200))
    screen.page.wait_for_function(f"scrollY > {start + 100}")
    assert screen.slices() == before  # the crosshair has not moved


def test_a_tap_or_a_finger_that_moves_across_points(show):
    screen = show()
    tap(screen, screen.at(AXIAL_T2, (47.5, 29.5)))  # as a click there
    assert screen.slices() == [5, 5, 5]
    tap(screen, screen.at(AXIAL_T2, (20, 29.5)), screen.at(AXIAL_T2, (30, 29.5)))  # two fingers
    assert screen.slices() == [5, 5, 5]
    start, (end, _) = screen.at(AXIAL_T2, (47.5, 29.5)), screen.at(AXIAL_T2, (39.5, 29.5))
    swipe(screen, start, (end - start[0], 0))
    assert screen.slices()[0] < 5


def test_a_finger_measures_in_every_direction(show):
    screen = show()
    screen.page.evaluate(PAGE_TALLER)
    screen.button("Measure").click()
    screen.view(AXIAL_T2).scroll_into_view_if_needed()
    start = scrolled(screen)
    swipe(screen, screen.at(AXIAL_T2, (30, 40)), (0, -80))
    assert "mm" in screen.text(AXIAL_T2, "measured")
    assert scrolled(screen) == start


SCALES = {
    "transform": "transform: scale(0.6); transform-origin: 30px 20px",
    "magnified": "transform: scale(1.5); transform-origin: 0 0",
    "zoom": "zoom: 0.7",
}


@pytest.mark.parametrize("how", SCALES)
def test_on_a_scaled_page_the_pointer_means_what_it_points_at(show, how):
    screen = show()
    screen.page.evaluate(f"() => document.body.style.cssText += '; {SCALES[how]}'")
    view = screen.view(SAGITTAL_T2).bounding_box()
    spot = (view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
    screen.page.mouse.move(*spot)
    screen.page.wait_for_timeout(150)
    shown = screen.text(SAGITTAL_T2, "tr").split("\n")[0]
    screen.page.evaluate("() => document.body.removeAttribute('style')")
    screen.page.wait_for_timeout(150)
    view = screen.view(SAGITTAL_T2).bounding_box()
    screen.page.mouse.move(view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
    screen.page.wait_for_timeout(150)
    numbers = [re.findall(r"-?\d+\.\d", text) for text in (shown, screen.text(SAGITTAL_T2, "tr"))]
    np.testing.assert_allclose(*np.array(numbers, float)[:, :3], atol=2.0)


def test_the_canvas_has_the_pixels_of_the_screen_it_is_on(show):
    screen = show()
    devtools = screen.page.context.new_cdp_session(screen.page)
    canvas = screen.view(AXIAL_T2).locator("canvas").first
    for ratio in (2, 1):
        metrics = {"width": 1200, "height": 900, "deviceScaleFactor": ratio, "mobile": False}
        devtools.send("Emulation.setDeviceMetricsOverride", metrics)
        screen.page.wait_for_function("ratio => devicePixelRatio === ratio", arg=ratio)
        screen.move(AXIAL_T2, (30 + ratio, 30))
        screen.view(AXIAL_T2).focus()
        screen.press("ArrowUp" if ratio == 2 else "ArrowDown")
        has_them = "c => Math.abs(c.width - c.clientWidth * devicePixelRatio) <= 2"
        screen.page.wait_for_function(has_them, arg=canvas.element_handle())  # in the next frame


# As protection against fingerprinting does: some of the pixels that are read back are others.
NOISE = """() => {
  const read = CanvasRenderingContext2D.prototype.getImageData;
  CanvasRenderingContext2D.prototype.getImageData = function (...box) {
    const image = read.apply(this, box);
    for (let i = 0; i < image.data.length; i += 12) image.data[i] ^= 255;
    return image;
  };
}"""
NO_WEBCODECS = "() => { delete globalThis.ImageDecoder; }"
GREYS = """async ([code, jpegs, sizes]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { decode } = await import(url);
  const decoded = [];
  for (const [k, jpeg] of jpegs.entries())
    decoded.push(await decode(Uint8Array.from(atob(jpeg), (c) => c.charCodeAt(0)), sizes[k]));
  return decoded.map(({ grey, isNoisy }) => [Array.from(grey), isNoisy]);
}"""


def decoded(browser, root, *scripts):
    """Greys of one image of each series and whether they are noisy, in a page after these
    scripts."""
    data = viewer.payload(rsna.load_tables(root), STUDY)
    slices = [series["slices"][0] for series in data.study["series"] if series["slices"]]
    jpegs = [base64.b64encode(data.images[slice(*one["bytes"])]).decode() for one in slices]
    context = browser.new_context()
    page = context.new_page()
    blank = root / "blank.html"  # a file is a secure context, which WebCodecs needs
    blank.write_text("<!doctype html>")
    page.goto(blank.as_uri())
    for script in scripts:
        page.evaluate(script)
    code = viewer.module() + "\nexport { decode };"
    found = page.evaluate(GREYS, [code, jpegs, [one["size"] for one in slices]])
    context.close()
    return found


def test_where_a_canvas_reads_back_noise_images_are_decoded_without(browser, root):
    plain = decoded(browser, root)
    assert not any(noisy for _, noisy in plain)
    exact = decoded(browser, root, NOISE)
    for (grey, _), (again, noisy) in zip(plain, exact, strict=True):
        assert not noisy
        np.testing.assert_allclose(again, grey, atol=1)


def test_and_where_that_is_not_possible_it_is_said(browser, root, tmp_path):
    assert all(noisy for _, noisy in decoded(browser, root, NOISE, NO_WEBCODECS))
    context = browser.new_context()
    for script in (NOISE, NO_WEBCODECS):
        context.add_init_script(f"({script})()")
    page = context.new_page()
    page.goto(viewer.StudyViewer(root, STUDY).save_html(tmp_path / "x.html").as_uri())
    page.locator(".notice").wait_for(state="visible")
    assert "protects against fingerprinting" in page.locator(".notice").inner_text()
    context.close()


TYPED = {  # modifiers that only helped to type the key: AltGr on Windows and Linux, Option on a Mac
    "AltGr as Windows reports it": {"ctrlKey": True, "altKey": True},
    "Option": {"altKey": True},
    "none": {},
}
SHORTCUTS = {
    "Ctrl": {"ctrlKey": True},
    "Cmd": {"metaKey": True},
    "Cmd-Option": {"metaKey": True, "altKey": True},
}
SEND_KEY = """(view, init) => view.dispatchEvent(
  new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init }))"""


@pytest.mark.parametrize("with_what", TYPED | SHORTCUTS)
def test_keys_that_need_a_modifier_to_be_typed_work_and_shortcuts_stay_the_pages(show, with_what):
    screen = show()
    modifiers = (TYPED | SHORTCUTS)[with_what]
    view = screen.view(AXIAL_T2)
    view.focus()
    before = screen.window(AXIAL_T2)
    view.evaluate(SEND_KEY, {"key": ",", **modifiers})
    screen.page.wait_for_timeout(100)
    assert (screen.window(AXIAL_T2) != before) == (with_what in TYPED)
    view.evaluate(SEND_KEY, {"key": "4", "altKey": True})  # Alt-4 is the page's, or the browser's
    screen.page.wait_for_timeout(100)
    assert screen.window(AXIAL_T2) != (350, 175)


def test_grade_colours_stay_where_the_system_forces_its_own(show):
    screen = show()
    chip = screen.chosen.locator(".chip").first
    colour = "chip => getComputedStyle(chip).backgroundColor"
    before = chip.evaluate(colour)
    screen.page.emulate_media(forced_colors="active")
    assert chip.evaluate(colour) == before


def test_keys_and_bar_scroll_and_say_the_slice(show):
    screen = show()
    view = screen.view(SAGITTAL_T1)
    view.focus()
    slices = {"Home": 1, "ArrowDown": 2, "End": 5, "ArrowUp": 4, "ArrowRight": 5, "ArrowLeft": 4}
    for key, expected in slices.items():
        screen.press(key)
        assert screen.slice(SAGITTAL_T1) == expected
        assert view.locator(".spoken").text_content() == f"slice {expected} of 5"
    bar = screen.pane(SAGITTAL_T1).get_by_label("Slice of Sagittal T1")
    bar.fill("1")
    assert screen.slice(SAGITTAL_T1) == 2
    assert bar.get_attribute("aria-valuetext") == "slice 2 of 5"
    assert screen.slices()[1:] == [3, 5]  # scrolling one pane leaves the others


def test_window_by_right_drag_and_presets(show):
    screen = show()
    assert screen.window(AXIAL_T2) == (1000, 500)
    screen.drag(AXIAL_T2, (60, 0), button="right")  # to the right: wider
    assert screen.window(AXIAL_T2) == (1200, 500)
    screen.drag(AXIAL_T2, (0, 30), button="right")  # down: a higher level, a darker image
    assert screen.window(AXIAL_T2) == (1200, 600)
    assert screen.window(SAGITTAL_T2) == (1000, 500)
    screen.press("4")
    assert screen.window(AXIAL_T2) == (350, 175)
    screen.button("Full").click()  # a button acts on the pane last touched
    assert screen.window(AXIAL_T2) == (1000, 500)


def test_inversion_by_button_and_a_double_click_that_resets_it(show):
    screen = show()
    spot = (60, 45)
    screen.view(AXIAL_T2).focus()
    before = screen.colour(AXIAL_T2, spot)
    screen.button("Invert").click()
    after = screen.colour(AXIAL_T2, spot)
    assert max(abs(a + b - 255) for a, b in zip(before, after, strict=True)) <= 2
    screen.page.mouse.dblclick(*screen.at(AXIAL_T2, spot))
    assert screen.colour(AXIAL_T2, spot) == before


def test_grey_is_what_the_window_says(show):
    screen = show()
    screen.view(SAGITTAL_T2).focus()
    for key, intensity in (("Home", 300), ("End", 700)):  # of the first and the last slice
        screen.press(key)
        grey, _, _ = screen.colour(SAGITTAL_T2, (60, 45))
        assert grey == pytest.approx(255 * intensity / 1000, abs=3)


def test_a_millimetre_is_as_long_across_as_down_and_zoom_keeps_it_so(show):
    screen = show()
    screen.button("Planes").click()
    screen.button("Labels").click()
    width, height = screen.outline(SAGITTAL_T2)  # 80 pixels of 1 mm by 60 of 2 mm
    assert height / width == pytest.approx(120 / 80, rel=0.02)
    screen.view(SAGITTAL_T2).focus()
    screen.press("-")
    smaller = screen.outline(SAGITTAL_T2)
    assert smaller == pytest.approx((width * 0.8, height * 0.8), abs=3)


def test_ctrl_wheel_zooms_about_the_pointer_and_shift_drag_moves(show):
    screen = show()
    spot = screen.at(AXIAL_T2, (60, 20))

    def under_pointer():
        screen.page.mouse.move(*spot)
        numbers = re.findall(r"[LPIRAS] (\d+\.\d)", screen.text(AXIAL_T2, "tr"))
        return np.array([float(v) for v in numbers])

    before = under_pointer()
    screen.page.keyboard.down("Control")
    screen.page.mouse.wheel(0, -100)
    screen.page.keyboard.up("Control")
    np.testing.assert_allclose(under_pointer(), before, atol=0.1)  # what was there still is
    screen.page.keyboard.down("Shift")
    screen.drag(AXIAL_T2, (50, 0))
    screen.page.keyboard.up("Shift")
    moved = before - under_pointer()
    px_per_mm = screen.at(AXIAL_T2, (1, 0))[0] - screen.at(AXIAL_T2, (0, 0))[0]  # before the zoom
    np.testing.assert_allclose(moved, (50 / (1.2 * px_per_mm), 0, 0), atol=0.2)
    assert screen.slices() == [3, 3, 5]  # neither moved the crosshair


def test_two_fingers_zoom(show):
    screen = show()
    (left, y), (right, _) = screen.at(AXIAL_T2, (30, 30)), screen.at(AXIAL_T2, (60, 30))
    screen.touch("touchStart", (left, y))
    screen.touch("touchStart", (left, y), (right, y))
    screen.touch("touchMove", (left - 40, y), (right, y))
    screen.touch("touchEnd")
    screen.page.mouse.move(left - 40, y)
    # What the moving finger held, it still holds.
    assert screen.text(AXIAL_T2, "tr").startswith("R 9.5 · ")


def test_the_corner_shows_position_and_value_under_the_pointer(show):
    screen = show()
    screen.move(SAGITTAL_T2, (60, 45))
    position, value = screen.text(SAGITTAL_T2, "tr").split("\n")
    assert position == "L 0.0 · P 20.0 · I 30.0 mm"
    assert int(value) == pytest.approx(500, abs=8)
    screen.page.mouse.wheel(0, 100)
    screen.page.wait_for_timeout(100)
    # The pointer rests, the slice is another.
    assert screen.text(SAGITTAL_T2, "tr").startswith("L 4.0 · P 20.0 · I 30.0")


# ---- What is drawn over the image ----------------------------------------------------------------


def test_planes_are_drawn_where_they_intersect_and_can_be_hidden(show):
    screen = show()
    # The lower block leans back: 15 mm behind its middle, (0, 5, -20), it is 15 tan 15° = 4.0 mm
    # higher; a row is 2 mm.
    on_line = (45 + 15, 40 - 15 * np.tan(TILT) / 2)
    red, green, blue = screen.colour(SAGITTAL_T2, on_line)
    assert min(red, green) - blue > 40  # the axial pane's yellow
    screen.button("Planes").click()
    assert len(set(screen.colour(SAGITTAL_T2, on_line))) == 1  # grey again


def test_blocks_draw_every_slice_of_the_other_series_where_it_is(show):
    screen = show()
    above = -20 + 4 / np.cos(TILT) + 15 * np.tan(TILT)  # z, on the slice 4 mm above the one on show
    between = (45 + 15, (60 - above) / 2)
    assert len(set(screen.colour(SAGITTAL_T2, between))) == 1
    screen.button("Blocks").click()
    red, green, blue = screen.colour(SAGITTAL_T2, between)
    assert min(red, green) - blue > 20  # faintly the axial pane's yellow


def test_structures_are_outlined_in_their_colours_when_asked_for(show, root):
    t2 = dicom.read_series(rsna.load_tables(root).folder(STUDY, T2))
    corners = np.array([[20, 10], [60, 10], [60, 30], [20, 30], [20, 10]])
    lines = [Outline(T2, one.instance, SAC, one.to_patient(corners)) for one in t2.slices]
    screen = show(outlines=lines)
    on_edge = (40, 10)
    assert len(set(screen.colour(SAGITTAL_T2, on_edge))) == 1
    assert not screen.page.get_by_text("thecal sac").is_visible()
    screen.button("Structures").click()
    red, green, _ = screen.colour(SAGITTAL_T2, on_edge)
    assert green - red > 80  # the sac's turquoise
    assert screen.page.get_by_text("thecal sac").is_visible()
    screen.press("s")
    assert len(set(screen.colour(SAGITTAL_T2, on_edge))) == 1


def test_without_outlines_there_is_no_button_for_them(show):
    assert not show().page.get_by_role("button", name="Structures").is_visible()


def test_a_label_is_solid_on_its_slice_faint_on_the_next_and_gone_beyond(show):
    screen = show()
    rim = screen.at(SAGITTAL_T2, (45, 40)) + (0, -5)  # five screen pixels up: on the circle
    x, y = screen.on_canvas(SAGITTAL_T2, rim)
    screen.button("Planes").click()

    def red_over_blue():
        r, _, b = screen.pixels(SAGITTAL_T2)[y, x].astype(int)
        return r - b

    screen.view(SAGITTAL_T2).focus()
    redness = []
    for key in ("Home", "ArrowDown", "ArrowDown"):
        screen.press(key)
        redness.append(red_over_blue())
    assert redness[0] == 0
    assert 20 < redness[1] < 110
    assert redness[2] > 180
    screen.press("l")
    assert red_over_blue() == 0


def test_a_point_is_named_with_its_level(show):
    screen = show()
    x, y = screen.on_canvas(SAGITTAL_T2, screen.at(SAGITTAL_T2, (45, 20)))

    def light_beside_the_point():  # in the 30 screen pixels to the right of the circle
        beside = screen.pixels(SAGITTAL_T2)[y - 8 : y + 8, x + 10 : x + 40]
        return (beside.min(axis=2) > 215).sum()

    assert light_beside_the_point() > 20
    screen.press("l")
    screen.button("Labels").click()
    assert light_beside_the_point() == 0


def test_hovering_over_a_label_names_it(show):
    screen = show()
    recess = (49.5, 29.5)
    screen.move(AXIAL_T2, recess)
    assert screen.text(AXIAL_T2, "tip") == "Left Subarticular Stenosis · L4/L5\nModerate"
    # The patient's left has a filled marker, in its grade's colour.
    assert screen.colour(AXIAL_T2, recess) == MODERATE
    screen.move(AXIAL_T2, (10, 50))
    assert not screen.pane(AXIAL_T2).locator(".tip").is_visible()


# ---- The grid ------------------------------------------------------------------------------------


def test_the_grid_shows_grades(show):
    letters = show().page.locator("tbody .chip").all_inner_texts()  # row by row
    assert letters.count("N") == 22
    assert letters[4] == "–"  # the right recess at L1/L2
    assert letters[15] == "S"  # the canal at L4/L5
    assert letters[18] == "M"  # the left recess there


def test_the_grid_takes_every_pane_to_a_point_and_describes_it(show):
    screen = show()
    screen.cell(LEFT_FORAMEN, "L4/L5").click()
    assert screen.slices() == [5, 5, 5]  # x = 8, y = 4, z = -20
    screen.cell(CANAL, "L1/L2").click()
    assert screen.slices() == [3, 3, 2]  # z = 20, the middle of the upper block
    screen.cell(RIGHT_RECESS, "L4/L5").hover()
    assert "Point on instance 99 of series 73, which is not here" in screen.detail()
    screen.page.mouse.move(5, 5)
    assert "Spinal Canal Stenosis · L1/L2" in screen.detail()  # the chosen cell again


def test_a_click_on_a_cell_brings_its_point_into_a_zoomed_view(show):
    screen = show()
    screen.view(SAGITTAL_T2).focus()
    screen.press(*["+"] * 10)
    screen.cell(CANAL, "L1/L2").click()
    screen.slices()
    screen.move(SAGITTAL_T2, (39.5, 29.5))  # the middle of the pane
    assert screen.text(SAGITTAL_T2, "tip") == "Spinal Canal Stenosis · L1/L2\nNormal/Mild"


def test_arrow_keys_move_in_the_grid_and_stay_in_it(show):
    screen = show()
    screen.cell(CANAL, "L4/L5").focus()
    screen.press("ArrowRight", "ArrowDown")
    screen.press("ArrowDown", "Enter")  # this step down would leave the grid
    assert spoken(screen.chosen) == "Left Neural Foraminal Narrowing, L5/S1: Normal/Mild"


# ---- Predictions ---------------------------------------------------------------------------------


def test_predictions_are_shown_beside_the_labels(show):
    screen = show(predictions(note=["carried from T1", None]))
    canal, recess = screen.cell(CANAL, "L4/L5"), screen.cell(LEFT_RECESS, "L4/L5")
    assert spoken(canal) == "Spinal Canal Stenosis, L4/L5: Severe; predicted Severe, 70 %; right"
    assert spoken(recess) == (
        "Left Subarticular Stenosis, L4/L5: Moderate; predicted Severe, 50 %; wrong"
    )
    assert canal.inner_text().split() == ["S", "✓"]
    assert recess.inner_text().split() == ["M", "✗"]
    assert "Found at L 0.0 · P 5.0 · I 17.0 mm, 3.0 mm from the label" in screen.detail()
    assert "carried from T1" in screen.detail()


def test_what_was_measured_is_said_beside_the_probabilities(show):
    screen = show(predictions(sac_mm=[6.0, None]))
    assert "Measured: sac 6.0 mm deep, the widest level" in screen.detail()


def test_a_predicted_point_is_marked_in_series_without_a_label_for_it(show):
    screen = show(predictions())
    predicted = (22.5, 38.5)
    assert screen.colour(SAGITTAL_T1, predicted) == SEVERE
    screen.move(SAGITTAL_T1, predicted)
    tip = screen.pane(SAGITTAL_T1).locator(".tip")
    lines = tip.inner_text().split("\n")
    assert lines[0] == "Spinal Canal Stenosis · L4/L5"
    assert lines[1] == "predicted Severe, 70 %"
    assert lines[2].startswith("3.0 mm from the label")
    bars = [bar.get_attribute("style").split(";")[0] for bar in tip.locator("i").all()]
    assert bars == ["width: 10%", "width: 20%", "width: 70%"]


def test_a_prediction_without_a_note_names_its_source_if_that_is_the_prior(show):
    notes = ["", "canal not found"]
    screen = show(predictions(source="prior", note=notes))
    note = screen.page.locator(".note")
    assert note.inner_text() == "weighted prior"
    screen.cell(LEFT_RECESS, "L4/L5").click()
    assert note.inner_text() == "canal not found"


def test_a_prediction_of_a_model_names_no_source(show):
    assert show(predictions(source="model")).page.locator(".note").count() == 0


def test_a_cell_without_a_label_point_goes_to_the_predicted_one(show):
    row_id = rsna.row_id(STUDY, RIGHT_RECESS, "L1/L2")
    screen = show(predictions().iloc[:1].assign(row_id=row_id, x_mm=-8.0, z_mm=20.0))
    screen.cell(RIGHT_RECESS, "L1/L2").click()
    assert screen.slices() == [1, 1, 2]
    assert "Label: not graded" in screen.detail()


def test_markup_in_a_note_stays_text(show):
    script = "document.title = 'taken'"
    note = f'</script><script>{script}</script><img src=x onerror="{script}">'
    screen = show(predictions(note=note))
    assert screen.page.locator(".note").inner_text() == note
    assert screen.page.title() == f"Study {STUDY}"
    assert screen.noise == [screen.url]


# ---- Series --------------------------------------------------------------------------------------


def test_what_is_missing_is_named_and_the_rest_works(show, tmp_path):
    root = write_study(tmp_path / "partial")
    for series in (T1, AXIAL):
        shutil.rmtree(root / "train_images" / str(STUDY) / str(series))
    path = root / "train_series_descriptions.csv"
    table = pd.read_csv(path)
    table[table.series_id != AXIAL].to_csv(path, index=False)
    screen = show(predictions(), root)
    assert screen.text(SAGITTAL_T1, "message") == (
        f"The images of series {T1} are not on this disk; part of the download is missing."
    )
    assert screen.text(AXIAL_T2, "message") == "This study has no Axial T2 series."
    assert screen.slice(SAGITTAL_T2) == 3
    screen.view(AXIAL_T2).click()
    screen.press("ArrowDown")
    assert screen.noise == [screen.url]


@pytest.fixture
def with_second_axial(root, tmp_path):
    """The study and a second axial series, 74: three slices at z = 30, 26, 22."""
    more = tmp_path / "more"
    shutil.copytree(root, more)
    folder = more / "train_images" / str(STUDY) / "74"
    for i in range(3):
        origin = (-20, -10, 30 - 4 * i)
        write_image(folder, i, np.full((30, 40), 400 + i), origin, AXIAL_AXES, (1.0, 1.0))
    with (more / "train_series_descriptions.csv").open("a") as file:
        file.write(f"{STUDY},74,Axial T2\n")
    return more


def test_a_series_chosen_for_a_pane_opens_at_the_crosshair(show, with_second_axial):
    screen = show(folder=with_second_axial)
    picker = screen.pane(AXIAL_T2).get_by_label("Series in the Axial T2 pane")
    assert picker.locator("option").all_inner_texts()[:2] == ["Axial T2 · 73", "Axial T2 · 74"]
    screen.click(SAGITTAL_T2, (45, 17))  # z = 26
    picker.select_option("74")
    assert screen.text(AXIAL_T2, "bl") == "Slice 2 of 3\nInstance 1\nS 26.0 mm"
    screen.cell(LEFT_RECESS, "L4/L5").click()  # annotated on series 73: the pane changes back
    assert picker.input_value() == "73"
    assert screen.slice(AXIAL_T2) == 5


def test_keys_step_through_all_series_of_the_study_and_round(show, with_second_axial):
    screen = show(folder=with_second_axial)
    picker = screen.pane(AXIAL_T2).get_by_label("Series in the Axial T2 pane")
    screen.cell(LEFT_RECESS, "L4/L5").click()
    screen.view(AXIAL_T2).focus()
    screen.press("PageDown")
    assert picker.input_value() == "74"
    screen.press("PageDown")  # after the series of its own kind come the others
    # The crosshair is at x = 10.
    assert screen.text(AXIAL_T2, "bl") == "Slice 5 of 5\nInstance 1\nL 8.0 mm"
    assert screen.text(AXIAL_T2, "tl") == "Sagittal T1"
    screen.press("PageUp", "PageUp", "PageUp")
    assert screen.text(AXIAL_T2, "tl") == "Sagittal T2/STIR"


# ---- Cine, keys, distances -----------------------------------------------------------------------

WATCH_SLICES = """() => {
  const host = document.querySelector(".spine-viewer").shadowRoot;
  const corner = host.querySelector('[data-kind="Sagittal T1"] .bl');
  window.seen = [];
  new MutationObserver(() => window.seen.push(parseInt(corner.textContent.slice(6))))
    .observe(corner, { childList: true, characterData: true, subtree: true });
}"""


def test_cine_runs_to_the_end_and_back_and_stops(show):
    screen = show()
    player = screen.pane(SAGITTAL_T1).locator(".player")
    assert spoken(player) == "Cine of Sagittal T1, 8 slices a second"
    screen.view(SAGITTAL_T1).focus()
    screen.press("]", "]", "]")  # 8, 10, 13, 16
    screen.page.evaluate(WATCH_SLICES)
    screen.press("c")
    assert spoken(player) == "Stop cine of Sagittal T1"
    while screen.page.evaluate("window.seen.length") < 11:
        screen.page.wait_for_timeout(50)
    player.click()
    stopped = screen.slice(SAGITTAL_T1)
    assert screen.page.evaluate("window.seen.slice(0, 11)") == [4, 5, 4, 3, 2, 1, 2, 3, 4, 5, 4]
    screen.page.wait_for_timeout(300)
    assert screen.slice(SAGITTAL_T1) == stopped


def test_keys_move_the_crosshair_by_a_millimetre(show):
    screen = show()
    screen.view(SAGITTAL_T2).focus()
    screen.press(*["Shift+ArrowUp"] * 36)  # from z = -20 to 16, where the mouse test clicks
    assert screen.slices() == [3, 3, 3]
    screen.view(AXIAL_T2).focus()
    screen.press(*["Shift+ArrowRight"] * 7)  # 7 mm to the left, nearest to the slice at 8 mm
    assert screen.slices() == [5, 5, 3]


def test_the_window_and_the_rest_have_keys_too(show):
    screen = show()
    screen.view(AXIAL_T2).focus()
    screen.press("<", "<", ".")
    assert screen.window(AXIAL_T2) == (800, 550)
    screen.press(">", ",")
    assert screen.window(AXIAL_T2) == (900, 500)


@pytest.fixture
def measured(show):
    """A distance of 30 columns of 1 mm and 20 rows of 2 mm, measured with the mouse."""
    screen = show()
    screen.button("Measure").click()
    screen.move(SAGITTAL_T2, (20, 10))
    screen.page.mouse.down()
    screen.move(SAGITTAL_T2, (50, 30), steps=3)
    screen.page.mouse.up()
    return screen


def test_a_distance_is_measured_in_mm_by_mouse(measured):
    assert measured.slices() == [3, 3, 5]  # the crosshair stayed
    assert measured.text(SAGITTAL_T2, "measured") == "Distance 50.0 mm"
    measured.click(SAGITTAL_T2, (70, 50))  # a click measures nothing
    assert measured.text(SAGITTAL_T2, "measured") == "Distance 50.0 mm"
    measured.press("ArrowDown")
    assert measured.text(SAGITTAL_T2, "measured") == ""  # it belongs to its slice


def test_its_line_is_white_with_a_dark_halo(measured):
    across = [(35 + i / 10, 20) for i in range(-10, 10)]  # through the middle of the line
    greys = [min(measured.colour(SAGITTAL_T2, xy)) for xy in across]
    assert max(greys) > 215  # the image is 128
    assert min(greys) < 80


def test_a_distance_is_measured_in_mm_by_keys(show):
    screen = show()
    screen.button("Measure").click()
    screen.view(AXIAL_T2).focus()
    screen.press("Enter", *["Shift+ArrowDown"] * 12, "Enter")
    assert screen.text(AXIAL_T2, "measured") == "Distance 12.0 mm"
    screen.press("Escape")
    assert screen.text(AXIAL_T2, "measured") == ""


# ---- Filters -------------------------------------------------------------------------------------


def many_predictions():
    """A prediction for each of the 25 cells: all Normal/Mild but for four canals."""
    p = {rsna.row_id(STUDY, *target): (0.9, 0.06, 0.04) for target in rsna.TARGETS}
    p[rsna.row_id(STUDY, CANAL, "L1/L2")] = (0.3, 0.6, 0.1)  # wrong
    p[rsna.row_id(STUDY, CANAL, "L2/L3")] = (0.1, 0.1, 0.8)  # wrong, and more confident
    p[rsna.row_id(STUDY, CANAL, "L3/L4")] = (0.55, 0.35, 0.1)  # right, not confident
    p[rsna.row_id(STUDY, CANAL, "L4/L5")] = (0.25, 0.3, 0.45)  # right, least confident
    table = pd.DataFrame.from_dict(p, "index", columns=rsna.GRADE_COLUMNS)
    return table.rename_axis("row_id").reset_index()


def filters(screen):
    buttons = screen.page.locator(".filters .group").first.locator("button:visible")
    return buttons.all_inner_texts()


def chosen_after(screen, *keys):
    """The cell chosen after some keys: condition and level."""
    screen.press(*keys)
    return spoken(screen.chosen).split(":")[0]


def test_filters_count_and_dim_their_cells(show):
    screen = show(many_predictions())
    # 24 cells have a label: two canals and the Moderate left recess at L4/L5 are wrong.
    assert filters(screen) == ["All 25", "Narrowed 2", "Right 21", "Wrong 3", "Unsure 2"]
    screen.button("Wrong 3").click()
    assert screen.page.locator(".cell.dimmed").count() == 22
    screen.button("All 25").click()
    assert screen.page.locator(".cell.dimmed").count() == 0


def test_mistakes_are_stepped_through_with_the_most_confident_first(show):
    screen = show(many_predictions())
    screen.button("Wrong 3").click()
    # By the probability of the label: 0.06 of Moderate, then 0.1 and 0.3 of Normal/Mild.
    assert chosen_after(screen) == "Left Subarticular Stenosis, L4/L5"
    assert chosen_after(screen, "n") == "Spinal Canal Stenosis, L2/L3"
    assert chosen_after(screen, "n") == "Spinal Canal Stenosis, L1/L2"
    assert chosen_after(screen, "n") == "Left Subarticular Stenosis, L4/L5"  # and round
    assert screen.slices()[2] == 5  # the panes followed


def test_unsure_predictions_are_stepped_through_with_the_least_confident_first(show):
    screen = show(many_predictions())
    screen.button("Unsure 2").click()
    assert chosen_after(screen) == "Spinal Canal Stenosis, L4/L5"  # 0.45
    screen.button("Next of these (n)").click()
    assert chosen_after(screen) == "Spinal Canal Stenosis, L3/L4"  # 0.55
    assert chosen_after(screen, "Shift+N") == "Spinal Canal Stenosis, L4/L5"
    screen.button("All 25").click()
    assert chosen_after(screen, "n") == "Left Neural Foraminal Narrowing, L4/L5"  # reading order


def test_a_study_without_predictions_has_no_filters_for_them(show):
    assert filters(show()) == ["All 25", "Narrowed 2"]


# ---- The quiz ------------------------------------------------------------------------------------

FOCUSED = "() => document.querySelector('.spine-viewer').shadowRoot.activeElement.ariaLabel"


@pytest.fixture
def quizzed(show):
    """A quiz that has just started, on a study with predictions."""
    screen = show(many_predictions())
    assert not quiz_box(screen).is_visible()
    screen.button("Quiz").click()
    return screen


def quiz_box(screen):
    return screen.inside.get_by_role("group", name="Quiz")


def quiz_title(screen):
    return quiz_box(screen).locator("h4").inner_text()


def score_rows(screen):
    rows = quiz_box(screen).locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_a_quiz_hides_labels_and_predictions(quizzed):
    assert quiz_title(quizzed) == "Your grade? 0 of 24 given"
    assert spoken(quizzed.chosen) == "Spinal Canal Stenosis, L1/L2: not answered"
    below_toolbar = quizzed.page.locator(".viewer").inner_text().split("Blocks")[1]
    assert "Label" not in below_toolbar
    assert "redicted" not in quizzed.detail()
    assert not quizzed.page.locator(".filters").is_visible()
    quizzed.move(SAGITTAL_T2, (45, 20))
    tip = quizzed.text(SAGITTAL_T2, "tip")
    assert tip == "Spinal Canal Stenosis · L1/L2\nyour grade?"


def test_no_colour_in_a_quiz_gives_a_grade_away(quizzed):
    pixels = quizzed.pixels(SAGITTAL_T2).reshape(-1, 3).astype(int)
    assert not (abs(pixels - SEVERE).max(axis=1) < 12).any()


def test_grades_are_given_in_reading_order_and_unlabelled_cells_are_not_asked(quizzed):
    quizzed.view(AXIAL_T2).focus()
    quizzed.press("1", "2", "3")  # canal, left foramen, right foramen of L1/L2
    assert quiz_title(quizzed) == "Your grade? 3 of 24 given"
    chips = quizzed.page.locator("tbody .chip").all_inner_texts()
    assert chips[:5] == ["N", "M", "S", "?", "–"]
    quizzed.cell(RIGHT_RECESS, "L1/L2").click()
    assert "no label, so it is not asked" in quiz_box(quizzed).inner_text()
    quizzed.press("3")
    assert quiz_title(quizzed) == "Your grade? 3 of 24 given"


def test_a_grade_given_in_the_grid_moves_the_focus_to_the_next_question(quizzed):
    quizzed.cell(CANAL, "L4/L5").click()
    quizzed.press("3")
    next_cell = "Left Neural Foraminal Narrowing, L4/L5: not answered"
    assert quizzed.page.evaluate(FOCUSED) == next_cell


@pytest.fixture
def revealed(quizzed):
    """By label N N N S N, given N M S S M."""
    quizzed.view(AXIAL_T2).focus()
    quizzed.press("1", "2", "3")
    quizzed.cell(CANAL, "L4/L5").click()
    quizzed.press("3")
    quiz_box(quizzed).get_by_role("button", name="2 Moderate").click()
    quiz_box(quizzed).get_by_role("button", name="Reveal").click()
    return quizzed


def test_a_revealed_quiz_scores_the_learner_the_model_and_always_normal(revealed):
    # Weights 1 1 1 4 1: the learner has 5 of 8; the model says M N N S N, 7 of 8.
    assert score_rows(revealed) == [
        ["You", "2 of 5", "63 %"],
        ["Model", "4 of 5", "88 %"],
        ["Always Normal/Mild", "4 of 5", "50 %"],
    ]


def test_a_revealed_quiz_shows_answer_label_and_prediction(revealed):
    said = spoken(revealed.cell(LEFT_FORAMEN, "L1/L2"))
    answer = "your grade Moderate; wrong; label Normal/Mild; predicted Normal/Mild, 90 %"
    assert said.endswith(answer)
    revealed.button("Missed 3").click()
    assert chosen_after(revealed) == "Left Neural Foraminal Narrowing, L1/L2"
    assert chosen_after(revealed, "n") == "Right Neural Foraminal Narrowing, L1/L2"


def test_a_quiz_can_be_started_again_and_left(revealed):
    revealed.button("Again").click()
    assert quiz_title(revealed) == "Your grade? 0 of 24 given"
    revealed.button("Leave quiz").click()
    assert "Label: Normal/Mild" in revealed.detail()


def test_the_last_answer_leads_to_the_button_that_reveals(show):
    screen = show()
    screen.button("Quiz").click()
    screen.press(*"1" * 24, "Enter")
    # All Normal/Mild, right but for two: 22 cells of weight 1, one of 2, one of 4: 22 / 28.
    you, always = score_rows(screen)
    assert you == ["You", "22 of 24", "79 %"]
    assert always[1] == "22 of 24"


def test_a_study_without_labels_asks_nothing(show, tmp_path):
    root = write_study(tmp_path / "unlabelled")
    labels = pd.read_csv(root / "train.csv")
    unlabelled = labels[["study_id"]].reindex(columns=labels.columns)
    unlabelled.to_csv(root / "train.csv", index=False)
    quiz = show(folder=root).button("Quiz")
    assert quiz.is_disabled()
    assert quiz.get_attribute("title") == "This study has no labels to be quizzed on"


TWO_VIEWS = """async ([code, study, images]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const bytes = Uint8Array.from(atob(images), (c) => c.charCodeAt(0));
  const state = { study, images: new DataView(bytes.buffer), quiz: { on: false } };
  const heard = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      for (const act of heard[`change:${name}`] ?? []) act();
    },
    save_changes: () => {},
    on: (name, act) => (heard[name] ??= []).push(act),
    off: (name, act) => (heard[name] = heard[name].filter((other) => other !== act)),
  };
  const open = () => {
    const el = document.body.appendChild(document.createElement("div"));
    return widget.render({ model, el });
  };
  Object.assign(window, { model, heard, close: [open(), open()] });
}"""


def test_two_views_of_one_widget_hold_the_same_quiz(browser, root):
    data = viewer.payload(rsna.load_tables(root), STUDY)
    page = browser.new_page(viewport={"width": 1200, "height": 1800})
    images = base64.b64encode(data.images).decode()
    page.evaluate(TWO_VIEWS, [viewer.module(), data.study, images])
    one, two = (Screen(page, data, page.locator(".spine-viewer").nth(k)) for k in (0, 1))
    one.button("Quiz").click()
    one.press("2")
    assert quiz_title(two) == "Your grade? 1 of 24 given"
    two.cell(CANAL, "L3/L4").click()
    two.press("3")
    # Neither view forgot the other's answer.
    assert page.evaluate("model.get('quiz').answers").count(None) == 23
    assert spoken(one.cell(CANAL, "L3/L4")).endswith("your grade Severe")
    page.evaluate("close.forEach((end) => end())")
    # Nothing listens to a view that has been closed.
    assert page.evaluate("Object.values(heard).flat().length") == 0
    page.close()


# ---- For everyone --------------------------------------------------------------------------------

NAMELESS = """() => {
  const host = document.querySelector(".spine-viewer").shadowRoot;
  const name = (e) => e.ariaLabel || e.getAttribute("aria-label") || e.textContent.trim();
  const controls = [...host.querySelectorAll("button, input, select, .view")];
  const nameless = controls.filter((e) => e.checkVisibility() && !name(e));
  return nameless.map((e) => e.outerHTML);
}"""
FOCUSED_NAME = """() => {
  const e = document.querySelector(".spine-viewer").shadowRoot.activeElement;
  return e && (e.ariaLabel || e.getAttribute("aria-label") || e.textContent);
}"""


def test_every_control_has_a_name(quizzed):
    assert quizzed.page.evaluate(NAMELESS) == []


def test_the_keyboard_reaches_every_control(quizzed):
    quizzed.page.evaluate("() => document.activeElement.blur()")
    reached = []
    for _ in range(60):
        quizzed.press("Tab")
        reached.append(quizzed.page.evaluate(FOCUSED_NAME) or "")
    assert {
        "Full",
        "Quiz",
        "Series in the Axial T2 pane",
        "Slice of Sagittal T1",
        "Reveal",
        "1 Normal/Mild",
        "Mouse, touch and keys",
    } <= set(reached)
    # The grid: once, then by arrows.
    assert any("canal" in name.lower() for name in reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(browser, root, tmp_path, scheme):
    path = viewer.StudyViewer(root, STUDY, predictions()).save_html(tmp_path / "study.html")
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    page.goto(path.as_uri())
    Screen(page, None).wait()
    png = page.locator(".detail").screenshot()
    page.close()
    shot = np.array(Image.open(io.BytesIO(png)).convert("L"), float)
    paper = np.median(shot)
    ink = shot.max() if scheme == "dark" else shot.min()
    assert (paper < 60) == (scheme == "dark")
    light, dark = sorted(((v / 255) ** 2.2 + 0.05 for v in (paper, ink)), reverse=True)
    assert light / dark > 7  # WCAG's AAA


WORDS_IN_TWO_LINES = """() => {
  const host = document.querySelector(".spine-viewer").shadowRoot;
  const broken = (th) => [...th.lastChild.data.matchAll(/\\S+/g)].filter((word) => {
    const range = document.createRange();
    range.setStart(th.lastChild, word.index);
    range.setEnd(th.lastChild, word.index + word[0].length);
    return range.getClientRects().length > 1;
  });
  const heads = [...host.querySelectorAll("table:not(.scores) th[scope=col]")];
  return [heads.length, heads.flatMap(broken).map((word) => word[0])];
}"""


@pytest.mark.parametrize("width", [320, 360, 390, 600, 1200])
def test_no_word_over_the_grid_is_broken(show, width):
    page = show(predictions()).page
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("document.documentElement.scrollWidth == innerWidth")
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(WORDS_IN_TWO_LINES) == [5, []]


HEAR_KEYS = """() => {
  window.heard = [];
  document.addEventListener("keydown", (e) => window.heard.push(e.key));
}"""


def test_no_plain_key_leaves_the_viewer(show):
    screen = show()
    screen.page.evaluate(HEAR_KEYS)
    screen.view(AXIAL_T2).focus()
    # In a notebook x cuts a cell and d d deletes it.
    screen.press("x", "d", "a", "Enter", "ArrowDown", "Escape", "Control+s")
    assert screen.page.evaluate("window.heard") == ["Control", "s"]


# ---- Large and unusual studies -------------------------------------------------------------------


@pytest.fixture
def large(show, tmp_path):
    """190 axial slices, and 60 sagittal ones of two sizes by turns: 256 × 320 and 512 × 512."""
    root = write_study(tmp_path / "large")
    images = root / "train_images" / str(STUDY)
    spacing = (0.3, 0.3)
    for series in (AXIAL, T1):
        shutil.rmtree(images / str(series))
    axial = flat_image(512, 512, 400)
    for i in range(190):
        origin = (-80, -80, 95 - i)
        write_image(images / str(AXIAL), i + 1, axial, origin, AXIAL_AXES, spacing)
    sagittal = flat_image(256, 320, 500), flat_image(512, 512, 500)
    for i in range(60):
        origin = (i - 30, -80, 80)
        write_image(images / str(T1), i + 1, sagittal[i % 2], origin, SAGITTAL_AXES, spacing)
    return show(folder=root)


def test_a_long_axial_series_opens_at_the_point_and_scrolls_to_its_end(large):
    # The small sagittal images end above z = -20: a large one beside it has the point.
    assert large.slices() == [30, 3, 116]
    large.view(AXIAL_T2).focus()
    large.press("End")
    assert large.text(AXIAL_T2, "bl").startswith("Slice 190 of 190")
    assert large.noise == [large.url]


def test_images_of_mixed_sizes_keep_their_proportions(large):
    large.press("p", "l")
    large.view(SAGITTAL_T1).focus()
    for key, proportion in (("Home", 320 / 256), ("ArrowDown", 1)):
        large.press(key)
        large.slice(SAGITTAL_T1)
        width, height = large.wait().outline(SAGITTAL_T1)
        assert width / height == pytest.approx(proportion, rel=0.02)
    assert large.noise == [large.url]
