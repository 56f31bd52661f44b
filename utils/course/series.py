"""A table of an exam's series, each with a picture and a list in which its kind can be
corrected."""

from __future__ import annotations

import html

import ipywidgets
import numpy as np

from utils.dicom import DicomError, read_series
from utils.exam import Candidate, Exam
from utils.rsna import SERIES
from utils.viewer.images import encode

NOT_GRADED = "not graded"
PICTURE_PX = 96  # high


class SeriesTable(ipywidgets.VBox):
    """The series of an exam. `lists` has the list of each by its id; `exam` is the exam with what
    was chosen in them."""

    def __init__(self, exam: Exam):
        self.exam = exam
        self.lists: dict[int, ipywidgets.Dropdown] = {}
        rows: list[ipywidgets.Widget] = []
        for study, group in exam.candidates.items():
            rows.append(ipywidgets.HTML(f"<b>Study {study}</b>"))
            rows += [self._row(one) for one in sorted(group, key=lambda one: not one.used)]
        super().__init__(rows)

    def _row(self, one: Candidate) -> ipywidgets.HBox:
        kind = one.taken_for.kind if one.used else ""
        options = [*((name, name) for name in SERIES), (NOT_GRADED, "")]
        chosen = ipywidgets.Dropdown(options=options, value=kind, layout={"width": "160px"})
        chosen.observe(self._choose, "value")
        self.lists[one.series_id] = chosen
        text = ipywidgets.HTML(_text(one), layout={"width": "520px"})
        return ipywidgets.HBox([_picture(one), chosen, text], layout={"align_items": "center"})

    def _choose(self, _: dict) -> None:
        """What the lists show is what is graded."""
        kinds: dict[str | int, str] = {of: chosen.value for of, chosen in self.lists.items()}
        self.exam = self.exam.with_kinds(kinds)


def _text(one: Candidate) -> str:
    found = one.taken_for
    lines = [
        f"<b>{html.escape(found.name)}</b> · series {one.series_id}",
        html.escape(found.reason),
    ]
    if one.doubt:
        lines.append(f"<i>doubtful: {html.escape(one.doubt)}</i>")
    return "<div style='line-height:1.35'>" + "<br>".join(lines) + "</div>"


def _picture(one: Candidate) -> ipywidgets.Widget:
    """The image in the middle, as small as a stamp; an empty box where it cannot be read."""
    images = bytearray()
    try:
        series = read_series(one.scan.middle(str(one.series_id)))
    except DicomError:
        return ipywidgets.Box(layout={"width": f"{PICTURE_PX}px"})
    encode(series, images)
    height, width = np.array(series.pixels[0].shape) * series.slices[0].spacing[::-1]
    size = {"width": max(1, round(PICTURE_PX * width / height)), "height": PICTURE_PX}
    return ipywidgets.Image(value=bytes(images), format="jpeg", **size)
