"""Executed notebooks as HTML pages in which the viewer works with no kernel and no network.

python -m utils.pages out/01_eda.ipynb …
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
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
            if shown and shown["model_id"] in state:
                output.data = _still(shown["model_id"], state)
    notebook.metadata.pop("widgets", None)
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    target = path.with_suffix(".html")
    target.write_text(body, encoding="utf-8")
    return target


def _still(model_id: str, state: dict) -> dict:
    """A widget as it stands in a page: every viewer in it live, all else as the text it shows."""
    within = list(_within(model_id, state))
    viewers = [model for model in within if "study" in model["state"]]
    if viewers:
        return {"text/html": "".join(viewer_html(_payload(model)) for model in viewers)}
    texts = [model["state"]["value"] for model in within if isinstance(model["state"].get("value"), str)]
    return {"text/plain": unescape(" ".join(texts)).translate({0x2007: " ", 0xA0: " "}).strip()}


def _within(model_id: str, state: dict) -> Iterator[dict]:
    """A widget's model and those of all widgets in it; what has no saved state is not there."""
    model = state.get(model_id.removeprefix("IPY_MODEL_"))
    if model:
        yield model
        for child in model["state"].get("children", []):
            yield from _within(child, state)


def _payload(model: dict) -> Payload:
    """A widget's saved state -> what viewer_html shows; binary traits are kept as base64 buffers beside it."""
    images = next(b["data"] for b in model["buffers"] if b["path"] == ["images"])
    return Payload(model["state"]["study"] | {"quiz": model["state"]["quiz"]}, base64.b64decode(images))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(page(name))
