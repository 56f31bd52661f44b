"""How many studies a second the data loader gives, against what a GPU would need.

python -m benchmarks.loading [--studies 12] [--presets t4 l4 a100]

For each preset and model, at the preset's full size, with real loader workers on phantoms of real
size; figures for more workers than this machine has cores are those of one worker times as many.
What the GPU needs is estimated as in `memory`: all steps of a fold, at a third of the card's speed.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch.utils.data import DataLoader

from benchmarks.gpu import PATIENTS
from benchmarks.learning import TYPICAL_JITTER
from utils import cli, phantom, prepare
from utils.phantom import SIZES, PhantomSpec
from utils.presets import Preset, get_preset
from utils.training import GraderDataset, LocatorDataset
from utils.training.samples import StudyDataset

WORKERS = (2, 8, 12)  # of Colab's machines with a T4, more memory, or an L4 or A100
ROUNDS = 3


def per_second(data: StudyDataset, workers: int) -> float:
    """Studies a second over one epoch, the first batch not counted: the median of some epochs."""
    loader = DataLoader(data, data.preset.batch, num_workers=workers, persistent_workers=True)
    rates = []
    for _ in range(ROUNDS):
        batches = iter(loader)
        next(batches)
        start = time.perf_counter()
        count = sum(1 for _ in batches)
        rates.append(count * data.preset.batch / (time.perf_counter() - start))
    return statistics.median(rates)


def rows(preset: Preset, prepared: Path) -> dict[tuple[str, str], dict[str, float]]:
    """By preset and model: measured with one worker and with all cores, extrapolated to more."""
    studies = pd.read_csv(prepared / "folds.csv").study_id.tolist()
    kinds = {
        "locator": LocatorDataset(prepared, studies * 4, preset),
        "grader": GraderDataset(prepared, studies * 4, preset, TYPICAL_JITTER),
    }
    cores, found = os.cpu_count() or 1, {}
    for model, data in kinds.items():
        data.cache_crops(cores)
        one = per_second(data, 1)
        figures = {"1 worker": one, f"{cores} workers": per_second(data, cores)}
        more = {f"{count} workers (1 × {count})": one * count for count in WORKERS if count > cores}
        found[preset.name, model] = figures | more
    return found


def main() -> None:
    parser = cli.parser("benchmarks.loading", __doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--presets", nargs="+", default=["t4", "a100"])
    parser.add_argument("--scratch", type=Path, default=Path("out"))
    a = parser.parse_args()
    spec = PhantomSpec(a.studies, 5, test_studies=0, size=SIZES["real"])
    root = phantom.make_dataset(a.scratch / "data" / f"loading-{a.studies}", spec, jobs=2)
    table = {}
    for name in a.presets:
        preset = replace(get_preset(name), pretrained=False)
        prepared = a.scratch / "prepared" / f"{root.name}-{preset.spacing_mm:g}mm"
        prepare.prepare(root, prepared, folds=preset.folds, spacing_mm=preset.spacing_mm)
        table |= rows(preset, prepared)
        print(pd.DataFrame(table).T.round(1).to_string(), flush=True)
    print(f"An epoch is {PATIENTS:,} studies less a fold.")


if __name__ == "__main__":
    cli.run(main)
