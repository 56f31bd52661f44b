"""Makes the run that ships with the project, measures it and writes its card.

python -m tools.release [--home out] [--to released] [--real ROOT] [--measure]

Simulates the phantoms of the preset zero_shot, prepares them, trains, keeps the weights in 16 bits,
and measures what it keeps: on phantoms of two kinds and other seeds, with the grade frequencies of
patients, and, with --real, on the studies of a folder in the competition's layout. A step that is
done is not repeated; measuring always is. With --measure nothing else is done: the run in --to is
measured anew, and its card keeps what it says of the making.
"""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from benchmarks.learning import minutes, trained
from tools import card
from utils import cli, inference
from utils.course import workspace
from utils.files import write_atomic
from utils.inference.run import SEGMENTERS
from utils.models import WEIGHTS
from utils.presets import get_preset
from utils.training import segmenter

NEEDED = ("run.json", "prior.csv", "training_prior.csv")  # by inference, besides the weights


def make(home: Path, to: Path) -> float:
    """Simulate, prepare, train, keep; returns the minutes of training."""
    run = trained(home, get_preset("zero_shot"))
    for plane, name in SEGMENTERS.items():
        segmenter.fit_segmenter(run / name, home / "prepared" / name, plane)
    keep(run, to)
    return minutes(run)


def keep(run: Path, to: Path) -> None:
    """Copy what inference needs of a run, its weights in 16 bits."""
    to.mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        shutil.copyfile(run / name, to / name)
    for path in run.rglob(WEIGHTS):
        kept = to / path.relative_to(run)
        kept.parent.mkdir(parents=True, exist_ok=True)
        halves = {name: values.half() for name, values in load_file(path).items()}
        save_file(halves, kept)


def main() -> None:
    parser = cli.parser("tools.release", __doc__.splitlines()[0])
    home_help = "where phantoms and training are"
    parser.add_argument("--home", type=Path, default=workspace.home(), help=home_help)
    parser.add_argument("--to", type=Path, default=workspace.RELEASED)
    real_help = "a folder in the competition's layout, to be measured too"
    parser.add_argument("--real", type=Path, help=real_help)
    parser.add_argument("--measure", action="store_true", help="only measure the run in --to")
    a = parser.parse_args()
    path = a.to / "CARD.md"
    if a.measure:
        making = path.read_text(encoding="utf-8").split(card.SECTION)[0]
    else:
        making = card.making(a.to, make(a.home, a.to))
    text = making + card.measured(a.home, inference.load_run(a.to), a.real)
    write_atomic(path, text)
    print(text)


if __name__ == "__main__":
    cli.run(main)
