"""Raw studies to a store the models can read fast: same direction, same brightness scale, known mm.

    python -m utils.prepare ROOT OUT

Per study the store holds `<study_id>.npy` (all slices as flat uint8, to be memory-mapped) and `<study_id>.json` (their
places, the annotated points in mm, what was left out). The JSON is written last, so a study without it is not there.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from tqdm.auto import tqdm

from utils.dicom import DicomError, read_series
from utils.geometry import Series, Slice, in_order
from utils.rsna import FAMILY, SERIES, Tables, faults_in, is_placeholder, known_faults, load_tables

SPACING_MM = 0.75  # finer images are brought to this; coarser ones stay as they are
PERCENTILES = (1.0, 99.5)  # of a series' intensities: these become 0 and 255
ONE_SCALE = 2.0  # series of one kind whose ranges differ by a larger factor are not on one scale
AIR, SHARE = 10, 0.03  # a border row or column with less than this share of pixels above AIR is cut off
VERSION = 3  # raise when the store's content changes
# where columns and rows run after preparation, per orientation (LPS)
DIRECTIONS = {
    "sagittal": ((0, 1, 0), (0, 0, -1)),  # front to back, head to foot
    "coronal": ((1, 0, 0), (0, 0, -1)),  # right to left, head to foot
    "axial": ((1, 0, 0), (0, 1, 0)),  # right to left, front to back: the patient's left is on the image's right
}


class StoreError(ValueError):
    """A prepared store that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class PreparedSeries:
    series_id: int
    description: str
    series: Series


@dataclass(frozen=True)
class PreparedStudy:
    """One study as models see it. points: condition, level, series_id, instance_number, x_mm, y_mm, z_mm.

    left_out: (what, why) for every series, slice and point that was not used.
    """

    study_id: int
    series: tuple[PreparedSeries, ...]
    points: pd.DataFrame
    left_out: tuple[tuple[str, str], ...]

    def of(self, description: str) -> list[Series]:
        """The series of one kind; those that lie one below the other are one."""
        return joined([s.series for s in self.series if s.description == description])


def joined(parts: list[Series]) -> list[Series]:
    """Series that lie one below the other as one, so that a slice at the seam has both neighbours; those that cross stay
    apart, because they are different pictures of the same place."""
    whole: list[Series] = []
    for one in parts:
        tried = ((k, Series(in_order(other.slices + one.slices), other.path)) for k, other in enumerate(whole))
        k, both = next(((k, both) for k, both in tried if not _crossing(both, one)), (len(whole), one))
        whole[k : k + 1] = [both]
    return whole


def _crossing(both: Series, one: Series) -> bool:
    """Do the slices of one lie among the others'?"""
    mine = {id(s) for s in one.slices}
    owners = [[id(both.slices[i]) in mine for i in stack] for stack in both.stacks]
    return any(sum(a != b for a, b in pairwise(stack)) > 1 for stack in owners)


def canonical(one: Slice, orientation: str) -> Slice:
    """The same slice with columns and rows running in the standard directions; only transposes and flips."""
    pixels, origin, axes, spacing = one.pixels, one.origin, one.axes, one.spacing
    columns = np.array(DIRECTIONS[orientation][0])
    if abs(axes[1] @ columns) > abs(axes[0] @ columns):
        pixels, axes, spacing = pixels.T, axes[::-1], spacing[::-1]
    for k, direction in enumerate(DIRECTIONS[orientation]):
        if axes[k] @ np.array(direction) < 0:
            last = pixels.shape[1 - k] - 1
            origin = origin + axes[k] * spacing[k] * last
            axes = axes * np.where(np.arange(2) == k, -1.0, 1.0)[:, None]
            pixels = np.flip(pixels, 1 - k)
    return replace(one, pixels=pixels, origin=origin, axes=axes, spacing=spacing)


def resample(one: Slice, spacing_mm: float = SPACING_MM) -> Slice:
    """Brought to spacing_mm where it is finer, anti-aliased; the image's outer edges stay where they are in mm."""
    height, width = one.pixels.shape
    new_w, new_h = (max(1, round(n * min(1.0, mm / spacing_mm))) for n, mm in zip((width, height), one.spacing))
    if (new_w, new_h) == (width, height):
        return one
    spacing = one.spacing * (width / new_w, height / new_h)
    image = Image.fromarray(one.pixels.astype(np.float32)).resize((new_w, new_h), Image.Resampling.BILINEAR)
    return replace(one, pixels=np.asarray(image), origin=one.origin + (spacing - one.spacing) / 2 @ one.axes, spacing=spacing)


def black_and_white(parts: list[list[Slice]]) -> list[tuple[float, float]]:
    """For each series of one kind the intensities that become 0 and 255: percentiles of the whole series, so that its slices
    stay comparable, and of all series together if they are on one scale, as the parts of one scan are."""
    samples = [np.concatenate([s.pixels[::3, ::3].ravel() for s in slices]).astype(np.float32) for slices in parts]
    own = [np.percentile(sample, PERCENTILES) for sample in samples]
    spans = [high - low for low, high in own]
    if max(spans) > ONE_SCALE * min(spans):
        return [tuple(limits) for limits in own]
    return [tuple(np.percentile(np.concatenate(samples), PERCENTILES))] * len(parts)


def normalise(slices: list[Slice], low: float, high: float) -> list[Slice]:
    """uint8: low becomes 0, high 255."""
    gain = 255 / max(high - low, 1e-6)
    scaled = [np.clip((s.pixels.astype(np.float32) - low) * gain, 0, 255).round().astype(np.uint8) for s in slices]
    return [replace(s, pixels=pixels) for s, pixels in zip(slices, scaled)]


def trim(slices: list[Slice]) -> list[Slice]:
    """Without the air round the body: the border rows and columns in which no slice of the series shows anything."""
    if len({s.pixels.shape for s in slices}) > 1:
        return slices
    shown = np.mean([s.pixels > AIR for s in slices], axis=0)
    rows, columns = (np.flatnonzero(shown.mean(axis) > SHARE) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return slices
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return [replace(s, pixels=s.pixels[box], origin=s.to_patient((columns[0], rows[0]))) for s in slices]


def prepare_series(parts: list[Series]) -> list[Series]:
    """Series of one kind in standard directions, in known mm, uint8 on a common scale, without air at the edges.

    The directions are those of all of them together: a block through L5/S1 alone can be nearer to coronal than to axial.
    """
    orientation = Series(tuple(s for one in parts for s in one.slices)).orientation
    turned = [[resample(canonical(s, orientation)) for s in one.slices] for one in parts]
    limits = black_and_white(turned)
    return [replace(one, slices=tuple(trim(normalise(s, *of)))) for one, s, of in zip(parts, turned, limits)]


def read_study(tables: Tables, study_id: int) -> dict[str, Series]:
    """Raw series by description, the longest of each kind. What cannot be used is passed over; prepare_study names it."""
    usable, _ = _usable_series(tables, study_id)
    found = [(row.series_description, series) for row, series in usable]
    return dict(sorted(found, key=lambda pair: len(pair[1])))


def _usable_series(tables: Tables, study_id: int) -> tuple[list[tuple], list[tuple[str, str]]]:
    """A study's series as (row of the table, Series), and what was left out: (what, why)."""
    faults = known_faults()
    dropped = faults[faults.action == "drop series"].set_index("series_id").kind
    usable, left_out = [], []
    for row in tables.series_of(study_id).itertuples():
        what = f"series {row.series_id} ({row.series_description})"
        if row.series_id in dropped.index:
            left_out.append((what, f"known fault: {dropped[row.series_id]}"))
            continue
        try:
            series = read_series(tables.folder(study_id, row.series_id))
        except (DicomError, OSError) as error:
            left_out.append((what, getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)))
            continue
        if (series.orientation == "sagittal") != row.series_description.startswith("Sagittal"):
            left_out.append((what, f"its slices are {series.orientation}"))
            continue
        left_out += [(f"{what} {name}", reason) for name, reason in series.left_out]
        usable.append((row, series))
    return usable, left_out


def prepare_study(tables: Tables, study_id: int) -> PreparedStudy:
    """Read and prepare one study in memory. What cannot be used is left out and named, never raised."""
    usable, left_out = _usable_series(tables, study_id)
    raw, kinds = {int(row.series_id): series for row, series in usable}, {}
    for row, _ in usable:
        kinds.setdefault(row.series_description, []).append(int(row.series_id))
    ready = [
        PreparedSeries(series_id, description, series)
        for description, ids in kinds.items()
        for series_id, series in zip(ids, prepare_series([raw[k] for k in ids]))
    ]
    left_out += [(name, "no such series in this study") for name in SERIES if name not in kinds]
    points, bad = points_in_mm(tables.points[tables.points.study_id == study_id], raw)
    doubts = doubtful(points)
    left_out += [(f"point {row.condition} {row.level}", why) for row, _, why in [*bad, *doubts]]
    points = points.drop(index=[row.Index for row, _, _ in doubts]).reset_index(drop=True)
    return PreparedStudy(int(study_id), tuple(ready), points, tuple(left_out))


def points_in_mm(points: pd.DataFrame, series: dict[int, Series]) -> tuple[pd.DataFrame, list[tuple]]:
    """Annotated points as patient mm, and those that must not be used as (row, kind, why)."""
    faults = known_faults()
    kept, bad = [], []
    for row in points.itertuples():
        fault = _point_fault(row, series, faults)
        if fault:
            bad.append((row, *fault))
            continue
        own = series[row.series_id]
        x, y, z = own.to_patient(own.index(row.instance_number), (row.x, row.y))
        kept.append((row.condition, row.level, int(row.series_id), int(row.instance_number), x, y, z))
    columns = ["condition", "level", "series_id", "instance_number", "x_mm", "y_mm", "z_mm"]
    return pd.DataFrame(kept, columns=columns), bad


def doubtful(points: pd.DataFrame) -> list[tuple]:
    """Points in mm that contradict each other, as (row, "sides exchanged" or "levels out of order", why).

    In LPS the left point of a pair has the greater x, and each level lies below the one before.
    """
    found = {}
    for _, pair in points.groupby([points.condition.map(FAMILY), "level"]):
        side = {row.condition.split()[0]: row for row in pair.itertuples()}
        if {"Left", "Right"} <= set(side) and side["Left"].x_mm < side["Right"].x_mm:
            why = f"the left point lies {side['Right'].x_mm - side['Left'].x_mm:.0f} mm to the right of the right one"
            found |= {row.Index: (row, "sides exchanged", why) for row in side.values()}
    for _, column in points.groupby("condition"):
        for upper, lower in pairwise(column.sort_values("level").itertuples()):
            if lower.z_mm > upper.z_mm:
                why = f"{lower.level} lies {lower.z_mm - upper.z_mm:.0f} mm above {upper.level}"
                for row in (upper, lower):
                    found.setdefault(row.Index, (row, "levels out of order", why))
    return list(found.values())


def _point_fault(row, series: dict[int, Series], faults: pd.DataFrame) -> tuple[str, str] | None:
    """(kind, why), or None for a point that can be used."""
    if row.series_id not in series:
        return "unreadable series", f"series {row.series_id} is not usable"
    if row.instance_number not in series[row.series_id].instances:
        return "point on a missing slice", f"instance {row.instance_number} is not in series {row.series_id}"
    height, width = series[row.series_id].slices[series[row.series_id].index(row.instance_number)].pixels.shape
    if not (-0.5 <= row.x < width and -0.5 <= row.y < height):
        return "point outside the image", "lies outside its image"
    if is_placeholder(row):
        return "placeholder point", "placeholder in the image's corner"
    mine = faults[(faults.study_id == row.study_id) & faults.action.str.startswith("ignore")]
    for fault in mine.itertuples():
        if FAMILY[row.condition] in fault.action and (pd.isna(fault.level) or fault.level == row.level):
            return "known fault", f"known fault: {fault.kind}"
    return None


def save_study(study: PreparedStudy, out: Path, made_of: dict | None = None) -> None:
    """Pixels first, then the JSON that makes them valid; both under a temporary name until complete."""
    slices = [s for part in study.series for s in part.series.slices]
    flat = np.concatenate([s.pixels.ravel() for s in slices]) if slices else np.empty(0, np.uint8)
    with (out / f".{study.study_id}.npy").open("wb") as file:
        np.save(file, flat)
    (out / f".{study.study_id}.npy").replace(out / f"{study.study_id}.npy")
    content = {
        "made_of": made_of or {},
        "series": [
            {"series_id": p.series_id, "description": p.description, "slices": [_slice_json(s) for s in p.series.slices]}
            for p in study.series
        ],
        "points": study.points.to_dict("list"),
        "left_out": study.left_out,
    }
    _write_whole(out / f"{study.study_id}.json", json.dumps(content))


def _write_whole(path: Path, text: str) -> None:
    """Under a temporary name until complete: a kill leaves the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)


def _slice_json(s: Slice) -> dict:
    geometry = {"origin": s.origin.tolist(), "axes": s.axes.tolist(), "spacing": s.spacing.tolist()}
    return {"instance": s.instance, "shape": s.pixels.shape} | geometry


def load_study(out: Path, study_id: int) -> PreparedStudy:
    """One study from the store; pixels are memory-mapped and read when touched."""
    path = Path(out) / f"{study_id}.json"
    if not path.is_file():
        raise StoreError(
            f"{path}: study {study_id} is not in this store; run 02_preprocess or `python -m utils.prepare ROOT {out}`"
        )
    content, flat, at = json.loads(path.read_text()), np.load(path.with_suffix(".npy"), mmap_mode="r"), 0
    parts = []
    for part in content["series"]:
        slices = []
        for s in part["slices"]:
            size = s["shape"][0] * s["shape"][1]
            pixels, at = flat[at : at + size].reshape(s["shape"]), at + size
            geometry = (np.array(s[name]) for name in ("origin", "axes", "spacing"))
            slices.append(Slice(s["instance"], pixels, *geometry))
        parts.append(PreparedSeries(part["series_id"], part["description"], Series(tuple(slices))))
    return PreparedStudy(int(study_id), tuple(parts), pd.DataFrame(content["points"]), tuple(map(tuple, content["left_out"])))


def prepare(root: str | Path, out: str | Path, jobs: int = 2, folds: int = 4, seed: int = 0) -> pd.DataFrame:
    """Prepare every training study whose images are on this disk; returns one row per study.

    Resumable and idempotent: a study in the store is done again only if files or known faults have come since. Writes
    labels.csv, points.csv, folds.csv and left_out.csv beside the studies. Runs on joblib: under
    `joblib.parallel_config("dask")` on a Dask cluster.
    Raises StoreError if out holds a store made with other settings.
    """
    tables, out = load_tables(root), Path(out)
    studies = tables.studies("train")
    if not studies:
        raise StoreError(f"{tables.root}: no images under train_images. Download them, or set SOURCE = 'phantom'")
    try:
        _claim(out)
        todo = [study for study in studies if not _is_done(tables, study, out)]
        work = Parallel(jobs, return_as="generator")(delayed(_prepare_one)(tables.only(study), study, out) for study in todo)
        with tqdm(work, total=len(todo), desc="preparing", unit="study", disable=not todo) as progress:
            left_out = 0
            for count in progress:
                left_out += count
                progress.set_postfix_str(f"{left_out} left out", refresh=False)
        _write_tables(tables, studies, out, folds, seed)
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written ({error.strerror or error}); free some space or choose another folder"
        ) from error
    return pd.read_csv(out / "folds.csv")


def _prepare_one(tables: Tables, study_id: int, out: Path) -> int:
    """Prepare and save a study; returns how much of it was left out."""
    made_of = _made_of(tables, study_id)  # before it is read: what comes meanwhile is seen next time
    study = prepare_study(tables, study_id)
    for windows in out.glob(f"windows/*/{study_id}.*"):  # cut from what the study was before
        windows.unlink()
    save_study(study, out, made_of)
    return len(study.left_out)


def _is_done(tables: Tables, study_id: int, out: Path) -> bool:
    """Is the study in the store, and made of what is there now?"""
    path = out / f"{study_id}.json"
    return path.is_file() and json.loads(path.read_text()).get("made_of") == _made_of(tables, study_id)


def _made_of(tables: Tables, study_id: int) -> dict:
    """How many files each series has, and the study's known faults: downloads go on, and faults are added to the list."""
    folders = {series: tables.folder(study_id, series) for series in tables.series_of(study_id).series_id}
    faults = faults_in(tables.only(study_id))
    return {
        "files": {str(series): len(os.listdir(folder)) if folder.is_dir() else 0 for series, folder in folders.items()},
        "faults": [" ".join(map(str, row)) for row in faults.itertuples(index=False)],
    }


def _claim(out: Path) -> None:
    brightness = {"percentiles": list(PERCENTILES), "one_scale": ONE_SCALE}
    settings = {"version": VERSION, "spacing_mm": SPACING_MM, "air": [AIR, SHARE]} | brightness
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.json"
    if manifest.is_file() and (found := json.loads(manifest.read_text())) != settings:
        raise StoreError(f"{out} was prepared with {found}, now asked for {settings}; delete it or choose another folder")
    if not manifest.is_file():
        _write_whole(manifest, json.dumps(settings))


def _write_tables(tables: Tables, studies: list[int], out: Path, folds: int, seed: int) -> None:
    stored = {study: json.loads((out / f"{study}.json").read_text()) for study in studies}
    rows = [(study, what, why) for study, content in stored.items() for what, why in content["left_out"]]
    labels = tables.labels[tables.labels.study_id.isin(studies)]
    written = {
        "points.csv": pd.concat([pd.DataFrame(content["points"]).assign(study_id=study) for study, content in stored.items()]),
        "left_out.csv": pd.DataFrame(rows, columns=["study_id", "what", "why"]),
        "labels.csv": labels,
        "folds.csv": make_folds(labels, folds, seed),
    }
    for name, table in written.items():
        _write_whole(out / name, table.to_csv(index=False))


def make_folds(labels: pd.DataFrame, folds: int = 4, seed: int = 0) -> pd.DataFrame:
    """study_id and fold: whole studies, so that no patient is on both sides, each fold with as many severe grades. Of fewer
    studies than folds each is a fold of its own.

    Studies are ranked by how much is narrowed, and each `folds` neighbours in rank are dealt to different folds.
    """
    rng = np.random.default_rng(seed)
    burden = labels.assign(burden=labels.grade.map({"Moderate": 1, "Severe": 3}).fillna(0)).groupby("study_id").burden.sum()
    ranked = burden.sample(frac=1, random_state=seed).sort_values(kind="stable").index
    folds = min(folds, len(ranked))
    deals = [rng.permutation(folds) for _ in range(-(-len(ranked) // folds))]
    table = pd.DataFrame({"study_id": ranked, "fold": np.concatenate(deals)[: len(ranked)]})
    return table.sort_values("study_id", ignore_index=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m utils.prepare", description="Prepare a data folder for training.")
    parser.add_argument("root"), parser.add_argument("out")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folds", type=int, default=4, help="as many as the preset has that will be trained")
    a = parser.parse_args()
    print(prepare(a.root, a.out, a.jobs, a.folds).fold.value_counts().sort_index().to_string())
