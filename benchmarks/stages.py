"""Seconds per study of each stage from simulation to grading, on one process: medians of several.

python -m benchmarks.stages RUN      (a finished run, e.g. out/runs/phantom-128-demo)
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom

from benchmarks.peak import peak_gb
from utils import cli, inference, phantom, prepare, rsna
from utils.phantom import PhantomSpec

SPEC = PhantomSpec(studies=6, seed=999, test_studies=0)


def median_seconds(call: Callable, items: Sequence) -> float:
    """The median over the items of what a call takes."""
    return statistics.median(seconds_of(call, items))


def seconds_of(call: Callable, items: Sequence) -> list[float]:
    """What a call takes for each item."""
    call(items[0])  # to warm up
    seconds = []
    for item in items:
        start = time.perf_counter()
        call(item)
        seconds.append(time.perf_counter() - start)
    return seconds


def decode_with_pydicom(folder: Path) -> None:
    """Every image of a study by pydicom's own decoder, without positions."""
    for path in folder.rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.pixel_array_options(decoding_plugin="pydicom")
        _ = data.pixel_array


def seconds_by_stage(run: inference.Run, folder: Path) -> dict[str, float]:
    """Simulate phantoms in a folder, then time each stage on them."""
    start = time.perf_counter()
    root = phantom.make_dataset(folder / "phantom", SPEC, jobs=1)
    simulation = (time.perf_counter() - start) / SPEC.studies
    tables = rsna.load_tables(root)
    studies = tables.studies()
    prepared = [prepare.prepare_study(tables, study) for study in studies]
    folders = [tables.folder(study) for study in studies]
    return {
        "simulate a phantom study": simulation,
        "decode it with pydicom alone": median_seconds(decode_with_pydicom, folders),
        "read it in patient space": median_seconds(
            lambda study: prepare.read_study(tables, study), studies
        ),
        "read and prepare it": median_seconds(
            lambda study: prepare.prepare_study(tables, study), studies
        ),
        "locate and grade it": median_seconds(
            lambda study: inference.predict_study(run, study), prepared
        ),
    }


def main() -> None:
    parser = cli.parser("benchmarks.stages", __doc__.splitlines()[0])
    parser.add_argument("run", help="a finished run")
    a = parser.parse_args()
    run = inference.load_run(a.run)
    with tempfile.TemporaryDirectory() as folder:
        stages = seconds_by_stage(run, Path(folder))
    for name, seconds in stages.items():
        print(f"{name:32s} {seconds:7.3f} s")
    print(f"{'peak memory':32s} {peak_gb():7.2f} GB")


if __name__ == "__main__":
    cli.run(main)
