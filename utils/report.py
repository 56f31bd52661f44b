"""One self-contained HTML page per study: what was answered, how sure, what could not be seen, and the images."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from utils import __version__
from utils.inference import PRIOR
from utils.prepare import PreparedStudy, prepare_study
from utils.rsna import AXIAL_T2, CONDITIONS, GRADE_COLOURS, GRADE_COLUMNS, GRADES, LEVELS, SERIES_OF, Tables
from utils.viewer import page_html, payload
from utils.views import POINT, as_bytes, nearest, window

CROP_MM, CROP_PX = 60.0, 150
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


# Four strokes towards the middle of a crop, which is the point that was found; the middle itself stays free.
_STROKES = "M75 30v28M75 92v28M30 75h28M92 75h28"
_AT = f"<svg width={CROP_PX} height={CROP_PX} viewBox='0 0 150 150'><path d='{_STROKES}' stroke='#fff'/></svg>"


def write_report(tables: Tables, study_id: int, answered: pd.DataFrame, path: str | Path, model: str = "") -> Path:
    """Write the page of one study from inference.answers' rows; returns its path.

    model  a line that says which run answered
    """
    rows = answered[answered.study_id == study_id]
    if rows.empty:
        raise ValueError(f"study {study_id} is not among the answers; grade it first with inference.answers")
    study = prepare_study(tables, study_id)
    above = _STYLE + f"<h1>Lumbar spine study {int(study_id)}</h1>\n<p class=warning>{NOT_FOR_DIAGNOSIS}</p>\n"
    above += _grid(rows) + _fallbacks(rows, study) + _crops(rows, study) + "<h2 class=screen>Images, labels and answers</h2>\n"
    origin = f"{model} · data {tables.root.name} · lumbar-spine-notebooks {__version__}"
    below = f"<p class=small>{html.escape(origin)} · {NOT_FOR_DIAGNOSIS}</p>\n"
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = page_html(payload(tables, study_id, rows), f"Study {int(study_id)}", above, below)
    path.write_text(page, encoding="utf-8")
    return path


def _grid(rows: pd.DataFrame) -> str:
    """Levels down, conditions across: the most probable grade, its probability, a bar of all three."""
    answer = rows.set_index(["level", "condition"])
    head = "".join(f"<th scope=col>{condition}</th>" for condition in CONDITIONS)
    body = ""
    for level in LEVELS:
        cells = "".join(_cell(answer.loc[(level, condition)]) for condition in CONDITIONS)
        body += f"<tr><th scope=row>{level}</th>{cells}</tr>\n"
    return f"<table class=grid><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>\n"


def _called(row) -> str:
    """The most probable grade of an answer and its probability."""
    p = [float(getattr(row, name)) for name in GRADE_COLUMNS]
    return f"{GRADES[int(np.argmax(p))]} {100 * max(p):.0f}\u00a0%"


def _cell(row) -> str:
    p = [float(getattr(row, name)) for name in GRADE_COLUMNS]
    parts = "".join(f"<span style='width:{100 * q:.1f}%;background:{colour}'></span>" for q, colour in zip(p, GRADE_COLOURS))
    numbers = " / ".join(f"{100 * q:.0f}" for q in p)
    unseen = " · not seen: prior" if str(row.note).startswith(PRIOR) else ""
    return f"<td>{_called(row)}<div class=bar>{parts}</div><span class=small>{numbers}{unseen}</span></td>"


def _fallbacks(rows: pd.DataFrame, study: PreparedStudy) -> str:
    """What could not be seen, and what was answered in its place."""
    noted = rows[rows.note.fillna("") != ""]
    lines = [f"{r.condition} {r.level}: {r.note}" for r in noted.itertuples()]
    lines += [f"{what}: {why}" for what, why in study.left_out]
    if not lines:
        return "<p class=small>All series could be read; no answer rests on the prior alone.</p>\n"
    return "<h2>What could not be seen</h2>\n<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>\n"


def _crops(rows: pd.DataFrame, study: PreparedStudy) -> str:
    """The image behind each answer that is not Normal/Mild, surest first, at most ten."""
    called = rows.assign(worry=1 - rows[GRADE_COLUMNS[0]]).sort_values("worry", ascending=False)
    figures = [_figure(row, study) for row in called[called.worry > 0.5].head(10).itertuples()]
    figures = [figure for figure in figures if figure]
    return f"<h2>Where it looks narrowed</h2>\n<div class=crops>{''.join(figures)}</div>\n" if figures else ""


def _figure(row, study: PreparedStudy) -> str:
    mm = np.array([getattr(row, name, np.nan) for name in POINT], float)
    found = nearest(study.of(SERIES_OF[row.condition]), mm) if np.isfinite(mm).all() else None
    if found is None:
        return ""
    one = found[0].slices[found[1]]
    png = io.BytesIO()
    Image.fromarray(as_bytes(window(one, mm, CROP_MM, CROP_PX).pixels)).save(png, "PNG")
    source = base64.b64encode(png.getvalue()).decode()
    side = ", patient's left on the right" if SERIES_OF[row.condition] == AXIAL_T2 else ""
    caption = f"{row.condition} {row.level}: {_called(row)}; instance {one.instance}{side}"
    image = f"<img alt='{html.escape(caption)}' width={CROP_PX} height={CROP_PX} src='data:image/png;base64,{source}'>"
    return f"<figure>{image}{_AT}<figcaption>{caption}</figcaption></figure>"
