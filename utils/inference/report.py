"""One self-contained HTML page per study: predictions, confidence, what could not be seen,
images."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image

from utils import __version__
from utils.crops import POINT_MM, as_uint8, crop, nearest
from utils.errors import LumbarError
from utils.files import make_folder, write_atomic
from utils.inference.levels import DOUBT, NEXT, doubt_in
from utils.inference.measures import OF_PATIENT
from utils.inference.prediction import PRIOR
from utils.prepare import PreparedStudy, prepare_study
from utils.rsna import (
    AXIAL_T2,
    CONDITIONS,
    GRADE_COLOURS,
    GRADE_COLUMNS,
    GRADES,
    LEVELS,
    SERIES_OF,
    Tables,
)
from utils.structures import Outline
from utils.viewer import page_head, page_html, payload
from utils.viewer.predictions import measures

CROP_MM, CROP_PX = 60.0, 150
MOST_CROPS, WHITE = 10, 99.5  # crops; percentile of a crop that is shown white
# CSS px of the page inside a notebook, whose frame cannot grow with it: the grid and what is round
# it, a line of measures in the grid, and a row of crops.
PAGE_HEIGHT, LINE_HEIGHT, CROPS_HEIGHT, CROPS_IN_A_ROW = 720, 22, 230, 5
LETTERS = 18  # of a measure in one line of a cell
NOT_FOR_DIAGNOSIS = "For teaching and research. Not a medical device; not for diagnosis."
_STYLE = """<style>
body { font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 1.4em }
h2 { font-size: 1.1em; margin-top: 1.6em }
table.grid { border-collapse: collapse }
.grid th { font-weight: 600; text-align: left; padding: 4px 8px; font-size: .85em }
.grid td { border: 1px solid #8886; padding: 4px 8px; width: 150px; vertical-align: top }
.bar { display: flex; height: 9px; margin-top: 3px }
.bar span { display: block; height: 100% }
.small { font-size: .8em; opacity: .8 }
.warning { border-left: 4px solid #D55E00; padding: 4px 10px }
.crops { display: flex; flex-wrap: wrap; gap: 8px }
.crops figure { margin: 0; width: 150px; position: relative; break-inside: avoid }
.crops svg { position: absolute; top: 0; left: 0 }
.crops figcaption { font-size: .75em }
@media print { .spine-viewer, .screen { display: none } }
@media print { .grid td { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
</style>
"""
# Four strokes towards the centre of a crop, which is the located point; the centre stays free.
_STROKES = "M75 30v28M75 92v28M30 75h28M92 75h28"
_CROSS = (
    f"<svg width={CROP_PX} height={CROP_PX} viewBox='0 0 150 150'>"
    f"<path d='{_STROKES}' stroke='#fff'/></svg>"
)


def write_report(
    tables: Tables,
    study_id: int,
    predictions: pd.DataFrame,
    path: str | Path,
    model: str = "",
    outlines: Iterable[Outline] = (),
) -> Path:
    """Write the page of one study from the rows of inference.predict_studies; returns its path.

    model     a line that says which run predicted
    outlines  of its structures, for the viewer in the page
    Raises LumbarError if the study is not among the predictions, or they do not say where they
    come from.
    """
    rows = _rows_of(predictions, study_id)
    heading = "<h2 class=screen>Images, labels and predictions</h2>\n"
    above = _findings(tables, study_id, rows) + heading
    path = Path(path)
    make_folder(path.parent)
    title, below = f"Study {int(study_id)}", _origin(tables, model)
    page = page_html(payload(tables, study_id, rows, outlines), title, above, below)
    return write_atomic(path, page)


def as_html(tables: Tables, study_id: int, predictions: pd.DataFrame, model: str = "") -> HTML:
    """The same page without its viewer, inside the notebook: no kernel, network or script is needed
    to show it. Raises LumbarError as write_report does."""
    rows = _rows_of(predictions, study_id)
    title, findings = f"Study {int(study_id)}", _findings(tables, study_id, rows)
    body = f"<body>{findings}{_origin(tables, model)}</body>"
    page = html.escape(f"{page_head(title)}</head>{body}</html>")
    height = PAGE_HEIGHT + CROPS_HEIGHT * -(-findings.count("<figure>") // CROPS_IN_A_ROW)
    height += LINE_HEIGHT * _lines_of_measures(rows)
    style = f"width: 100%; height: {height}px; border: 1px solid #8886; box-sizing: border-box"
    return HTML(f'<div><iframe srcdoc="{page}" title="{title}" style="{style}"></iframe></div>')


def _lines_of_measures(rows: pd.DataFrame) -> int:
    """How many lines of measures the grid has: of each level as many as its longest cell."""
    lines = -(-measures(rows).str.len().fillna(0) // LETTERS)
    return int(lines.groupby(rows.level).max().sum())


def _findings(tables: Tables, study_id: int, rows: pd.DataFrame) -> str:
    """The page's part above its viewer."""
    study = prepare_study(tables, study_id)
    title = (
        f"<h1>Lumbar spine study {int(study_id)}</h1>\n<p class=warning>{NOT_FOR_DIAGNOSIS}</p>\n"
    )
    doubt = _warning(doubt_in(rows.note))
    told = _grid(rows) + _curves(rows) + _fallbacks(rows, study)
    return _STYLE + title + doubt + told + _crops(rows, study)


def _origin(tables: Tables, model: str) -> str:
    origin = f"{model} · data {tables.name} · lumbar-spine-notebooks {__version__}"
    return f"<p class=small>{html.escape(origin)} · {NOT_FOR_DIAGNOSIS}</p>\n"


def _rows_of(predictions: pd.DataFrame, study_id: int) -> pd.DataFrame:
    if "source" not in predictions:
        raise LumbarError(
            "these predictions have no column 'source', as those of earlier versions: "
            "predict again with inference.predict_studies"
        )
    rows = predictions[predictions.study_id == study_id]
    if rows.empty:
        raise LumbarError(
            f"study {study_id} is not among the predictions; "
            "grade it first with inference.predict_studies"
        )
    return rows


def _warning(doubt: str) -> str:
    """Once, before any grade."""
    return (
        f"<p class=warning><b>The levels are {html.escape(doubt)}.</b> "
        "Look where each cross is before you read a grade.</p>\n"
        if doubt
        else ""
    )


def _grid(rows: pd.DataFrame) -> str:
    """Levels down, conditions across: the most probable grade, its probability, a bar of all
    three."""
    prediction = rows.assign(measure=measures(rows)).set_index(["level", "condition"])
    head = "".join(f"<th scope=col>{condition}</th>" for condition in CONDITIONS)
    lines = []
    for level in LEVELS:
        cells = [_cell(prediction.loc[(level, condition)]) for condition in CONDITIONS]
        lines.append(f"<tr><th scope=row>{level}</th>{''.join(cells)}</tr>\n")
    return (
        f"<table class=grid><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>\n"
    )


def _probabilities(row: Any) -> list[float]:
    return [float(getattr(row, name)) for name in GRADE_COLUMNS]


def _most_probable(row: Any) -> str:
    """The most probable grade of a prediction and its probability."""
    p = _probabilities(row)
    return f"{GRADES[int(np.argmax(p))]} {100 * max(p):.0f}\u00a0%"


def _cell(row: Any) -> str:
    p = _probabilities(row)
    bar = "".join(
        f"<span style='width:{100 * q:.1f}%;background:{colour}'></span>"
        for q, colour in zip(p, GRADE_COLOURS)
    )
    numbers = " / ".join(f"{100 * q:.0f}" for q in p)
    measured = f"<br>{html.escape(row.measure)}" if isinstance(row.measure, str) else ""
    unseen = " · not seen: prior" if row.source == PRIOR else ""
    doubtful = " · level doubtful" if str(row.note).startswith(DOUBT) else ""
    return (
        f"<td>{_most_probable(row)}<div class=bar>{bar}</div>"
        f"<span class=small>{numbers}{unseen}{doubtful}{measured}</span></td>"
    )


def _curves(rows: pd.DataFrame) -> str:
    """How the spine is curved, if that was measured."""
    lordosis, scoliosis = (
        rows[name].dropna().head(1).tolist() if name in rows else [] for name in OF_PATIENT
    )
    parts = [f"lordosis from L1/L2 to L5/S1 {degrees:.0f}°" for degrees in lordosis]
    parts += [f"the canal bends sideways by {degrees:.0f}°" for degrees in scoliosis]
    return f"<p class=small>Measured: {', '.join(parts)}.</p>\n" if parts else ""


def _fallbacks(rows: pd.DataFrame, study: PreparedStudy) -> str:
    """What could not be seen, and what was predicted in its place."""
    doubt = doubt_in(rows.note)
    notes = rows.note.fillna("").str.removeprefix(doubt).str.removeprefix(NEXT)
    noted = rows.assign(note=notes)[notes != ""]
    lines = []
    for row in noted.itertuples():
        fallback = "weighted prior; " if row.source == PRIOR else ""
        lines.append(f"{row.condition} {row.level}: {fallback}{row.note}")
    lines += [f"{what}: {why}" for what, why in study.left_out]
    if not lines:
        return (
            "<p class=small>All series could be read; "
            "no prediction is based on the prior alone.</p>\n"
        )
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>What could not be seen</h2>\n<ul>{items}</ul>\n"


def _crops(rows: pd.DataFrame, study: PreparedStudy) -> str:
    """The image behind each prediction that is not Normal/Mild, the most confident first."""
    normal = GRADE_COLUMNS[0]
    narrowed = rows[rows[normal] < 0.5].sort_values(normal)
    figures = [_figure(row, study) for row in narrowed.head(MOST_CROPS).itertuples()]
    shown = [figure for figure in figures if figure]
    if not shown:
        return ""
    which = f"{len(shown)} of {len(narrowed)} places, the least probably Normal/Mild first"
    return f"<h2>Where it looks narrowed: {which}</h2>\n<div class=crops>{''.join(shown)}</div>\n"


def _figure(row: Any, study: PreparedStudy) -> str:
    """The crop round a located point, with its caption; empty where there is none."""
    mm = np.array([getattr(row, name, np.nan) for name in POINT_MM], float)
    kind = SERIES_OF[row.condition]
    found = nearest(study.of(kind), mm) if np.isfinite(mm).all() else None
    if found is None:
        return ""
    series, index = found
    one = series.slices[index]
    png = io.BytesIO()
    pixels = crop(one, mm, CROP_MM, CROP_PX).pixels
    white = max(float(np.percentile(pixels, WHITE)), 1.0)  # far from a coil an image is dark
    Image.fromarray(as_uint8((pixels * (255 / white)).clip(0, 255))).save(png, "PNG")
    source = base64.b64encode(png.getvalue()).decode()
    side = ", patient's left on the right" if kind == AXIAL_T2 else ""
    name = f"{row.condition} {row.level}: {_most_probable(row)}"
    caption = html.escape(f"{name}; instance {one.instance}{side}")
    size = f"width={CROP_PX} height={CROP_PX}"
    image = f"<img alt='{caption}' {size} src='data:image/png;base64,{source}'>"
    return f"<figure>{image}{_CROSS}<figcaption>{caption}</figcaption></figure>"
