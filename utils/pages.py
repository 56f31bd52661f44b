"""Executed notebooks as HTML pages in which the viewer works with no kernel and no network.

python -m utils.pages out/01_eda.ipynb …
"""

from __future__ import annotations

import base64
import sys
from html import unescape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from utils.viewer import Payload, viewer_html

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def page(path: str | Path) -> Path:
    """Write the notebook's page beside it; every StudyViewer in it becomes inline HTML made from its saved state."""
    path = Path(path)
    notebook = nbformat.read(path, 4)
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get(WIDGET_VIEW)
            model = state.get(shown["model_id"]) if shown else None
            if model and "study" in model["state"]:
                output.data = {"text/html": viewer_html(_payload(model))}
            elif model and "children" in model["state"]:
                output.data = {"text/plain": _progress(model, state)}
    notebook.metadata.pop("widgets", None)
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    target = path.with_suffix(".html")
    target.write_text(body, encoding="utf-8")
    return target


def _payload(model: dict) -> Payload:
    """A widget's saved state -> what viewer_html shows; binary traits are kept as base64 buffers beside it."""
    images = next(b["data"] for b in model["buffers"] if b["path"] == ["images"])
    return Payload(model["state"]["study"], base64.b64decode(images))


def _progress(box: dict, state: dict) -> str:
    """What stands left and right of a finished progress bar; its saved text is that of its first moment."""
    children = [state.get(name.removeprefix("IPY_MODEL_"), {}).get("state", {}) for name in box["state"]["children"]]
    texts = [child["value"] for child in children if isinstance(child.get("value"), str)]
    return unescape(" ".join(texts)).translate({0x2007: " ", 0xA0: " "}).strip()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(page(name))
