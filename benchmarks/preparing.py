"""How preparing scales: seconds and bytes per study, on one and two workers, from 10 to 80 studies, and on a real study.

python -m benchmarks.preparing [--real FOLDER] [--studies 80]

FOLDER has the competition's layout with at least one study; the whole data set (147,218 files) is extrapolated from its
seconds and bytes per file.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from joblib import Parallel, delayed

from utils import phantom, prepare, rsna

FILES = 147_218  # training files of the competition, in 1,975 studies


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def count_up() -> int:
    return sum(i * i for i in range(4_000_000))


def seconds_counting(jobs: int) -> float:
    start = time.perf_counter()
    Parallel(2)(delayed(count_up)() for _ in range(jobs))
    return time.perf_counter() - start


def part_of(root: Path, count: int, folder: Path) -> Path:
    """A data folder with the first studies of another one."""
    folder.mkdir()
    for table in root.glob("*.csv"):
        shutil.copy(table, folder)
    (folder / "train_images").mkdir()
    for study in sorted((root / "train_images").iterdir())[:count]:
        (folder / "train_images" / study.name).symlink_to(study)
    return folder


def seconds_for(root: Path, out: Path, jobs: int) -> float:
    start = time.perf_counter()
    prepare.prepare(root, out, jobs=jobs)
    return time.perf_counter() - start


def on_phantoms(studies: int, folder: Path) -> None:
    root = phantom.make_dataset(folder / "phantom", studies, seed=1, test_studies=0)
    counts = [count for count in (studies // 8, studies // 4, studies // 2, studies) if count >= 2]
    parts = {count: part_of(root, count, folder / f"part{count}") for count in counts}
    seconds_for(parts[counts[0]], folder / "warm", jobs=2)  # starts the workers
    for count in counts:
        taken = seconds_for(parts[count], folder / f"one{count}", jobs=1)
        print(f"{count:4} phantom studies, one worker: {taken:6.1f} s, {taken / count:.3f} s each")
    pairs = [[seconds_for(parts[counts[-1]], folder / f"out{jobs}-{k}", jobs) for jobs in (1, 2)] for k in range(5)]
    one, two = (statistics.median(taken) for taken in zip(*pairs))
    print(f"{counts[-1]:4} phantom studies: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast")
    alone, both = (statistics.median(seconds_counting(jobs) for _ in range(5)) for jobs in (1, 2))
    print(f"     two processes that only count are {2 * alone / both:.2f} times as fast as one: so much this machine can give")
    size = sum(p.stat().st_size for p in (folder / "out2-0").iterdir()) / counts[-1]
    print(f"     {size / 1e6:.1f} MB of store per phantom study")


def on_a_real_study(root: Path, folder: Path) -> None:
    tables = rsna.load_tables(root)
    study, taken = tables.whole_studies()[0], []
    for _ in range(7):
        start = time.perf_counter()
        prepare.save_study(prepare.prepare_study(tables.only(study), study), folder)
        taken.append(time.perf_counter() - start)
    files = len(list(tables.folder(study).rglob("*.dcm")))
    seconds, size = statistics.median(taken) / files, (folder / f"{study}.npy").stat().st_size / files
    print(f"real study {study}: {1000 * seconds:.2f} ms and {size / 1e3:.0f} kB of store per file, {files} files")
    print(
        f"     all {FILES:,} files: {seconds * FILES / 60 / 2:.1f} minutes on two workers, {size * FILES / 1e9:.1f} GB of store"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--studies", type=int, default=80)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if a.real:
            on_a_real_study(a.real, Path(name))
        on_phantoms(a.studies, Path(name))
    print(f"peak memory of a worker: {max(Parallel(2)(delayed(peak_mb)() for _ in range(8))):.0f} MB")
