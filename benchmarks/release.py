"""Makes the run that ships with the project, measures it and writes its card.

python -m benchmarks.release [--home out] [--to released] [--real ROOT] [--measure]

Draws the phantoms of the preset zero_shot, prepares them, trains, keeps the weights in 16 bits, and measures what it keeps:
on phantoms of two kinds drawn with other seeds, with grades as frequent as in patients, and, with --real, on the studies of a
folder in the competition's layout. Whatever is done is not done again; the measuring always is. With --measure nothing else
is done: what --to holds is measured anew, and its card keeps what it says of the making.
"""

import argparse
import os
import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from benchmarks import zero_shot
from benchmarks.learning import minutes, trained
from utils import inference, phantom, rsna, workspace
from utils.phantom import SIZES
from utils.presets import get_preset

HELD_OUT = {"random": (5151, "readers"), "clinical": (5252, "textbook")}  # contrast: seed and grading; seeds of no training
STUDIES = 24
MAKING = """# The released run

**For teaching and research. Not a medical device; not for diagnosis.** It has never learnt from a patient.

Two small networks (locator and grader, {parameters:.1f} million weights, {megabytes:.1f} MB in 16 bits) that learnt only from
{studies} synthetic spines, so that notebook 4 works at once and real training has something to begin with.

| | |
|---|---|
| data | `utils.phantom --studies {studies} --seed {seed} --contrast {contrast} --grading {grading} --size {size}` |
| preset | `zero_shot` (all its settings: run.json) |
| made by | `python -m benchmarks.release`, {today} |
| time | {minutes:.0f} minutes of training on {machine} |
| versions | phantom {version}, torch {torch} |
| licence | that of the project; no real image was used |

The answers are meant for patients: grades are expected as frequent as among the 1,975 studies of the competition (prior.csv),
not as in training (learned.csv).

"""
MEASURED = """## Measured

By `python -m benchmarks.release --measure`, {today}, phantom {version}: what is in this folder, on {held_out} phantoms of each
kind, with grades as frequent as in patients.
"Random": brightness and frame stray further than in any training, and readers would differ about the grades; "clinical": they
look as the notebooks' phantoms do. Neither seed was trained on. "Perturbed": each study ten times, magnified by 0.9 to 1.12,
moved by up to 30 mm, with another gamma. "Cut off": its sagittal pictures end between two levels. Points nearer than
{edge:.0f} mm to the picture's edge do not count; more than {wrong:.0f} mm off is wrong; a confidence above {sure} is sure.
{tables}
## Limits

- Two patients' pictures were seen while the phantom was shaped, that of the last table (where there is one) among them. So few
  prove nothing; dozens of studies of several scanners, read by several readers, would.
- Places carry over to real MRI better than grades do: see the last table, where there is one.
- Tumour, infection, fracture, metal, operations, children: never seen.
- A confidence is high on most wrong points too where a whole spine is read a level off (a sixth lumbar vertebra, say).
"""


def make(home: Path, to: Path) -> float:
    """Draw, prepare, train, keep; minutes of training."""
    run = trained(home, get_preset("zero_shot"))
    keep(run, to)
    return minutes(run)


def keep(run: Path, to: Path) -> None:
    """What inference needs of a run, its weights in 16 bits."""
    for path in [run / "run.json", run / "prior.csv", run / "learned.csv", *run.glob("fold*/*/model.safetensors")]:
        kept = to / path.relative_to(run)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file({name: values.half() for name, values in load_file(path).items()}, kept)
        else:
            shutil.copyfile(path, kept)


def report(root: Path, run: inference.Run) -> str:
    tables = rsna.load_tables(root)
    found, answered = zero_shot.measure(tables, run)
    parts = [f"{name}\n{one}" for name, one in found.items()]
    parts.append(f"weighted log loss\n{zero_shot.losses(tables, answered).round(3).to_string()}")
    return "\n```\n" + "\n\n".join(parts) + "\n```\n"


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.release", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=workspace.home(), help="where phantoms and training live")
    parser.add_argument("--to", type=Path, default=workspace.RELEASED)
    parser.add_argument("--real", type=Path, help="a folder in the competition's layout, to be reported once")
    parser.add_argument("--measure", action="store_true", help="only measure what is there")
    a = parser.parse_args()
    path = a.to / "CARD.md"
    making = path.read_text(encoding="utf-8").split("## Measured")[0] if a.measure else made(a.to, make(a.home, a.to))
    card = making + measured(a.home, inference.load_run(a.to), a.real)
    path.write_text(card, encoding="utf-8")
    print(card)


def made(to: Path, spent: float) -> str:
    run = inference.load_run(to)
    return MAKING.format(
        studies=run.preset.phantom_studies,
        contrast=run.preset.phantom_contrast,
        grading=run.preset.phantom_grading,
        seed=run.preset.phantom_seed,
        size=run.preset.phantom_size,
        version=phantom.VERSION,
        minutes=spent,
        machine=machine(),
        torch=torch.__version__,
        today=pd.Timestamp.now().date(),
        parameters=sum(w.numel() for models in run.folds for m in models for w in m.parameters()) / 1e6,
        megabytes=sum(path.stat().st_size for path in to.rglob("*.safetensors")) / 1e6,
    )


def measured(home: Path, run: inference.Run, real: Path | None) -> str:
    texts = []
    for contrast, (seed, grading) in HELD_OUT.items():
        root = home / "data" / f"held-out-{contrast}-{STUDIES}"
        phantom.make_dataset(root, STUDIES, seed, 0, "real", SIZES["real"], contrast=contrast, grading=grading)
        texts.append(f'\n### {contrast.capitalize()} phantoms (seed {seed}, grading "{grading}")\n{report(root, run)}')
    if real:
        count = len(rsna.load_tables(real).studies("train"))
        texts.append(f"\n### Real MRI (studies: {count}; with --real)\n{report(real, run)}")
    return MEASURED.format(
        held_out=STUDIES,
        edge=zero_shot.EDGE_MM,
        wrong=zero_shot.WRONG_MM,
        sure=zero_shot.SURE,
        version=phantom.VERSION,
        today=pd.Timestamp.now().date(),
        tables="".join(texts),
    )


if __name__ == "__main__":
    main()
