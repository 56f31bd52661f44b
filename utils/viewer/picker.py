"""StudyPicker: a search, a list and two buttons round a StudyViewer, to go from study to study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import pandas as pd
from IPython.display import HTML

from utils import rsna
from utils.viewer.widget import StudyViewer


class StudyPicker(ipywidgets.VBox):
    """A StudyViewer (.viewer) with a list of studies above it.

    studies      ids in the order to walk through them, worst first say; None: those predicted, else all whose images are here
    predictions  as for StudyViewer; with them the search knows the words right and wrong

    The search keeps the studies in which one finding has all its words: "severe l4/l5", "left foraminal moderate wrong".
    """

    def __init__(
        self,
        root: str | Path | rsna.Tables,
        studies: Sequence[int] | None = None,
        predictions: pd.DataFrame | None = None,
        quiz: bool = False,
    ):
        tables = root if isinstance(root, rsna.Tables) else rsna.load_tables(root)
        self.studies = [int(study) for study in (_default(tables, predictions) if studies is None else studies)]
        if not self.studies:
            raise ValueError(f"{tables.root}: no study to show; images belong in train_images/<study>/<series>/")
        self.viewer = StudyViewer(tables, self.studies[0], predictions, quiz)
        self._findings, self._secret = findings(tables, self.studies, predictions), quiz
        self.search = ipywidgets.Text(placeholder="search: severe l4/l5", layout={"width": "210px"})
        narrow = {"description_width": "initial"}
        self.list = ipywidgets.Dropdown(
            description="study", options=self._options(self.studies), layout={"width": "310px"}, style=narrow
        )
        self.back = ipywidgets.Button(description="‹", tooltip="Previous study", layout={"width": "36px"})
        self.next = ipywidgets.Button(description="›", tooltip="Next study", layout={"width": "36px"})
        self.told = ipywidgets.Label(_count(self.studies))
        self.viewer.observe(self._hide, "quiz")
        self.search.observe(self._narrow, "value")
        self.list.observe(self._open, "value")
        self.back.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        super().__init__([ipywidgets.HBox([self.search, self.list, self.back, self.next, self.told]), self.viewer])

    def save_html(self, path: str | Path) -> Path:
        """The study on show as one HTML file."""
        return self.viewer.save_html(path)

    def as_html(self) -> HTML:
        """The study on show inside the notebook, for front ends that show no custom widgets."""
        return self.viewer.as_html()

    def _options(self, studies: list[int]) -> list[tuple[str, int]]:
        if self._secret:
            return [(str(study), study) for study in studies]
        counts = self._findings.groupby(["study_id", "grade"]).size().unstack(fill_value=0).reindex(studies, fill_value=0)
        return [(f"{study} · {_summary(row)}", study) for study, row in zip(studies, counts.to_dict("records"))]

    def _narrow(self, change: dict) -> None:
        """Only the studies in which one finding has all words searched for; the study on show stays if it is one."""
        hit = pd.Series(True, self._findings.index)
        for word in change["new"].lower().split():
            hit &= self._findings.text.str.contains(word, regex=False)
        kept = set(self._findings.study_id[hit])
        found = [study for study in self.studies if study in kept]
        self.told.value = f"{len(found)} of {_count(self.studies)}"
        if found:
            self._offer(found)

    def _offer(self, studies: list[int]) -> None:
        shown = self.list.value
        self.list.unobserve(self._open, "value")  # new options choose the first of them, which nobody asked to see
        self.list.options = self._options(studies)
        self.list.value = shown if shown in studies else studies[0]
        self.list.observe(self._open, "value")
        self._open({"new": self.list.value})

    def _hide(self, change: dict) -> None:
        """While a quiz asks, the list does not say how bad a study is."""
        secret = bool(change["new"].get("on")) and not change["new"].get("revealed")
        if secret != self._secret:
            self._secret = secret
            self._offer([study for _, study in self.list.options])

    def _open(self, change: dict) -> None:
        if change["new"] is None or change["new"] == self.viewer.study["id"]:
            return
        said, self.told.value = self.told.value, "reading …"
        try:
            self.viewer.show(change["new"])
        except ValueError as fault:
            said = str(fault)
            self.list.value = self.viewer.study["id"]
        finally:
            self.told.value = said

    def _step(self, by: int) -> None:
        offered = [study for _, study in self.list.options]
        self.list.value = offered[(offered.index(self.list.value) + by) % len(offered)]


def _count(studies: list[int]) -> str:
    return f"{len(studies)} {'study' if len(studies) == 1 else 'studies'}"


def _summary(counts: dict[str, int]) -> str:
    narrowed = [f"{counts[grade]} {grade.lower()}" for grade in rsna.GRADES[1:] if counts.get(grade)]
    return ", ".join(narrowed) or ("nothing narrowed" if any(counts.values()) else "no labels")


def _default(tables: rsna.Tables, predictions: pd.DataFrame | None) -> list[int]:
    described = set(tables.series.study_id)
    here = [study for study in tables.studies("train") + tables.studies("test") if study in described]
    if predictions is None or "row_id" not in predictions:
        return here
    predicted = set(rsna.studies_of(predictions.row_id))
    return [study for study in here if study in predicted]


def findings(tables: rsna.Tables, studies: Sequence[int], predictions: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per study and question: study_id, grade, and the words (lower case) by which the search finds it."""
    every = pd.MultiIndex.from_product([studies, range(len(rsna.TARGETS))], names=["study_id", "target"]).to_frame(index=False)
    every = every.assign(
        condition=[rsna.TARGETS[k][0] for k in every.target], level=[rsna.TARGETS[k][1] for k in every.target]
    ).merge(tables.labels[["study_id", "condition", "level", "grade"]], "left", ["study_id", "condition", "level"])
    text = (
        every.study_id.astype(str)
        + " "
        + every.condition
        + " "
        + every.level
        + " "
        + every.grade.astype(object).fillna("not graded")
    )
    if predictions is not None:
        rows = pd.Series([rsna.row_id(*row) for row in zip(every.study_id, every.condition, every.level)])
        shares = predictions.set_index("row_id")[list(rsna.GRADE_COLUMNS)].reindex(rows)
        called = shares.fillna(-1).to_numpy(float).argmax(1)
        right = pd.Series([grade == rsna.GRADES[k] for grade, k in zip(every.grade, called)])
        verdict = right.map({True: " right", False: " wrong"}).where(
            every.grade.notna() & shares.notna().all(axis=1).to_numpy(), ""
        )
        text += verdict
    return every[["study_id", "grade"]].assign(text=text.str.lower())
