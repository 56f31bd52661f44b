"""How preparing scales: seconds and bytes per study, on one and two workers, from 10 to 80 studies,
and on a real study.

python -m benchmarks.preparing [--real FOLDER] [--studies 80] [--dask]

FOLDER has the competition's layout with at least one study; the whole data set (147,218 files) is
extrapolated from its seconds and bytes per file. With --dask nothing is compared but two processes
and a Dask cluster of two workers on this machine.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from joblib import Parallel, delayed, parallel_config

from benchmarks.peak import peak_gb
from utils import cli, phantom, prepare, rsna

FILES = 147_218  # training files of the competition, in 1,975 studies
REPEATS = 5  # medians are of so many runs
REAL_REPEATS = 7


def main() -> None:
    parser = cli.parser("benchmarks.preparing", __doc__.split("\n\n")[0])
    parser.add_argument("--real", type=Path, help="a folder in the competition's layout")
    parser.add_argument("--studies", type=int, default=80, help="phantom studies")
    beside = "compare two processes with a Dask cluster of two workers on this machine"
    parser.add_argument("--dask", action="store_true", help=beside)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if a.dask:
            return on_dask(a.studies, Path(name))
        if a.real:
            on_a_real_study(a.real, Path(name))
        on_phantoms(a.studies, Path(name))
    print(f"peak memory of a worker: {worker_mb():.0f} MB")


def on_phantoms(studies: int, folder: Path) -> None:
    """Print seconds and bytes per phantom study, for growing parts of one phantom."""
    root = phantom.make_dataset(folder / "phantom", studies, seed=1, test_studies=0)
    parts = {}
    for count in (studies // 8, studies // 4, studies // 2, studies):
        if count >= 2:
            parts[count] = part_of(root, count, folder / f"part{count}")
    seconds_for(parts[min(parts)], folder / "warm", jobs=2)  # starts the workers
    for count, part in parts.items():
        seconds = seconds_for(part, folder / f"one{count}", jobs=1)
        each = seconds / count
        print(f"{count:4} phantom studies, one worker: {seconds:6.1f} s, {each:.3f} s each")
    compare_workers(parts[studies], studies, folder)
    written = sum(p.stat().st_size for p in (folder / "out2-0").iterdir())
    print(f"     {written / studies / 1e6:.1f} MB of prepared data per phantom study")


def compare_workers(root: Path, studies: int, folder: Path) -> None:
    """Print how much faster two workers are than one, beside what this machine can give."""
    one, two = map(statistics.median, seconds_by_workers(root, folder).values())
    faster = f"one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast"
    print(f"{studies:4} phantom studies: {faster}")
    alone, both = map(statistics.median, seconds_counting_by_workers().values())
    limit = f"{alone / both:.2f} times as fast as one"
    print(f"     two processes that only count are {limit}: the limit of this machine")


def on_dask(studies: int, folder: Path) -> None:
    """Print what a Dask cluster of two workers takes beside two processes, in turn."""
    from dask.distributed import Client, LocalCluster  # not installed by requirements.txt

    root = phantom.make_dataset(folder / "phantom", studies, seed=1, test_studies=0)
    seconds: dict[str, list[float]] = {"loky": [], "dask": []}
    two = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with two as cluster, Client(cluster):
        for k in range(REPEATS + 1):
            for backend, taken in seconds.items():
                with parallel_config(backend):
                    taken.append(seconds_for(root, folder / f"{backend}{k}", jobs=2))
    for backend, taken in seconds.items():  # the first starts the workers
        each = ", ".join(f"{one:.1f}" for one in sorted(taken[1:]))
        print(f"{studies:4} phantom studies, two workers, {backend}: {each} s")


def seconds_by_workers(root: Path, folder: Path) -> dict[int, list[float]]:
    """Of preparing a data folder on one worker and on two."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for k in range(REPEATS):
        for jobs, taken in seconds.items():  # in turn, so that a slow spell meets both
            taken.append(seconds_for(root, folder / f"out{jobs}-{k}", jobs))
    return seconds


def seconds_counting_by_workers() -> dict[int, list[float]]:
    """Of counting twice: one after the other on one core, and at once on two."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(REPEATS):
        seconds[1].append(2 * seconds_counting(1))
        seconds[2].append(seconds_counting(2))
    return seconds


def on_a_real_study(root: Path, folder: Path) -> None:
    """Print time and bytes per file of a real study, and what all files would take."""
    tables = rsna.load_tables(root)
    study = tables.whole_studies()[0]
    taken = []
    for _ in range(REAL_REPEATS):
        start = time.perf_counter()
        prepare.save_study(prepare.prepare_study(tables.only(study), study), folder)
        taken.append(time.perf_counter() - start)
    files = len(list(tables.folder(study).rglob("*.dcm")))
    seconds = statistics.median(taken) / files
    size = (folder / f"{study}.npy").stat().st_size / files
    per_file = f"{1000 * seconds:.2f} ms and {size / 1e3:.0f} kB of prepared data per file"
    print(f"real study {study}: {per_file}, {files} files")
    minutes = seconds * FILES / 60 / 2
    gigabytes = size * FILES / 1e9
    print(f"     all {FILES:,} files: {minutes:.1f} minutes on two workers, {gigabytes:.1f} GB")


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


def seconds_counting(jobs: int) -> float:
    """For so many loops that use nothing but a core, on two workers."""
    start = time.perf_counter()
    Parallel(2)(delayed(count_up)() for _ in range(jobs))
    return time.perf_counter() - start


def count_up() -> int:
    return sum(i * i for i in range(4_000_000))


def worker_mb() -> float:
    """Peak memory of the workers so far."""
    return 1000 * max(Parallel(2)(delayed(peak_gb)() for _ in range(8)))


if __name__ == "__main__":
    cli.run(main)
