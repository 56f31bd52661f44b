"""StudyViewer: one study as three linked panes in a notebook."""

from __future__ import annotations

import html
from pathlib import Path

import anywidget
import pandas as pd
import traitlets
from IPython.display import HTML

from utils import rsna
from utils.viewer.page import module, page_html
from utils.viewer.study import Payload, payload


class StudyViewer(anywidget.AnyWidget):
    """Three linked panes, the labels and (if given) predictions of one study.

    root         a data folder in the competition's layout, or Tables already loaded from one
    predictions  row_id, normal_mild, moderate, severe; where known x_mm, y_mm, z_mm (LPS) and a note; other columns and
                 other studies' rows are left aside
    quiz         begin with the labels hidden and ask for the grades; what was answered is in .answers
    """

    _esm = module()
    study = traitlets.Dict().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    quiz = traitlets.Dict().tag(sync=True)  # {on, answers: 25 of None, 0, 1, 2, revealed}; the browser writes it

    def __init__(
        self, root: str | Path | rsna.Tables, study_id: int, predictions: pd.DataFrame | None = None, quiz: bool = False
    ):
        self._tables = root if isinstance(root, rsna.Tables) else rsna.load_tables(root)
        self._predictions = predictions
        self._quiz: dict = {}  # the last that was of the study on show
        self._left: dict[int, tuple[dict, pd.DataFrame]] = {}  # quiz and answers of the studies that were shown before
        super().__init__(**payload(self._tables, study_id, predictions)._asdict(), quiz={"on": quiz})

    @traitlets.validate("quiz")
    def _of_this_study(self, proposal) -> dict:
        """An answer given while the next study was being read belongs to the one before: it must not land here."""
        if proposal.value.get("study", self.study.get("id")) == self.study.get("id"):
            self._quiz = proposal.value
        return self._quiz

    def show(self, study_id: int) -> None:
        """Another study of the same data and predictions in the same place; what was answered of this one is kept.

        Raises ValueError for an unknown study, and then shows the one before.
        """
        data = payload(self._tables, study_id, self._predictions)
        self._left[self.study["id"]] = self.quiz, self._answered()
        quiz, _ = self._left.pop(data.study["id"], ({}, None))
        with self.hold_sync():
            self.images, self.study, self.quiz = data.images, data.study, quiz | {"on": bool(self.quiz.get("on"))}

    @property
    def answers(self) -> pd.DataFrame:
        """The learner's grades in all studies so far: row_id, condition, level, answer, label, and predicted (or nothing)."""
        tables = [answered for _, answered in self._left.values()] + [self._answered()]
        return pd.concat([table for table in tables if len(table)] or tables[-1:], ignore_index=True)

    def _answered(self) -> pd.DataFrame:
        """The answers of the study on show."""
        given = self.quiz.get("answers") or [None] * len(rsna.TARGETS)
        rows = []
        for (condition, level), cell, answer in zip(rsna.TARGETS, self.study["cells"], given, strict=True):
            if answer is not None:
                shares = (cell["prediction"] or {}).get("p")
                grades = (answer, cell["grade"], shares and shares.index(max(shares)))
                names = [None if grade is None else rsna.GRADES[grade] for grade in grades]
                rows.append((rsna.row_id(self.study["id"], condition, level), condition, level, *names))
        return pd.DataFrame(rows, columns=["row_id", "condition", "level", "answer", "label", "predicted"])

    def __repr__(self) -> str:
        counts = [len(series["slices"]) for series in self.study["series"]]
        what = f"{sum(counts)} slices in {len(counts)} series, {len(self.images) / 1e6:.1f} MB"
        return f"StudyViewer({self.study['id']}: {what}). If this line is all you see, run viewer.as_html()"

    def save_html(self, path: str | Path) -> Path:
        """Writes the viewer as one HTML file that works from disk, with the network off and no kernel."""
        path = Path(path)
        path.write_text(self._page(), encoding="utf-8")
        return path

    def as_html(self, height: int = 860) -> HTML:
        """The same page inside the notebook, for front ends that show no custom widgets; answers of a quiz stay in it."""
        look = f'title="Study {self.study["id"]}" style="width: 100%; height: {height}px; border: 0"'
        return HTML(f'<div><iframe srcdoc="{html.escape(self._page())}" {look}></iframe></div>')

    def _page(self) -> str:
        return page_html(Payload(self.study | {"quiz": self.quiz}, self.images), f"Study {self.study['id']}")
