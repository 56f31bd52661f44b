"""From a study to 25 × 3 probabilities: locate, cut, grade; average the folds and the mirror; say what could not be seen.

python -m utils.inference ROOT RUN --out submission.csv
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tqdm.auto import tqdm

from utils import metrics, phantom
from utils.augment import glances, move_windows
from utils.checkpoints import digest
from utils.locate import GLANCE, locate
from utils.models import Grader, Locator
from utils.prepare import PreparedStudy, prepare_study
from utils.presets import Preset
from utils.rsna import (
    GRADE_COLUMNS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    SERIES_OF,
    TARGETS,
    Tables,
    load_tables,
    row_id,
    row_ids,
    studies_of,
)
from utils.views import MARGIN, OTHER_TARGET, POINT, TARGET_LEVEL, VIEW_TARGET, VIEWS, grader_views, mirrored, nearest

PRIOR = "prior used:"  # how the note of an answer begins that rests on no image
FAILED = f"{PRIOR} the study could not be graded:"
SHARE = 0.7  # of a shift of prevalence: in full it goes too far, see Run.shift


class RunError(ValueError):
    """A run folder that cannot be used; the message says which part is missing and what makes it."""


@dataclass(frozen=True)
class Run:
    """A trained run: its preset, one (locator, grader) pair per trained fold, its prior (25, 3) and temperature.

    name     the folder's, and the beginning of a fingerprint of all weights
    learned  the prior of the labels it learnt from, where those who will be graded are another population: phantoms are drawn
             with more severe grades than patients have
    """

    folder: Path
    name: str
    preset: Preset
    folds: tuple[tuple[Locator, Grader], ...]
    prior: pd.DataFrame
    temperature: float
    learned: pd.DataFrame | None = None

    @property
    def shift(self) -> np.ndarray:
        """(25, 3) to be added to logits: how much more frequent each grade is than it was in training, as a logarithm (Bayes;
        Saerens 2002). The same for both sides, because a grader learns from every study in a mirror too.

        In full it is right for places graded one by one. A grader that sees all 25 makes part of it itself, because whoever has
        one narrow place has others. So a SHARE of it is better: 0.5 to 0.8 for two graders, each on four sets of 60 phantoms as
        ill as patients (two drawings, two kinds of brightness); up to 1 on such whose places were drawn one by one, and for
        runs of few phantoms (docs/transfer.csv).
        """
        if self.learned is None:
            return np.zeros((25, 3))
        order = list(TARGETS), list(GRADE_COLUMNS)
        ratio = np.log(self.prior.loc[order] / self.learned.loc[order]).to_numpy()
        return SHARE * (ratio + ratio[OTHER_TARGET]) / 2

    @property
    def as_learned(self) -> Run:
        """The same run for the population it learnt from."""
        return self if self.learned is None else replace(self, prior=self.learned, learned=None)

    @property
    def signature(self) -> str:
        """What an answer depends on besides the study."""
        return f"{self.name} T={self.temperature:g}" + (" for patients" if self.learned is not None else "")


def load_run(folder: str | Path) -> Run:
    """Read a run that `training.fit` has finished. Weights are safetensors, the rest JSON and CSV."""
    folder = Path(folder)
    text = _part(folder, "run.json").read_text()
    try:
        content = json.loads(text)
        preset = preset_from(content["preset"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / 'run.json'} is damaged; delete it and run 03_train again: nothing is trained twice") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs, prints = [], [digest(folder / "run.json")]
    for fold in content["folds"]:
        models = Locator(preset), Grader(replace(preset, pretrained=False))  # the weights come from the run
        for name, model in zip(("locator", "grader"), models):
            path = folder / f"fold{fold}" / name / "model.safetensors"
            if not path.is_file():
                raise RunError(f"{path}: the weights are missing; train fold {fold} again with 03_train")
            try:
                model.load_state_dict(load_file(path))  # of 16 bits or 32; they are used in 32
            except (SafetensorError, RuntimeError) as error:
                raise RunError(f"{path}: these weights do not fit or are damaged ({error}); train fold {fold} again") from error
            model.to(device).eval()
            prints.append(digest(path))
        pairs.append(models)
    names = ("prior.csv", "learned.csv") if preset.population == "patients" else ("prior.csv",)
    priors = [pd.read_csv(_part(folder, name)).set_index(["condition", "level"]) for name in names]
    prints += [digest(folder / name) for name in names]
    name = f"{folder.resolve().name} {hashlib.sha256(' '.join(prints).encode()).hexdigest()[:8]}"
    return Run(folder, name, preset, tuple(pairs), priors[0], float(content["temperature"]), *priors[1:])


def _part(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise RunError(f"{folder}: no finished run here ({name} is missing). Run 03_train, or `python -m utils.training`")
    return folder / name


def preset_from(content: dict) -> Preset:
    known = {f.name for f in fields(Preset)}
    content = {name: value for name, value in content.items() if name in known}
    return Preset(**content | {"train_folds": tuple(content["train_folds"])})


# --- stage 2 --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def grade(grader: Grader, study: PreparedStudy, points: np.ndarray, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Logits (25, 3) and which targets were seen in at least one view (25,): the mean of several glances. The patient is also
    shown in a mirror, where left and right have changed places, so that a mirrored patient gets mirrored answers."""
    crops, exists = grader_views(study, points, preset, MARGIN)
    seen = np.zeros(25, bool)
    seen[VIEW_TARGET[exists]] = True
    if not exists.any():
        return np.zeros((25, 3)), seen
    other, there, back, flip = mirrored(crops, exists, np.arange(25))
    other[flip] = other[flip][..., ::-1]
    both, seen_in = np.stack([crops, other]), np.stack([exists, there])
    logits = np.mean([_glance(grader, both, seen_in, move, preset) for move in glances(GLANCE * preset.crop_px)], 0)
    mean = (logits[0] + logits[1][back]) / 2
    return np.nan_to_num(mean), seen & np.isfinite(mean).all(1)


def _glance(grader: Grader, crops: np.ndarray, exists: np.ndarray, move: torch.Tensor, preset: Preset) -> np.ndarray:
    """Logits (B, 25, 3) of crops with a margin (B, 30, S, P, P), as one move shows them."""
    device = next(grader.parameters()).device
    x = torch.from_numpy(crops).to(device).flatten(0, 1) / 255
    seen = move_windows(x, move.to(device).expand(len(x), -1, -1), preset.crop_px)
    logits = grader(seen.unflatten(0, exists.shape), torch.from_numpy(exists).to(device))
    return logits.float().cpu().numpy()


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities in float64, so that a row sums to 1 to the last digit."""
    z = logits.astype(float) / temperature
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def locate_study(run: Run, study: PreparedStudy) -> tuple[np.ndarray, np.ndarray]:
    """Points (25, 3) mm and confidences (25,), each from the surest fold: between two that differ by a level lies a place that
    neither has looked at."""
    return _surest([locate(locator, study, run.preset) for locator, _ in run.folds])


def _surest(located: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    points, sure = map(np.array, zip(*located))
    best = sure.argmax(0), np.arange(len(TARGETS))
    return points[best], sure[best]


def answer_study(run: Run, study: PreparedStudy) -> pd.DataFrame:
    """25 rows: row_id, the three probabilities, the point in mm, its series and instance, confidence, note.

    Probabilities are the mean of the folds that saw the level; where none did, they are the weighted prior. The point is that
    of the surest fold.
    """
    located = [locate(locator, study, run.preset) for locator, _ in run.folds]
    graded = [grade(grader, study, found, run.preset) for (_, grader), (found, _) in zip(run.folds, located)]
    weight = np.array([visible for _, visible in graded], float)[..., None]  # (folds, 25, 1)
    p = np.array([softmax(logits / run.temperature + run.shift) for logits, _ in graded])
    seen = weight.any(0)[:, 0]
    mean = np.where(seen[:, None], (weight * p).sum(0) / weight.sum(0).clip(1), run.prior.loc[list(TARGETS), list(GRADE_COLUMNS)])
    mean /= mean.sum(1, keepdims=True)
    points, sure = _surest(located)
    absent = np.isnan(points[TARGET_LEVEL, 0])  # the level's canal point
    notes = [_note(study, condition, *of) for (condition, _), *of in zip(TARGETS, seen, absent)]
    if (np.diff(points[:5, 2]) > 0).any():
        notes = [note or "doubtful: the levels were not found in order" for note in notes]
    where = [_where(study, *of) for of in zip(TARGETS, points)]
    return _answer_table(run, study.study_id, mean, points, sure, where, notes)


def _note(study: PreparedStudy, condition: str, seen: bool, absent: bool) -> str:
    """What an answer had to do without; nothing if it had all."""
    if not (seen or study.of(SAGITTAL_T2) or study.of(SAGITTAL_T1)):
        return f"{PRIOR} there is no sagittal series to find the levels on"
    if absent:
        return f"{PRIOR} this level was not found in the sagittal pictures; they may end before it"
    absent = [kind for kind in dict.fromkeys(kind for k, kind in VIEWS if TARGETS[k][0] == condition) if not study.of(kind)]
    if absent:
        ours = [why for what, why in study.left_out if what == absent[0] or what.endswith(f"({absent[0]})")]
        return f"{'seen without' if seen else PRIOR} {absent[0]}: {(ours or ['no such series in this study'])[0]}"
    return "" if seen else f"{PRIOR} {SERIES_OF[condition]} does not reach this level, or it was not found"


def _where(study: PreparedStudy, target: tuple[str, str], point: np.ndarray) -> tuple:
    """Series and instance a point lies on; empty where there is none."""
    found = nearest(study.of(SERIES_OF[target[0]]), point) if np.isfinite(point).all() else None
    if found is None:
        return pd.NA, pd.NA
    one = found[0].slices[found[1]]
    return next(part.series_id for part in study.series if any(s is one for s in part.series.slices)), one.instance


def _answer_table(run: Run, study_id: int, probabilities, points, sure, where, notes) -> pd.DataFrame:
    table = pd.DataFrame(TARGETS, columns=["condition", "level"])
    table.insert(0, "row_id", [row_id(study_id, *target) for target in TARGETS])
    table.insert(1, "study_id", study_id)
    table[list(GRADE_COLUMNS)], table[POINT], table["confidence"] = probabilities, points, sure
    table[["series_id", "instance_number"]] = pd.DataFrame(where, dtype="Int64")
    notes = [" ".join(note.split()) for note in notes]  # on one line, whatever an error said
    return table.assign(note=notes, run=run.signature)


def prior_answer(run: Run, study_id: int, why: str) -> pd.DataFrame:
    """The weighted prior for a study that cannot be read at all."""
    nowhere = np.full((25, 3), np.nan), np.zeros(25), [(pd.NA, pd.NA)] * 25
    prior = run.prior.loc[list(TARGETS), list(GRADE_COLUMNS)].to_numpy()
    return _answer_table(run, study_id, prior, *nowhere, [f"{FAILED} {why}"] * 25)


# --- many studies ---------------------------------------------------------------------------------------------------


def answers(
    root: str | Path | Tables,
    run: str | Path | Run,
    split: str = "test",
    studies: list[int] | None = None,
    out: str | Path | None = None,
) -> pd.DataFrame:
    """answer_study for every study of a split, in the order of the tables; a broken study gets the prior and a note.

    split  "test" answers every study of the test tables, with or without images; "train" those whose images are here
    out    a predictions.csv, written study by study under another name; after a kill the next call goes on from there
    """
    tables = root if isinstance(root, Tables) else load_tables(root)
    run = run if isinstance(run, Run) else load_run(run)
    asked = asked_studies(tables, split) if studies is None else studies
    if not asked:
        raise ValueError(f"{tables.root}: no {split} studies to grade")
    if out is None:
        return pd.concat(_one_by_one(tables, run, asked), ignore_index=True)
    partial = Path(out).with_suffix(".partial.csv")
    partial.parent.mkdir(parents=True, exist_ok=True)
    done = _answered_before(partial, run, tables, asked)
    with partial.open("a", encoding="utf-8") as file:
        for rows in _one_by_one(tables, run, [study for study in asked if study not in done]):
            file.write(rows.to_csv(index=False, header=file.tell() == 0))
            file.flush()
    table = read_predictions(partial)
    partial.replace(out)
    return table


def _one_by_one(tables: Tables, run: Run, studies: list[int]) -> Iterator[pd.DataFrame]:
    """25 rows at a time; no study is kept in memory when the next is read. If not a single one of several can be graded, the
    fault is not theirs, and the error is raised."""
    failed = 0
    for study_id in tqdm(studies, desc="grading", unit="study"):
        try:
            rows = answer_study(run, prepare_study(tables, study_id))
        except Exception as error:  # whatever is wrong with one study must not cost the others their answers
            failed += 1
            if failed == len(studies) > 1:
                raise
            rows = prior_answer(run, study_id, f"{type(error).__name__}: {error}")
        yield rows.assign(data=tables.root.name)


def _answered_before(partial: Path, run: Run, tables: Tables, asked: list[int]) -> set[int]:
    """Studies that this run has answered, of those asked for now and in this data folder; whatever else is in the file, half a
    line of a kill say, or a study that failed, is cut away."""
    if not partial.is_file():
        return set()
    text = partial.read_bytes().rpartition(b"\n")[0].decode(errors="replace")
    rows = read_predictions(io.StringIO(text)) if text else pd.DataFrame()
    if not {"study_id", "run", "data", "note"} <= set(rows):
        rows = pd.DataFrame(columns=["study_id", "run", "data", "note"])
    mine = (rows.run == run.signature) & (rows.data == tables.root.name) & rows.study_id.isin(asked)
    whole = rows[mine & ~rows.note.str.startswith(FAILED)].groupby("study_id").filter(lambda study: len(study) == len(TARGETS))
    rewritten = partial.with_suffix(".tmp")
    rewritten.write_text(whole.to_csv(index=False) if len(whole) else "", encoding="utf-8")
    rewritten.replace(partial)
    return set(whole.study_id)


def read_predictions(path: str | Path | io.StringIO) -> pd.DataFrame:
    """A predictions.csv as `answers` gave it."""
    kinds = {"series_id": "Int64", "instance_number": "Int64", "note": str, "run": str, "data": str}
    return pd.read_csv(path, dtype=kinds).fillna({"note": ""})


def asked_studies(tables: Tables, split: str) -> list[int]:
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    if split == "train":
        return tables.studies("train")
    listed = tables.series[tables.series.split == "test"].study_id
    sampled = studies_of(tables.submission.row_id)
    return sorted(set(map(int, listed)) | set(map(int, sampled)))


def as_submission(answered: pd.DataFrame, sample: pd.DataFrame | None = None) -> pd.DataFrame:
    """Exactly the rows of sample_submission.csv in its order (without a sample: studies ascending, 25 rows each), checked by
    the metric's own validator."""
    order = [i for study in sorted(answered.study_id.unique()) for i in row_ids(study)] if sample is None else sample.row_id
    chosen = answered[answered.row_id.isin(order)]
    metrics.check_submission(chosen, order)
    return chosen.set_index("row_id").loc[order, list(GRADE_COLUMNS)].reset_index()


def predict(root: str | Path | Tables, run: str | Path | Run, split: str = "test", out: str | Path | None = None) -> pd.DataFrame:
    """Probabilities in submission form: row_id, normal_mild, moderate, severe. out: as in `answers`."""
    tables = root if isinstance(root, Tables) else load_tables(root)
    answered = answers(tables, run, split, out=out)
    return as_submission(answered, tables.submission if split == "test" and len(tables.submission) else None)


def known_grades(tables: Tables, split: str) -> pd.DataFrame:
    """What there is to score a split with: a phantom's truth, or the labels given; no row where nothing is known."""
    known = phantom.true_labels(tables.root, split) if (tables.root / "truth").is_dir() else tables.labels
    return known[known.grade.notna()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.inference", description="Grade studies with a trained run.")
    parser.add_argument("root"), parser.add_argument("run")
    parser.add_argument("--out", default="submission.csv", help="predictions.csv is written beside it")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    a = parser.parse_args()
    if Path(a.out).name == "predictions.csv":
        parser.error("predictions.csv is written beside the submission; choose another name for --out")
    try:
        tables, run = load_tables(a.root), load_run(a.run)
    except ValueError as error:  # TableError, RunError: the message says what to do
        parser.exit(2, f"{error}\n")
    submission = predict(tables, run, a.split, predictions := Path(a.out).with_name("predictions.csv"))
    submission.to_csv(a.out, index=False)
    table = read_predictions(predictions)
    unseen = table.note.str.startswith(PRIOR).sum()
    print(f"{a.out}: {len(submission)} rows, {table.study_id.nunique()} studies, {unseen} rows from the prior")
    for (study_id, note), rows in table[table.note != ""].groupby(["study_id", "note"], sort=False):
        print(f"  {study_id}: {len(rows)} rows, {note}")
    known = known_grades(tables, a.split)
    if known.study_id.isin(table.study_id).any():
        known = known[known.study_id.isin(table.study_id)]
        guess = metrics.constant_submission(run.prior, sorted(known.study_id.unique()))
        scored = submission[submission.row_id.isin(guess.row_id)]
        print(f"weighted prior  {metrics.rsna_score(known, guess)}\nthis run        {metrics.rsna_score(known, scored)}")


if __name__ == "__main__":
    main()
