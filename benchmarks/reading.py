"""Seconds to read a study's files with geometry, as ratios to other ways: medians of several rounds in one run.

python -m benchmarks.reading STUDY_FOLDER [--rounds 7]

Each peer reads the way its own documentation says. Peers that are not installed are left out
(pip install dicomsdl SimpleITK). dicomsdl is fast, but ends the interpreter on some damaged files.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from utils.dicom import read_series


def ours(folders: list[Path]) -> int:
    return sum(len(read_series(folder)) for folder in folders)


def just_bytes(folders: list[Path]) -> int:
    return sum(len(path.read_bytes()) > 0 for folder in folders for path in folder.iterdir())


def pydicom_with(plugin: str) -> Callable[[list[Path]], int]:
    def read(folders: list[Path]) -> int:
        count = 0
        for folder in folders:
            for path in folder.iterdir():
                data = pydicom.dcmread(path)
                data.pixel_array_options(decoding_plugin=plugin)
                count += len(data.ImagePositionPatient) == 3 and data.pixel_array.ndim == 2
        return count

    return read


def dicomsdl_peer() -> Callable[[list[Path]], int]:
    import dicomsdl

    def read(folders: list[Path]) -> int:
        count = 0
        for folder in folders:
            for path in folder.iterdir():
                data = dicomsdl.open(str(path))
                place = data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing
                count += all(place) and data.pixelData(storedvalue=True).ndim == 2
        return count

    return read


def simpleitk_peer() -> Callable[[list[Path]], int]:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)

    def read(folders: list[Path]) -> int:
        count = 0
        for folder in folders:
            for path in folder.iterdir():
                image = sitk.ReadImage(str(path))
                count += len(image.GetOrigin()) == 3 and np.ndim(sitk.GetArrayFromImage(image)) == 3
        return count

    return read


def peers() -> dict[str, Callable[[list[Path]], int]]:
    found = {"ours": ours, "just the bytes": just_bytes, "pydicom, pylibjpeg-rle": pydicom_with("pylibjpeg")}
    for name, make in (("dicomsdl", dicomsdl_peer), ("SimpleITK", simpleitk_peer)):
        try:
            found[name] = make()
        except ImportError:
            print(f"{name} is not installed")
    return found | {"plain pydicom": pydicom_with("pydicom")}


def main(study: Path, rounds: int) -> None:
    folders = [folder for folder in sorted(study.iterdir()) if folder.is_dir()]
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):  # all peers in turn, so that a slow moment of the machine strikes all
        for name, read in peers_here.items():
            start = time.perf_counter()
            count = read(folders)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    mine = statistics.median(seconds["ours"])
    print(f"{count} files of {study.name}, median of {rounds} rounds")
    for name, values in seconds.items():
        print(f"  {name:24} {1000 * statistics.median(values):7.0f} ms   ours takes {mine / statistics.median(values):.3f} of it")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    a = parser.parse_args()
    peers_here = peers()
    main(a.study, a.rounds)
