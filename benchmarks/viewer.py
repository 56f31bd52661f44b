"""Milliseconds from an event to the image, in JupyterLab in headless Chromium: this viewer beside
two others, in one run.

python -m benchmarks.viewer ROOT [--study ID] [--steps 60]

ours        StudyViewer, three series; the wheel over the axial pane
interact    ipywidgets.interact with matplotlib, one series; the slider's arrow key
ipyniivue   NiiVue in WebGL (rendered by the CPU where there is no GPU), one series; the wheel
            (pip install ipyniivue nibabel)

A step runs from the event's arrival in the page to the end of the frame that paints it; for
interact, to the moment at which the new image is decoded. Messages are those that the wheel sends
to the kernel.
Opening runs from starting the cell to the first frame with an image in it; WebGL's frames cannot
be read by the page, so screenshots are compared, which themselves cost some tenths of a second.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from utils import cli, rsna, viewer

PROJECT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-gpu"]
WARM_UP = 3  # the first steps are not counted
WHEEL_TURN = 12  # steps in one direction before the wheel turns back
SLIDER_STEPS = 15  # a slider has an end
READINGS = 5  # of which the median is reported
OPEN_CONTRAST = 12  # grey levels: a screenshot that varies by less shows no image yet

# The four cells of the notebook.
IMPORTS = """
import ipywidgets, numpy as np, matplotlib.pyplot as plt
from utils import dicom, rsna
from utils.viewer import StudyViewer
tables = rsna.load_tables({root!r})
folder = tables.folder({study}, {axial})"""
OURS = "StudyViewer(tables, {study})"
INTERACT = """
slices = dicom.read_series(folder).slices
@ipywidgets.interact(i=ipywidgets.IntSlider(0, 0, len(slices) - 1))
def show(i):
    plt.imshow(slices[i].pixels, cmap="gray")
    plt.show()"""
NIIVUE = """
import nibabel, tempfile, ipyniivue
slices = [s.pixels.T for s in dicom.read_series(folder).slices if s.pixels.shape == {shape}]
box = np.stack(slices, -1).astype(np.int16)
name = tempfile.mkdtemp() + "/axial.nii"
nibabel.save(nibabel.Nifti1Image(box, np.diag([0.5, 0.5, 4, 1])), name)
nv = ipyniivue.NiiVue(height=440)
nv.set_slice_type(ipyniivue.SliceType.AXIAL)
nv.load_volumes([dict(path=name)])
nv"""

OUR_PANE = '.spine-viewer >> [data-kind="Axial T2"] .view'
NIIVUE_CANVAS = ".jp-OutputArea-output canvas:not(.spine-viewer canvas)"
INTERACT_IMAGE = "document.querySelector('.widget-interact img')?.complete"
KERNEL_IDLE = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return panel?.sessionContext?.session?.kernel?.status === "idle";
}"""
# After the frame that follows an event, its image has been painted.
TIME_EVENTS = """([selector, name]) => {
  window.times = [];
  document.querySelector(selector).addEventListener(name, () => {
    const start = performance.now();
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.times.push(performance.now() - start);
      port2.postMessage(0);
    });
  }, { capture: true });
}"""
# interact replaces its image: from the key to the moment at which the new one is decoded.
TIME_REPLACEMENTS = """([selector]) => {
  window.times = [];
  let start;
  const box = document.querySelector(selector);
  box.addEventListener("keydown", () => (start = performance.now()), { capture: true });
  const imageIn = (node) => node.querySelector?.("img") ?? node;
  new MutationObserver(async (changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]).map(imageIn);
    const image = added.find((node) => node.tagName === "IMG");
    if (!image || start === undefined) return;
    const since = start;
    start = undefined;
    await image.decode();
    window.times.push(performance.now() - since);
  }).observe(box, { childList: true, subtree: true });
}"""
TIME_OPENING = """() => {
  window.opened = undefined;
  const start = performance.now();
  const check = () => {
    if (window.seen()) window.opened = performance.now() - start;
    else requestAnimationFrame(check);
  };
  check();
}"""
# The three panes of the one viewer show something other than black.
PAINTED = """(() => {
  const host = document.querySelector(".spine-viewer")?.shadowRoot;
  const canvases = [...(host?.querySelectorAll(".view canvas:first-child") ?? [])];
  const data = (c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const isPainted = (c) => data(c).some((v, i) => i % 4 < 3 && v > 60);
  return canvases.filter(isPainted).length === 3;
})()"""


@contextlib.contextmanager
def jupyterlab(cells: list[str]) -> Iterator[str]:
    """The address of a notebook with these cells, in a server of its own."""
    with tempfile.TemporaryDirectory() as home:
        _write_notebook(Path(home) / "show.ipynb", cells)
        port = _free_port()
        server = _start_server(home, port)
        try:
            _wait_for_server(server, port)
            yield f"http://127.0.0.1:{port}/lab/tree/show.ipynb"
        finally:
            server.terminate()
            server.wait(20)


def _write_notebook(path: Path, cells: list[str]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, path)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start_server(home: str, port: int) -> subprocess.Popen:
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    own = {name: f"{home}/{name.lower()}" for name in folders}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--notebook-dir={home}"]
    command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    environment = os.environ | own | {"PYTHONPATH": str(PROJECT)}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)


def _wait_for_server(server: subprocess.Popen, port: int) -> None:
    while server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=1)
            return
        time.sleep(0.2)


def run_cell(page: Page, k: int) -> None:
    select = "k => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = k }"
    page.evaluate(select, k)
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-cell')")


def opening_time(page: Page, k: int, seen: str) -> float:
    """Seconds from starting the k-th cell until the JavaScript expression `seen`, evaluated in
    every frame, is true."""
    page.evaluate(f"() => {{ window.seen = () => {seen} }}")
    page.evaluate(TIME_OPENING)
    run_cell(page, k)
    page.wait_for_function("() => window.opened")
    return page.evaluate("() => window.opened") / 1000


def opening_time_by_screenshot(page: Page, k: int, selector: str) -> float:
    """The same for WebGL."""
    start = time.perf_counter()
    run_cell(page, k)
    canvas = page.locator(selector).first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    while True:
        shot = np.array(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
        margin = shot.shape[0] // 4
        if shot[margin:-margin].std() > OPEN_CONTRAST:
            return time.perf_counter() - start


def step_times(page: Page, act: Callable[[int], None], count: int) -> list[float]:
    """Milliseconds that the page measured for `count` acts, one after the other."""
    for k in range(count + WARM_UP):
        act(k)
        for _ in range(400):
            if page.evaluate("() => window.times.length") > k:
                break
            page.wait_for_timeout(5)
        page.wait_for_timeout(30)
    return page.evaluate("() => window.times")[WARM_UP:]


def wheel_times(page: Page, selector: str, count: int) -> list[float]:
    page.evaluate(TIME_EVENTS, [selector.split(" >> ")[0], "wheel"])
    box = page.locator(selector).first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def turn(k: int) -> None:
        page.mouse.wheel(0, 100 if k // WHEEL_TURN % 2 else -100)

    return step_times(page, turn, count)


def arrow_times(page: Page, selector: str, count: int) -> list[float]:
    page.evaluate(TIME_REPLACEMENTS, [selector])
    page.locator(f"{selector} .noUi-handle").focus()
    count = min(count, SLIDER_STEPS)
    return step_times(page, lambda _: page.keyboard.press("ArrowRight"), count)


@dataclass
class Timed:
    """Seconds until a viewer is open, milliseconds of each step, and how many messages all steps
    sent to the kernel (None: not counted)."""

    opening: float
    steps: list[float]
    messages: int | None = None

    def __str__(self) -> str:
        median, p95 = statistics.median(self.steps), np.percentile(self.steps, 95)
        steps = f"step: median {median:6.1f} ms, 95 % within {p95:6.1f} ms"
        sent = "" if self.messages is None else f", {self.messages} messages to the kernel"
        return f"opens in {self.opening:5.2f} s   {steps}{sent}"


def measure_payload(tables: rsna.Tables, study: int) -> viewer.Payload:
    """Report how long it takes to read and encode a study, and how much is sent."""
    seconds = []
    for _ in range(READINGS):
        start = time.perf_counter()
        sent = viewer.payload(tables, study)
        seconds.append(time.perf_counter() - start)
    megabytes = (len(sent.images) + len(str(sent.study))) / 1e6
    slices = sum(len(series["slices"]) for series in sent.study["series"])
    reading = f"read and encoded in {statistics.median(seconds):.2f} s"
    print(f"study {study}: {slices} slices, {megabytes:.1f} MB sent, {reading}")
    return sent


def notebook_cells(root: Path, sent: viewer.Payload) -> list[str]:
    series = sent.study["series"]
    axial = next(entry for entry in series if entry["description"] == rsna.AXIAL_T2)
    names = {
        "root": str(root.resolve()),
        "study": sent.study["id"],
        "axial": axial["id"],
        "shape": tuple(reversed(axial["slices"][0]["size"])),
    }
    return [text.format(**names).strip() for text in (IMPORTS, OURS, INTERACT, NIIVUE)]


def open_notebook(browser: Browser, url: str) -> tuple[Page, list[str]]:
    """The page, its imports run, and the list to which all that it sends is added."""
    page = browser.new_page(viewport={"width": 1400, "height": 1200})
    page.set_default_timeout(60_000)
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda f: sent.append(str(f))))
    page.goto(url)
    page.wait_for_function(KERNEL_IDLE)
    run_cell(page, 0)
    page.wait_for_timeout(8000)
    return page, sent


def measure_ours(page: Page, sent: list[str], count: int) -> Timed:
    opening = opening_time(page, 1, PAINTED)
    page.locator(".spine-viewer").scroll_into_view_if_needed()
    page.wait_for_timeout(3000)  # the rest of the slices are decoded
    sent.clear()
    steps = wheel_times(page, OUR_PANE, count)
    return Timed(opening, steps, sum("comm_msg" in frame for frame in sent))


def measure_interact(page: Page, count: int) -> Timed:
    opening = opening_time(page, 2, INTERACT_IMAGE)
    page.locator(".widget-interact").scroll_into_view_if_needed()
    return Timed(opening, arrow_times(page, ".widget-interact", count))


def measure_niivue(page: Page, count: int) -> Timed:
    opening = opening_time_by_screenshot(page, 3, NIIVUE_CANVAS)
    return Timed(opening, wheel_times(page, NIIVUE_CANVAS, count))


def measure(root: Path, sent: viewer.Payload, count: int) -> dict[str, Timed]:
    """Every viewer that is installed, one after the other in one notebook; ours first."""
    with jupyterlab(notebook_cells(root, sent)) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page, to_kernel = open_notebook(browser, url)
        found = {"ours": measure_ours(page, to_kernel, count)}
        found["interact"] = measure_interact(page, count)
        if importlib.util.find_spec("ipyniivue"):
            found["ipyniivue"] = measure_niivue(page, count)
        browser.close()
    return found


def main() -> None:
    parser = cli.parser("benchmarks.viewer", __doc__.partition("\n\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--study", type=int)
    parser.add_argument("--steps", type=int, default=60)
    a = parser.parse_args()
    tables = rsna.load_tables(a.root)
    sent = measure_payload(tables, a.study or tables.whole_studies()[0])
    for name, timed in measure(a.root, sent, a.steps).items():
        print(f"  {name:10} {timed}")


if __name__ == "__main__":
    cli.run(main)
