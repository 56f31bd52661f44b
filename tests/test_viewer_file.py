"""The viewer in a real Chromium, as an HTML file opened from disk with the network off."""

import base64
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from screen import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SEVERE, Screen
from test_viewer import AXIAL, STUDY, T1, TILT, picture, predictions, write_image, write_study

from utils import dicom, rsna, viewer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("data"))


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
            viewer.module(),
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
    for key, expected in [("ArrowUp", 4), ("Home", 1), ("ArrowDown", 2), ("End", 5), ("ArrowLeft", 4), ("ArrowRight", 5)]:
        screen.page.keyboard.press(key)
        assert screen.slice(SAGITTAL_T1) == expected
        assert view.locator(".spoken").text_content() == f"slice {expected} of 5"
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

    width, height = screen.outline(SAGITTAL_T2)  # 80 pixels of 1 mm by 60 of 2 mm
    assert height / width == pytest.approx(120 / 80, rel=0.02)
    screen.view(SAGITTAL_T2).focus()
    screen.page.keyboard.press("-")
    smaller = screen.outline(SAGITTAL_T2)
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
    screen.page.mouse.wheel(0, 100)
    screen.page.wait_for_timeout(100)
    assert screen.text(SAGITTAL_T2, "tr").startswith("L 4.0 · P 20.0 · I 30.0")  # the hand rests, the slice is another


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
    spot = tuple(np.round(rim - list(screen.pane(SAGITTAL_T2).locator("canvas").first.bounding_box().values())[:2]).astype(int))
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
    tip = screen.pane(SAGITTAL_T1).locator(".tip")
    assert tip.inner_text().startswith("Spinal Canal Stenosis · L4/L5\npredicted Severe, 70 %\n3.0 mm from the label")
    assert [bar.get_attribute("style").split(";")[0] for bar in tip.locator("i").all()] == [
        "width: 10%",
        "width: 20%",
        "width: 70%",
    ]


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


def test_any_series_can_be_put_into_a_pane(show, root, tmp_path):
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
    screen.view(AXIAL_T2).focus()
    screen.press("PageDown")
    assert picker.input_value() == "74"
    screen.press("PageDown")  # after its own kind come the others
    screen.slices()
    assert screen.text(AXIAL_T2, "bl") == "Slice 5 of 5\nInstance 1\nL 8.0 mm"  # the crosshair is at x = 10
    assert screen.text(AXIAL_T2, "tl") == "Sagittal T1"
    screen.press("PageUp", "PageUp", "PageUp")  # and round
    screen.slices()
    assert screen.text(AXIAL_T2, "tl") == "Sagittal T2/STIR"


def test_cine_runs_to_the_end_and_back_and_stops(show):
    screen = show()
    player = screen.pane(SAGITTAL_T1).locator(".player")
    assert player.get_attribute("aria-label") == "Cine of Sagittal T1, 8 slices a second"
    screen.view(SAGITTAL_T1).focus()
    screen.press("]", "]", "]")  # 8, 10, 13, 16
    screen.page.evaluate("""() => {
      const pane = document.querySelector('.spine-viewer').shadowRoot.querySelector('[data-kind="Sagittal T1"]');
      window.seen = [];
      new MutationObserver(() => window.seen.push(parseInt(pane.querySelector('.bl').textContent.slice(6))))
        .observe(pane.querySelector('.bl'), { childList: true, characterData: true, subtree: true });
    }""")
    screen.press("c")
    assert player.get_attribute("aria-label") == "Stop cine of Sagittal T1"
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
    screen.press(*["Shift+ArrowUp"] * 36)  # from z = -20 to 16, and the mouse test's slice
    assert screen.slices() == [3, 3, 3]
    screen.view(AXIAL_T2).focus()
    screen.press(*["Shift+ArrowRight"] * 7)  # 7 mm to the patient's left, nearest to the slice at 8 mm
    assert screen.slices() == [5, 5, 3]


def test_the_window_and_the_rest_have_keys_too(show):
    screen = show()
    screen.view(AXIAL_T2).focus()
    screen.press("<", "<", ".")
    assert screen.window(AXIAL_T2) == (800, 550)
    screen.press(">", ",")
    assert screen.window(AXIAL_T2) == (900, 500)


def test_a_distance_is_measured_in_mm_by_mouse_and_by_keys(show):
    screen = show()
    screen.button("Measure").click()
    screen.page.mouse.move(*screen.at(SAGITTAL_T2, (20, 10)))
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at(SAGITTAL_T2, (50, 30)), steps=3)  # 30 columns of 1 mm, 20 rows of 2 mm
    screen.page.mouse.up()
    assert screen.slices() == [3, 3, 5]  # the crosshair stayed
    assert screen.text(SAGITTAL_T2, "measured") == "Distance 50.0 mm"
    line = [min(screen.colour(SAGITTAL_T2, (35 + i / 10, 20))) for i in range(-10, 10)]  # across its middle
    assert max(line) > 215  # white, on grey of 128 with a dark halo
    assert min(line) < 80
    screen.click(SAGITTAL_T2, (70, 50))  # a click measures nothing
    assert screen.text(SAGITTAL_T2, "measured") == "Distance 50.0 mm"
    screen.press("ArrowDown")
    screen.slices()
    assert screen.text(SAGITTAL_T2, "measured") == ""  # it belongs to its slice
    screen.view(AXIAL_T2).focus()
    screen.press("Enter", *["Shift+ArrowDown"] * 12, "Enter")
    screen.slices()
    assert screen.text(AXIAL_T2, "measured") == "Distance 12.0 mm"
    screen.press("Escape")
    screen.slices()
    assert screen.text(AXIAL_T2, "measured") == ""


def test_blocks_draw_every_slice_of_the_other_series_where_it_lies(show):
    screen = show()
    between = (45 + 15, (60 - (-20 + 4 / np.cos(TILT) + 15 * np.tan(TILT))) / 2)  # the block's slice 4 mm above the one on show
    assert len(set(screen.colour(SAGITTAL_T2, between))) == 1
    screen.button("Blocks").click()
    red, green, blue = screen.colour(SAGITTAL_T2, between)
    assert min(red, green) - blue > 20  # faintly the axial pane's yellow


def test_a_point_is_named_with_its_level(show):
    screen = show()

    def light_beside_the_point():  # within the 30 screen pixels right of the circle
        x, y = np.round(screen.at(SAGITTAL_T2, (45, 20)) - list(screen.view(SAGITTAL_T2).bounding_box().values())[:2]).astype(int)
        return (screen.pixels(SAGITTAL_T2)[y - 8 : y + 8, x + 10 : x + 40].min(axis=2) > 215).sum()

    assert light_beside_the_point() > 20
    screen.press("l")
    screen.button("Labels").click()
    assert light_beside_the_point() == 0


# ---- Filters ---------------------------------------------------------------------------------------------------------


def many_predictions():
    """A prediction for each of the 22 Normal/Mild cells and the two others; by row id, so easy to count."""
    p = {rsna.row_id(STUDY, *target): (0.9, 0.06, 0.04) for target in rsna.TARGETS}
    p[rsna.row_id(STUDY, rsna.CANAL, "L1/L2")] = (0.3, 0.6, 0.1)  # wrong
    p[rsna.row_id(STUDY, rsna.CANAL, "L2/L3")] = (0.1, 0.1, 0.8)  # wrong, and surer of it
    p[rsna.row_id(STUDY, rsna.CANAL, "L3/L4")] = (0.55, 0.35, 0.1)  # right, not sure
    p[rsna.row_id(STUDY, rsna.CANAL, "L4/L5")] = (0.25, 0.3, 0.45)  # right, least sure
    return pd.DataFrame([(row, *shares) for row, shares in p.items()], columns=["row_id", *rsna.GRADE_COLUMNS])


def test_filters_count_dim_and_step_through_their_cells(show):
    screen = show(many_predictions())
    chosen = screen.page.locator(".cell[aria-pressed=true]")
    filters = screen.page.locator(".filters .group").first.locator("button:visible")
    # 24 graded cells: two canals and the Moderate left recess at L4/L5 are wrong
    assert filters.all_inner_texts() == ["All 25", "Narrowed 2", "Right 21", "Wrong 3", "Unsure 2"]

    def go(*keys):
        screen.press(*keys)
        return chosen.get_attribute("aria-label").split(":")[0]

    screen.button("Wrong 3").click()
    assert screen.page.locator(".cell.aside").count() == 22
    assert go() == "Left Subarticular Stenosis, L4/L5"  # Moderate was given 0.06: the surest mistake
    assert go("n") == "Spinal Canal Stenosis, L2/L3"  # 0.1
    assert go("n") == "Spinal Canal Stenosis, L1/L2"  # 0.3
    assert go("n") == "Left Subarticular Stenosis, L4/L5"  # and round
    assert screen.slices()[2] == 5  # the panes came along
    screen.button("Unsure 2").click()
    assert go() == "Spinal Canal Stenosis, L4/L5"  # 0.45
    screen.page.get_by_role("button", name="Next of these (n)").click()
    assert go() == "Spinal Canal Stenosis, L3/L4"  # 0.55
    assert go("Shift+N") == "Spinal Canal Stenosis, L4/L5"
    screen.button("All 25").click()
    assert screen.page.locator(".cell.aside").count() == 0
    assert go("n") == "Left Neural Foraminal Narrowing, L4/L5"  # reading order


def test_a_study_without_predictions_has_no_filters_for_them(show):
    filters = show().page.locator(".filters .group").first.locator("button:visible")
    assert filters.all_inner_texts() == ["All 25", "Narrowed 2"]


# ---- The quiz --------------------------------------------------------------------------------------------------------


def test_a_quiz_hides_asks_reveals_and_scores(show):
    screen = show(many_predictions())
    chosen = screen.page.locator(".cell[aria-pressed=true]")
    quiz = screen.page.get_by_role("group", name="Quiz")
    assert not quiz.is_visible()
    screen.button("Quiz").click()
    assert quiz.locator("h4").inner_text() == "Your grade? 0 of 24 given"
    assert chosen.get_attribute("aria-label") == "Spinal Canal Stenosis, L1/L2: not answered"
    page = screen.page.locator(".viewer").inner_text()
    assert "Label" not in page.split("Blocks")[1]
    assert "redicted" not in screen.page.locator(".detail").inner_text()
    assert not screen.page.locator(".filters").is_visible()
    white = screen.pixels(SAGITTAL_T2).reshape(-1, 3)
    assert not (abs(white.astype(int) - SEVERE).max(axis=1) < 12).any()  # no colour gives a grade away
    screen.page.mouse.move(*screen.at(SAGITTAL_T2, (45, 20)))
    assert screen.text(SAGITTAL_T2, "tip") == "Spinal Canal Stenosis · L1/L2\nyour grade?"

    screen.view(AXIAL_T2).focus()
    screen.press("1", "2", "3")  # reading order: canal, left foramen, right foramen of L1/L2
    assert quiz.locator("h4").inner_text() == "Your grade? 3 of 24 given"
    assert screen.page.locator("tbody .chip").all_inner_texts()[:5] == ["N", "M", "S", "?", "–"]
    screen.cell("Right Subarticular Stenosis", "L1/L2").click()
    assert "no label, so it is not asked" in quiz.inner_text()
    screen.press("3")
    assert quiz.locator("h4").inner_text() == "Your grade? 3 of 24 given"
    screen.cell(rsna.CANAL, "L4/L5").click()
    screen.press("3")  # the focus is in the grid, and goes on with the questions
    assert screen.page.evaluate("() => document.querySelector('.spine-viewer').shadowRoot.activeElement.ariaLabel") == (
        "Left Neural Foraminal Narrowing, L4/L5: not answered"
    )
    quiz.get_by_role("button", name="2 Moderate").click()

    quiz.get_by_role("button", name="Reveal").click()
    rows = [row.locator("th, td").all_inner_texts() for row in quiz.locator("tbody tr").all()]
    # graded: N N N S N by label; given: N M S S M. Weights 1 1 1 4 1: 5 of 8. The model: M N N S N, 7 of 8.
    assert rows == [["You", "2 of 5", "63 %"], ["Model", "4 of 5", "88 %"], ["Always Normal/Mild", "4 of 5", "50 %"]]
    label = screen.cell("Left Neural Foraminal Narrowing", "L1/L2").get_attribute("aria-label")
    assert label.endswith("your grade Moderate; wrong; label Normal/Mild; predicted Normal/Mild, 90 %")
    screen.button("Missed 3").click()
    assert chosen.get_attribute("aria-label").startswith("Left Neural Foraminal Narrowing, L1/L2")
    screen.press("n")
    assert chosen.get_attribute("aria-label").startswith("Right Neural Foraminal Narrowing, L1/L2")

    screen.button("Again").click()
    assert quiz.locator("h4").inner_text() == "Your grade? 0 of 24 given"
    screen.button("Leave quiz").click()
    assert "Label: Normal/Mild" in screen.page.locator(".detail").inner_text()


def test_the_last_answer_leads_to_the_button_that_reveals(show):
    screen = show()
    screen.button("Quiz").click()
    screen.press(*"1" * 24, "Enter")
    rows = screen.page.locator(".scores tbody tr").all_inner_texts()
    assert [row.split("\t")[1] for row in rows] == ["22 of 24", "22 of 24"]  # all Normal/Mild: right but for two
    # 22 cells of weight 1, one of 2, one of 4: 22 / 28
    assert rows[0].split("\t")[2] == "79 %"


def test_a_study_without_labels_asks_nothing(show, tmp_path):
    root = write_study(tmp_path / "unlabelled")
    labels = pd.read_csv(root / "train.csv")
    labels[["study_id"]].reindex(columns=labels.columns).to_csv(root / "train.csv", index=False)
    screen = show(folder=root)
    assert screen.button("Quiz").is_disabled()
    assert screen.button("Quiz").get_attribute("title") == "This study has no labels to be quizzed on"


TWO_VIEWS = """async ([code, study, images]) => {
  const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const bytes = Uint8Array.from(atob(images), (c) => c.charCodeAt(0));
  const state = { study, images: new DataView(bytes.buffer), quiz: { on: false } };
  const heard = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; for (const act of heard[`change:${name}`] ?? []) act(); },
    save_changes: () => {},
    on: (name, act) => (heard[name] ??= []).push(act),
    off: (name, act) => (heard[name] = heard[name].filter((other) => other !== act)),
  };
  window.model = model;
  window.close = [0, 1].map(() => widget.render({ model, el: document.body.appendChild(document.createElement("div")) }));
  window.heard = heard;
}"""


def test_two_views_of_one_widget_hold_the_same_quiz(browser, root):
    data = viewer.payload(rsna.load_tables(root), STUDY)
    page = browser.new_page(viewport={"width": 1200, "height": 1800})
    page.evaluate(TWO_VIEWS, [viewer.module(), data.study, base64.b64encode(data.images).decode()])
    one, two = (Screen(page, data, page.locator(".spine-viewer").nth(k)) for k in (0, 1))
    one.button("Quiz").click()
    one.press("2")
    assert two.inside.get_by_role("group", name="Quiz").locator("h4").inner_text() == "Your grade? 1 of 24 given"
    two.cell(rsna.CANAL, "L3/L4").click()
    two.press("3")
    assert page.evaluate("model.get('quiz').answers").count(None) == 23  # neither view forgot the other's answer
    assert one.cell(rsna.CANAL, "L3/L4").get_attribute("aria-label").endswith("your grade Severe")
    page.evaluate("close.forEach((end) => end())")
    assert page.evaluate("Object.values(heard).flat().length") == 0  # nothing listens to a view that is gone
    page.close()


# ---- For everyone ----------------------------------------------------------------------------------------------------


def test_every_control_has_a_name_and_the_keyboard_reaches_it(show):
    screen = show(predictions())
    screen.button("Quiz").click()
    names = """() => [...document.querySelector('.spine-viewer').shadowRoot.querySelectorAll('button, input, select, .view')]
      .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.getAttribute('aria-label') || e.textContent.trim()))
      .map((e) => e.outerHTML)"""
    assert screen.page.evaluate(names) == []
    screen.page.evaluate("() => document.activeElement.blur()")
    reached = []
    for _ in range(60):
        screen.press("Tab")
        reached.append(
            screen.page.evaluate(
                "() => { const e = document.querySelector('.spine-viewer').shadowRoot.activeElement;"
                " return e && (e.ariaLabel || e.getAttribute('aria-label') || e.textContent) }"
            )
        )
    for name in (
        "Full",
        "Quiz",
        "Series in the Axial T2 pane",
        "Slice of Sagittal T1",
        "Reveal",
        "1 Normal/Mild",
        "Mouse and keys",
    ):
        assert name in reached
    assert sum("canal" in (n or "").lower() for n in reached) >= 1  # the grid: once, then by arrows


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(browser, root, tmp_path, scheme):
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    page.goto(viewer.StudyViewer(root, STUDY, predictions()).save_html(tmp_path / "study.html").as_uri())
    Screen(page, None).wait()
    shot = np.array(Image.open(io.BytesIO(page.locator(".detail").screenshot())).convert("L"), float)
    page.close()
    paper, ink = np.median(shot), shot.max() if scheme == "dark" else shot.min()
    assert (paper < 60) == (scheme == "dark")
    light, dark = sorted(((v / 255) ** 2.2 + 0.05 for v in (paper, ink)), reverse=True)
    assert light / dark > 7  # WCAG's better grade


def test_no_plain_key_leaves_the_viewer(show):
    screen = show()
    screen.page.evaluate("() => { window.heard = []; document.addEventListener('keydown', (e) => window.heard.push(e.key)); }")
    screen.view(AXIAL_T2).focus()
    screen.press("x", "d", "a", "Enter", "ArrowDown", "Escape", "Control+s")  # in a notebook x cuts a cell, d d deletes it
    assert screen.page.evaluate("window.heard") == ["Control", "s"]


# ---- Large and odd studies -------------------------------------------------------------------------------------------


def test_a_long_axial_and_a_large_sagittal_series_of_mixed_sizes(show, tmp_path):
    root = write_study(tmp_path / "large")
    images = root / "train_images" / str(STUDY)
    shutil.rmtree(images / str(AXIAL))
    shutil.rmtree(images / str(T1))
    for i in range(190):
        write_image(images / str(AXIAL), i + 1, picture(512, 512, 400), (-80, -80, 95 - i), [[1, 0, 0], [0, 1, 0]], (0.3, 0.3))
    for i in range(60):
        shape = (512, 512) if i % 2 else (256, 320)
        place = (i - 30, -80, 80), [[0, 1, 0], [0, 0, -1]], (0.3, 0.3)
        write_image(images / str(T1), i + 1, picture(*shape, 500), *place)
    screen = show(folder=root)
    assert screen.slices() == [30, 3, 116]  # the small images of the first end above z = -20: the slice beside it has the point
    screen.view(AXIAL_T2).focus()
    screen.press("End")
    assert screen.text(AXIAL_T2, "bl").startswith("Slice 190 of 190")
    screen.wait()
    screen.press("p", "l")
    screen.view(SAGITTAL_T1).focus()
    for key in ("Home", "ArrowDown"):
        screen.press(key)
        screen.slice(SAGITTAL_T1)
        width, height = screen.wait().outline(SAGITTAL_T1)
        assert width / height == pytest.approx(320 / 256 if key == "Home" else 1, rel=0.02)
    assert screen.noise == [screen.url]
