"""python -m utils.prepare ROOT OUT"""

from __future__ import annotations

from utils import cli
from utils.prepare.dataset import prepare
from utils.presets import SPACING_MM


def main() -> None:
    parser = cli.parser("utils.prepare", "Prepare a data folder for training.")
    parser.add_argument("root", help="the data folder, which holds train.csv")
    parser.add_argument("out", help="the folder of the prepared data set; made if it is not there")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    folds = "as many as the preset has that will be trained"
    parser.add_argument("--folds", type=int, default=4, help=folds)
    spacing = "mm per pixel; finer images are resampled to it"
    parser.add_argument("--spacing", type=float, default=SPACING_MM, help=spacing)
    a = parser.parse_args()
    table = prepare(a.root, a.out, a.jobs, a.folds, spacing_mm=a.spacing)
    counts = table.fold.value_counts().sort_index()
    print(counts.to_string() if len(counts) else "no study has labels: nothing to train on")


if __name__ == "__main__":
    cli.run(main)
