"""A board of one's own runs: a row for each finished one, made of what the runs' folders hold, so
that a run that is deleted disappears and one that was interrupted is not listed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from utils import metrics
from utils.files import Folder, OutputError, csv_text, read_table, reason, write_atomic
from utils.inference import RunError, read_settings
from utils.presets import Preset, compared
from utils.rsna import studies_of
from utils.training.trainer import TrainingError

log = logging.getLogger(__name__)
RESULT = "result.csv"  # in the folder of a run
BOARD = "runs.csv"  # in the folder of all runs
COLUMNS = ["run", "preset", "changed", "score", "low", "high", "minutes", "finished", "source"]
THIS = "◀ this run"
_SCORE = ["score", "low", "high"]
_OF_RESULT = [*_SCORE, "finished", "source"]


def keep_result(
    folder: Folder, prepared: Path, preset: Preset, labels: pd.DataFrame, oof: pd.DataFrame
) -> None:
    """Write what a run's row on the board needs and its other files do not tell: the out-of-fold
    score with its 95 % interval, when it was finished, and on which data it was trained. A result
    that is there already keeps its date."""
    scored = oof[studies_of(oof.row_id).isin(labels.study_id)]
    score = [np.nan] * 3
    if len(scored):
        score = metrics.bootstrap(labels, scored).loc["total"].round(4).tolist()
    source = prepared.name.removesuffix(f"-{preset.spacing_mm:g}mm")
    known = _result(folder.path)
    if known is not None and np.array_equal([known[name] for name in _SCORE], score, True):
        return
    finished = known["finished"] if known else _finished_at(folder.path)
    values = [*score, finished, source]
    try:
        folder.write(RESULT, csv_text(pd.DataFrame([values], columns=_OF_RESULT)))
    except OutputError as error:  # the run is whole without it
        log.warning(str(error))


def finished_runs(folders: Iterable[Path]) -> pd.DataFrame:
    """Every finished run in these folders of runs, the best score first: its named preset, what was
    changed against it, score, interval, minutes of training, when and on what it was trained.

    A score that is not known is nan. Of two runs of one name the first is listed; one that cannot
    be read is reported and left out.
    """
    runs: dict[str, Path] = {}
    for folder in folders:
        for path in _finished(folder):
            runs.setdefault(path.name, path)
    rows = [row for path in runs.values() if (row := _row(path))]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["score", "run"], ignore_index=True)


def write_board(run: Path, backup: Path | None = None) -> pd.DataFrame:
    """The board of all runs beside this one and beside its backup, in which this one is marked;
    written as runs.csv into both folders. A folder that cannot be written is reported."""
    folders = [run.parent, *([backup.parent] if backup else [])]
    table = finished_runs(folders)
    for folder in folders:
        try:
            write_atomic(folder / BOARD, csv_text(table))
        except OutputError as error:
            log.warning(str(error))
    return table.assign(**{"": np.where(table.run == run.name, THIS, "")})


def _finished_at(run: Path) -> str:
    """Now, or, of a run that was finished before, when that was."""
    settings = run / "run.json"
    seconds = settings.stat().st_mtime if settings.is_file() else time.time()
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _finished(folder: Path) -> list[Path]:
    try:
        return sorted(path.parent for path in folder.glob("*/run.json"))
    except OSError as error:  # a mount that has gone
        log.warning(f"{folder} cannot be read ({reason(error)}); its runs are not on the board.")
        return []


def _row(folder: Path) -> dict | None:
    try:
        _, preset = read_settings(folder)
    except RunError as error:
        log.warning(f"not on the board: {error}")
        return None
    named, changed = compared(preset)
    row = {"run": folder.name, "preset": named, "changed": changed, "minutes": _minutes(folder)}
    return row | (_result(folder) or {})


def _result(folder: Path) -> dict | None:
    """What keep_result has written; None where it is not there or damaged."""
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        table = read_table(path, _OF_RESULT, TrainingError, "the board does without it")
    except TrainingError as error:
        log.warning(str(error))
        return None
    numbers = table[_SCORE].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    rows = table[_OF_RESULT].assign(**numbers).to_dict("records")
    return rows[0] if rows else None


def _minutes(folder: Path) -> float:
    """Of training, however often it was interrupted; nan where no history tells."""
    seconds = []
    for path in folder.glob("fold*/*/history.csv"):
        try:
            table = read_table(path, ["seconds"], TrainingError, "")
            seconds.append(pd.to_numeric(table.seconds, errors="coerce").sum())
        except TrainingError:
            return np.nan
    return round(sum(seconds) / 60, 1) if seconds else np.nan
