"""Milliseconds from the hand to the picture, in JupyterLab in headless Chromium: ours beside two other ways, in one run.

python -m benchmarks.viewer ROOT [--study ID] [--steps 60]

ours        StudyViewer, three series; the wheel over the axial pane
interact    ipywidgets.interact round matplotlib, one series; the slider's arrow key
ipyniivue   NiiVue in WebGL (drawn by the CPU where there is no GPU), one series; the wheel (pip install ipyniivue nibabel)

A step runs from the event's arrival in the page to the end of the frame that paints it; for interact, to the moment at
which the new picture is decoded. Messages are those that the wheel sends to the kernel.
Opening runs from starting the cell to the first frame with a picture in it; that of WebGL is not open to the page, so it
is seen in screenshots, which cost some tenths of a second themselves.
"""

import argparse
import contextlib
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
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from utils import rsna, viewer

PROJECT = Path(__file__).parent.parent
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-gpu"]
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
box = np.stack([s.pixels.T for s in dicom.read_series(folder).slices if s.pixels.shape == {shape}], -1).astype(np.int16)
name = tempfile.mkdtemp() + "/axial.nii"
nibabel.save(nibabel.Nifti1Image(box, np.diag([0.5, 0.5, 4, 1])), name)
nv = ipyniivue.NiiVue(height=440)
nv.set_slice_type(ipyniivue.SliceType.AXIAL)
nv.load_volumes([dict(path=name)])
nv"""
# After the frame that follows an event: the picture of that event has been painted.
LISTEN = """([selector, name]) => {
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
# interact replaces its picture: from the key to the new one being decoded.
WATCH = """([selector]) => {
  window.times = [];
  let start;
  const box = document.querySelector(selector);
  box.addEventListener("keydown", () => (start = performance.now()), { capture: true });
  new MutationObserver(async (changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]);
    const image = added.map((node) => node.querySelector?.("img") ?? node).find((node) => node.tagName === "IMG");
    if (!image || start === undefined) return;
    const since = start;
    start = undefined;
    await image.decode();
    window.times.push(performance.now() - since);
  }).observe(box, { childList: true, subtree: true });
}"""

LOOK = """() => {
  window.opened = undefined;
  const start = performance.now();
  const look = () => (window.seen() ? (window.opened = performance.now() - start) : requestAnimationFrame(look));
  look();
}"""
# The three panes of the one viewer hold something else than black.
PAINTED = """[...(document.querySelector('.spine-viewer')?.shadowRoot?.querySelectorAll('.view canvas:first-child') ?? [])]
  .map((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data)
  .filter((data) => data.some((v, i) => i % 4 < 3 && v > 60)).length === 3"""


@contextlib.contextmanager
def jupyterlab(cells: list[str]):
    """The address of a notebook with these cells, in a server of its own."""
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, Path(home) / "show.ipynb")
        own = {name: f"{home}/{name.lower()}" for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
        command = ["-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", f"--notebook-dir={home}"]
        command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen([sys.executable, *command], env=os.environ | own | {"PYTHONPATH": str(PROJECT)}, **quiet)
        try:
            while server.poll() is None:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=1)
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/lab/tree/show.ipynb"
        finally:
            server.terminate()
            server.wait(20)


def run_cell(page: Page, k: int) -> None:
    page.evaluate("k => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = k }", k)
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-cell')")


def open_in(page: Page, k: int, seen: str) -> float:
    """Seconds from starting the k-th cell until the JavaScript expression `seen` holds, asked in every frame."""
    page.evaluate(f"() => {{ window.seen = () => {seen} }}")
    page.evaluate(LOOK)
    run_cell(page, k)
    page.wait_for_function("() => window.opened")
    return page.evaluate("() => window.opened") / 1000


def open_unseen(page: Page, k: int, selector: str) -> float:
    """The same for WebGL, by screenshots."""
    start = time.perf_counter()
    run_cell(page, k)
    page.locator(selector).first.wait_for()
    page.locator(selector).first.scroll_into_view_if_needed()
    while True:
        shot = np.array(Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("L"))
        if shot[shot.shape[0] // 4 : -shot.shape[0] // 4].std() > 12:
            return time.perf_counter() - start


def steps(page: Page, act, count: int) -> list[float]:
    """The times that the page measured, of `count` acts one after the other."""
    for k in range(count + 3):
        act(k)
        for _ in range(400):
            if page.evaluate("() => window.times.length") > k:
                break
            page.wait_for_timeout(5)
        page.wait_for_timeout(30)
    return page.evaluate("() => window.times")[3:]  # the first ones warm up


def wheel(page: Page, selector: str, count: int) -> list[float]:
    page.evaluate(LISTEN, [selector.split(" >> ")[0], "wheel"])
    box = page.locator(selector).first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return steps(page, lambda k: page.mouse.wheel(0, 100 if k // 12 % 2 else -100), count)


def arrow(page: Page, selector: str, count: int) -> list[float]:
    page.evaluate(WATCH, [selector])
    page.locator(f"{selector} .noUi-handle").focus()
    return steps(page, lambda k: page.keyboard.press("ArrowRight"), min(count, 15))


def told(name: str, opening: float, times: list[float]) -> str:
    p95 = np.percentile(times, 95)
    return f"  {name:10} opens in {opening:5.2f} s   step: median {statistics.median(times):6.1f} ms, 95 % within {p95:6.1f} ms"


def main(root: Path, study: int | None, count: int) -> None:
    tables = rsna.load_tables(root)
    study = study or tables.whole_studies()[0]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        sent = viewer.payload(tables, study)
        seconds.append(time.perf_counter() - start)
    size = (len(sent.images) + len(str(sent.study))) / 1e6
    count_slices = sum(len(s["slices"]) for s in sent.study["series"])
    print(f"study {study}: {count_slices} slices, {size:.1f} MB sent, read and encoded in {statistics.median(seconds):.2f} s")
    axial = next(s for s in sent.study["series"] if s["description"] == rsna.AXIAL_T2)
    names = {
        "root": str(Path(root).resolve()),
        "study": study,
        "axial": axial["id"],
        "shape": tuple(reversed(axial["slices"][0]["size"])),
    }
    cells = [text.format(**names).strip() for text in (IMPORTS, OURS, INTERACT, NIIVUE)]
    with jupyterlab(cells) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        page.set_default_timeout(60_000)
        asked = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: asked.append(str(frame))))
        page.goto(url)
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
        run_cell(page, 0)
        page.wait_for_timeout(8000)
        opening = open_in(page, 1, PAINTED)
        page.locator(".spine-viewer").scroll_into_view_if_needed()
        page.wait_for_timeout(3000)  # the rest of the slices are decoded
        asked.clear()
        print(told("ours", opening, wheel(page, '.spine-viewer >> [data-kind="Axial T2"] .view', count)))
        print(f"             {sum('comm_msg' in frame for frame in asked)} messages to the kernel in {count} steps")
        opening = open_in(page, 2, "document.querySelector('.widget-interact img')?.complete")
        page.locator(".widget-interact").scroll_into_view_if_needed()
        print(told("interact", opening, arrow(page, ".widget-interact", count)))
        with contextlib.suppress(ImportError):
            import ipyniivue  # noqa: F401

            opening = open_unseen(page, 3, ".jp-OutputArea-output canvas:not(.spine-viewer canvas)")
            print(told("ipyniivue", opening, wheel(page, ".jp-OutputArea-output canvas:not(.spine-viewer canvas)", count)))
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--study", type=int)
    parser.add_argument("--steps", type=int, default=60)
    a = parser.parse_args()
    main(a.root, a.study, a.steps)
