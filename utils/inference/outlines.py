"""The structures of a study as lines, and what was measured in them, to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import contourpy
import numpy as np
import pandas as pd

from utils.crops import POINT_MM
from utils.dicom import Slice
from utils.errors import LumbarError
from utils.inference import measures
from utils.inference.counting import middle_of_spine, with_whole_sacrum
from utils.inference.measures import HALF, Seen, see
from utils.inference.prediction import locate_study
from utils.inference.run import Run
from utils.models import Segmenter
from utils.prepare import PreparedStudy, prepare_study
from utils.rsna import AXIAL_T2, CANAL_ROWS, Tables
from utils.structures import BACKGROUND, ROOT, SAC, SAGITTAL, Outline

FEWEST = 8  # points of a line; shorter ones are specks


def outlines(run: Run, study: PreparedStudy, points: np.ndarray | None = None) -> list[Outline]:
    """On the series on which levels are found every structure, with the depth of the sac beside
    each disc; on the axial slice of each level the sac with its area, and the depths of its
    recesses. Nothing if the run has no segmenter.

    points  (25, 3) mm at which is measured; those that the run finds, if none are given
    """
    seen = see(run, study)
    if seen is None:
        return []
    found = with_whole_sacrum(seen.found, seen.counted)
    drawn = [
        line
        for one, p in zip(found.crops, found.p.swapaxes(0, 1))
        for structure in range(BACKGROUND + 1, SAGITTAL.structures)
        for line in _lines(one, p[structure], structure)
    ]
    drawn += _sac_depths(seen)
    if run.axial_segmenter is not None:
        points = locate_study(run, study, seen).points if points is None else points
        drawn += _axial(run.axial_segmenter, study, points)
    return drawn


def outliner(
    tables: Tables, run: Run, predictions: pd.DataFrame | None = None
) -> Callable[[int], list[Outline]]:
    """`outlines` of a study by its id, as the viewer asks for them; none where it cannot be
    read.

    predictions  whose points are measured at, for the studies that are in them
    """

    def of(study_id: int) -> list[Outline]:
        points = None
        if predictions is not None and (predictions.study_id == study_id).any():
            rows = predictions[predictions.study_id == study_id]
            points = rows[POINT_MM].to_numpy(float)
        try:
            study = prepare_study(tables, study_id, run.preset.spacing_mm)
            return outlines(run, study, points)
        except LumbarError:
            return []

    return of


def _sac_depths(seen: Seen) -> Iterator[Outline]:
    """The line from front to back on which the depth of the sac is measured, at each level."""
    _, at = middle_of_spine(seen.found.p)
    for disc in filter(None, seen.counted.discs):
        index = measures.slice_of(disc, at)
        p, one = seen.found.p[SAC, index], seen.found.crops[index]
        ends = measures.sac_line(p, disc)
        if ends is not None and one.series_id is not None:
            text = f"{measures.sac_depth(p, disc):.1f} mm"
            mm = one.to_patient(ends / SAGITTAL.mm)
            yield Outline(one.series_id, one.instance, SAC, mm, text)


def _axial(segmenter: Segmenter, study: PreparedStudy, points: np.ndarray) -> Iterator[Outline]:
    """The sac with its area and the depths of both recesses, at each level."""
    canal = points[CANAL_ROWS]
    for at in measures.axial_levels(segmenter, study.of(AXIAL_T2), canal):
        one = at.one
        if one.series_id is None:
            continue
        sac = min(_lines(one, at.sac, SAC), key=_distance_from(canal[at.level]), default=None)
        if sac is not None:
            yield sac._replace(text=f"{round(at.sac_mm2, 1):.0f} mm²")
        for point in points[measures.recesses_of(at.level)]:
            if np.isfinite(point).all():
                ends = one.to_patient(measures.recess_line(at.free, one, point))
                text = f"{measures.recess_depth(at.free, one, point):.1f} mm"
                yield Outline(one.series_id, one.instance, ROOT, ends, text)


def _distance_from(point: np.ndarray) -> Callable[[Outline], float]:
    """mm from a point (3,) to the middle of a line."""
    return lambda line: float(np.linalg.norm(line.mm.mean(0) - point))


def _lines(one: Slice, p: np.ndarray, structure: int) -> Iterator[Outline]:
    """The outlines of one structure of probability p (px, px) on one slice."""
    if one.series_id is None:
        return
    for xy in contourpy.contour_generator(z=p).lines(HALF):
        if len(xy) >= FEWEST:
            yield Outline(one.series_id, one.instance, structure, one.to_patient(np.asarray(xy)))
