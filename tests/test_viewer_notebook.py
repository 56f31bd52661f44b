"""The viewer in a real notebook: 01_eda opened in JupyterLab or, by `make classic`, in the classic
Notebook with what Colab has.

Everything a reader does: scroll, window, crosshair, grid, quiz, filters, another study, save as
HTML.
"""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from screen import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, Screen, spoken

from utils import dicom, rsna, viewer

ROOT = Path(__file__).parent.parent
LAB = importlib.util.find_spec("jupyterlab") is not None
if LAB:
    SERVER = ["jupyterlab", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    ADDRESS = "lab/tree/01_eda.ipynb"
    READY = """() => {
      const panel = window.jupyterapp?.shell.currentWidget;
      return panel?.sessionContext?.session?.kernel?.status === "idle";
    }"""
    RUN_ALL = "() => void window.jupyterapp.commands.execute('notebook:run-all-cells')"
    TO_THE_END = """() => {
      const notebook = window.jupyterapp.shell.currentWidget.content;
      notebook.scrollToItem(notebook.widgets.length - 1);
    }"""
    SETTLE_MS = 0
else:
    SERVER = ["notebook", "--NotebookApp.token="]
    ADDRESS = "notebooks/01_eda.ipynb"
    READY = """() => {
      const kernel = window.Jupyter?.notebook?.kernel;
      return kernel?.widget_manager && kernel.is_connected();
    }"""
    RUN_ALL = "() => Jupyter.notebook.execute_all_cells()"
    TO_THE_END = "() => Jupyter.notebook.scroll_to_bottom()"
    # The old widget manager queries the kernel once, then renders all outputs again.
    SETTLE_MS = 4000
VIEWERS = 2  # in the notebook, with the cells that the test adds
ALL_VIEWERS = f"() => document.querySelectorAll('.spine-viewer').length === {VIEWERS}"
LEFT_FORAMEN = "Left Neural Foraminal Narrowing"

# What the test adds to 01_eda: a study with predictions, its file, and the learner's answers,
# written as they come.
EXTRA = """
predicted = pd.DataFrame({{"row_id": rsna.row_ids(STUDY)}})
predicted[["normal_mild", "moderate", "severe"]] = 0.9, 0.06, 0.04
predicted.loc[0, ["normal_mild", "severe"]] = 0.5, 0.44
second = StudyPicker(tables, [STUDY], predicted)
second.save_html({page!r})
picker.viewer.observe(lambda change: picker.viewer.answers.to_csv({answers!r}), "quiz")
second"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def url(home):
    """The address of 01_eda, with the smallest phantom and more cells, in a server of its own."""
    write_notebook(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = start_server(home, port)
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api", home / "server.log")
        yield f"http://127.0.0.1:{port}/{ADDRESS}"
    finally:
        server.terminate()
        server.wait(20)


def write_notebook(home: Path):
    notebook = nbformat.read(ROOT / "01_eda.ipynb", 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('PRESET = ""', 'PRESET = "smoke"')
    extra = EXTRA.format(page=str(home / "saved.html"), answers=str(home / "answers.csv"))
    for source in (extra, "second.viewer.as_html()"):
        notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, home / "01_eda.ipynb")


def start_server(home: Path, port: int) -> subprocess.Popen:
    """Jupyter without a token, with its own settings; what it prints is in server.log."""
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    own = {name: str(home / name.lower()) for name in folders}
    own |= {"PYTHONPATH": str(ROOT), "LUMBAR_HOME": str(home / "out")}
    command = [sys.executable, "-m", *SERVER, "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--notebook-dir={home}"]
    with (home / "server.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | own)


def wait_for_server(server: subprocess.Popen, address: str, log: Path):
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=1)
            return
        assert server.poll() is None, log.read_text()[-2000:]
        time.sleep(0.2)


def viewer_in(page, k):
    """The k-th viewer of the notebook, once it has painted."""
    host = page.locator(".spine-viewer").nth(k)
    host.scroll_into_view_if_needed()
    return host


def wait_for(condition, what, seconds=60):
    for _ in range(10 * seconds):
        with contextlib.suppress(AssertionError, OSError, pd.errors.EmptyDataError):
            if condition():
                return
        time.sleep(0.1)
    pytest.fail(f"waited {seconds} s for {what}")


@pytest.fixture(scope="module")
def opened(browser, url):
    """The notebook after all its cells have run: the page, and what it has sent to the kernel."""
    page = browser.new_page(viewport={"width": 1400, "height": 1200})
    page.set_default_timeout(240_000)
    frames = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda f: frames.append(f)))
    page.goto(url)
    page.wait_for_function(READY)
    page.wait_for_timeout(SETTLE_MS)
    page.evaluate(RUN_ALL)
    page.wait_for_function(ALL_VIEWERS)
    yield page, frames
    page.close()


@pytest.fixture(scope="module")
def tables(home, opened):
    return rsna.load_tables(next((home / "out" / "data").glob("phantom-[0-9]*")))


@pytest.fixture(scope="module")
def study(tables):
    return tables.studies()[0]


@pytest.fixture(scope="module")
def screen(opened, tables, study):
    """The first viewer of the notebook."""
    page, _ = opened
    return Screen(page, viewer.payload(tables, study), viewer_in(page, 0)).wait()


@pytest.fixture(scope="module")
def series(screen, tables, study):
    """The series that the viewer shows, by kind."""
    ids = {entry["description"]: entry["id"] for entry in screen.data.study["series"]}
    return {kind: dicom.read_series(tables.folder(study, ids[kind])) for kind in rsna.SERIES}


def to_kernel(frames):
    texts = [f if isinstance(f, str) else f.decode("utf-8", "ignore") for f in frames]
    return [text for text in texts if "comm_msg" in text or "execute_request" in text]


def test_a_reader_steps_through_the_viewer_of_notebook_1(
    opened, screen, series, tables, study, home
):
    """In one session: each step starts where the one before ended."""
    page, frames = opened
    check_that_scroll_window_and_crosshair_send_nothing_to_the_kernel(
        page, frames, screen, series, true_mm(tables, study, rsna.CANAL, "L2/L3")
    )
    foramen = true_mm(tables, study, LEFT_FORAMEN, "L4/L5")
    check_that_the_grid_leads_to_a_foramen(screen, series[SAGITTAL_T1], foramen)
    check_that_the_viewer_keeps_its_keys_from_the_notebook(page, screen)
    check_that_answers_of_the_quiz_reach_python(screen, home / "answers.csv")
    check_that_another_study_is_shown_as_the_one_before_was(page, screen, tables.studies()[1])
    check_that_the_search_leads_back(page, screen, study)
    check_that_a_filter_leads_to_an_unsure_prediction(page, screen.data, study)
    check_that_as_html_shows_the_same_without_a_custom_widget(page)


def check_that_scroll_window_and_crosshair_send_nothing_to_the_kernel(
    page, frames, screen, series, canal
):
    page.wait_for_timeout(1000)  # the run's own messages
    assert to_kernel(frames)
    frames.clear()
    start = screen.slices()
    screen.view(SAGITTAL_T1).hover()
    page.mouse.wheel(0, 100)
    assert screen.slice(SAGITTAL_T1) == start[0] + 1
    width, level = screen.window(AXIAL_T2)
    screen.drag(AXIAL_T2, (60, 0), button="right")
    assert screen.window(AXIAL_T2) == pytest.approx((width * 1.2, level), abs=2)
    shown = series[SAGITTAL_T2].slices[start[1] - 1]
    xy = shown.to_pixel(canal)
    screen.click(SAGITTAL_T2, xy)
    for kind in (SAGITTAL_T1, AXIAL_T2):
        # The nearest slice, or one as near but for the millimetre by which a mouse may miss.
        away = [abs(one.distance(shown.to_patient(xy))) for one in series[kind].slices]
        assert away[screen.slice(kind) - 1] <= min(away) + 1
    assert screen.slice(SAGITTAL_T2) == start[1]
    assert to_kernel(frames) == []  # all of that in the browser


def check_that_the_grid_leads_to_a_foramen(screen, series, foramen):
    screen.cell(LEFT_FORAMEN, "L4/L5").click()
    shown = series.slices[screen.slice(SAGITTAL_T1) - 1]
    assert abs(shown.distance(foramen)) < series.gap_mm


def check_that_the_viewer_keeps_its_keys_from_the_notebook(page, screen):
    screen.press("x", "d", "d")  # handled by the notebook, these would delete the cell
    assert page.locator(".spine-viewer").count() == VIEWERS


def check_that_answers_of_the_quiz_reach_python(screen, path):
    screen.button("Quiz").click()
    screen.press("1", "2", "3")
    wait_for(lambda: len(pd.read_csv(path)) == 3, "three answers in Python")
    assert pd.read_csv(path).answer.tolist() == ["Normal/Mild", "Moderate", "Severe"]
    screen.button("Reveal").click()
    assert screen.inside.locator(".scores tbody tr").first.inner_text().startswith("You")


def check_that_another_study_is_shown_as_the_one_before_was(page, screen, other):
    screen.button("Planes").click()
    page.get_by_title("Next study").first.click()
    wait_for_study(screen, other)
    screen.wait()
    quiz = screen.inside.get_by_role("group", name="Quiz")
    assert quiz.is_visible()  # still a quiz, with new questions
    assert screen.button("Planes").get_attribute("aria-pressed") == "false"


def check_that_the_search_leads_back(page, screen, study):
    page.get_by_placeholder("search: severe l4/l5").first.fill(str(study))
    wait_for_study(screen, study)


def wait_for_study(screen, study):
    title = screen.inside.locator("strong")
    wait_for(lambda: title.inner_text() == f"Study {study}", f"study {study}")


def check_that_a_filter_leads_to_an_unsure_prediction(page, data, study):
    second = Screen(page, data, viewer_in(page, 1)).wait()
    second.button("Unsure 1").click()
    condition, level = spoken(second.chosen).split(":")[0].split(", ")
    assert rsna.row_id(study, condition, level) == rsna.row_ids(study)[0]
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    page.screenshot(path=out / f"viewer-{'lab' if LAB else 'classic'}.png")


def check_that_as_html_shows_the_same_without_a_custom_widget(page):
    page.evaluate(TO_THE_END)  # JupyterLab keeps a far cell out of the page until one scrolls there
    inside = page.frame_locator("iframe[title^='Study']").locator(".spine-viewer")
    inside.scroll_into_view_if_needed()
    assert Screen(page, None, inside).wait().text(AXIAL_T2, "tl") == "Axial T2"


def true_mm(tables, study, condition, level) -> np.ndarray:
    truth = pd.read_csv(tables.root / "truth" / "truth.csv")
    keys = ["study_id", "condition", "level"]
    row = truth.set_index(keys).loc[(study, condition, level)]
    return row[["x_mm", "y_mm", "z_mm"]].to_numpy(float)


def test_the_file_that_the_notebook_saved_works_with_the_network_off(browser, opened, home):
    page = home / "saved.html"
    wait_for(page.is_file, "the file saved by the notebook", 240)
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    screen = Screen(context.new_page(), None)
    screen.page.goto(page.as_uri())
    screen.wait()
    before = screen.slice(AXIAL_T2)
    screen.view(AXIAL_T2).focus()
    screen.press("ArrowUp")
    assert screen.slice(AXIAL_T2) == before - 1
    assert screen.noise == [page.as_uri()]
    context.close()
