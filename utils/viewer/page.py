"""The viewer as one JavaScript module, and as HTML that needs neither a kernel nor a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from pathlib import Path

from utils.viewer.study import Payload

_JS = Path(__file__).parent / "js"
# In the order in which they are joined: while it loads, a part may use only those before it.
PARTS = (
    "geometry",
    "pixels",
    "elements",
    "drawing",
    "cells",
    "filters",
    "overlay",
    "measurements",
    "hover",
    "wheel",
    "interaction",
    "cine",
    "layers",
    "pane",
    "grid",
    "quiz",
    "toolbar",
    "marks",
    "viewer",
    "studies",
    "start",
)
_PAGE_STYLE = """<style>
body { margin: 12px auto; max-width: 1400px; padding: 0 12px }
body { background: Canvas; color: CanvasText }
</style>
"""


def module() -> str:
    """The viewer's parts and its style sheet as one JavaScript module."""
    style = json.dumps((_JS / "style.css").read_text("utf-8"))
    parts = [(_JS / f"{part}.js").read_text("utf-8") for part in PARTS]
    return "\n".join([f"const STYLE = {style};", *parts])


def viewer_html(data: Payload) -> str:
    """The viewer as an HTML fragment for any page, such as a report; data and code are inline."""
    return f'{_host(data)}<script type="module">{viewer_script()}</script>\n'


def viewers_html(studies: Iterable[Payload], listed: dict) -> str:
    """Several studies, one of them on show, with what StudyPicker.carried says of them."""
    hosts = "".join(map(_host, studies))
    return (
        f'<div class="spine-studies"><script type="application/json">{_script_json(listed)}'
        f'</script>{hosts}</div>\n<script type="module">{viewer_script()}</script>\n'
    )


def _host(data: Payload) -> str:
    """The element into which the script puts a viewer."""
    study = _script_json(data.study)
    images = base64.b64encode(data.images).decode()
    return (
        f'<div class="spine-viewer" data-study="{data.study["id"]}">'
        f'<script type="application/json">{study}</script>'
        f'<script type="text/plain">{images}</script></div>\n'
    )


def viewer_script() -> str:
    """The inline script of viewer_html; a content security policy can allow it by its hash."""
    return module() + "\nmountAll(document);\n"


def page_head(title: str) -> str:
    """The start of a page with viewers.

    Its policy forbids every request, and every script but the viewer's own.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n"
    )


def page_html(data: Payload, title: str, above: str = "", below: str = "") -> str:
    """A whole page with one viewer.

    above, below  HTML before and after the viewer; the caller escapes what comes from data
    """
    head = f"{page_head(title)}{_PAGE_STYLE}</head>"
    return f"{head}<body>\n{above}{viewer_html(data)}{below}</body></html>\n"


def _policy() -> str:
    digest = hashlib.sha256(viewer_script().encode()).digest()
    allowed = f"'sha256-{base64.b64encode(digest).decode()}'"
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def _script_json(value: object) -> str:
    """JSON for a <script>: no text from a table or a header can end it or begin another tag."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
