"""The structures of a study's sagittal slices as lines, to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import contourpy
import numpy as np

from utils.dicom import Slice
from utils.errors import LumbarError
from utils.inference.counting import count_levels, with_whole_sacrum
from utils.inference.localisation import levels_series
from utils.inference.run import Run
from utils.inference.segmentation import segment
from utils.prepare import PreparedStudy, prepare_study
from utils.rsna import Tables
from utils.structures import BACKGROUND, STRUCTURES, Outline

HALF = 0.5  # of the probability: where a structure ends
FEWEST = 8  # points of a line; shorter ones are specks


def outlines(run: Run, study: PreparedStudy) -> list[Outline]:
    """Those on the series on which levels are found; none if the run has no segmenter."""
    series = levels_series(study)
    if run.segmenter is None or series is None:
        return []
    found = segment(run.segmenter, series)
    found = with_whole_sacrum(found, count_levels(found))
    return [
        line
        for one, p in zip(found.crops, found.p.swapaxes(0, 1))
        for structure in range(BACKGROUND + 1, len(STRUCTURES))
        for line in _lines(one, p[structure], structure)
    ]


def outliner(tables: Tables, run: Run) -> Callable[[int], list[Outline]]:
    """`outlines` of a study by its id, as the viewer asks for them; none where it cannot be
    read."""

    def of(study_id: int) -> list[Outline]:
        try:
            return outlines(run, prepare_study(tables, study_id, run.preset.spacing_mm))
        except LumbarError:
            return []

    return of


def _lines(one: Slice, p: np.ndarray, structure: int) -> Iterator[Outline]:
    """The outlines of one structure of probability p (px, px) on one slice."""
    if one.series_id is None:
        return
    for xy in contourpy.contour_generator(z=p).lines(HALF):
        if len(xy) >= FEWEST:
            yield Outline(one.series_id, one.instance, structure, one.to_patient(np.asarray(xy)))
