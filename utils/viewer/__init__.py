"""The viewer: one study as three linked panes, in a notebook or in one self-contained HTML file.

In: a data folder (or `Tables`) and, where there are any, predictions. Out: a widget, a page, and
the learner's quiz answers. Python reads, windows and compresses the images once; every interaction
is handled in the browser, by js/.

Read `images` and `predictions` (what becomes of each input), then `study` (the payload made of
both), `page` (the payload as HTML), `widget` (as a widget), `search` and `picker` (many studies).
"""

from utils.viewer.errors import ViewerError
from utils.viewer.page import (
    module,
    page_head,
    page_html,
    viewer_html,
    viewer_script,
    viewers_html,
)
from utils.viewer.picker import StudyPicker
from utils.viewer.study import Payload, payload
from utils.viewer.widget import StudyViewer

__all__ = [
    "Payload",
    "StudyPicker",
    "StudyViewer",
    "ViewerError",
    "module",
    "page_head",
    "page_html",
    "payload",
    "viewer_html",
    "viewer_script",
    "viewers_html",
]
