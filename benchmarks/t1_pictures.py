"""Real Sagittal T1 slices that are pictures, as a data folder in the competition's layout.

The pictures (folder/images, folder/foramina.csv) are whole slices that carry a foraminal
annotation, squashed to squares of 250 px. Sizes in mm are estimated, and the distance between
slices is not known: it is chosen so that annotated foramina of both sides are as far apart as
usual.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from joblib import delayed
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from utils.files import partial_name
from utils.parallel import in_processes
from utils.rsna import SAGITTAL_T1, TARGETS

FORAMINA_MM = 36.0  # from a left foramen to the right one
SLICE_MM = (2.5, 8.0)  # least and greatest distance between slices
USUAL_SLICE_MM = 4.5  # where only one side is annotated
_TARGETS = {target.column: target for target in TARGETS if target.family == "foraminal"}


def write_data(pictures: Path, root: Path, jobs: int = 2) -> Path:
    """Tables and DICOM files of all studies of the pictures into root, once; returns root."""
    if root.is_dir():
        return root
    rows = pd.read_csv(pictures / "foramina.csv")
    partial = root.with_name(partial_name(root.name))
    work = [delayed(_write_study)(pictures, partial, of) for _, of in rows.groupby("study_id")]
    list(in_processes(work, jobs, len(work), "writing studies"))
    _write_tables(rows, partial)
    partial.rename(root)
    return root


def _write_tables(rows: pd.DataFrame, root: Path) -> None:
    labels = rows.pivot(index="study_id", columns="target", values="label")
    labels.reindex(columns=[target.column for target in TARGETS]).to_csv(root / "train.csv")
    points = rows[["study_id", "series_id", "instance_number"]].assign(
        condition=[_TARGETS[name].condition for name in rows.target],
        level=[_TARGETS[name].level for name in rows.target],
        x=rows.x_png,
        y=rows.y_png,
    )
    points.to_csv(root / "train_label_coordinates.csv", index=False)
    series = rows[["study_id", "series_id"]].drop_duplicates()
    series = series.assign(series_description=SAGITTAL_T1)
    series.to_csv(root / "train_series_descriptions.csv", index=False)


def _write_study(pictures: Path, root: Path, rows: pd.DataFrame) -> None:
    """One file per annotated slice; a slice beside it that is not there is a copy of it."""
    for series_id, of in rows.groupby("series_id"):
        folder = root / "train_images" / str(rows.study_id.iloc[0]) / str(series_id)
        folder.mkdir(parents=True)
        slices = of.drop_duplicates("instance_number").set_index("instance_number")
        x_mm = _positions(of)
        for number in sorted({n + step for n in slices.index for step in (-1, 0, 1)}):
            shown = number if number in slices.index else _nearest(slices.index, number)
            image = np.asarray(Image.open(pictures / "images" / slices.file[shown]).convert("L"))
            spacing = slices.mm_per_png_px_y[shown], slices.mm_per_png_px_x[shown]
            _write_slice(folder / f"{number}.dcm", image, number, x_mm(number), spacing)


def _nearest(numbers: pd.Index, number: int) -> int:
    return min(numbers, key=lambda other: abs(other - number))


def _positions(rows: pd.DataFrame):
    """From the number of a slice to its x in mm (LPS): the left foramina have the greater."""
    is_left = rows.target.str.startswith("left")
    left, right = (rows.instance_number[side].mean() for side in (is_left, ~is_left))
    apart = left - right
    if not apart:  # one picture for both sides: not known which way
        apart = np.nan
    step = FORAMINA_MM / apart if np.isfinite(apart) else USUAL_SLICE_MM
    step = np.sign(step) * np.clip(abs(step), *SLICE_MM)
    half = FORAMINA_MM / 2 / step
    middle = np.nanmean([left - half, right + half])
    return lambda number: float((number - middle) * step)


def _write_slice(
    path: Path, image: np.ndarray, number: int, x_mm: float, spacing: tuple[float, float]
) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    data.InstanceNumber = number
    data.ImagePositionPatient = [x_mm, 0.0, 0.0]
    data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]  # columns to the back, rows to the feet
    data.PixelSpacing = [f"{mm:.5f}" for mm in spacing]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = image.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = image.tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)
