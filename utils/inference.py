"""From a study to 25 × 3 probabilities: locate, cut, grade; average the folds; say what could not be seen.

python -m utils.inference ROOT RUN --out submission.csv
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from scipy.ndimage import maximum_filter
from tqdm.auto import tqdm

from utils import metrics
from utils.geometry import Slice
from utils.models import STRIDE, Grader, Locator, joint_log_softmax
from utils.prepare import PreparedStudy, prepare_study
from utils.presets import Preset
from utils.rsna import (
    AXIAL_T2,
    GRADE_COLUMNS,
    LEVELS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    SERIES_OF,
    TARGETS,
    Tables,
    load_tables,
    row_id,
    row_ids,
)
from utils.views import (
    POINT,
    SIDES,
    foramen_windows,
    grader_views,
    nearest,
    recess_windows,
    sagittal_windows,
    stack_pixels,
)

STEP_MM = (31.0, 9.0)  # from one level's point to the next: mean and spread in adults
NEAR_MM = 10.0  # a point's confidence is the share of the heat map within this distance of it


class RunError(ValueError):
    """A run folder that cannot be used; the message says which part is missing and what makes it."""


@dataclass(frozen=True)
class Run:
    """A trained run: its preset, one (locator, grader) pair per trained fold, its prior (25, 3) and temperature."""

    folder: Path
    preset: Preset
    folds: tuple[tuple[Locator, Grader], ...]
    prior: pd.DataFrame
    temperature: float


def load_run(folder: str | Path) -> Run:
    """Read a run that `training.fit` has finished. Weights are safetensors, the rest JSON and CSV."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder}: no finished run here (run.json is missing). Run 03_train, or `python -m utils.training`")
    content, device = json.loads((folder / "run.json").read_text()), "cuda" if torch.cuda.is_available() else "cpu"
    preset = preset_from(content["preset"])
    pairs = []
    for fold in content["folds"]:
        models = Locator(preset), Grader(preset_without_download(preset))
        for name, model in zip(("locator", "grader"), models):
            path = folder / f"fold{fold}" / name / "model.safetensors"
            if not path.is_file():
                raise RunError(f"{path}: the weights are missing; train fold {fold} again with 03_train")
            model.load_state_dict(load_file(path))
            model.to(device).eval()
        pairs.append(models)
    prior = pd.read_csv(folder / "prior.csv").set_index(["condition", "level"])
    return Run(folder, preset, tuple(pairs), prior, float(content["temperature"]))


def preset_from(content: dict) -> Preset:
    known = {f.name for f in fields(Preset)}
    content = {name: value for name, value in content.items() if name in known}
    return Preset(**content | {"train_folds": tuple(content["train_folds"])})


def preset_without_download(preset: Preset) -> Preset:
    """The weights come from the run, so ImageNet's are not needed."""
    return Preset(**{f.name: getattr(preset, f.name) for f in fields(Preset)} | {"pretrained": False})


# --- stage 1 --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def locate(locator: Locator, study: PreparedStudy, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Points (25, 3) mm, nan where not found, and confidence (25,): the share of the heat map near the point.

    Canal points first, on Sagittal T2 (or on T1 where there is no T2: the canal is in the same place). Carried through
    patient space they say which slices show a level's foramina, which side those are on, and which axial slices are its.
    """
    points, sure = np.full((25, 3), np.nan), np.zeros(25)
    parts = study.of(SAGITTAL_T2) or study.of(SAGITTAL_T1)
    if not parts:
        return points, sure
    points[:5], sure[:5] = _search(locator.canal, sagittal_windows(max(parts, key=len), preset))
    for k, level in enumerate(LEVELS):
        for side in SIDES:
            row = TARGETS.index((f"{side} Neural Foraminal Narrowing", level))
            beside = foramen_windows(study.of(SAGITTAL_T1), points[k], side, preset)
            if beside:
                points[[row]], sure[[row]] = _search(locator.foramen, beside)
        through = recess_windows(study.of(AXIAL_T2), points[k], preset, beside=2)
        if through:
            rows = [TARGETS.index((f"{side} Subarticular Stenosis", level)) for side in SIDES]
            points[rows], sure[rows] = _search(locator.recess, through)
    return points, sure


def _search(net, windows: list[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """Points (C, 3) mm and confidences (C,) of the C channels of a net, over all windows at once."""
    x = torch.from_numpy(stack_pixels(windows)).to(next(net.parameters()).device).float() / 255
    p = joint_log_softmax(net(x[:, None])[None])[0].exp().cpu().numpy()  # (N, C, h, w)
    flat = p.sum(0)  # (C, h, w): where in the plane, whatever the slice
    peaks = [_candidates(one) for one in flat]
    cell_mm = STRIDE * windows[0].spacing[1]
    chosen = in_level_order(peaks, cell_mm) if len(peaks) == len(LEVELS) else [c[0] for c in peaks]
    found = [_refine(p[:, c], cell, windows) for c, cell in enumerate(chosen)]
    return np.array([f[0] for f in found]), np.array([f[1] for f in found])


def _candidates(flat: np.ndarray, count: int = 6) -> list[tuple[int, int, float]]:
    """The highest local maxima of one heat map (h, w) as (row, column, log-probability), best first."""
    top = np.argwhere((flat == maximum_filter(flat, 5)) & (flat > 0))
    top = top[np.argsort(-flat[tuple(top.T)])][:count]
    return [(int(r), int(c), float(np.log(flat[r, c] + 1e-12))) for r, c in top] or [(0, 0, -30.0)]


def in_level_order(peaks: list[list[tuple[int, int, float]]], cell_mm: float) -> list[tuple[int, int, float]]:
    """One candidate per level so that levels run head to foot at plausible distances: the best chain (Viterbi).

    It only chooses among the peaks of the heat maps, so that a right point is never pulled out of place.
    """
    score, back = [np.array([c[2] for c in peaks[0]])], []
    for above, here in pairwise(peaks):
        rows, columns = (np.array([[h[k] - a[k] for a in above] for h in here]) * cell_mm for k in (0, 1))
        step = np.where(rows > 0, -(((np.hypot(rows, columns) - STEP_MM[0]) / STEP_MM[1]) ** 2) / 2, -50.0)
        total = score[-1][None] + step
        back.append(total.argmax(1))
        score.append(total.max(1) + [c[2] for c in here])
    k = int(score[-1].argmax())
    chain = [k]
    for choice in reversed(back):
        chain.append(int(choice[chain[-1]]))
    return [level[k] for level, k in zip(peaks, reversed(chain))]


def _refine(p: np.ndarray, peak: tuple[int, int, float], windows: list[Slice]) -> tuple[np.ndarray, float]:
    """Centre of mass round a peak of p (N, h, w), across the slices too; confidence is the share within NEAR_MM."""
    rows, columns = np.mgrid[: p.shape[1], : p.shape[2]]
    near = p * ((abs(rows - peak[0]) <= 2) & (abs(columns - peak[1]) <= 2))
    weight = near / max(near.sum(), 1e-12)
    xy = (np.array([(weight * columns).sum(), (weight * rows).sum()]) + 0.5) * STRIDE - 0.5
    across = weight.sum((1, 2)) @ np.array([w.to_patient(xy) for w in windows])
    i = int(np.argmin([abs(w.distance(across)) for w in windows]))
    cells = windows[i].to_patient((np.stack([columns, rows], -1) + 0.5) * STRIDE - 0.5)
    beside = np.linalg.norm(cells - windows[i].to_patient(xy), axis=-1) < NEAR_MM
    return across, float(p.sum(0)[beside].sum())


# --- stage 2 --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def grade(grader: Grader, study: PreparedStudy, points: np.ndarray, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Logits (25, 3) and which targets were seen in at least one view (25,)."""
    crops, exists = grader_views(study, points, preset)
    seen = np.zeros(25, bool)
    seen[grader.target.cpu().numpy()[exists]] = True
    if not exists.any():
        return np.zeros((25, 3)), seen
    device = next(grader.parameters()).device
    logits = grader(torch.from_numpy(crops)[None].to(device).float() / 255, torch.from_numpy(exists)[None].to(device))
    return logits[0].float().cpu().numpy(), seen


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities in float64, so that a row sums to 1 to the last digit."""
    z = logits.astype(float) / temperature
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def answer_study(run: Run, study: PreparedStudy) -> pd.DataFrame:
    """25 rows: row_id, the three probabilities, the point in mm, its series and instance, confidence, note."""
    points, sure, probabilities, seen = [], [], [], np.ones(25, bool)
    for locator, grader in run.folds:
        found, p = locate(locator, study, run.preset)
        logits, visible = grade(grader, study, found, run.preset)
        points.append(found), sure.append(p), probabilities.append(softmax(logits, run.temperature))
        seen &= visible
    mean = np.mean(probabilities, 0)
    mean[~seen] = run.prior.loc[list(TARGETS), list(GRADE_COLUMNS)].to_numpy()[~seen]
    mean /= mean.sum(1, keepdims=True)
    return _answer_table(study, np.median(points, 0), np.mean(sure, 0), mean, seen)


def _answer_table(study: PreparedStudy, points, sure, probabilities, seen) -> pd.DataFrame:
    rows = []
    for k, (condition, level) in enumerate(TARGETS):
        note = "" if seen[k] else f"prior used: {SERIES_OF[condition]} is missing, unreadable or does not reach this level"
        where = _where(study, condition, points[k])
        names = {"row_id": row_id(study.study_id, condition, level), "study_id": study.study_id}
        names |= {"condition": condition, "level": level} | dict(zip(GRADE_COLUMNS, probabilities[k]))
        rows.append(names | dict(zip(POINT, points[k])) | where | {"confidence": sure[k], "note": note})
    return pd.DataFrame(rows)


def _where(study: PreparedStudy, condition: str, point: np.ndarray) -> dict:
    """Series and instance a point lies on; empty where there is none."""
    parts = [s for s in study.series if s.description == SERIES_OF[condition]]
    found = nearest([s.series for s in parts], point) if np.isfinite(point).all() else None
    if found is None:
        return {"series_id": pd.NA, "instance_number": pd.NA}
    owner = next(s for s in parts if s.series is found[0])
    return {"series_id": owner.series_id, "instance_number": found[0].instances[found[1]]}


def prior_answer(run: Run, study_id: int, why: str) -> pd.DataFrame:
    """The weighted prior for a study that cannot be read at all."""
    table = run.prior.loc[list(TARGETS)].reset_index()
    ids = [row_id(study_id, c, lv) for c, lv in TARGETS]
    return table.assign(row_id=ids, study_id=study_id, note=f"prior used: {why}")


# --- many studies ---------------------------------------------------------------------------------------------------


def answers(root: str | Path, run: str | Path | Run, split: str = "test", studies: list[int] | None = None) -> pd.DataFrame:
    """answer_study for every study of a split, in the order of the tables; a broken study gets the prior and a note.

    split "test" answers every study of the test tables, with or without images; "train" those whose images are here.
    """
    tables = root if isinstance(root, Tables) else load_tables(root)
    run = run if isinstance(run, Run) else load_run(run)
    parts = []
    for study_id in tqdm(asked_studies(tables, split) if studies is None else studies, desc="grading", unit="study"):
        try:
            parts.append(answer_study(run, prepare_study(tables, study_id)))
        except (ValueError, OSError, RuntimeError) as error:
            parts.append(prior_answer(run, study_id, f"{type(error).__name__}: {error}"))
    if not parts:
        raise ValueError(f"{tables.root}: no {split} studies to grade")
    return pd.concat(parts, ignore_index=True)


def asked_studies(tables: Tables, split: str) -> list[int]:
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    if split == "train":
        return tables.studies("train")
    listed = tables.series[tables.series.split == "test"].study_id
    sampled = tables.submission.row_id.str.split("_").str[0].astype("int64") if len(tables.submission) else listed
    return sorted(set(map(int, listed)) | set(map(int, sampled)))


def as_submission(answered: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of sample_submission.csv: studies ascending, 25 each; checked by the metric's own validator."""
    order = [i for study in sorted(answered.study_id.unique()) for i in row_ids(study)]
    metrics.check_submission(answered, order)
    return answered.set_index("row_id").loc[order, list(GRADE_COLUMNS)].reset_index()


def predict(root: str | Path, run: str | Path | Run, split: str = "test", studies: list[int] | None = None) -> pd.DataFrame:
    """Probabilities in submission form: row_id, normal_mild, moderate, severe."""
    return as_submission(answers(root, run, split, studies))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m utils.inference", description="Grade studies with a trained run.")
    parser.add_argument("root"), parser.add_argument("run")
    parser.add_argument("--out", default="submission.csv")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    a = parser.parse_args()
    table = answers(a.root, a.run, a.split)
    as_submission(table).to_csv(a.out, index=False)
    fallbacks = table[table.note != ""]
    print(f"{a.out}: {len(table)} rows, {table.study_id.nunique()} studies, {len(fallbacks)} rows from the prior")
