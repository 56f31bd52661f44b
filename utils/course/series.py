"""A table of an exam's series, each with a picture and a list in which its kind can be
corrected."""

from __future__ import annotations

import html
import io

import ipywidgets
import numpy as np
from PIL import Image

from utils.dicom import DicomError, read_series
from utils.exam import Candidate, Exam
from utils.rsna import SERIES

NOT_GRADED = "not graded"
PICTURE_PX = 96  # high
PERCENTILES = (1, 99.5)  # shown as black and white


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
    try:
        slices = read_series(one.scan.middle(str(one.series_id))).slices
    except DicomError:
        return ipywidgets.Box(layout={"width": f"{PICTURE_PX}px"})
    pixels = slices[0].pixels.astype(np.float32)
    low, high = np.percentile(pixels, PERCENTILES)
    grey = np.clip((pixels - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    height, width = np.array(grey.shape) * slices[0].spacing[::-1]
    size = (max(1, round(PICTURE_PX * width / height)), PICTURE_PX)
    stream = io.BytesIO()
    Image.fromarray(grey).resize(size).save(stream, "JPEG", quality=80)
    return ipywidgets.Image(value=stream.getvalue(), format="jpeg", width=size[0], height=size[1])
