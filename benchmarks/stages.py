"""Seconds per study of each stage from drawing to grading, on one process: median of several studies.

python -m benchmarks.stages RUN      (a finished run, e.g. out/runs/phantom-128-demo)
"""

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pydicom

from utils import inference, phantom, prepare, rsna

STUDIES = 6


def median_of(call, items) -> float:
    call(items[0])  # warm
    seconds = []
    for item in items:
        start = time.perf_counter()
        call(item)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def plain_pydicom(folder: Path) -> None:
    for path in folder.rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.pixel_array_options(decoding_plugin="pydicom")
        _ = data.pixel_array


def main(run_folder: str) -> None:
    run = inference.load_run(run_folder)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        root = phantom.make_dataset(Path(folder) / "phantom", STUDIES, seed=999, test_studies=0, jobs=1)
        drawing = (time.perf_counter() - start) / STUDIES
        tables = rsna.load_tables(root)
        studies = tables.studies()
        prepared = [prepare.prepare_study(tables, study) for study in studies]
        rows = {
            "draw a phantom study": drawing,
            "decode it with pydicom alone": median_of(lambda s: plain_pydicom(tables.folder(s)), studies),
            "read it in patient space": median_of(lambda s: prepare.read_study(tables, s), studies),
            "read and prepare it": median_of(lambda s: prepare.prepare_study(tables, s), studies),
            "locate and grade it": median_of(lambda p: inference.answer_study(run, p), prepared),
        }
    for name, seconds in rows.items():
        print(f"{name:32s} {seconds:7.3f} s")
    print(f"{'peak memory':32s} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:7.2f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
