"""StudyPicker: a search, a list and two buttons above a StudyViewer, to step through studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import ipywidgets
import pandas as pd
from IPython.display import HTML

from utils import rsna
from utils.errors import LumbarError
from utils.viewer.errors import ViewerError
from utils.viewer.search import grade_counts, matching, search_index
from utils.viewer.study import payload
from utils.viewer.widget import Outliner, StudyViewer

CARRIED = 4  # studies that a saved page has at most, and
CARRIED_BYTES = 5_000_000  # of their images, besides those of the first


class StudyPicker(ipywidgets.VBox):
    """A StudyViewer (.viewer) with a list of studies above it.

    root         a data folder in the competition's layout, or Tables already loaded from one
    studies      ids in the order to step through, for example worst first; None: those predicted,
                 or all whose images are here
    predictions  as for StudyViewer; with them the search knows the words right and wrong
    quiz         as for StudyViewer
    outlines     as for StudyViewer
    fetch        called with a study before it is shown, to bring its images here

    The search keeps the studies in which one target has all its words: "severe l4/l5",
    "left foraminal moderate wrong". Raises ViewerError if there is no study to show.
    """

    def __init__(
        self,
        root: str | Path | rsna.Tables,
        studies: Sequence[int] | None = None,
        predictions: pd.DataFrame | None = None,
        quiz: bool = False,
        fetch: Callable[[int], None] | None = None,
        outlines: Outliner | None = None,
    ):
        tables = root if isinstance(root, rsna.Tables) else rsna.load_tables(root)
        chosen = _default_studies(tables, predictions) if studies is None else studies
        self.studies = [int(study) for study in chosen]
        if not self.studies:
            raise ViewerError(
                f"{tables.root}: no study to show; images belong in train_images/<study>/<series>/"
            )
        self._fetch = fetch or (lambda study: None)
        self._fetch(self.studies[0])
        self.viewer = StudyViewer(tables, self.studies[0], predictions, quiz, outlines)
        self._index = search_index(tables, self.studies, predictions)
        self._grades_hidden = quiz
        self.viewer.carried = self._carried(tables, predictions)
        controls = self._make_controls()
        self._connect()
        super().__init__([controls, self.viewer])

    def __repr__(self) -> str:
        hint = "If this line is all you see, run picker.as_html()"
        return f"StudyPicker({_count(self.studies)}, {self.viewer.study['id']} on show). {hint}"

    def save_html(self, path: str | Path) -> Path:
        """Write the study on show as one HTML file."""
        return self.viewer.save_html(path)

    def as_html(self) -> HTML:
        """The study on show inside the notebook, for front ends that show no custom widgets."""
        return self.viewer.as_html()

    def _carried(self, tables: rsna.Tables, predictions: pd.DataFrame | None) -> dict:
        """For a page that is saved with this widget: the first studies whose images are here,
        without outlines, and of each how narrowed it is and the words by which it is found.

        {of: number of all studies, about: {id: {summary, words}}, more: [{study, images}]}
        """
        more: list[dict] = []
        room = CARRIED_BYTES
        for study in self.studies[1:CARRIED]:
            with suppress(LumbarError):  # said when it is chosen
                if tables.series_on_disk(study):
                    data = payload(tables, study, predictions)
                    room -= len(data.images)
                    more += [data._asdict()] if room >= 0 else []
        ids = [self.studies[0], *(one["study"]["id"] for one in more)]
        summaries = map(_summary, grade_counts(self._index, ids))
        words = [self._index.text[self._index.study_id == study].tolist() for study in ids]
        about = [{"summary": of, "words": text} for of, text in zip(summaries, words)]
        return {"of": len(self.studies), "about": dict(zip(map(str, ids), about)), "more": more}

    def _make_controls(self) -> ipywidgets.HBox:
        self.search = ipywidgets.Text(placeholder="search: severe l4/l5", layout={"width": "210px"})
        self.list = ipywidgets.Dropdown(
            description="study",
            options=self._options(self.studies),
            layout={"width": "310px"},
            style={"description_width": "initial"},
        )
        self.back = _button("‹", "Previous study")
        self.next = _button("›", "Next study")
        self.status = ipywidgets.Label(_count(self.studies))
        return ipywidgets.HBox([self.search, self.list, self.back, self.next, self.status])

    def _connect(self) -> None:
        self.viewer.observe(self._follow_quiz, "quiz")
        self.search.observe(self._filter, "value")
        self.list.observe(self._open, "value")
        self.back.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))

    def _options(self, studies: list[int]) -> list[tuple[str, int]]:
        """What the list shows of each study, and its id."""
        if self._grades_hidden:
            return [(str(study), study) for study in studies]
        counts = grade_counts(self._index, studies)
        return [(f"{study} · {_summary(of)}", study) for study, of in zip(studies, counts)]

    def _offered(self) -> list[int]:
        return [study for _, study in self.list.options]

    def _filter(self, change: dict) -> None:
        """Offer only the studies that match; the study on show stays if it is one of them."""
        matches = matching(self._index, change["new"])
        found = [study for study in self.studies if study in matches]
        self.status.value = f"{len(found)} of {_count(self.studies)}"
        if found:
            self._offer(found)

    def _offer(self, studies: list[int]) -> None:
        shown = self.list.value
        # New options select the first of them, which the user has not chosen: do not open it.
        self.list.unobserve(self._open, "value")
        self.list.options = self._options(studies)
        self.list.value = shown if shown in studies else studies[0]
        self.list.observe(self._open, "value")
        self._open({"new": self.list.value})

    def _follow_quiz(self, change: dict) -> None:
        """While a quiz is running, the list does not show the grades of a study."""
        quiz = change["new"]
        hidden = bool(quiz.get("on")) and not quiz.get("revealed")
        if hidden != self._grades_hidden:
            self._grades_hidden = hidden
            self._offer(self._offered())

    def _open(self, change: dict) -> None:
        """Show the study chosen; if that fails, say why and go back to the study on show."""
        study = change["new"]
        if study is None or study == self.viewer.study["id"]:
            return
        status = self.status.value
        self.status.value = "reading …"
        try:
            self._fetch(study)
            self.viewer.show(study)
        except LumbarError as error:
            status = str(error)
            self.list.value = self.viewer.study["id"]
        finally:
            self.status.value = status

    def _step(self, by: int) -> None:
        studies = self._offered()
        position = studies.index(self.list.value) + by
        self.list.value = studies[position % len(studies)]


def _button(text: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": "36px"})


def _count(studies: list[int]) -> str:
    return f"{len(studies)} {'study' if len(studies) == 1 else 'studies'}"


def _summary(counts: dict[str, int]) -> str:
    """{"Moderate": 3, "Severe": 1, …} -> "3 moderate, 1 severe"."""
    present = [grade for grade in rsna.GRADES[1:] if counts.get(grade)]
    narrowed = [f"{counts[grade]} {grade.lower()}" for grade in present]
    return ", ".join(narrowed) or ("nothing narrowed" if any(counts.values()) else "no labels")


def _default_studies(tables: rsna.Tables, predictions: pd.DataFrame | None) -> list[int]:
    """Described studies whose images are here, training before test; with predictions only those
    that have some."""
    described = set(tables.series.study_id)
    present = [study for split in ("train", "test") for study in tables.studies(split)]
    here = [study for study in present if study in described]
    if predictions is None or "row_id" not in predictions:
        return here
    predicted = set(rsna.studies_of(predictions.row_id))
    return [study for study in here if study in predicted]
