"""The viewer as one JavaScript module, and as HTML that needs neither a kernel nor a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path

from utils.viewer.study import Payload

_JS = Path(__file__).parent / "js"
PARTS = ("geometry", "pixels", "drawing", "cells", "overlay", "hand", "pane", "grid", "quiz", "viewer", "start")


def module() -> str:
    """The viewer's parts as one JavaScript module; each part uses only those before it, at least while it loads."""
    style = json.dumps((_JS / "style.css").read_text("utf-8"))
    return "\n".join([f"const STYLE = {style};", *((_JS / f"{part}.js").read_text("utf-8") for part in PARTS)])


def viewer_html(data: Payload) -> str:
    """The viewer as an HTML fragment for any page, a report say: data and code inline, no network, no kernel."""
    text = json.dumps(data.study, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":  # so that no text from a table or a header can end the script or begin another tag
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return (
        f'<div class="spine-viewer"><script type="application/json">{text}</script>'
        f'<script type="text/plain">{base64.b64encode(data.images).decode()}</script></div>\n'
        f'<script type="module">{viewer_script()}</script>\n'
    )


def viewer_script() -> str:
    """The inline script of viewer_html; a page's content security policy can allow exactly this by its hash."""
    return module() + "\nmountAll(document);\n"


def page_head(title: str) -> str:
    """How a page with viewers begins: its policy forbids every request and every script but the viewer's own."""
    digest = base64.b64encode(hashlib.sha256(viewer_script().encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n"
    )


def page_html(data: Payload, title: str, above: str = "", below: str = "") -> str:
    """A whole page round viewer_html.

    above and below are HTML put before and after the viewer; whoever makes them escapes what comes from data.
    """
    return (
        f"{page_head(title)}"
        "<style>body { margin: 12px auto; max-width: 1400px; padding: 0 12px; background: Canvas; color: CanvasText }</style>\n"
        f"</head><body>\n{above}{viewer_html(data)}{below}</body></html>\n"
    )
