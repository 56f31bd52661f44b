"""Train a run on prepared studies.

python -m utils.training PREPARED RUN --preset demo
accelerate launch -m utils.training PREPARED RUN --preset l4        (several GPUs)
python -m utils.training PREPARED RUN --preset l4 --fold 2          (each machine its own fold)
python -m utils.training PREPARED RUN --preset l4 --set backbone=resnet50 --set grader_epochs=12
"""

from utils import cli, presets
from utils.training.evaluation import oof_score
from utils.training.recipe import fit


def main() -> None:
    parser = cli.parser("utils.training", "Train a run on prepared studies.")
    parser.add_argument("prepared", help="what `python -m utils.prepare` has written")
    parser.add_argument("run", help="the folder of the run")
    parser.add_argument("--preset", default="demo")
    changed = "a setting that differs from the preset's; may be given several times"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=changed)
    minutes = "start no epoch that would not end within this time"
    parser.add_argument("--minutes", type=float, help=minutes)
    fold = "train only this fold; the last one to end finishes the run"
    parser.add_argument("--fold", type=int, help=fold)
    parser.add_argument("--backup", help="a second folder that is given every file")
    initial = "a finished run whose weights are the initial ones, `released` say"
    parser.add_argument("--init-from", help=initial)
    a = parser.parse_args()
    options = {"backup": a.backup, "fold": a.fold, "init_from": a.init_from}
    preset = presets.replace(a.preset, **presets.parse_changes(a.set))
    if fit(a.prepared, a.run, preset, a.minutes, **options):
        print(f"{a.run}: out-of-fold {oof_score(a.prepared, a.run)}")
    else:
        print(f"{a.run}: not finished; run it again to resume")


if __name__ == "__main__":
    cli.run(main)
