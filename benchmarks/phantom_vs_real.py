"""How like real MRI the phantoms are, in figures: their geometry and intensities beside real ones.

python -m benchmarks.phantom_vs_real [--real FOLDER] [--studies 50] [--seed 0]

FOLDER has the competition's layout; its tables and whatever studies are there are measured. Without
it, only the ranges known from the competition's tables are set beside the phantoms. The phantoms'
protocols are as varied as those of real scanners (256 to 640 px), so one takes about 5 s on one
core.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from utils import cli, phantom, rsna
from utils.dicom import Series, read_series
from utils.phantom import SIZES, PhantomSpec

# From the competition's 6,294 series: slices per series, mm per pixel, mm from slice to slice.
KNOWN = {
    rsna.SAGITTAL_T1: ("10 .. 38", "0.2 .. 1.2", "about 4.5"),
    rsna.SAGITTAL_T2: ("8 .. 29", "0.2 .. 1.2", "about 4.5"),
    rsna.AXIAL_T2: ("15 .. 192", "0.2 .. 1.2", "3.5 in a block"),
}
GEOMETRY = ("slices", "mm/px", "gap", "px")
PX = "256 .. 640"
PERCENTILES = (5, 25, 50, 75, 90, 99.5)
PERCENTILE_COLUMNS = [f"p{p:g}" for p in PERCENTILES]
BRIGHTEST = 1.5  # of a histogram, in units of a series' 99th percentile
BINS = np.linspace(0, BRIGHTEST, 46)


def measures(series: Series) -> dict:
    """Geometry of one series, and its intensities in units of their own 99th percentile."""
    values = np.concatenate([one.pixels[::2, ::2].ravel() for one in series.slices]).astype(float)
    values /= np.percentile(values, 99)
    first = series.slices[0]
    row: dict[str, object] = {
        "slices": len(series.slices),
        "px": first.pixels.shape[0],
        "gap": series.gap_mm,
        "mm/px": float(first.spacing[0]),
    }
    for name, p in zip(PERCENTILE_COLUMNS, PERCENTILES):
        row[name] = np.percentile(values, p)
    density, _ = np.histogram(np.clip(values, 0, BRIGHTEST), BINS, density=True)
    return row | {"histogram": density * np.diff(BINS)}


def survey(root: Path) -> pd.DataFrame:
    """The measures of every series of a data folder, one per row."""
    tables = rsna.load_tables(root)
    rows = []
    for study in tqdm(tables.whole_studies(), desc=str(root), unit="study"):
        for one in tables.series_of(study).itertuples():
            series = read_series(tables.folder(study, one.series_id))
            rows.append({"series": one.series_description} | measures(series))
    return pd.DataFrame(rows)


def overlap(a: pd.Series, b: pd.Series) -> float:
    """Common area of two mean histograms: 1 if they are the same, 0 if they share nothing."""
    return float(np.minimum(np.mean(list(a), axis=0), np.mean(list(b), axis=0)).sum())


def report(phantoms: pd.DataFrame, real: pd.DataFrame | None) -> None:
    """Print the figures of each kind of series."""
    for name, synthetic in phantoms.groupby("series"):
        print(f"\n{name}: {len(synthetic)} phantom series")
        print_geometry(synthetic, (*KNOWN[name], PX))
        columns = synthetic[PERCENTILE_COLUMNS]
        table = pd.DataFrame(
            {
                "phantom 10 %": columns.quantile(0.1),
                "median": columns.median(),
                "90 %": columns.quantile(0.9),
            }
        )
        if real is not None:
            same_kind = real[real.series == name]
            table["real"] = same_kind[PERCENTILE_COLUMNS].median()
            print_overlaps(synthetic.histogram, same_kind.histogram)
        print(table.T.round(3).to_string())


def print_geometry(synthetic: pd.DataFrame, known: tuple[str, ...]) -> None:
    """Quartiles of each measure beside the range that is known of real series."""
    for column, range_known in zip(GEOMETRY, known):
        values = synthetic[column].quantile([0, 0.25, 0.5, 0.75, 1])
        quartiles = " ".join(f"{value:.4g}" for value in values)
        print(f"  {column:7} phantoms {quartiles:32} known {range_known}")


def print_overlaps(synthetic: pd.Series, real: pd.Series) -> None:
    """Of intensity histograms: phantoms with real studies, and phantoms among themselves."""
    half = len(synthetic) // 2
    among = overlap(synthetic[:half], synthetic[half:])
    singles = [overlap(synthetic[k : k + 1], synthetic) for k in range(len(synthetic))]
    with_real = overlap(synthetic, real)
    print(f"  intensity histogram, common area with the real studies: {with_real:.2f}")
    print(
        f"  (half of the phantoms with the other half {among:.2f}; "
        f"one phantom with all of them {np.median(singles):.2f})"
    )


def main() -> None:
    parser = cli.parser("benchmarks.phantom_vs_real", __doc__.splitlines()[0])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    spec = PhantomSpec(a.studies, a.seed, test_studies=0, prevalence="real", size=SIZES["real"])
    with tempfile.TemporaryDirectory() as folder:
        root = phantom.make_dataset(Path(folder) / "p", spec)
        report(survey(root), survey(a.real) if a.real else None)


if __name__ == "__main__":
    cli.run(main)
