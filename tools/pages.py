"""Executed notebooks as HTML pages in which the viewer works with no kernel and no network.

python -m tools.pages out/01_eda.ipynb …
"""

from __future__ import annotations

import base64
import mimetypes
import re
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from utils.viewer import Payload, page_head, viewer_html, viewers_html

PROJECT = Path(__file__).resolve().parent.parent
WIDE = 1.6  # times the height: several panels, or a chart with small words
NO_ALT = "No description"  # how the alt text starts that nbconvert gives a figure without one
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
SPACES = str.maketrans({"\u2007": " ", "\u00a0": " "})  # figure space and no-break space


def write_page(path: str | Path) -> Path:
    """Write the page of an executed notebook beside it; returns the page's path."""
    path = Path(path)
    target = path.with_suffix(".html")
    target.write_text(html_page(render(nbformat.read(path, 4))), encoding="utf-8")
    return target


def render(notebook: nbformat.NotebookNode, folder: Path = PROJECT) -> BeautifulSoup:
    """The cells of a notebook as HTML; every StudyViewer becomes inline HTML made from its state.

    folder  where the local images are that the Markdown names. They are embedded; an image that
            would have to be fetched is replaced by its alt text
    """
    _leave_out_what_papermill_added(notebook)
    _replace_widgets(notebook)
    exporter = HTMLExporter(
        template_name="lab",
        template_file="base.html.j2",  # the cells alone: lab's own page fetches scripts from a CDN
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    content = BeautifulSoup(body, "html.parser")
    _set_heading_ids(content)
    _describe_figures(content)
    _mark_wide_figures(content)
    _embed_images(content, folder)
    return content


def html_page(content: BeautifulSoup, above: str = "", below: str = "") -> str:
    """A whole page of rendered cells, with a table of contents.

    above, below  HTML to put before and after the content
    """
    title = content.h1.get_text() if content.h1 else ""
    sheet = f"<div class=sheet>{_contents(content)}<main>\n{content}</main>\n{below}</div>"
    return (
        f"{page_head(title)}<style>\n{style_sheet()}</style></head><body>\n"
        f"{above}{sheet}</body></html>\n"
    )


def style_sheet() -> str:
    """pages.css, and the colours of code that Pygments has for light and for dark."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    own = Path(__file__).with_suffix(".css").read_text("utf-8")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}"


def anchor(text: str) -> str:
    """The id that GitHub gives a heading: "6 · Train" -> "6--train"."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def _contents(content: BeautifulSoup) -> str:
    """A folded list of links to the sections; empty if there are none."""
    links = ""
    for heading in content.select("h2[id]"):
        links += f'<li><a href="#{heading["id"]}">{escape(heading.get_text())}</a></li>\n'
    if not links:
        return ""
    summary = "<summary>On this page</summary>"
    return f"<details class=contents>{summary}\n<ul>{links}</ul></details>\n"


def _set_heading_ids(content: BeautifulSoup) -> None:
    """Give each heading GitHub's id; a number tells apart those of the same text, as on GitHub."""
    seen: Counter[str] = Counter()
    for heading in content.select("h1, h2, h3, h4"):
        name = anchor(heading.get_text())
        heading["id"] = f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1


def _describe_figures(content: BeautifulSoup) -> None:
    """A figure without an alt text is named after its section."""
    for figure in content.select(".jp-RenderedImage img"):
        section = figure.find_previous("h2")
        if str(figure.get("alt", NO_ALT)).startswith(NO_ALT):
            figure["alt"] = f"Figure of {section.get_text()}" if section else "Figure"


def _mark_wide_figures(content: BeautifulSoup) -> None:
    """A figure that would be unreadable if it were shrunk to a phone's width is "wide"."""
    for figure in content.select(".jp-RenderedImage img[src^='data:image/png']"):
        width, height = _png_size(base64.b64decode(str(figure["src"]).partition(",")[2]))
        if width > WIDE * height:
            figure["class"] = "wide"


def _png_size(png: bytes) -> tuple[int, int]:
    """Width and height, from the first chunk of a PNG file."""
    return struct.unpack(">II", png[16:24])


def _embed_images(content: BeautifulSoup, folder: Path) -> None:
    """Embed local images, replace others by their alt text. (nbconvert's own embed_images unfolds
    what is in <details>.)"""
    for image in content.select("img[src]:not([src^='data:'])"):
        path = folder / str(image["src"])
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            image["src"] = f"data:{mimetypes.guess_type(path)[0]};base64,{data}"
        else:
            image.replace_with(str(image["alt"]))


# --- widgets without a kernel ---------------------------------------------------------------------


def _leave_out_what_papermill_added(notebook: nbformat.NotebookNode) -> None:
    """Its cell of parameters, which overrules the settings above it: no learner has it."""
    injected = "injected-parameters"
    notebook.cells = [of for of in notebook.cells if injected not in of.metadata.get("tags", [])]


def _replace_widgets(notebook: nbformat.NotebookNode) -> None:
    """Replace every widget by what it shows without a kernel."""
    saved = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {})
    state = saved.get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(WIDGET_VIEW)
            if view and view["model_id"] in state:
                output.data = _static(view["model_id"], state)


def _static(model_id: str, state: dict) -> dict:
    """A widget as output data: every viewer in it live, or else the text that it shows."""
    models = list(_models(model_id, state))
    viewers = [model for model in models if "study" in model["state"]]
    if viewers:
        return {"text/html": "".join(map(_viewer, viewers))}
    values = [model["state"].get("value") for model in models]
    texts = [_text(value) for value in values if isinstance(value, str)]
    lines = "\n" if any("\n" in text for text in texts) else " "
    return {"text/plain": lines.join(texts).translate(SPACES).strip()}


def _text(value: str) -> str:
    """What a widget says, without its markup: a line for each line that it shows."""
    if "</" not in value:
        return unescape(value)
    return BeautifulSoup(value.replace("<br>", "\n"), "html.parser").get_text()


def _models(model_id: str, state: dict) -> Iterator[dict]:
    """The model of a widget and of all widgets in it, as far as their state was saved."""
    model = state.get(model_id.removeprefix("IPY_MODEL_"))
    if model:
        yield model
        for child in model["state"].get("children", []):
            yield from _models(child, state)


def _viewer(model: dict) -> str:
    """A viewer, from a widget's saved state; of a picker with the studies that it carries."""
    first = model["state"]["study"] | {"quiz": model["state"]["quiz"]}
    shown = Payload(first, _bytes(model, "images"))
    carried = model["state"].get("carried", {})
    if str(first["id"]) not in carried.get("about", {}):
        return viewer_html(shown)
    more = [
        Payload(one["study"], _bytes(model, "carried", "more", k, "images"))
        for k, one in enumerate(carried["more"])
        if one["study"]["id"] != first["id"]
    ]
    return viewers_html([shown, *more], {name: carried[name] for name in ("of", "about")})


def _bytes(model: dict, *path: str | int) -> bytes:
    """A binary part of a widget's state, which is kept beside it as base64."""
    return base64.b64decode(next(b["data"] for b in model["buffers"] if b["path"] == [*path]))


if __name__ == "__main__":
    for notebook_path in sys.argv[1:]:
        print(write_page(notebook_path))
