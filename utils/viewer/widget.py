"""StudyViewer: one study as three linked panes in a notebook."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from pathlib import Path

import anywidget
import pandas as pd
import traitlets
from IPython.display import HTML

from utils import rsna
from utils.files import write_atomic
from utils.structures import Outline
from utils.viewer.page import module, page_html
from utils.viewer.study import Payload, payload

Outliner = Callable[[int], Iterable[Outline]]
ANSWER_COLUMNS = ["row_id", "condition", "level", "answer", "label", "predicted"]


class StudyViewer(anywidget.AnyWidget):
    """Three linked panes, the labels and (if given) predictions of one study.

    root         a data folder in the competition's layout, or Tables already loaded from one
    study_id     a study whose series the tables describe
    predictions  row_id, normal_mild, moderate, severe; where known x_mm, y_mm, z_mm (LPS), a source
                 ("model" or "prior") and a note; other columns and other studies' rows are ignored
    outlines     called with a study before it is shown: the outlines of its structures
    quiz         start with the labels hidden and ask for the grades; the learner's are in .answers

    Raises ViewerError for an unknown study or unusable predictions.
    """

    _esm = module()
    study = traitlets.Dict().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    # {study, on, answers: 25 of None, 0, 1, 2, revealed}; the browser writes it
    quiz = traitlets.Dict().tag(sync=True)
    # For a saved page, which has no kernel to ask: see StudyPicker.
    carried = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        root: str | Path | rsna.Tables,
        study_id: int,
        predictions: pd.DataFrame | None = None,
        quiz: bool = False,
        outlines: Outliner | None = None,
    ):
        self._outlines = outlines or (lambda study: [])
        self._tables = root if isinstance(root, rsna.Tables) else rsna.load_tables(root)
        self._predictions = predictions
        self._valid_quiz: dict = {}  # the last that belonged to the study on show
        # Quiz and answers of the studies that were shown before, by study.
        self._earlier: dict[int, tuple[dict, pd.DataFrame]] = {}
        data = self._payload(study_id)
        super().__init__(study=data.study, images=data.images, quiz={"on": quiz})

    @traitlets.validate("quiz")
    def _refuse_late_answers(self, proposal: dict) -> dict:
        """An answer given while the next study was being read belongs to the study before."""
        shown = self.study.get("id")
        if proposal["value"].get("study", shown) == shown:
            self._valid_quiz = proposal["value"]
        return self._valid_quiz

    def show(self, study_id: int) -> None:
        """Show another study of the same data and predictions; the answers given so far are kept.

        Raises ViewerError for an unknown study; the study on show then stays.
        """
        data = self._payload(study_id)
        self._earlier[self.study["id"]] = (self.quiz, self._answers_of_study())
        quiz, _ = self._earlier.pop(data.study["id"], ({}, None))
        is_on = bool(self.quiz.get("on"))
        with self.hold_sync():
            self.images = data.images
            self.study = data.study
            self.quiz = quiz | {"on": is_on}

    def _payload(self, study_id: int) -> Payload:
        return payload(self._tables, study_id, self._predictions, self._outlines(int(study_id)))

    @property
    def answers(self) -> pd.DataFrame:
        """The learner's grades in all studies so far, one row per answer.

        Columns: row_id, condition, level, answer, label, predicted (None without a prediction).
        """
        tables = [answers for _, answers in self._earlier.values()] + [self._answers_of_study()]
        given = [table for table in tables if len(table)]
        return pd.concat(given or tables[-1:], ignore_index=True)

    def _answers_of_study(self) -> pd.DataFrame:
        """The answers of the study on show."""
        answers = self.quiz.get("answers") or [None] * len(rsna.TARGETS)
        cells = zip(rsna.TARGETS, self.study["cells"], answers, strict=True)
        rows = [self._row(*cell) for cell in cells if cell[-1] is not None]
        return pd.DataFrame(rows, columns=ANSWER_COLUMNS)

    def _row(self, target: rsna.Target, cell: dict, answer: int) -> tuple:
        row_id = rsna.row_id(self.study["id"], *target)
        grades = (answer, cell["grade"], _predicted_grade(cell))
        return (row_id, *target, *map(_grade_name, grades))

    def __repr__(self) -> str:
        counts = [len(series["slices"]) for series in self.study["series"]]
        megabytes = len(self.images) / 1e6
        size = f"{sum(counts)} slices in {len(counts)} series, {megabytes:.1f} MB"
        hint = "If this line is all you see, run viewer.as_html()"
        return f"StudyViewer({self.study['id']}: {size}). {hint}"

    def save_html(self, path: str | Path) -> Path:
        """Write the viewer as one HTML file that works from disk, with no network and no kernel."""
        return write_atomic(Path(path), self._page())

    def as_html(self, height: int = 860) -> HTML:
        """The same page inside the notebook, for front ends that show no custom widgets.

        height is in CSS px. Answers to a quiz stay in the page and do not reach .answers.
        """
        title = f"Study {self.study['id']}"
        attributes = f'title="{title}" style="width: 100%; height: {height}px; border: 0"'
        page = html.escape(self._page())
        return HTML(f'<div><iframe srcdoc="{page}" {attributes}></iframe></div>')

    def _page(self) -> str:
        data = Payload(self.study | {"quiz": self.quiz}, self.images)
        return page_html(data, f"Study {self.study['id']}")


def _predicted_grade(cell: dict) -> int | None:
    """The most probable grade of a cell's prediction, if it has one."""
    if cell["prediction"] is None:
        return None
    probabilities = cell["prediction"]["p"]
    return probabilities.index(max(probabilities))


def _grade_name(grade: int | None) -> str | None:
    return None if grade is None else rsna.GRADES[grade]
