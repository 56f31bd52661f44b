"""The viewer in a real notebook: 01_eda opened in JupyterLab or, by `make classic`, in the classic Notebook with what Colab has.

Everything a reader does: scroll, window, crosshair, grid, quiz, filters, another study, save as HTML.
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
from screen import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, Screen

from utils import dicom, rsna, viewer

ROOT = Path(__file__).parent.parent
LAB = importlib.util.find_spec("jupyterlab") is not None
SERVER = {
    True: ["jupyterlab", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"],
    False: ["notebook", "--NotebookApp.token="],
}[LAB]
READY = {
    True: "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
    False: "() => window.Jupyter?.notebook?.kernel?.widget_manager && Jupyter.notebook.kernel.is_connected()",
}[LAB]
RUN_ALL = {
    True: "() => void window.jupyterapp.commands.execute('notebook:run-all-cells')",
    False: "() => Jupyter.notebook.execute_all_cells()",
}[LAB]
TO_THE_END = {
    True: "() => { const n = window.jupyterapp.shell.currentWidget.content; n.scrollToItem(n.widgets.length - 1); }",
    False: "() => Jupyter.notebook.scroll_to_bottom()",
}[LAB]

# What the test adds to 01_eda: a study with predictions, its file, and the learner's answers, written as they come.
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
    """The address of 01_eda, with the smallest phantom and one more cell, in a notebook server of its own."""
    notebook = nbformat.read(ROOT / "01_eda.ipynb", 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('PRESET = "demo"', 'PRESET = "smoke"')
    extra = EXTRA.format(page=str(home / "saved.html"), answers=str(home / "answers.csv"))
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in (extra, "second.viewer.as_html()")]
    nbformat.write(notebook, home / "01_eda.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {"PYTHONPATH": str(ROOT), "LUMBAR_HOME": str(home / "out")}
    log = (home / "server.log").open("w")
    command = [sys.executable, "-m", *SERVER, "--no-browser", "--allow-root", f"--port={port}", f"--notebook-dir={home}"]
    server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | own)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api", timeout=1)
                break
            assert server.poll() is None, (home / "server.log").read_text()[-2000:]
            time.sleep(0.2)
        yield f"{address}/lab/tree/01_eda.ipynb" if LAB else f"{address}/notebooks/01_eda.ipynb"
    finally:
        server.terminate()
        server.wait(20)
        log.close()


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


def test_a_reader_steps_through_the_viewer_of_notebook_1(browser, url, home):
    page = browser.new_page(viewport={"width": 1400, "height": 1200})
    page.set_default_timeout(240_000)
    frames = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: frames.append(frame)))

    def asked_of_kernel():
        texts = [f if isinstance(f, str) else f.decode("utf-8", "ignore") for f in frames]
        return [text for text in texts if "comm_msg" in text or "execute_request" in text]

    page.goto(url)
    page.wait_for_function(READY)
    page.wait_for_timeout(0 if LAB else 4000)  # the old widget manager asks the kernel once, then draws all outputs anew
    page.evaluate(RUN_ALL)
    page.wait_for_function("() => document.querySelectorAll('.spine-viewer').length === 2")
    tables = rsna.load_tables(next((home / "out" / "data").glob("phantom-[0-9]*")))
    study = tables.studies()[0]
    data = viewer.payload(tables, study)
    screen = Screen(page, data, viewer_in(page, 0)).wait()
    series = {kind: dicom.read_series(tables.folder(study, s["id"])) for kind, s in zip(rsna.SERIES, data.study["series"])}
    page.wait_for_timeout(1000)  # the run's own messages
    assert asked_of_kernel()
    frames.clear()

    # Scroll, window, crosshair: to a known place of the phantom, the canal at L2/L3.
    start = screen.slices()
    screen.view(SAGITTAL_T1).hover()
    page.mouse.wheel(0, 100)
    assert screen.slice(SAGITTAL_T1) == start[0] + 1
    before = screen.window(AXIAL_T2)
    screen.drag(AXIAL_T2, (60, 0), button="right")
    assert screen.window(AXIAL_T2) == pytest.approx((before[0] * 1.2, before[1]), abs=2)
    canal = true_mm(tables, study, rsna.CANAL, "L2/L3")
    shown = series[SAGITTAL_T2].slices[start[1] - 1]
    mm = shown.to_patient(shown.to_pixel(canal))
    screen.click(SAGITTAL_T2, shown.to_pixel(canal))
    for kind in (SAGITTAL_T1, AXIAL_T2):  # the nearest slice, or one as near but for the millimetre that a mouse may miss
        away = [abs(one.distance(mm)) for one in series[kind].slices]
        assert away[screen.slice(kind) - 1] <= min(away) + 1
    assert screen.slice(SAGITTAL_T2) == start[1]
    assert asked_of_kernel() == []  # all of that in the browser

    # The grid.
    screen.cell("Left Neural Foraminal Narrowing", "L4/L5").click()
    foramen = true_mm(tables, study, "Left Neural Foraminal Narrowing", "L4/L5")
    assert abs(series[SAGITTAL_T1].slices[screen.slice(SAGITTAL_T1) - 1].distance(foramen)) < series[SAGITTAL_T1].gap_mm
    screen.press("x", "d", "d")  # in the notebook's own hands these would delete the cell
    assert page.locator(".spine-viewer").count() == 2

    # The quiz, whose answers reach Python.
    screen.button("Quiz").click()
    screen.press("1", "2", "3")
    wait_for(lambda: len(pd.read_csv(home / "answers.csv")) == 3, "three answers in Python")
    assert pd.read_csv(home / "answers.csv").answer.tolist() == ["Normal/Mild", "Moderate", "Severe"]
    screen.button("Reveal").click()
    assert screen.inside.locator(".scores tbody tr").first.inner_text().startswith("You")

    # Another study in its place, shown as the one before was; then back by the search.
    screen.button("Planes").click()
    page.get_by_title("Next study").first.click()
    other = tables.studies()[1]
    wait_for(lambda: screen.inside.locator("strong").inner_text() == f"Study {other}", "the next study")
    screen.wait()
    assert screen.inside.get_by_role("group", name="Quiz").is_visible()  # still a quiz, with new questions
    assert screen.button("Planes").get_attribute("aria-pressed") == "false"
    page.get_by_placeholder("search: severe l4/l5").first.fill(str(study))
    wait_for(lambda: screen.inside.locator("strong").inner_text() == f"Study {study}", "the study searched for")

    # Predictions, in the second viewer.
    second = Screen(page, data, viewer_in(page, 1)).wait()
    second.inside.get_by_role("button", name="Unsure 1").click()
    chosen = second.inside.locator(".cell[aria-pressed=true]")
    first_row = rsna.row_ids(study)[0]
    assert first_row == rsna.row_id(
        study, *[part.strip() for part in chosen.get_attribute("aria-label").split(":")[0].split(",")]
    )
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    page.screenshot(path=out / f"viewer-{'lab' if LAB else 'classic'}.png")

    # The same where no custom widget can be shown. (JupyterLab keeps a far cell out of the page until one scrolls there.)
    page.evaluate(TO_THE_END)
    inside = page.frame_locator("iframe[title^='Study']").locator(".spine-viewer")
    inside.scroll_into_view_if_needed()
    assert Screen(page, None, inside).wait().text(AXIAL_T2, "tl") == "Axial T2"
    page.close()


def true_mm(tables, study, condition, level) -> np.ndarray:
    truth = pd.read_csv(tables.root / "truth" / "truth.csv")
    row = truth[(truth.study_id == study) & (truth.condition == condition) & (truth.level == level)].iloc[0]
    return row[["x_mm", "y_mm", "z_mm"]].to_numpy(float)


def test_the_file_that_the_notebook_saved_works_with_the_network_off(browser, url, home):
    wait_for((home / "saved.html").is_file, "the file saved by the notebook", 240)
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    screen = Screen(context.new_page(), None)
    screen.page.goto((home / "saved.html").as_uri())
    screen.wait()
    before = screen.slice(AXIAL_T2)
    screen.view(AXIAL_T2).focus()
    screen.press("ArrowUp")
    assert screen.slice(AXIAL_T2) == before - 1
    assert screen.noise == [(home / "saved.html").as_uri()]
    context.close()
