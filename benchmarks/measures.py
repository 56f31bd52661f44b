"""How near are the measures of a run to the true sizes of phantoms that it has not seen, and to
those of masks that were drawn on patients' images?

python -m benchmarks.measures RUN [--home out] [--drawn FOLDER] [--out measures.csv]

On the held-out phantoms of the card, with the points that the run finds itself: the median of what
each measure is off, in its unit and of the true size; its correlation with it; and how many there
are. With --drawn, a FOLDER as for benchmarks.spider: sac and disc against the same lines through
the drawn canal and disc. docs/measured.md has the table.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from benchmarks import spider
from tools.card import HELD_OUT, HeldOut, phantoms_of
from utils import cli, inference, phantom, prepare, rsna
from utils.course import workspace
from utils.inference.measures import Seen, on_sagittal, see
from utils.phantom.sizes import true_measures
from utils.rsna import CANAL_ROWS
from utils.structures import BACKGROUND, DISC, SAC, SAGITTAL

OF_CANAL = ("sac_mm", "sac_mm2", "disc_mm", "bulge_mm", "slip_mm", "lordosis_degrees")


def measured(run: inference.Run, kind: HeldOut, root: Path) -> pd.DataFrame:
    """Rows: measure, true and found, of all targets at which a measure could be taken."""
    tables = rsna.load_tables(root)
    truth = phantom.true_labels(root, "train")
    rows: list[pd.DataFrame] = []
    for study_id in tqdm(tables.studies("train"), desc=kind.contrast, unit="study"):
        study = prepare.prepare_study(tables, study_id, run.preset.spacing_mm)
        found = inference.predict_study(run, study)
        known = true_measures(phantom.true_spine(kind.spec, study_id))
        rows += _of_study(found, known, truth[truth.study_id == study_id])
    return pd.concat(rows, ignore_index=True).dropna()


def _of_study(
    found: pd.DataFrame, known: dict[str, np.ndarray], truth: pd.DataFrame
) -> Iterator[pd.DataFrame]:
    for name in OF_CANAL:
        values = found[name].to_numpy()[CANAL_ROWS]
        yield pd.DataFrame({"measure": name, "true": known[name], "found": values})
    both = found.merge(truth[["condition", "level", "measure_mm"]], on=["condition", "level"])
    recess = both[both.condition.map(rsna.FAMILY) == "subarticular"]
    yield pd.DataFrame(
        {"measure": "recess_mm", "true": recess.measure_mm, "found": recess.recess_mm}
    )


def against_drawn(run: inference.Run, folder: Path) -> pd.DataFrame:
    """The same rows, of patients whose discs and canal were drawn."""
    slices, rows = pd.read_csv(folder / "slices.csv"), []
    for patient, of in slices.groupby("patient"):
        seen = see(run, spider.study_of(folder, int(patient), of, run.preset.spacing_mm))
        canal = seen.counted.points
        drawn = Seen(seen.found._replace(p=_drawn(folder / str(patient), of, seen)), seen.counted)
        found, true = on_sagittal(seen, canal), on_sagittal(drawn, canal)
        for name in ("sac_mm", "disc_mm"):
            rows.append(pd.DataFrame({"measure": name, "true": true[name], "found": found[name]}))
    return pd.concat(rows, ignore_index=True).dropna()


def _drawn(folder: Path, slices: pd.DataFrame, seen: Seen) -> np.ndarray:
    """(structures, N, px, px): 1 where a structure was drawn on the slices that were segmented."""
    p = np.zeros_like(seen.found.p)
    columns_rows = np.mgrid[: SAGITTAL.px, : SAGITTAL.px].T
    for k, one in enumerate(seen.found.crops):
        of = slices[slices.slice == one.instance].iloc[0]
        _, y, z = np.moveaxis(one.to_patient(columns_rows), -1, 0)
        mask = np.asarray(Image.open(folder / f"{one.instance}-mask.png"))
        own = ndimage.map_coordinates(mask, [-z / of.row_mm, y / of.column_mm], order=0)
        for code, structure in ((2, DISC), (3, SAC)):
            p[structure, k] = own == code
        p[BACKGROUND, k] = 1 - p[1:, k].max(0)
    return p


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per measure."""
    rows = rows.assign(off=rows.found - rows.true)
    rows["share"] = rows.off.abs() / rows.true.abs().replace(0, np.nan)
    each = rows.groupby("measure", sort=False)
    return pd.DataFrame(
        {
            "count": each.size(),
            "median true": each.true.median(),
            "median off": each.off.apply(lambda off: off.abs().median()),
            "median % off": 100 * each.share.median(),
            "bias": each.off.median(),
            "90 % within": each.off.apply(lambda off: off.abs().quantile(0.9)),
            "correlation": each.apply(lambda of: of.true.corr(of.found)),
        }
    )


def main() -> None:
    parser = cli.parser("benchmarks.measures", sys.modules[__name__].__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--home", type=Path, default=workspace.home())
    parser.add_argument("--out", type=Path, default=Path("measures.csv"))
    parser.add_argument("--drawn", type=Path, help="a folder as for benchmarks.spider")
    a = parser.parse_args()
    run, tables = inference.load_run(a.run), {}
    for kind in HELD_OUT:
        tables[kind.contrast] = table_of(measured(run, kind, phantoms_of(a.home, kind)))
    if a.drawn:
        tables["drawn"] = table_of(against_drawn(run, a.drawn))
    table = pd.concat(tables, names=["images"]).round(2)
    print(table.to_string())
    table.to_csv(a.out)


if __name__ == "__main__":
    cli.run(main)
