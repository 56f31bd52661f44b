"""The way of the real data on a small disk: out of an archive on a server, prepared, copied,
brought to a new machine, trained on and graded.

python -m benchmarks.streaming [--studies 60] [--kills 20] [--free 68]

A server on this machine gives an archive of phantoms and 150,000 small files (a zip64) in ranges,
at addresses that expire after two seconds; now and then it refuses, cuts or damages what it sends.
Prints how long reading the archive's directory takes, the peak of disk and memory, whether the
prepared studies and their copy are those of the files byte by byte, also after so many kills, and
whether the whole way fits on a disk that is smaller than a Colab machine's by as much as there are
fewer images (mounting one needs root; else it is only measured). Ends with 1 if anything is not as
it should be.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.soak.disks import may_mount, mount_small
from tests.ranges import Store, served
from utils import cli, phantom, prepare
from utils.course.machine import IMAGES
from utils.phantom import SIZES, PhantomSpec
from utils.rsna import load_tables

FURTHER = 150_000  # small files in the archive beside the studies
LIFETIME_S = 2.0  # of a signed address
SHARD_BYTES = 20_000_000
FAULTS = ("429", "503", "cut", "damaged")
EVERY = 7  # requests, on average, of which one goes wrong
MOST = {"directory, s": 60.0, "disk beyond what is prepared, GB": 1.0, "memory, GB": 2.0}
KILLED_AFTER_S = (2.0, 9.0)  # of its start, the first two or three of which read the directory
POLL_S = 0.02

STREAM = """
import sys, time
from pathlib import Path
from utils import prepare, rsna
from utils.course.kaggle import retry
from utils.course.kaggle.archive import ArchiveSource
from utils.course.kaggle.remote import RemoteFile
address, tables, out, copy, spacing, size, lifetime = sys.argv[1:]
retry.WAITS = (0.1,) * 5
sign = lambda: f"{address}/file?Signature=s3cret&until={time.time() + float(lifetime)}"
source = ArchiveSource(RemoteFile(sign), rsna.load_tables(tables))
shards = prepare.Shards(copy, int(size))
prepare.prepare(source, out, 2, spacing_mm=float(spacing), shards=shards)
"""
TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from utils import inference, prepare, training
from utils.presets import get_preset
home, copy, tests = map(Path, sys.argv[1:])
small = dict(name="small", locator_width=4, locator_epochs=1, grader_epochs=1, features=16)
preset = replace(get_preset("t4"), **small, backbone="small", pretrained=False, train_folds=(0,))
assert prepare.restore(prepare.Shards(copy), home / "prepared", preset.folds, spacing_mm=0.4)
training.fit(home / "prepared", home / "run", preset)
found = inference.predict_studies(tests, home / "run", out=home / "predictions.csv")
assert len(found)
"""


@dataclass
class Watch:
    """The most that a folder, and a process with all its children, have used so far."""

    folder: Path
    process: subprocess.Popen
    disk: int = 0
    memory: int = 0
    beyond: int = 0  # bytes in the folder that are not of prepared studies
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until it is stopped."""
        while not self.stop.wait(POLL_S):
            sizes = folder_bytes(self.folder)
            kept = sum(size for path, size in sizes.items() if path.suffix in (".npy", ".json"))
            total = sum(sizes.values())
            self.disk = max(self.disk, total)
            self.beyond = max(self.beyond, total - kept)
            self.memory = max(self.memory, tree_memory(self.process.pid))


def folder_bytes(folder: Path) -> dict[Path, int]:
    """The size of every file in a folder, some of which may be going."""
    sizes = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                sizes[path] = path.stat().st_size
    return sizes


def tree_memory(pid: int) -> int:
    """Bytes of a process and its children; what they share is counted once (USS)."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_full_info().uss
    return total


@contextmanager
def watched(command: list[str], folder: Path) -> Iterator[Watch]:
    """A command while it runs; what it says goes into a file beside the folder."""
    with folder.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        watch = Watch(folder, process)
        thread = threading.Thread(target=watch.run)
        thread.start()
        try:
            yield watch
            if process.wait():
                raise SystemExit(folder.with_suffix(".log").read_text()[-2000:])
        finally:
            watch.stop.set()
            thread.join()


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def make_archive(root: Path, path: Path) -> None:
    """The data folder's files and many others."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(root))
        for k in range(FURTHER):
            archive.writestr(f"further/{k // 1000}/{k}.txt", b"")


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a prepared data set or its copy, without what they were made of."""
    names = (".npy", ".csv", ".shard")
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in names}
    return found | {p.name: p.read_bytes() for p in folder.glob("[0-9]*.json")}


def with_faults(store: Store, rng: random.Random) -> None:
    """One request in so many goes wrong, for as long as there are some."""
    store.faults = [rng.choice(FAULTS) if rng.random() < 1 / EVERY else "" for _ in range(100_000)]


def killed_again_and_again(command: list[str], places: list[Path], kills: int, rng) -> None:
    """Start the command and kill it and its children at some moment, so many times. If it has ended
    before, it begins anew in empty places."""
    count = 0
    while count < kills:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(*KILLED_AFTER_S))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            count += 1
        elif not process.returncode:
            for place in places:
                shutil.rmtree(place)
        process.wait()


def main() -> None:
    parser = cli.parser("benchmarks.streaming", __doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--free", type=float, default=68.0, help="GB that a T4 machine has free")
    parser.add_argument("--scratch", type=Path, help="keep the phantom here")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), a.scratch or Path(folder), a.studies, a.kills, a.free)
    print(json.dumps(figures, indent=1))
    wrong = [name for name, value in figures.items() if value is False]
    wrong += [name for name, most in MOST.items() if figures[name] > most]
    print("not as it should be:", ", ".join(wrong) if wrong else "nothing")
    raise SystemExit(bool(wrong))


def measure(folder: Path, scratch: Path, studies: int, kills: int, free: float) -> dict:
    """All figures, by name; False is what should not be."""
    root = scratch / "data"
    phantom.make_dataset(root, PhantomSpec(studies, 5, test_studies=2, size=SIZES["real"]), jobs=2)
    archive = scratch / "all.zip"
    if not archive.is_file():
        make_archive(root, archive)
    images = len(list((root / "train_images").rglob("*.dcm")))
    figures = {"archive, GB": archive.stat().st_size / 1e9, "images": images}
    with served(archive, lifetime=LIFETIME_S) as store:
        figures |= streamed(folder, root, store, kills)
        return figures | whole_way(folder, root, store, free * images / IMAGES)


def streamed(folder: Path, root: Path, store: Store, kills: int) -> dict:
    """Prepared from the archive against prepared from files."""
    rng = random.Random(0)
    start = time.monotonic()
    source(store, root).studies()
    figures = {"directory, s": time.monotonic() - start}
    with_faults(store, rng)
    places = [folder / name for name in ("streamed", "streamed-copy")]
    command = python(STREAM, store.address, root, *places, 0.4, SHARD_BYTES, LIFETIME_S)
    places[0].mkdir()
    start = time.monotonic()
    with watched(command, places[0]) as watch:
        pass
    figures |= {
        "streaming, s": time.monotonic() - start,
        "disk beyond what is prepared, GB": watch.beyond / 1e9,
        "memory, GB": watch.memory / 1e9,
    }
    files, copy = folder / "files", folder / "files-copy"
    prepare.prepare(root, files, 2, spacing_mm=0.4, shards=prepare.Shards(copy, SHARD_BYTES))
    figures["prepared, GB"] = sum(folder_bytes(files).values()) / 1e9
    figures["as from files"] = contents(files) == contents(places[0])
    figures["copy as from files"] = contents(copy) == contents(places[1])
    again = [folder / name for name in ("killed", "killed-copy")]
    command = python(STREAM, store.address, root, *again, 0.4, SHARD_BYTES, LIFETIME_S)
    killed_again_and_again(command, again, kills, rng)
    figures["kills"] = kills
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    figures["the same after kills"] = contents(again[0]) == contents(files)
    figures["copy the same after kills"] = contents(again[1]) == contents(copy)
    return figures


def source(store: Store, root: Path):
    """As the subprocesses make it."""
    from utils.course.kaggle.archive import ArchiveSource
    from utils.course.kaggle.remote import RemoteFile

    return ArchiveSource(RemoteFile(store.sign), load_tables(root))


def whole_way(folder: Path, root: Path, store: Store, free_gb: float) -> dict:
    """02 on one machine, 03 and 04 on the next, each with an empty disk of this size; the copy is
    elsewhere."""
    copy, tests = folder / "drive", folder / "tests"
    tests.mkdir()
    for name in ("test_images", "test_series_descriptions.csv", "sample_submission.csv"):
        (tests / name).symlink_to(root / name)
    home = folder / "home"
    home.mkdir()
    limited = may_mount()
    if limited:
        mount_small(home, int(free_gb * 1e6))
    try:
        places = [home / "prepared", copy]
        places[0].mkdir()
        first = python(STREAM, store.address, root, *places, 0.4, SHARD_BYTES, LIFETIME_S)
        with watched(first, home) as preparing:
            pass
        shutil.rmtree(places[0])  # the next machine has another disk
        with watched(python(TRAIN, home, copy, tests), home) as training:
            pass
        return {
            "disk of each machine, GB": free_gb if limited else float("nan"),
            "most used by 02, GB": preparing.disk / 1e9,
            "most used by 03 and 04, GB": training.disk / 1e9,
            "fits": max(preparing.disk, training.disk) / 1e9 < free_gb,
        }
    finally:
        if limited:
            subprocess.run(["umount", "-l", home], check=True)


if __name__ == "__main__":
    cli.run(main)
