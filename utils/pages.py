"""Executed notebooks as HTML pages in which the viewer works with no kernel and no network.

python -m utils.pages out/01_eda.ipynb …
"""

from __future__ import annotations

import base64
import mimetypes
import re
import sys
from collections import Counter
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from utils.viewer import Payload, page_head, viewer_html

PROJECT = Path(__file__).resolve().parent.parent
UNSAID = "No description"  # how nbconvert's text of a figure begins that has none
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def page(path: str | Path) -> Path:
    """Write the notebook's page beside it."""
    path = Path(path)
    target = path.with_suffix(".html")
    target.write_text(whole(cells(nbformat.read(path, 4))), encoding="utf-8")
    return target


def cells(notebook: nbformat.NotebookNode, folder: Path = PROJECT) -> BeautifulSoup:
    """What a notebook's cells show; every StudyViewer in it becomes inline HTML made from its saved state.

    folder  where the pictures are that its Markdown names: they are embedded; one that would be fetched is only named
    """
    _keep_still(notebook)
    body, _ = HTMLExporter(
        template_name="lab",
        template_file="base.html.j2",  # the cells alone: the page that lab puts round them asks a CDN for its scripts
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    ).from_notebook_node(notebook)
    shown = BeautifulSoup(body, "html.parser")
    _name(shown)
    _embed_pictures(shown, folder)
    return shown


def whole(shown: BeautifulSoup, above: str = "", below: str = "") -> str:
    """A page round what cells gave, with its table of contents; above and below are HTML put there."""
    title = shown.h1.get_text() if shown.h1 else ""
    lines = "".join(f'<li><a href="#{h["id"]}">{escape(h.get_text())}</a></li>\n' for h in shown.select("h2[id]"))
    contents = f"<details class=contents><summary>On this page</summary>\n<ul>{lines}</ul></details>\n" if lines else ""
    return (
        f"{page_head(title)}<style>\n{style()}</style></head><body>\n{above}"
        f"<div class=sheet>{contents}<main>\n{shown}</main>\n{below}</div></body></html>\n"
    )


def style() -> str:
    """The pages' style sheet, code in the colours that Pygments has for light and for dark."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
    own = Path(__file__).with_suffix(".css").read_text("utf-8")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}"


def anchor(text: str) -> str:
    """The name by which GitHub lets links reach a heading: "6 · Train" -> "6--train"."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def _name(shown: BeautifulSoup) -> None:
    """Give headings the names that links use, and figures without a text that of their section."""
    seen = Counter()
    for heading in shown.select("h1, h2, h3, h4"):
        name = anchor(heading.get_text())
        heading["id"] = f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1
    for figure in shown.select(".jp-RenderedImage img"):
        above = figure.find_previous("h2")
        if figure.get("alt", UNSAID).startswith(UNSAID):
            figure["alt"] = f"Figure of {above.get_text()}" if above else "Figure"


def _embed_pictures(shown: BeautifulSoup, folder: Path) -> None:
    """Put local pictures into the page, names in place of others. (nbconvert's embed_images unfolds what is in <details>.)"""
    for image in shown.select("img[src]:not([src^='data:'])"):
        picture = folder / image["src"]
        if picture.is_file():
            kind, data = mimetypes.guess_type(picture)[0], base64.b64encode(picture.read_bytes()).decode()
            image["src"] = f"data:{kind};base64,{data}"
        else:
            image.replace_with(image["alt"])


def _keep_still(notebook: nbformat.NotebookNode) -> None:
    """Put in place of every widget what it shows without a kernel."""
    state = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get(WIDGET_VIEW)
            if shown and shown["model_id"] in state:
                output.data = _still(shown["model_id"], state)


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
