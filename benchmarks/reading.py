"""Seconds to read a study's files with geometry, as ratios to other libraries.

python -m benchmarks.reading STUDY_FOLDER [--rounds 7]

Medians of several rounds in one process. Each library reads as its own documentation says.
Libraries that are not installed are left out (pip install dicomsdl SimpleITK monai). dicomsdl is
fast, but ends the interpreter on some damaged files.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom

from utils import cli
from utils.dicom import read_series

# Reads all files of the folders, and returns how many it has read.
Reader = Callable[[list[Path]], int]


def files_of(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from folder.iterdir()


def ours(folders: list[Path]) -> int:
    return sum(len(read_series(folder)) for folder in folders)


def just_bytes(folders: list[Path]) -> int:
    return sum(len(path.read_bytes()) > 0 for path in files_of(folders))


def pydicom_with(plugin: str) -> Reader:
    """pydicom with one of its decoders."""

    def read(folders: list[Path]) -> int:
        count = 0
        for path in files_of(folders):
            data = pydicom.dcmread(path)
            data.pixel_array_options(decoding_plugin=plugin)
            count += len(data.ImagePositionPatient) == 3 and data.pixel_array.ndim == 2
        return count

    return read


def dicomsdl_reader() -> Reader:
    """Raises ImportError where dicomsdl is not installed."""
    import dicomsdl

    def read(folders: list[Path]) -> int:
        count = 0
        for path in files_of(folders):
            data = dicomsdl.open(str(path))
            plane = data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing
            count += all(plane) and data.pixelData(storedvalue=True).ndim == 2
        return count

    return read


def simpleitk_reader() -> Reader:
    """Raises ImportError where SimpleITK is not installed."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)

    def read(folders: list[Path]) -> int:
        count = 0
        for path in files_of(folders):
            image = sitk.ReadImage(str(path))
            count += len(image.GetOrigin()) == 3 and np.ndim(sitk.GetArrayFromImage(image)) == 3
        return count

    return read


def monai_reader() -> Reader:
    """Raises ImportError where MONAI is not installed."""
    from monai.data import PydicomReader

    def read(folders: list[Path]) -> int:
        count, reader = 0, PydicomReader()
        for path in files_of(folders):
            pixels, about = reader.get_data(reader.read(str(path)))
            count += np.ndim(pixels) >= 2 and about["affine"].shape == (4, 4)
        return count

    return read


def readers() -> dict[str, Reader]:
    """What is compared, by name; ours first."""
    found: dict[str, Reader] = {"ours": ours, "just the bytes": just_bytes}
    found["pydicom, pylibjpeg-rle"] = pydicom_with("pylibjpeg")
    peers = {"dicomsdl": dicomsdl_reader, "SimpleITK": simpleitk_reader, "MONAI": monai_reader}
    for name, make in peers.items():
        try:
            found[name] = make()
        except ImportError:
            print(f"{name} is not installed")
    found["plain pydicom"] = pydicom_with("pydicom")
    return found


def measure(folders: list[Path], rounds: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of every round by reader, and the number of files."""
    seconds: dict[str, list[float]] = {}
    count = 0
    compared = readers()
    for _ in range(rounds):  # all readers in turn: a slow moment of the machine strikes all of them
        for name, read in compared.items():
            start = time.perf_counter()
            count = read(folders)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return seconds, count


def main() -> None:
    parser = cli.parser("benchmarks.reading", __doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="a folder of series folders")
    parser.add_argument("--rounds", type=int, default=7)
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    folders = [folder for folder in sorted(a.study.iterdir()) if folder.is_dir()]
    found, count = measure(folders, a.rounds)
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    print(f"{count} files of {a.study.name}, median of {a.rounds} rounds")
    for name, seconds in medians.items():
        ratio = medians["ours"] / seconds
        print(f"  {name:24} {1000 * seconds:7.0f} ms   ours takes {ratio:.3f} of it")


if __name__ == "__main__":
    cli.run(main)
