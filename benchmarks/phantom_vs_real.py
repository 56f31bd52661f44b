"""How like real MRI phantoms are, in figures: geometry and brightness of N phantoms beside a real study.

python -m benchmarks.phantom_vs_real [--real FOLDER] [--studies 50] [--seed 0]

FOLDER has the competition's layout; its tables and whatever studies are there are measured. Without it, only the
ranges known from the competition's tables are set beside the phantoms. Phantoms are drawn as varied as real scanners
are (256 to 640 px), which takes about 5 s each on one core.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from utils import phantom, rsna
from utils.dicom import read_series
from utils.geometry import Series

# From the competition's 6,294 series: slices per series, mm per pixel, mm from slice to slice.
KNOWN = {
    rsna.SAGITTAL_T1: ("10 .. 38", "0.2 .. 1.2", "about 4.5"),
    rsna.SAGITTAL_T2: ("8 .. 29", "0.2 .. 1.2", "about 4.5"),
    rsna.AXIAL_T2: ("15 .. 192", "0.2 .. 1.2", "3.5 in a block"),
}
PERCENTILES = (5, 25, 50, 75, 90, 99.5)
BINS = np.linspace(0, 1.5, 46)


def measures(series: Series) -> dict:
    """Geometry of one series, and its brightness in units of its own 99th percentile."""
    values = np.concatenate([one.pixels[::2, ::2].ravel() for one in series.slices]).astype(float)
    values /= np.percentile(values, 99)
    row = {"slices": len(series.slices), "px": series.slices[0].pixels.shape[0], "gap": series.gap_mm}
    row["mm/px"] = float(series.slices[0].spacing[0])
    row |= {f"p{p:g}": np.percentile(values, p) for p in PERCENTILES}
    return row | {"histogram": np.histogram(np.clip(values, 0, 1.5), BINS, density=True)[0] * np.diff(BINS)}


def survey(root: Path) -> pd.DataFrame:
    tables, rows = rsna.load_tables(root), []
    for study in tqdm(tables.whole_studies(), desc=str(root), unit="study"):
        for one in tables.series_of(study).itertuples():
            series = read_series(tables.folder(study, one.series_id))
            rows.append({"series": one.series_description} | measures(series))
    return pd.DataFrame(rows)


def overlap(a: pd.Series, b: pd.Series) -> float:
    """Common area of two mean histograms: 1 alike, 0 nothing in common."""
    return float(np.minimum(np.mean(list(a), axis=0), np.mean(list(b), axis=0)).sum())


def report(phantoms: pd.DataFrame, real: pd.DataFrame | None) -> None:
    for name, drawn in phantoms.groupby("series"):
        print(f"\n{name}: {len(drawn)} phantom series")
        for column, known in zip(("slices", "mm/px", "gap", "px"), (*KNOWN[name], "256 .. 640")):
            quantiles = " ".join(f"{q:.4g}" for q in drawn[column].quantile([0, 0.25, 0.5, 0.75, 1]))
            print(f"  {column:7} phantoms {quantiles:32} known {known}")
        columns = [f"p{p:g}" for p in PERCENTILES]
        table = pd.DataFrame({"phantom 10 %": drawn[columns].quantile(0.1), "median": drawn[columns].median()})
        table["90 %"] = drawn[columns].quantile(0.9)
        if real is not None:
            mine = real[real.series == name]
            table["real"] = mine[columns].median()
            half = len(drawn) // 2
            print(f"  brightness histogram, common area with the real study: {overlap(drawn.histogram, mine.histogram):.2f}")
            among = overlap(drawn.histogram[:half], drawn.histogram[half:])
            one = np.median([overlap(drawn.histogram[k : k + 1], drawn.histogram) for k in range(len(drawn))])
            print(f"  (half of the phantoms with the other half {among:.2f}; one phantom with all of them {one:.2f})")
        print(table.T.round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = phantom.make_dataset(Path(folder) / "p", a.studies, a.seed, test_studies=0, prevalence="real", size=None)
        report(survey(root), survey(a.real) if a.real else None)
