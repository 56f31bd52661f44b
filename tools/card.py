"""The card of the released run: how it was made, and what it can do where it was never trained."""

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

from benchmarks import zero_shot
from utils import inference, phantom, rsna
from utils.phantom import SIZES, PhantomSpec
from utils.training import segmenter

STUDIES = 24  # phantoms of each kind that the run is measured on
SECTION = "## Measured"
MAKING = """# The released run

**For teaching and research. Not a medical device; not for diagnosis.** It was never trained on a
patient's images.

Four small networks (locator, grader, and a segmenter for sagittal and one for axial slices;
{weights} in 16 bits), trained only on synthetic images: {studies} studies of whole spines, and for
each segmenter slices of {slices} others. So notebook 4 works at once, and training on real data can
start from their weights.

| | |
|---|---|
| data | `{command}` |
| preset | `zero_shot` (all its settings: run.json) |
| made by | `python -m tools.release`, {today} |
| time | {minutes:.0f} minutes of training on {machine} |
| versions | phantom {version}, torch {torch} |
| licence | that of the project; no real image was used |

Predictions are meant for patients: the expected grade frequencies are those of the 1,975 studies of
the competition (prior.csv), not those of the training labels (training_prior.csv).

"""
MEASURED = """{section}

By `python -m tools.release --measure`, {today}, phantom {version}: the run in this folder, on
{held_out} phantoms of each kind, with the grade frequencies of patients. "Random": contrast and
field of view vary more than in any training, and some grades are borderline, so that readers would
differ; "clinical": like the notebooks' phantoms. Neither seed was trained on. "Perturbed": each
study ten times, magnified by 0.9 to 1.12, moved by up to 30 mm, with another gamma. "Truncated":
the sagittal field of view ends between two levels. Points less than {edge:.0f} mm from the edge
of the image do not count; a point more than {wrong:.0f} mm off is wrong; a point with a confidence
above {confident} is a confident one.
{tables}
## Limits

- Images of two patients were seen while the phantom was developed; the patient of the last table
  (where there is one) is one of them. So few prove nothing; dozens of studies from several
  scanners, graded by several readers, would.
- On 20 patients of the public SPIDER data (Sagittal T2, middle of the drawn canal at the five
  lowest discs; intervals over patients): median 1.6 mm [1.3, 2.0], all five levels right in 20 of
  20, none of 36 confident points wrong; seven patients are told as doubtful, because counting discs
  had to overrule the heat maps. Two rules of the counting were found on these very patients, and of
  four segmenters this one counts them best (`python -m benchmarks.spider`).
- On the foramina of 400 RSNA patients that chose nothing (Sagittal T1 alone, annotated points) the
  weighted log loss is 0.632 [0.601, 0.665], that of the weighted prior 0.788; narrowed against open
  within levels: AUROC 0.82 in the mean, 0.78 for the worst level. The measured fat does that; the
  grader alone has 0.77 on the other half (`python -m benchmarks.real_foramen --released`).
- Canal and recesses have been graded on one patient only. What the measured sac adds to the canal's
  grade was fitted on phantoms; the depth of a recess adds nothing to the grader, and is only shown.
- Measures against the truth of phantoms and drawn masks of patients: docs/measured.md.
- Never seen in training: tumour, infection, fracture, metal, surgery, children.
- Where heat maps and counting agree on a level that is wrong (a sixth lumbar vertebra, say),
  confidence is high.
"""


class HeldOut(NamedTuple):
    """A kind of phantoms that no training used."""

    contrast: str
    seed: int
    grading: str

    @property
    def spec(self) -> PhantomSpec:
        """As varied in their protocols and as frequent in their grades as patients."""
        return PhantomSpec(
            studies=STUDIES,
            seed=self.seed,
            test_studies=0,
            prevalence="real",
            size=SIZES["real"],
            contrast=self.contrast,
            grading=self.grading,
        )

    @property
    def title(self) -> str:
        """The heading of its section of the card."""
        return f'{self.contrast.capitalize()} phantoms (seed {self.seed}, grading "{self.grading}")'


HELD_OUT = (HeldOut("random", 5151, "readers"), HeldOut("clinical", 5252, "textbook"))


def making(folder: Path, minutes: float) -> str:
    """The card's first part: what is in a run folder, and the minutes its training took."""
    run = inference.load_run(folder)
    spec = run.preset.phantom
    return MAKING.format(
        weights=weights_of(run),
        studies=spec.studies,
        slices=segmenter.SPINES,
        command=command_of(spec),
        version=phantom.VERSION,
        minutes=minutes,
        machine=_machine(),
        torch=torch.__version__,
        today=pd.Timestamp.now().date(),
    )


def weights_of(run: inference.Run) -> str:
    """How many and how large: "1.8 million weights, 3.6 MB"."""
    models: list[nn.Module] = [model for pair in run.folds for model in pair]
    models += [one for one in (run.segmenter, run.axial_segmenter) if one is not None]
    count = sum(weights.numel() for model in models for weights in model.parameters())
    stored = sum(path.stat().st_size for path in run.folder.rglob("*.safetensors"))
    return f"{count / 1e6:.1f} million weights, {stored / 1e6:.1f} MB"


def command_of(spec: PhantomSpec) -> str:
    """The command that simulates the training studies of a spec."""
    size = next(name for name, px in SIZES.items() if px == spec.size)
    return (
        f"utils.phantom --studies {spec.studies} --seed {spec.seed} "
        f"--contrast {spec.contrast} --grading {spec.grading} --size {size}"
    )


def measured(home: Path, run: inference.Run, real: Path | None) -> str:
    """The card's second part: the run on held-out phantoms, which are simulated under home if they
    are not there, and on real studies, if there is a folder with some."""
    tables = ""
    for kind in HELD_OUT:
        tables += f"\n### {kind.title}\n{_report(phantoms_of(home, kind), run)}"
    if real:
        count = len(rsna.load_tables(real).studies("train"))
        tables += f"\n### Real MRI (studies: {count}; with --real)\n{_report(real, run)}"
    return MEASURED.format(
        section=SECTION,
        held_out=STUDIES,
        edge=zero_shot.EDGE_MM,
        wrong=zero_shot.WRONG_MM,
        confident=zero_shot.CONFIDENT,
        version=phantom.VERSION,
        today=pd.Timestamp.now().date(),
        tables=tables,
    )


def phantoms_of(home: Path, kind: HeldOut) -> Path:
    """Their folder under home, simulated if they are not there."""
    root = home / "data" / f"held-out-{kind.contrast}-{STUDIES}"
    phantom.make_dataset(root, kind.spec)
    return root


def _report(root: Path, run: inference.Run) -> str:
    """Point errors and score of the run on a data folder, as a block of preformatted text."""
    tables = rsna.load_tables(root)
    errors, predictions = zero_shot.measure(tables, run)
    parts = [f"{name}\n{found}" for name, found in errors.items()]
    losses = zero_shot.losses(tables, predictions).round(3)
    parts.append(f"weighted log loss\n{losses.to_string()}")
    return "\n```\n" + "\n\n".join(parts) + "\n```\n"


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores"
