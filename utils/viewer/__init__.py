"""The viewer: one study as three linked panes, in a notebook or in one HTML file that needs nothing else.

Python reads, windows and compresses the images once; everything that follows the hand happens in js/.
"""

from utils.viewer.page import module, page_head, page_html, viewer_html, viewer_script
from utils.viewer.picker import StudyPicker
from utils.viewer.study import Payload, payload
from utils.viewer.widget import StudyViewer

__all__ = [
    "Payload",
    "StudyPicker",
    "StudyViewer",
    "module",
    "page_head",
    "page_html",
    "payload",
    "viewer_html",
    "viewer_script",
]
